//! Shutdown: requests finish, idle connections close, new ones are refused.

use std::sync::Arc;
use std::time::Duration;

use webhook_server::config::Role;

use crate::faulty::{FaultyStore, Mode};
use crate::serve::{config, serve, serve_on};
use crate::support::client::{Client, post};
use crate::support::{in_time, transaction};

#[tokio::test]
async fn idle_connections_are_closed_and_new_ones_refused() {
    let server = serve(&config());
    let addr = server.addr();
    let mut fresh = Client::connect(addr).await;
    let mut used = Client::connect(addr).await;
    assert_eq!(used.get("/").await.status, 200);
    in_time("shutdown", server.shutdown()).await;
    fresh.closed().await;
    used.closed().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn requests_under_way_are_finished() {
    let mut config = config();
    config.role = Role::Api;
    config.accept_timeout_seconds = Duration::from_secs(50);
    let store = FaultyStore::new(Mode::Hanging);
    let server = serve_on(Arc::clone(&store) as _, Arc::clone(&store) as _, &config);
    let mut client = Client::connect(server.addr()).await;
    client.send(post(transaction("tx-1"))).await;
    store.keeps_a_call().await;
    let mut probe = Client::connect(server.addr()).await;
    probe
        .send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
        .await;
    assert_eq!(client_is_served(&server).await, 200);
    let shutdown = tokio::spawn(server.shutdown());
    // A request begun before is answered, and readiness is gone.
    until_refused(&client).await;
    assert_eq!(probe.ask("\r\n").await.unavailable(), "Shutting down");
    probe.closed().await;
    store.set(Mode::Up);
    let reply = client.reply().await;
    reply.acknowledged("ACCEPTED");
    assert_eq!(reply.header("connection"), Some("close"));
    client.closed().await;
    in_time("shutdown", shutdown).await.unwrap();
}

/// A whole request's round trip: what was sent before on other connections has been read.
async fn client_is_served(server: &webhook_server::Server) -> u16 {
    Client::connect(server.addr()).await.get("/").await.status
}

/// Waits until the server takes no more connections.
async fn until_refused(client: &Client) {
    let addr = client.stream.peer_addr().unwrap();
    in_time("the listener closes", async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_are_aborted_after_the_drain_time() {
    let mut config = config();
    config.drain_seconds = Duration::from_millis(100);
    let server = serve(&config);
    let whole = post(transaction("tx-1"));
    let mut client = Client::connect(server.addr()).await;
    client.send(&whole[..whole.len() - 1]).await;
    assert_eq!(client_is_served(&server).await, 200);
    in_time("shutdown", server.shutdown()).await;
    client.closed().await;
}
