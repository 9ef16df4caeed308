//! The default processing delay.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::node::{shown, until_processed};
use crate::support::transaction;

const DELAY: Duration = Duration::from_secs(30);

/// How much later a machine under load may be.
const GENEROUS: Duration = Duration::from_secs(15);

#[tokio::test]
async fn transaction_is_processed_thirty_seconds_after_its_202() {
    let database = TestDatabase::create().await;
    let mut server = server_on(database.url(), &[]).start();
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    let before = Instant::now();
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let answered = Instant::now();
    assert!(answered - before < DELAY / 2, "202 is not at once");
    let early = shown(addr, "tx-1").await;
    assert_eq!(
        (&early["status"], &early["attempts"], &early["processed_at"]),
        (&json!("PROCESSING"), &json!(0), &json!(null))
    );

    server.logs("transaction processed").await;
    assert!(before.elapsed() >= DELAY, "early: {:?}", before.elapsed());
    assert!(answered.elapsed() < DELAY + GENEROUS, "late");
    until_processed(addr, "tx-1").await;
    let late = shown(addr, "tx-1").await;
    assert_eq!(late["attempts"], 1);
    let at = |name: &str| -> Timestamp { late[name].as_str().unwrap().parse().unwrap() };
    let took = at("processed_at").duration_since(at("created_at"));
    let took = Duration::try_from(took).unwrap();
    assert!((DELAY..DELAY + GENEROUS).contains(&took), "{took:?}");
    database.drop_database().await;
}
