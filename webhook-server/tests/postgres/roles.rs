//! The roles `api` and `worker` on PostgreSQL.

use serde_json::json;
use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::node::{Node, shown, until_processed};
use crate::support::{transaction, until};

#[tokio::test]
async fn worker_takes_over_the_events_of_a_stopped_one() {
    let database = TestDatabase::create().await;
    let api_args = ["--role=api", "--processing-delay-seconds=0"];
    let api = Node::of(server_on(database.url(), &api_args).start()).await;
    let worker = async || Node::of(server_on(database.url(), &["--role=worker"]).start()).await;
    let mut client = Client::connect(api.addr).await;
    let first = worker().await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    until_processed(api.addr, "tx-1").await;
    // Ends with exit code 0, else this fails.
    assert_eq!(ids(first.stop().await), ["tx-1"]);

    client
        .post(transaction("tx-2"))
        .await
        .acknowledged("ACCEPTED");
    let waiting = shown(api.addr, "tx-2").await;
    assert_eq!(
        (&waiting["status"], &waiting["attempts"]),
        (&json!("PROCESSING"), &json!(0))
    );
    let second = worker().await;
    until_processed(api.addr, "tx-2").await;
    assert_eq!(ids(second.stop().await), ["tx-2"]);
    assert_eq!(ids(api.stop().await), [""; 0]);
    database.drop_database().await;
}

#[tokio::test]
async fn sources_are_received_by_one_process_and_processed_by_another() {
    let database = TestDatabase::create().await;
    let files = Files::new();
    files.write("secret", "hunter2-hunter2");
    let file = files.write(
        "webhook.toml",
        "[sources.shop]\nscheme.token = { at = \"header:x-mine\" }\nid = \"json:/id\"\nsecrets = \"file:secret\"\n",
    );
    let file = format!("--config-file={file}");
    let start = |role| server_on(database.url(), &[role, &file]).start();
    let mut api = start("--role=api");
    let mut client = Client::connect(api.listens().await).await;
    let request = "POST /v1/webhooks/shop HTTP/1.1\r\nHost: localhost\r\nX-Mine: hunter2-hunter2\r\n\
                   Content-Length: 10\r\n\r\n{\"id\":\"a\"}";
    assert_eq!(client.ask(request).await.status, 200);
    let shown = client.get("/v1/events/shop/a").await.json();
    assert_eq!(
        (&shown["status"], &shown["attempts"]),
        (&json!("PROCESSING"), &json!(0))
    );
    let mut worker = start("--role=worker");
    let addr = worker.listens().await;
    until("the event is processed", async || {
        client.get("/v1/events/shop/a").await.json()["status"] == "PROCESSED"
    })
    .await;
    // A process that only processes receives nothing.
    let mut client = Client::connect(addr).await;
    client.ask(request).await.problem(404);
    drop((api, worker));
    database.drop_database().await;
}

fn ids(handled: Vec<crate::support::node::Handled>) -> Vec<String> {
    handled.into_iter().map(|run| run.transaction_id).collect()
}
