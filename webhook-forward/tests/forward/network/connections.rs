//! Which connections are made, and which are used again.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use webhook_forward::{Client, ClientOptions, ErrorClass, Reach, Resolve};

use super::peer::{Peer, request};
use super::{PATIENCE, client, failure, options, post, send};

/// Answers each look-up with the next of its lists, and with the last one for ever.
pub(super) struct Names {
    lists: Vec<Vec<IpAddr>>,
    lookups: AtomicUsize,
}

impl Names {
    pub(super) fn new<const N: usize>(lists: [&[&str]; N]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self {
            lists: lists.iter().map(parse).collect(),
            lookups: AtomicUsize::new(0),
        })
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let number = self.lookups.fetch_add(1, Ordering::SeqCst);
        let list = self.lists.get(number).or(self.lists.last()).unwrap();
        Ok(list.iter().map(|&ip| SocketAddr::new(ip, port)).collect())
    }
}

pub(super) fn options_with(names: &Arc<Names>) -> ClientOptions {
    let mut options = options();
    options.resolver = Arc::clone(names) as Arc<dyn Resolve>;
    options
}

/// Answers 204 to each request, and keeps the connection.
async fn polite() -> Peer {
    Peer::start(|_, mut tcp| async move {
        while request(&mut tcp).await.is_some() {
            tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
        }
    })
    .await
}

/// Answers 204 to a request, and closes the connection.
async fn curt() -> Peer {
    Peer::start(|_, mut tcp| async move {
        request(&mut tcp).await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        tcp.write_all(answer).await.unwrap();
    })
    .await
}

fn named(peer: &Peer) -> String {
    format!(
        "http://app.example.com:{}/hooks?token=secret",
        peer.addr().port()
    )
}

#[tokio::test]
async fn connection_is_reused_and_only_the_first_exchange_has_times_of_connecting() {
    let peer = polite().await;
    let client = Client::new(options_with(&Names::new([&["127.0.0.1"]])));

    let first = client.send(post(&named(&peer))).await;
    let second = client.send(post(&named(&peer))).await;

    for exchange in [&first, &second] {
        let answer = exchange.result.as_ref().unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(exchange.peer, Some(peer.addr()));
        assert!(exchange.timings.total >= exchange.timings.first_byte.unwrap());
    }
    assert_eq!(peer.accepted(), 1);
    assert!(first.timings.dns.is_some());
    assert!(first.timings.connect.is_some());
    assert_eq!(first.timings.tls, None);
    assert_eq!(second.timings.dns, None);
    assert_eq!(second.timings.connect, None);
}

#[tokio::test]
async fn nothing_listens_there() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let exchange = send(&format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(exchange.peer.unwrap().port(), port);
    assert!(exchange.timings.connect.is_some());
    assert_eq!(exchange.timings.first_byte, None);
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::Connect);
    let message = format!("failed to connect to 127.0.0.1:{port}: connection refused");
    assert_eq!(failure.message, message);
}

#[tokio::test]
async fn name_is_looked_up_once_per_connection_and_a_later_answer_is_checked() {
    let peer = curt().await;
    let names = Names::new([&["127.0.0.1"], &["169.254.169.254"]]);
    let client = Client::new(options_with(&names));

    let exchange = client.send(post(&named(&peer))).await;
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(names.lookups(), 1);

    let exchange = client.send(post(&named(&peer))).await;
    assert_eq!(exchange.peer, None);
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::BlockedAddress);
    assert_eq!(
        failure.message,
        "the host name app.example.com has only addresses that are not allowed: 169.254.169.254 is a link-local \
         address (cloud metadata), which events are never forwarded to"
    );
    assert_eq!(names.lookups(), 2);
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn blocked_answer_stays_blocked_whatever_the_next_look_up_would_say() {
    let peer = curt().await;
    let names = Names::new([&["169.254.169.254"], &["127.0.0.1"]]);
    let client = Client::new(options_with(&names));

    let exchange = client.send(post(&named(&peer))).await;
    assert_eq!(failure(exchange).class, ErrorClass::BlockedAddress);
    assert_eq!((names.lookups(), peer.accepted()), (1, 0));

    let exchange = client.send(post(&named(&peer))).await;
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!((names.lookups(), peer.accepted()), (2, 1));
}

#[tokio::test]
async fn blocked_address_among_others_is_not_dialed() {
    let peer = curt().await;
    let names = Names::new([&["169.254.169.254", "fe80::1", "127.0.0.1"]]);
    let exchange = Client::new(options_with(&names))
        .send(post(&named(&peer)))
        .await;
    assert_eq!(exchange.peer, Some(peer.addr()));
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn literal_hosts_in_all_forms_are_checked() {
    let peer = curt().await;
    let port = peer.addr().port();
    let private = client();
    let mut options = options();
    options.reach = Reach::Public;
    let public = Client::new(options);
    for host in [
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        let exchange = private.send(post(&url)).await;
        assert_eq!(
            exchange.result.unwrap().status,
            StatusCode::NO_CONTENT,
            "{host}"
        );
        let failure = failure(public.send(post(&url)).await);
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{host}");
    }
    for host in [
        "2852039166",
        "0xa9.0xfea9fe",
        "[::ffff:169.254.169.254]",
        "[::]",
        "0",
    ] {
        let failure = failure(private.send(post(&format!("http://{host}:{port}/"))).await);
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{host}");
    }
}

#[tokio::test]
async fn next_address_is_dialed_when_one_refuses() {
    let peer = curt().await;
    let names = Names::new([&["127.0.0.2", "127.0.0.1"]]);
    let exchange = Client::new(options_with(&names))
        .send(post(&named(&peer)))
        .await;
    assert_eq!(exchange.peer, Some(peer.addr()));
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn failure_of_all_addresses_names_the_first() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let names = Names::new([&["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1"]]);
    let exchange = Client::new(options_with(&names))
        .send(post(&format!("http://app.example.com:{port}/")))
        .await;
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::Connect);
    assert_eq!(
        failure.message,
        format!(
            "failed to connect to 127.0.0.1:{port}: connection refused (2 other addresses failed too)"
        )
    );
}

/// An address that answers nothing: Linux drops what asks for a connection while the queue of a listener is full.
#[cfg(target_os = "linux")]
async fn dead(addr: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queued = Vec::new();
    loop {
        let connecting = TcpStream::connect(addr);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(connected) => queued.push(connected.unwrap()),
            Err(_) => return (listener, queued),
        }
        assert!(queued.len() < 100, "the queue is never full");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dead_address_takes_only_its_share_of_the_timeout() {
    let peer = curt().await;
    let port = peer.addr().port();
    let _dead = dead(SocketAddr::from(([127, 0, 0, 2], port))).await;
    let mut options = options_with(&Names::new([&["127.0.0.2", "127.0.0.1"]]));
    options.connect_timeout = Duration::from_secs(4);
    let exchange = Client::new(options).send(post(&named(&peer))).await;
    assert_eq!(exchange.peer, Some(peer.addr()), "{exchange:?}");
    assert!(exchange.timings.connect.unwrap() >= Duration::from_secs(2));
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn address_that_answers_nothing_is_a_timeout() {
    let peer = curt().await;
    let port = peer.addr().port();
    let _dead = dead(SocketAddr::from(([127, 0, 0, 3], port))).await;
    let mut options = options();
    options.connect_timeout = Duration::from_millis(500);
    let exchange = Client::new(options)
        .send(post(&format!("http://127.0.0.3:{port}/")))
        .await;
    assert_eq!(exchange.peer.unwrap().port(), port);
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::TimeoutConnect);
    let message = format!("failed to connect to 127.0.0.3:{port}: no answer within 500ms");
    assert_eq!(failure.message, message);
}

/// A resolver that knows nothing, or never answers.
struct Broken(Option<&'static str>);

#[async_trait]
impl Resolve for Broken {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        match self.0 {
            Some(error) => Err(io::Error::other(error)),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn name_that_does_not_resolve() {
    let mut options = options();
    options.resolver = Arc::new(Broken(Some("no such name")));
    let exchange = Client::new(options)
        .send(post("http://app.example.com/a?b=secret"))
        .await;
    assert_eq!(exchange.peer, None);
    assert!(exchange.timings.dns.is_some());
    assert_eq!(exchange.timings.connect, None);
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::Dns);
    let message = "the host name app.example.com does not resolve: no such name";
    assert_eq!(failure.message, message);
}

#[tokio::test]
async fn look_up_without_an_end_is_a_timeout() {
    for (connect, whole, message) in [
        (
            Duration::from_millis(50),
            PATIENCE,
            "the look-up of the host name app.example.com gave no answer within 50ms",
        ),
        (
            PATIENCE,
            Duration::from_millis(50),
            "no connection to app.example.com within 50ms",
        ),
    ] {
        let mut options = options();
        options.resolver = Arc::new(Broken(None));
        options.connect_timeout = connect;
        options.timeout = whole;
        let exchange = Client::new(options)
            .send(post("http://app.example.com/"))
            .await;
        let failure = failure(exchange);
        assert_eq!(failure.class, ErrorClass::TimeoutConnect);
        assert_eq!(failure.message, message);
    }
}

#[tokio::test]
async fn kept_connection_that_was_closed_is_replaced() {
    let peer = Peer::start(|_, mut tcp| async move {
        request(&mut tcp).await.unwrap();
        // Without a word about closing.
        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    let client = client();
    for number in 1..=3 {
        let exchange = client.send(post(&peer.url())).await;
        assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
        assert_eq!(peer.accepted(), number);
        // The client learns of the end from the same socket.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn request_that_was_read_is_not_sent_again() {
    let peer = Peer::start(|number, mut tcp| async move {
        request(&mut tcp).await.unwrap();
        assert_eq!(number, 0, "there is a second connection");
        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        request(&mut tcp).await.unwrap();
    })
    .await;
    let client = client();
    client.send(post(&peer.url())).await.result.unwrap();
    let exchange = client.send(post(&peer.url())).await;
    assert_eq!(exchange.timings.connect, None);
    let failure = failure(exchange);
    assert_eq!(failure.class, ErrorClass::Reset);
    assert_eq!(peer.accepted(), 1);
}

/// The peer closes each connection after its first answer, just when the client sends the next request there. Whatever
/// the client does then, no request is read twice.
#[tokio::test]
async fn request_is_never_delivered_twice_by_a_connection_that_closes_meanwhile() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counts = Arc::clone(&seen);
    let peer = Peer::start(move |number, mut tcp| {
        let counts = Arc::clone(&counts);
        async move {
            for answer in 0..2 {
                let Some(text) = request(&mut tcp).await else {
                    return;
                };
                let id = text
                    .lines()
                    .find(|line| line.starts_with("x-id: "))
                    .unwrap();
                *counts.lock().unwrap().entry(id.to_owned()).or_default() += 1;
                if answer == number % 2 {
                    tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                        .await
                        .unwrap();
                    return;
                }
                tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let client = client();
    let mut answered = 0;
    for id in 0..100_u32 {
        let mut request = post(&peer.url());
        request.headers_mut().insert("x-id", HeaderValue::from(id));
        match client.send(request).await.result {
            Ok(answer) => {
                assert_eq!(answer.status, StatusCode::NO_CONTENT);
                answered += 1;
            }
            Err(failure) => assert_eq!(failure.class, ErrorClass::Reset, "{failure:?}"),
        }
    }
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|&count| count == 1), "{seen:?}");
    assert!(seen.len() >= answered);
    assert!(answered >= 50, "{answered}");
}

#[tokio::test]
async fn at_most_max_idle_connections_are_kept() {
    let peer = polite().await;
    for (max_idle, connections) in [(0, 2), (1, 1)] {
        let before = peer.accepted();
        let mut options = options();
        options.max_idle = max_idle;
        let client = Client::new(options);
        for _ in 0..2 {
            client.send(post(&peer.url())).await.result.unwrap();
        }
        assert_eq!(peer.accepted() - before, connections, "{max_idle}");
    }
}

/// A host whose addresses change is followed, however busy its connection is.
#[tokio::test]
async fn old_connection_gets_no_further_request() {
    let (events, mut seen) = tokio::sync::mpsc::channel(1);
    let release = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&release);
    let peer = Peer::start(move |_, mut tcp| {
        let (events, waiting) = (events.clone(), Arc::clone(&waiting));
        async move {
            while request(&mut tcp).await.is_some() {
                events.send(()).await.unwrap();
                waiting.notified().await;
                tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let mut options = options();
    options.timeout = Duration::from_secs(60 * 60);
    let client = Client::new(options);
    for (minutes, connections) in [(0, 1), (4, 1), (2, 1), (0, 2)] {
        let exchange = async {
            let sending = client.send(post(&peer.url()));
            let answering = async {
                seen.recv().await.unwrap();
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(minutes * 60)).await;
                tokio::time::resume();
                release.notify_one();
            };
            tokio::join!(sending, answering).0
        };
        exchange.await.result.unwrap();
        assert_eq!(peer.accepted(), connections, "after {minutes} minutes");
    }
}
