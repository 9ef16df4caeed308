//! Clients that take their time.

use std::time::Duration;

use crate::serve::{config, serve};
use crate::support::client::{Client, post};
use crate::support::transaction;

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let mut config = config();
    config.body_timeout_seconds = Duration::from_millis(100);
    let server = serve(&config);
    let whole = post(transaction("tx-1"));
    let mut client = Client::connect(server.addr()).await;
    let reply = client.ask(&whole[..whole.len() - 1]).await;
    assert_eq!(reply.problem(408), "Body not received within 0.1 s");
    assert_eq!(reply.header("connection"), Some("close"));
    client.closed().await;
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.get("/v1/transactions/tx-1").await.status, 404);
}

#[tokio::test]
async fn idle_connection_outlives_the_time_out_of_a_head_and_a_slow_head_does_not() {
    let mut config = config();
    config.header_timeout_seconds = Duration::from_millis(300);
    config.keep_alive_seconds = Duration::from_secs(600);
    let server = serve(&config);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.get("/").await.status, 200);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(client.get("/").await.status, 200);
    client.send("GET / HTTP/1.1\r\nHo").await;
    client.closed().await;

    config.keep_alive_seconds = Duration::from_millis(100);
    let server = serve(&config);
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.get("/").await.status, 200);
    client.closed().await;
}

#[tokio::test]
async fn slow_clients_do_not_hold_up_others() {
    let mut config = config();
    config.processing_delay_seconds = Duration::ZERO;
    let server = serve(&config);
    let mut slow = Vec::new();
    for round in 0..200 {
        let whole = post(transaction(&format!("slow-{round}")));
        let mut client = Client::connect(server.addr()).await;
        client.send(&whole[..whole.len() - 1]).await;
        slow.push(client);
    }
    let mut quick = Client::connect(server.addr()).await;
    for round in 0..100 {
        quick
            .post(transaction(&format!("tx-{round}")))
            .await
            .acknowledged("ACCEPTED");
    }
    for client in &mut slow {
        client.ask("}").await.acknowledged("ACCEPTED");
    }
}
