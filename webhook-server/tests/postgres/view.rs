//! The view `webhook.transactions`.

use webhook_postgres::sqlx::{self, Row};
use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::unusual;

#[tokio::test]
async fn unusual_bodies_are_rows_of_the_view() {
    let database = TestDatabase::create().await;
    let mut server = server_on(database.url(), &[]).start();
    let mut client = Client::connect(server.listens().await).await;
    let mut expected = Vec::new();
    for (id, body, amount) in unusual::transactions() {
        client.post(body).await.acknowledged("ACCEPTED");
        expected.push((id, Some(amount)));
    }

    let mut connection = database.connection().await;
    // All the columns, as `SELECT *` reads them.
    let sql = "SELECT *, amount::text AS amount_text FROM webhook.transactions ORDER BY 1";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let found: Vec<(String, Option<String>)> = rows
        .iter()
        .map(|row| (row.get("transaction_id"), row.get("amount_text")))
        .collect();
    assert_eq!(found, expected);
    for row in rows {
        for (column, value) in unusual::SHOWN {
            assert_eq!(row.get::<Option<&str>, _>(column), Some(value), "{column}");
        }
    }
    database.drop_database().await;
}
