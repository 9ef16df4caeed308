//! HTTP/2, which is negotiated by TLS.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use tokio::sync::mpsc;
use webhook_forward::{Client, ErrorClass, MAX_ANSWER_BODY_BYTES, Tls};

use super::certificates::Authority;
use super::connections::{Names, options_with};
use super::peer::Peer;
use super::{PATIENCE, failure, post};

/// A server that runs `answer` for each request.
async fn server<F, Fut>(answer: F) -> (Peer, Client)
where
    F: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    server_for(answer, PATIENCE).await
}

async fn server_for<F, Fut>(answer: F, timeout: Duration) -> (Peer, Client)
where
    F: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let acceptor = Authority::acceptor(&authority.issue("app.example.com"), &["h2"], None);
    let peer = Peer::start(move |_, tcp| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            let tls = acceptor.accept(tcp).await.unwrap();
            let mut connection = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond));
            }
        }
    })
    .await;
    (peer, client(authority.trusted(), timeout))
}

fn client(tls: Tls, timeout: Duration) -> Client {
    let mut options = options_with(&Names::new([&["127.0.0.1"]]));
    options.tls = tls;
    options.timeout = timeout;
    Client::new(options)
}

fn url(peer: &Peer) -> String {
    format!("https://app.example.com:{}/hooks", peer.addr().port())
}

fn head(status: StatusCode) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

#[tokio::test]
async fn requests_share_a_connection() {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let (peer, client) = server(move |request, mut respond| {
        let barrier = std::sync::Arc::clone(&barrier);
        async move {
            if request.uri().path() != "/first" {
                barrier.wait().await;
            }
            assert_eq!(request.uri().host(), Some("app.example.com"));
            let mut stream = respond.send_response(head(StatusCode::OK), false).unwrap();
            stream.send_data(Bytes::from_static(b"fine"), true).unwrap();
        }
    })
    .await;
    let first = client
        .send(post(&url(&peer).replace("/hooks", "/first")))
        .await;
    assert!(first.timings.tls.is_some());
    assert_eq!(first.result.unwrap().body, "fine");

    let (one, other) = tokio::join!(
        client.send(post(&url(&peer))),
        client.send(post(&url(&peer)))
    );
    for exchange in [one, other] {
        assert_eq!(exchange.timings.tls, None);
        assert_eq!(exchange.peer, Some(peer.addr()));
        let answer = exchange.result.unwrap();
        assert_eq!(answer.body, "fine");
        assert!(answer.is_body_whole);
    }
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn reading_an_endless_body_stops_and_ends_its_stream() {
    let (ended, mut end) = mpsc::channel(1);
    let (peer, client) = server(move |_, mut respond| {
        let ended = ended.clone();
        async move {
            let mut stream = respond.send_response(head(StatusCode::OK), false).unwrap();
            let mut sent = 0;
            loop {
                stream.reserve_capacity(16 * 1024);
                match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(bytes)) => {
                        stream.send_data(vec![b'a'; bytes].into(), false).unwrap();
                        sent += bytes;
                    }
                    _ => break,
                }
            }
            ended.send(sent).await.unwrap();
        }
    })
    .await;
    let answer = client.send(post(&url(&peer))).await.result.unwrap();
    assert_eq!(answer.body.len(), MAX_ANSWER_BODY_BYTES);
    assert!(!answer.is_body_whole);
    let sent = tokio::time::timeout(PATIENCE, end.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(sent <= 128 * 1024, "{sent}");
}

#[tokio::test]
async fn stream_that_the_peer_resets_is_a_reset() {
    let (peer, client) = server(|_, mut respond| async move {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
    })
    .await;
    let failure = failure(client.send(post(&url(&peer))).await);
    assert_eq!(failure.class, ErrorClass::Reset, "{failure:?}");
    assert_eq!(
        failure.message,
        format!(
            "{} broke off the exchange: unexpected internal error encountered",
            peer.addr()
        )
    );
}

#[tokio::test]
async fn head_that_is_too_large_is_not_read() {
    for (count, length) in [
        (10_000, 1),
        (7, 10 * 1024),
        (1, 70 * 1024),
        (100, 10 * 1024),
    ] {
        let (peer, client) = server(move |_, mut respond| async move {
            let mut response = head(StatusCode::OK);
            for number in 0..count {
                let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                let value = http::HeaderValue::try_from("y".repeat(length)).unwrap();
                response.headers_mut().insert(name, value);
            }
            let _ = respond.send_response(response, true);
        })
        .await;
        let failure = failure(client.send(post(&url(&peer))).await);
        // The crate h2 does not always tell it from other mistakes.
        assert!(
            [ErrorClass::TooLarge, ErrorClass::Protocol].contains(&failure.class),
            "{count}: {failure:?}"
        );
        assert!(failure.message.contains("64 KiB"), "{failure:?}");
    }
}

#[tokio::test]
async fn endless_interim_answers_end_at_the_timeout() {
    let (ended, mut end) = mpsc::channel(1);
    let (peer, client) = server_for(
        move |_, mut respond| {
            let ended = ended.clone();
            async move {
                loop {
                    for _ in 0..100 {
                        let _ = respond.send_informational(head(StatusCode::EARLY_HINTS));
                    }
                    let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
                    // The server of the tests queues without a limit.
                    if tokio::time::timeout(Duration::from_millis(1), reset)
                        .await
                        .is_ok()
                    {
                        break;
                    }
                }
                ended.send(()).await.unwrap();
            }
        },
        Duration::from_secs(2),
    )
    .await;
    let failure = failure(client.send(post(&url(&peer))).await);
    assert_eq!(failure.class, ErrorClass::TimeoutResponse);
    tokio::time::timeout(PATIENCE, end.recv())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn empty_frames_without_an_end_are_no_body() {
    let (peer, client) = server(|_, mut respond| async move {
        let mut stream = respond.send_response(head(StatusCode::OK), false).unwrap();
        loop {
            for _ in 0..10 {
                let _ = stream.send_data(Bytes::new(), false);
            }
            let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
            if tokio::time::timeout(Duration::from_millis(1), reset)
                .await
                .is_ok()
            {
                break;
            }
        }
    })
    .await;
    let answer = client.send(post(&url(&peer))).await.result.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.is_empty());
    assert!(!answer.is_body_whole);
}

/// Each of them may begin a connection, of which one is kept.
#[tokio::test]
async fn first_requests_at_once_are_all_answered() {
    let (peer, client) = server(|_, mut respond| async move {
        respond
            .send_response(head(StatusCode::NO_CONTENT), true)
            .unwrap();
    })
    .await;
    let url = url(&peer);
    let sending: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let (client, request) = (client.clone(), post(&url));
            async move { client.send(request).await }
        })
        .collect();
    let exchanges = sending.join_all().await;
    let with_times = exchanges
        .iter()
        .filter(|exchange| exchange.timings.tls.is_some());
    assert!((1..=20).contains(&with_times.count()));
    for exchange in exchanges {
        assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
    }
    let before = peer.accepted();
    client.send(post(&url)).await.result.unwrap();
    assert_eq!(peer.accepted(), before);
}

#[tokio::test]
async fn garbage_after_the_handshake_is_no_answer() {
    let authority = Authority::new();
    let acceptor = Authority::acceptor(&authority.issue("app.example.com"), &["h2"], None);
    let peer = Peer::start(move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            let mut tls = acceptor.accept(tcp).await.unwrap();
            let _ = tls
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            super::peer::closed(&mut tls).await;
        }
    })
    .await;
    let client = client(authority.trusted(), PATIENCE);
    let failure = failure(client.send(post(&url(&peer))).await);
    assert_eq!(failure.class, ErrorClass::Protocol, "{failure:?}");
}
