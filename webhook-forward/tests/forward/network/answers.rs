//! What becomes of answers.

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use webhook_forward::{Client, ClientOptions};

use super::peer::{Peer, request};
use super::{post, send};

#[tokio::test]
async fn answer_is_returned_with_its_status_headers_and_body() {
    let peer = Peer::start(|_, mut tcp| async move {
        let got = request(&mut tcp).await.unwrap();
        let expected = "POST /hooks HTTP/1.1\r\ncontent-type: application/json\r\nhost: ";
        assert!(got.starts_with(expected), "{got}");
        assert!(got.ends_with("\r\n\r\n{\"id\":1}"), "{got}");
        let answer = b"HTTP/1.1 500 Oops\r\nx-a: b\r\ncontent-length: 4\r\n\r\nhelp";
        tcp.write_all(answer).await.unwrap();
    })
    .await;

    let exchange = send(&peer.url()).await;

    let answer = exchange.result.unwrap();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.body, "help");
    assert!(answer.is_body_whole);
    assert_eq!(exchange.peer, Some(peer.addr()));
}

#[tokio::test]
async fn connection_is_reused_and_only_the_first_exchange_has_times_of_connecting() {
    let peer = Peer::start(|_, mut tcp| async move {
        while request(&mut tcp).await.is_some() {
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            tcp.write_all(answer).await.unwrap();
        }
    })
    .await;
    let client = Client::new(ClientOptions::default());

    let first = client.send(post(&peer.url())).await;
    let second = client.send(post(&peer.url())).await;

    for exchange in [&first, &second] {
        let answer = exchange.result.as_ref().unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(exchange.peer, Some(peer.addr()));
        assert!(exchange.timings.first_byte.is_some());
        assert!(exchange.timings.total >= exchange.timings.first_byte.unwrap());
    }
    assert_eq!(peer.accepted(), 1);
    // The host is an address, and there is no TLS.
    assert_eq!(first.timings.dns, None);
    assert!(first.timings.connect.is_some());
    assert_eq!(first.timings.tls, None);
    assert_eq!(second.timings.connect, None);
}
