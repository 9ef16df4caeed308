//! Slow clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::time::sleep;
use webhook_core::{Inbox, InboxOptions, Store};
use webhook_memory::MemoryStore;
use webhook_server::http::{App, HttpOptions, serve_stream};

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

/// A client on a paused clock, of a server that gives bodies an hour.
fn client_with_an_hour() -> Client<DuplexStream> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let inbox = Inbox::new(Arc::clone(&store), InboxOptions::default());
    let options = HttpOptions {
        body_timeout: Duration::from_secs(3600),
        ..HttpOptions::default()
    };
    let (client, stream) = duplex(1 << 20);
    let app = Arc::new(App::new(inbox, store, options));
    tokio::spawn(serve_stream(app, stream));
    Client::over(client)
}

/// Half of the time-out has no minimum rate; then 1,024 bytes must have come for every second.
#[tokio::test(start_paused = true)]
async fn body_below_the_minimum_rate_is_answered_408() {
    let whole = post(transaction("tx-1") + &" ".repeat(1 << 19));
    let (start, rest) = whole.split_at(500);
    let mut client = client_with_an_hour();
    client.send(start).await;
    let started = tokio::time::Instant::now();
    let mut pieces = rest.chunks(100);
    let reply = loop {
        client.send(pieces.next().unwrap()).await;
        let next = sleep(Duration::from_secs(10));
        tokio::select! {
            reply = client.reply() => break reply,
            () = next => {}
        }
    };
    assert_eq!(reply.problem(408), "Body slower than 1024 bytes a second");
    let minutes = started.elapsed().as_secs() / 60;
    assert_eq!(minutes, 30, "half of the time-out");
}

#[tokio::test(start_paused = true)]
async fn body_above_the_minimum_rate_has_all_of_the_time_out() {
    let whole = post(transaction("tx-1") + &" ".repeat(1 << 19));
    let (last, start) = whole.split_last().unwrap();
    let mut client = client_with_an_hour();
    // Bytes from the first half of the time-out count: half a mebibyte is enough for 8 more minutes.
    client.send(start).await;
    sleep(Duration::from_secs(38 * 60)).await;
    client.send([*last]).await;
    client.reply().await.acknowledged("ACCEPTED");

    // 1,500 bytes a second, for ten minutes: never behind.
    let whole = post(transaction("tx-2") + &" ".repeat(900_000));
    let pieces: Vec<_> = whole.chunks(15_000).collect();
    let mut client = client_with_an_hour();
    client.send(pieces[0]).await;
    sleep(Duration::from_secs(29 * 60)).await;
    for piece in &pieces[1..] {
        client.send(piece).await;
        sleep(Duration::from_secs(10)).await;
    }
    client.reply().await.acknowledged("ACCEPTED");
}
