//! Peers that want to occupy the client.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use webhook_forward::{Client, ErrorClass};

use super::peer::{Peer, closed, request};
use super::{PATIENCE, failure, options, post};

/// How long the client waits for an answer that never comes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A client that gives up soon.
fn impatient() -> Client {
    let mut options = options();
    options.timeout = TIMEOUT;
    Client::new(options)
}

/// Sends a head and then the same bytes for ever. Reports how many bytes it got rid of.
async fn endless(head: &'static str, again: String, ended: mpsc::Sender<usize>) -> Peer {
    Peer::start(move |_, mut tcp| {
        let (again, ended) = (again.clone(), ended.clone());
        async move {
            request(&mut tcp).await.unwrap();
            let mut bytes = 0;
            if tcp.write_all(head.as_bytes()).await.is_ok() {
                while tcp.write_all(again.as_bytes()).await.is_ok() {
                    bytes += again.len();
                }
            }
            ended.send(bytes).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn endless_head_ends_at_the_limit() {
    for again in ["a", "x-a: b\r\n"] {
        let (ended, mut end) = mpsc::channel(1);
        let peer = endless("HTTP/1.1 200 OK\r\n", again.repeat(1024), ended).await;
        let failure = failure(impatient().send(post(&peer.url())).await);
        assert_eq!(failure.class, ErrorClass::TooLarge, "{failure:?}");
        let sent = tokio::time::timeout(PATIENCE, end.recv()).await.unwrap();
        assert!(sent.unwrap() < 64 << 20);
    }
}

/// Each interim answer is read and thrown away, so that time is the only limit.
#[tokio::test]
async fn endless_interim_answers_end_at_the_timeout() {
    let (ended, mut end) = mpsc::channel(1);
    let again = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(100);
    let peer = endless("", again, ended).await;
    let exchange = impatient().send(post(&peer.url())).await;
    assert_eq!(exchange.peer, Some(peer.addr()));
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::TimeoutResponse);
    assert_eq!(failure.message, "no answer within 2s");
    // The connection is closed.
    tokio::time::timeout(PATIENCE, end.recv())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn silent_peer_ends_at_the_timeout_and_loses_its_connection() {
    let (ended, mut end) = mpsc::channel(1);
    let peer = Peer::start(move |_, mut tcp| {
        let ended = ended.clone();
        async move {
            request(&mut tcp).await.unwrap();
            closed(&mut tcp).await;
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let exchange = impatient().send(post(&peer.url())).await;
    assert_eq!(exchange.timings.first_byte, None);
    assert!(exchange.timings.total >= TIMEOUT);
    assert_eq!(failure(exchange).class, ErrorClass::TimeoutResponse);
    tokio::time::timeout(PATIENCE, end.recv())
        .await
        .unwrap()
        .unwrap();
}

/// A peer that takes nothing keeps a large request in the buffers of the connection.
#[tokio::test]
async fn peer_that_reads_nothing_ends_at_the_timeout() {
    let (release, hold) = tokio::sync::watch::channel(());
    let peer = Peer::start(move |_, tcp| {
        let mut hold = hold.clone();
        async move {
            let _ = hold.changed().await;
            drop(tcp);
        }
    })
    .await;
    let mut request = post(&peer.url());
    *request.body_mut() = vec![b'a'; 32 << 20].into();
    let failure = failure(impatient().send(request).await);
    assert_eq!(failure.class, ErrorClass::TimeoutResponse);
    drop(release);
}

#[tokio::test]
async fn exchange_that_is_dropped_closes_its_connection() {
    let (events, mut seen) = mpsc::channel(2);
    let peer = Peer::start(move |_, mut tcp| {
        let events = events.clone();
        async move {
            request(&mut tcp).await.unwrap();
            events.send("request").await.unwrap();
            closed(&mut tcp).await;
            events.send("closed").await.unwrap();
        }
    })
    .await;
    let client = super::client();
    {
        let sending = client.send(post(&peer.url()));
        tokio::select! {
            exchange = sending => panic!("{exchange:?}"),
            event = seen.recv() => assert_eq!(event, Some("request")),
        }
    }
    let event = tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap();
    assert_eq!(event, Some("closed"));
}
