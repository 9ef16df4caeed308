//! Behind a pooler in transaction mode.

use serde_json::json;
use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::node::{shown, until_processed};
use crate::support::with_amount;

#[tokio::test]
async fn transactions_are_accepted_and_processed_through_a_pooler() {
    let database = TestDatabase::create().await;
    let args = ["--processing-delay-seconds=0.2"];
    let mut server = server_on(database.pooler_url(), &args).start();
    let connected = server.logs("connected to PostgreSQL").await;
    assert_eq!(connected["mode"], "transaction-mode pooler: polling");
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    for (amount, status) in [
        ("1500.50", "ACCEPTED"),
        ("1500.5", "DUPLICATE"),
        ("1500.51", "CONFLICT"),
    ] {
        let reply = client.post(with_amount("tx-1", amount)).await;
        reply.acknowledged(status);
    }
    server.logs("transaction processed").await;
    until_processed(addr, "tx-1").await;
    let shown = shown(addr, "tx-1").await;
    assert_eq!(
        (&shown["attempts"], &shown["duplicate_conflict_count"]),
        (&json!(1), &json!(1))
    );
    let body = client.get("/v1/transactions/tx-1").await;
    assert!(
        body.text().contains(r#""amount":1500.50,"#),
        "{}",
        body.text()
    );
    database.drop_database().await;
}
