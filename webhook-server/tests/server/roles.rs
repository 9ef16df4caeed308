//! The roles `api` and `worker`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use webhook_memory::MemoryStore;
use webhook_server::config::Role;

use crate::serve::{config, serve, serve_on};
use crate::support::client::Client;
use crate::support::{transaction, until};

#[tokio::test]
async fn worker_serves_only_health_routes() {
    let mut config = config();
    config.role = Role::Worker;
    let server = serve(&config);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/readyz").await.status, 200);
    assert_eq!(
        client.post(transaction("tx-1")).await.problem(404),
        "Not found"
    );
    assert_eq!(
        client.get("/v1/transactions/tx-1").await.problem(404),
        "Not found"
    );
}

#[tokio::test]
async fn api_role_receives_and_does_not_process() {
    let mut config = config();
    config.role = Role::Api;
    config.processing_delay_seconds = Duration::ZERO;
    let store = Arc::new(MemoryStore::default());
    let api = serve_on(Arc::clone(&store) as _, Arc::clone(&store) as _, &config);
    let mut client = Client::connect(api.addr()).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let shown = client.get("/v1/transactions/tx-1").await.json();
    assert_eq!(
        (&shown["status"], &shown["attempts"]),
        (&json!("PROCESSING"), &json!(0))
    );

    config.role = Role::Worker;
    let worker = serve_on(Arc::clone(&store) as _, store, &config);
    until("the worker has processed it", async || {
        let mut client = Client::connect(api.addr()).await;
        client.get("/v1/transactions/tx-1").await.json()["status"] == "PROCESSED"
    })
    .await;
    worker.shutdown().await;
}
