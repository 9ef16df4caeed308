//! What becomes of answers.

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use webhook_forward::{ErrorClass, MAX_ANSWER_BODY_BYTES};

use super::peer::{Peer, closed, request};
use super::{PATIENCE, class_of, client, failure, post, send};

/// Sends `answer` to the first request, and then waits for the client to close the connection.
async fn peer(answer: impl Into<Vec<u8>>) -> Peer {
    let answer = answer.into();
    Peer::start(move |_, mut tcp| {
        let answer = answer.clone();
        async move {
            request(&mut tcp).await.unwrap();
            // The client may close the connection before it has read all.
            let _ = tcp.write_all(&answer).await;
            closed(&mut tcp).await;
        }
    })
    .await
}

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
async fn redirect_is_an_answer_and_is_not_followed() {
    let peer =
        peer("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    let answer = send(&peer.url()).await.result.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], "/elsewhere");
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let peer =
        peer("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = send(&peer.url()).await.result.unwrap();
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!answer.headers.contains_key("link"));
}

#[tokio::test]
async fn body_up_to_the_limit_is_whole() {
    for (length, kept, is_whole) in [
        (MAX_ANSWER_BODY_BYTES, MAX_ANSWER_BODY_BYTES, true),
        (MAX_ANSWER_BODY_BYTES + 1, MAX_ANSWER_BODY_BYTES, false),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let peer = peer([head.into_bytes(), vec![b'a'; length]].concat()).await;
        let answer = send(&peer.url()).await.result.unwrap();
        assert_eq!(answer.body.len(), kept);
        assert_eq!(answer.is_body_whole, is_whole);
    }
}

/// The peer can send only what fits into the buffers of the connection, which the client closes.
#[tokio::test]
async fn reading_an_endless_body_stops_and_closes_the_connection() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000000\r\n",
    ] {
        let (sent, at_end) = oneshot::channel();
        let sent = std::sync::Mutex::new(Some(sent));
        let peer = Peer::start(move |_, mut tcp| {
            let sent = sent.lock().unwrap().take().unwrap();
            async move {
                request(&mut tcp).await.unwrap();
                tcp.write_all(head.as_bytes()).await.unwrap();
                let chunk = [b'a'; 64 * 1024];
                let mut bytes = 0;
                while bytes < 1 << 30 && tcp.write_all(&chunk).await.is_ok() {
                    bytes += chunk.len();
                }
                sent.send(bytes).unwrap();
            }
        })
        .await;

        let answer = send(&peer.url()).await.result.unwrap();

        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body.len(), MAX_ANSWER_BODY_BYTES);
        assert!(!answer.is_body_whole);
        let sent = tokio::time::timeout(PATIENCE, at_end)
            .await
            .unwrap()
            .unwrap();
        assert!(sent < 64 << 20, "{sent} bytes of {head}");
    }
}

#[tokio::test]
async fn body_that_stalls_is_not_awaited_and_closes_the_connection() {
    let peer = Peer::start(|number, mut tcp| async move {
        request(&mut tcp).await.unwrap();
        let answer: &[u8] = match number {
            0 => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin",
            _ => b"HTTP/1.1 204 No Content\r\n\r\n",
        };
        tcp.write_all(answer).await.unwrap();
        closed(&mut tcp).await;
    })
    .await;
    let client = client();

    let exchange = client.send(post(&peer.url())).await;
    let answer = exchange.result.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, "begin");
    assert!(!answer.is_body_whole);
    assert!(exchange.timings.total > exchange.timings.first_byte.unwrap());

    let answer = client.send(post(&peer.url())).await.result.unwrap();
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(peer.accepted(), 2);
}

#[tokio::test]
async fn answer_whose_body_breaks_off_is_an_answer() {
    for (answer, body) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin",
            "begin",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\nnonsense\r\n",
            "begin",
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", ""),
    ] {
        let peer = Peer::start(move |_, mut tcp| async move {
            request(&mut tcp).await.unwrap();
            tcp.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let got = send(&peer.url()).await.result.unwrap();
        assert_eq!(got.status, StatusCode::OK);
        assert_eq!(got.body, body);
        assert!(!got.is_body_whole, "{answer}");
    }
}

#[tokio::test]
async fn reset_within_the_body_leaves_the_answer() {
    let (got_head, wait) = oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let peer = Peer::start(move |_, mut tcp| {
        let wait = wait.lock().unwrap().take().unwrap();
        async move {
            request(&mut tcp).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nx-a: b\r\n\r\n";
            tcp.write_all(head).await.unwrap();
            // A reset throws away what has not been read.
            wait.await.unwrap();
            tcp.set_zero_linger().unwrap();
        }
    })
    .await;

    let client = client();
    let sending = client.send(post(&peer.url()));
    let reset = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        got_head.send(()).unwrap();
    };
    let (exchange, ()) = tokio::join!(sending, reset);

    let answer = exchange.result.unwrap();
    assert_eq!(answer.headers["x-a"], "b");
    assert!(!answer.is_body_whole);
}

#[tokio::test]
async fn connection_that_ends_before_the_answer_is_a_reset() {
    let peer = Peer::start(|number, mut tcp| async move {
        request(&mut tcp).await.unwrap();
        match number {
            0 => {}
            1 => tcp.write_all(b"HTTP/1.1 200 OK\r\nx-a").await.unwrap(),
            _ => tcp.set_zero_linger().unwrap(),
        }
    })
    .await;
    for _ in 0..2 {
        let failure = failure(send(&peer.url()).await);
        assert_eq!(failure.class, ErrorClass::Reset);
        let message = format!("{} closed the connection without an answer", peer.addr());
        assert_eq!(failure.message, message);
    }
    let exchange = send(&peer.url()).await;
    assert_eq!(exchange.peer, Some(peer.addr()));
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::Reset);
    let message = format!("the connection to {} broke: connection reset", peer.addr());
    assert_eq!(failure.message, message);
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "220 smtp.example.com ESMTP\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 xyz OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: \x01\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "\0\0\0\0\0\0\0\0\0\0",
        "<html>hello</html>\r\n\r\n",
    ] {
        let peer = peer(answer).await;
        let failure = failure(send(&peer.url()).await);
        assert_eq!(
            failure.class,
            ErrorClass::Protocol,
            "{answer:?}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn head_that_is_too_large_is_not_read() {
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let few_but_many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(70 * 1024));
    for headers in [many, few_but_many, long] {
        let peer = peer(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
        let failure = failure(send(&peer.url()).await);
        assert_eq!(failure.class, ErrorClass::TooLarge, "{failure:?}");
        assert_eq!(
            failure.message,
            format!(
                "the answer of {} has more than 100 headers, or more than 64 KiB of them",
                peer.addr()
            )
        );
    }
}

#[tokio::test]
async fn request_whose_url_is_none_is_refused() {
    for (url, message) in [
        ("/hooks", "the URL must begin with http:// or https://"),
        (
            "ftp://example.com/a?secret",
            "the URL must begin with http:// or https://",
        ),
        (
            "http://me:secret@127.0.0.1:1/",
            "the URL must not contain a user name or a password: give them as the header authorization",
        ),
    ] {
        let failure = failure(send(url).await);
        assert_eq!(failure.class, ErrorClass::Protocol);
        assert_eq!(failure.message, message);
    }
    assert_eq!(class_of(send("http://1.2.3.4.5/").await), ErrorClass::Dns);
}

/// A peer that refuses a large request need not read it.
#[tokio::test]
async fn answer_before_the_end_of_the_request_is_an_answer() {
    let peer = Peer::start(|_, mut tcp| async move {
        let mut head = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut tcp, &mut head)
            .await
            .unwrap();
        let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nmuch";
        tcp.write_all(answer).await.unwrap();
        closed(&mut tcp).await;
    })
    .await;
    let mut request = post(&peer.url());
    *request.body_mut() = vec![b'a'; 32 << 20].into();
    let answer = client().send(request).await.result.unwrap();
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.body, "much");
}
