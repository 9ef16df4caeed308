//! The view `webhook.transactions`.

use webhook_postgres::sqlx::{self, Row};
use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::with_amount;

/// Unknown members that PostgreSQL's JSON functions reject.
const EXTRAS: [&str; 12] = [
    r#""x":"\u0000""#,
    r#""\u0000":1"#,
    r#""x":"\ud800""#,
    r#""x":"\udc00\ud800""#,
    r#""x":"\ud800\ud800\udc00""#,
    r#""x":"\ud83d\ude00\udc00""#,
    r#""x":"\\\u0000 \\u0000""#,
    r#""x":1e999999"#,
    r#""x":-1e-999999999999,"x":[[[[{}]]]]"#,
    r#""x":"\ud800","y":{"z":["\u0000",1e999999]}"#,
    r#""x":"\ud83d\ude00""#,
    r#""x":"\\ud800\udc00""#,
];

/// Amounts as written, and what they are.
const AMOUNTS: [(&str, &str); 9] = [
    ("1500.50", "1500.50"),
    (r#"" \t1500.50\n""#, "1500.50"),
    (r#""\u00a01500.50\u3000""#, "1500.50"),
    (r#""\u0031.5\u00653""#, "1500"),
    ("1.5e3", "1500"),
    ("1E-28", "0.0000000000000000000000000001"),
    (
        "9999999999999999999999999999",
        "9999999999999999999999999999",
    ),
    ("1e0000000000000000000000000000000001", "10"),
    ("0.1", "0.1"),
];

#[tokio::test]
async fn unusual_bodies_are_rows_of_the_view() {
    let database = TestDatabase::create().await;
    let mut server = server_on(database.url(), &[]).start();
    let mut client = Client::connect(server.listens().await).await;
    let mut expected = Vec::new();
    for (number, extra) in EXTRAS.iter().enumerate() {
        let id = format!("extra-{number:02}");
        let body = with_amount(&id, "12.50").replacen('{', &format!("{{{extra},"), 1);
        client.post(body).await.acknowledged("ACCEPTED");
        expected.push((id, "12.50".to_owned()));
    }
    let marked = format!("\u{feff}{}", with_amount("marked", "12.50"));
    client.post(marked).await.acknowledged("ACCEPTED");
    expected.push(("marked".to_owned(), "12.50".to_owned()));
    let zeros = format!("0.{}1e20001", "0".repeat(20_000));
    let amounts = AMOUNTS.into_iter().chain([(zeros.as_str(), "1")]);
    for (number, (written, amount)) in amounts.enumerate() {
        let id = format!("shown-{number:02}");
        client
            .post(with_amount(&id, written))
            .await
            .acknowledged("ACCEPTED");
        expected.push((id, amount.to_owned()));
    }

    let mut connection = database.connection().await;
    // All the columns, as `SELECT *` reads them.
    let sql = "SELECT *, amount::text AS amount_text FROM webhook.transactions ORDER BY 1";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let found: Vec<(String, Option<String>)> = rows
        .iter()
        .map(|row| (row.get("transaction_id"), row.get("amount_text")))
        .collect();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(id, amount)| (id, Some(amount)))
        .collect();
    assert_eq!(found, expected);
    for row in rows {
        let texts = [
            "source_account",
            "destination_account",
            "currency",
            "status",
        ];
        let texts = texts.map(|name| row.get::<Option<String>, _>(name));
        let right = [
            "DE89370400440532013000",
            "GB29NWBK60161331926819",
            "EUR",
            "PROCESSING",
        ];
        assert_eq!(texts.each_ref().map(Option::as_deref), right.map(Some));
    }
    database.drop_database().await;
}
