//! A store that is down, slow or full, or that refuses the data.

use std::sync::Arc;
use std::time::Duration;

use webhook_server::Server;
use webhook_server::config::Config;

use crate::faulty::{FaultyStore, Mode};
use crate::serve::{config, serve, serve_on};
use crate::support::client::{Client, post};
use crate::support::{transaction, until};

fn faulty(mode: Mode) -> (Arc<FaultyStore>, Server) {
    faulty_with(mode, &config())
}

fn faulty_with(mode: Mode, config: &Config) -> (Arc<FaultyStore>, Server) {
    let store = FaultyStore::new(mode);
    let server = serve_on(Arc::clone(&store) as _, Arc::clone(&store) as _, config);
    (store, server)
}

/// Hangs are answered soon.
fn impatient() -> Config {
    let mut config = config();
    config.accept_timeout_seconds = Duration::from_millis(100);
    config
}

#[tokio::test]
async fn a_store_that_is_down_is_answered_503() {
    let (_store, server) = faulty(Mode::Down);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(
        client.post(transaction("tx-1")).await.unavailable(),
        "Store unavailable"
    );
    assert_eq!(
        client.get("/v1/transactions/tx-1").await.unavailable(),
        "Store unavailable"
    );
    assert_eq!(
        client.get("/readyz").await.unavailable(),
        "Store unavailable"
    );
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_store_that_hangs_is_answered_503() {
    let (_store, server) = faulty_with(Mode::Hanging, &impatient());
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(
        client.post(transaction("tx-1")).await.unavailable(),
        "Store too slow"
    );
    assert_eq!(
        client.get("/v1/transactions/tx-1").await.unavailable(),
        "Store too slow"
    );
    assert_eq!(client.get("/readyz").await.unavailable(), "Store too slow");
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn bad_input_needs_no_store() {
    let (_store, server) = faulty(Mode::Hanging);
    let mut client = Client::connect(server.addr()).await;
    client.post("{").await.problem(400);
    client.post("{}").await.problem(422);
    client.get("/v1/transactions/%00").await.problem(404);
}

#[tokio::test]
async fn the_server_recovers_with_its_store() {
    let mut config = impatient();
    config.processing_delay_seconds = Duration::ZERO;
    let (store, server) = faulty_with(Mode::Up, &config);
    let mut client = Client::connect(server.addr()).await;
    client
        .post(transaction("before"))
        .await
        .acknowledged("ACCEPTED");
    for mode in [Mode::Down, Mode::Hanging] {
        store.set(mode);
        client.post(transaction("meanwhile")).await.unavailable();
        until("it is not ready", async || {
            client.get("/readyz").await.status == 503
        })
        .await;
        store.set(Mode::Up);
        until("it is ready", async || {
            client.get("/readyz").await.status == 200
        })
        .await;
    }
    assert_eq!(client.post(transaction("meanwhile")).await.status, 202);
    for id in ["before", "meanwhile"] {
        until("it is processed", async || {
            let mut client = Client::connect(server.addr()).await;
            client.get(&format!("/v1/transactions/{id}")).await.json()["status"] == "PROCESSED"
        })
        .await;
    }
}

#[tokio::test]
async fn store_that_refuses_the_data_is_answered_500() {
    let (_store, server) = faulty(Mode::Refusing);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(
        client.post(transaction("tx-1")).await.problem(500),
        "Internal error"
    );
}

#[tokio::test]
async fn a_store_that_is_full_is_answered_503() {
    let (_store, server) = faulty(Mode::Full);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(
        client.post(transaction("tx-1")).await.unavailable(),
        "Store full"
    );
}

#[tokio::test]
async fn deliveries_over_the_queue_limit_get_503_at_once() {
    let mut config = config();
    config.max_queued = 1;
    let (store, server) = faulty_with(Mode::Hanging, &config);
    let mut clients = Vec::new();
    for round in 0..20 {
        let mut client = Client::connect(server.addr()).await;
        client.send(post(transaction(&format!("tx-{round}")))).await;
        clients.push(client);
    }
    store.keeps_a_call().await;
    // The accept time-out is far away, so an answer now is because of the length of the queue.
    let mut extra = Client::connect(server.addr()).await;
    until("a delivery is rejected because of the queue", async || {
        let detail = extra.post(transaction("extra")).await.unavailable();
        detail == "Too many deliveries under way"
    })
    .await;
    store.set(Mode::Up);
    let mut accepted = 0;
    for client in &mut clients {
        let reply = client.reply().await;
        if reply.status == 202 {
            accepted += 1;
        } else {
            reply.unavailable();
        }
    }
    assert!(accepted > 0);
}

#[tokio::test]
async fn long_bodies_are_bounded_together() {
    let mut config = config();
    config.max_queued_bytes = 200_000;
    config.body_timeout_seconds = Duration::from_secs(50);
    let server = serve(&config);
    let long = post(format!("{}{}", transaction("tx-1"), " ".repeat(800_000)));
    let mut holding = Client::connect(server.addr()).await;
    holding.send(&long[..190_000]).await;
    let mut refused = Client::connect(server.addr()).await;
    refused.send_some(&long).await;
    assert_eq!(
        refused.reply().await.unavailable(),
        "Too many bodies under way"
    );
    refused.closed().await;
    // Short ones pass.
    let mut short = Client::connect(server.addr()).await;
    short
        .post(transaction("tx-2"))
        .await
        .acknowledged("ACCEPTED");
    drop(holding);
}

#[tokio::test]
async fn delivery_survives_a_client_that_disconnects_while_the_store_hangs() {
    let mut config = config();
    config.accept_timeout_seconds = Duration::from_secs(50);
    let (store, server) = faulty_with(Mode::Hanging, &config);
    let mut client = Client::connect(server.addr()).await;
    client.send(post(transaction("tx-1"))).await;
    store.keeps_a_call().await;
    drop(client);
    store.set(Mode::Up);
    until("the event is there", async || {
        let mut client = Client::connect(server.addr()).await;
        client.get("/v1/transactions/tx-1").await.status == 200
    })
    .await;
}
