//! Destinations with `https://`.

use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use webhook_forward::{Client, ErrorClass, Exchange, Tls};

use super::certificates::{Authority, Identity};
use super::connections::{Names, options_with};
use super::peer::{Peer, closed, request};
use super::{failure, post};

/// A server that answers 204 after the handshake. Reports the name that the client asked for.
async fn server(acceptor: TlsAcceptor, asked: Option<mpsc::Sender<Option<String>>>) -> Peer {
    Peer::start(move |_, tcp| {
        let (acceptor, asked) = (acceptor.clone(), asked.clone());
        async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                return;
            };
            if let Some(asked) = asked {
                let name = tls.get_ref().1.server_name().map(str::to_owned);
                asked.send(name).await.unwrap();
            }
            while request(&mut tls).await.is_some() {
                tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    })
    .await
}

/// Sends the request of the tests to `host`, which is on 127.0.0.1.
async fn send(peer: &Peer, host: &str, tls: Tls) -> Exchange {
    let mut options = options_with(&Names::new([&["127.0.0.1"]]));
    options.tls = tls;
    let url = format!("https://{host}:{}/hooks", peer.addr().port());
    Client::new(options).send(post(&url)).await
}

/// The message of an exchange that fails because of the certificate.
fn refused(exchange: Exchange, class: ErrorClass) -> String {
    assert!(exchange.timings.tls.is_some());
    let failure = failure(exchange);
    assert_eq!(failure.class, class, "{failure:?}");
    failure.message
}

#[tokio::test]
async fn server_of_a_trusted_authority_is_asked_by_its_name() {
    let authority = Authority::new();
    for (host, in_certificate, asked_for) in [
        (
            "app.example.com",
            "app.example.com",
            Some("app.example.com"),
        ),
        (
            "app.example.com.",
            "app.example.com",
            Some("app.example.com"),
        ),
        ("a.example.com", "*.example.com", Some("a.example.com")),
        // An address has no server name.
        ("127.0.0.1", "127.0.0.1", None),
        ("0x7f.1", "127.0.0.1", None),
    ] {
        let (asked, mut names) = mpsc::channel(1);
        let acceptor = Authority::acceptor(&authority.issue(in_certificate), &["http/1.1"], None);
        let peer = server(acceptor, Some(asked)).await;
        let exchange = send(&peer, host, authority.trusted()).await;
        assert!(exchange.timings.tls.is_some());
        assert_eq!(exchange.peer, Some(peer.addr()));
        assert_eq!(
            exchange.result.unwrap().status,
            StatusCode::NO_CONTENT,
            "{host}"
        );
        assert_eq!(names.recv().await.unwrap().as_deref(), asked_for);
    }
}

#[tokio::test]
async fn server_that_negotiates_nothing_is_asked_by_http_1() {
    let authority = Authority::new();
    let acceptor = Authority::acceptor(&authority.issue("app.example.com"), &[], None);
    let peer = server(acceptor, None).await;
    let exchange = send(&peer, "app.example.com", authority.trusted()).await;
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn flaw_of_a_certificate_is_named() {
    let authority = Authority::new();
    let server_name = "app.example.com";
    let good = authority.issue(server_name);
    let expired = authority.issue_with(server_name, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    });
    let early = authority.issue_with(server_name, |params| {
        params.not_before = rcgen::date_time_ymd(2200, 1, 1);
        params.not_after = rcgen::date_time_ymd(2201, 1, 1);
    });
    let of_authority = authority.issue_with(server_name, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let other = authority.issue("other.example.com");
    let namesake = Authority::new();
    let stranger = Authority::named("stranger");
    for (identity, tls, flaw) in [
        (
            &expired,
            authority.trusted(),
            "expired at 2021-02-03T00:00:00Z",
        ),
        (
            &early,
            authority.trusted(),
            "is not valid before 2200-01-01T00:00:00Z",
        ),
        (
            &of_authority,
            authority.trusted(),
            "is marked as that of an authority (CA:TRUE), which a server cannot use",
        ),
        (
            &other,
            authority.trusted(),
            "is not valid for this name, but for other.example.com",
        ),
        (
            &good,
            stranger.trusted(),
            "is not signed by an authority that is trusted here",
        ),
        (
            &good,
            namesake.trusted(),
            "is not signed by an authority that is trusted here",
        ),
        (
            &good,
            Tls::system(),
            "is not signed by an authority that is trusted here",
        ),
    ] {
        let peer = server(
            Authority::acceptor(identity, &["h2", "http/1.1"], None),
            None,
        )
        .await;
        let message = refused(send(&peer, server_name, tls).await, ErrorClass::TlsVerify);
        let expected = format!("the certificate of {server_name} ({}) {flaw}", peer.addr());
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn peer_without_tls_fails_the_handshake() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "{} does not speak TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "{} does not speak TLS"),
        (
            b"",
            "the TLS handshake with {} failed: it closed the connection",
        ),
        // The alert protocol_version, which a server of TLS 1.1 sends.
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "{} refuses the TLS connection: it speaks neither TLS 1.2 nor 1.3",
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x70",
            "{} refuses the TLS connection: it does not know the host name",
        ),
    ] {
        let peer = Peer::start(move |_, mut tcp| async move {
            // The greeting of the client has to be read, lest closing becomes a reset.
            let mut greeting = [0; 16 * 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut tcp, &mut greeting).await;
            tcp.write_all(answer).await.unwrap();
            tcp.shutdown().await.unwrap();
            closed(&mut tcp).await;
        })
        .await;
        let exchange = send(&peer, "app.example.com", Authority::new().trusted()).await;
        let message = refused(exchange, ErrorClass::TlsHandshake);
        assert_eq!(message, expected.replace("{}", &peer.addr().to_string()));
    }
}

#[tokio::test]
async fn handshake_without_an_end_is_a_timeout() {
    let peer = Peer::start(|_, mut tcp| async move { closed(&mut tcp).await }).await;
    let mut options = options_with(&Names::new([&["127.0.0.1"]]));
    options.tls = Authority::new().trusted();
    options.connect_timeout = Duration::from_millis(500);
    let url = format!("https://app.example.com:{}/", peer.addr().port());
    let exchange = Client::new(options).send(post(&url)).await;
    let message = refused(exchange, ErrorClass::TimeoutConnect);
    let expected = format!(
        "the TLS handshake with {} did not end within 500ms",
        peer.addr()
    );
    assert_eq!(message, expected);
}

#[tokio::test]
async fn client_shows_its_certificate() {
    let authority = Authority::new();
    let clients = Authority::new();
    let identity = clients.issue("inbox");
    let tls = authority.trusted();
    let with_identity = tls
        .clone()
        .with_identity(identity.cert.as_bytes(), identity.key.as_bytes())
        .unwrap();
    let acceptor = Authority::acceptor(
        &authority.issue("app.example.com"),
        &["http/1.1"],
        Some(&clients),
    );
    let peer = server(acceptor, None).await;

    let exchange = send(&peer, "app.example.com", with_identity).await;
    assert_eq!(exchange.result.unwrap().status, StatusCode::NO_CONTENT);

    // TLS 1.3 tells the client after the handshake, when the connection may be closed already.
    let failure = failure(send(&peer, "app.example.com", tls).await);
    let message = format!(
        "{} refuses the TLS connection: it wants a client certificate",
        peer.addr()
    );
    match failure.class {
        ErrorClass::TlsHandshake => assert_eq!(failure.message, message),
        class => assert_eq!(class, ErrorClass::Reset, "{failure:?}"),
    }
}

#[tokio::test]
async fn connection_that_ends_without_a_word_is_a_reset() {
    let authority = Authority::new();
    let acceptor = Authority::acceptor(&authority.issue("app.example.com"), &["http/1.1"], None);
    let peer = Peer::start(move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            let mut tls = acceptor.accept(tcp).await.unwrap();
            request(&mut tls).await.unwrap();
            // No close_notify.
            drop(tls);
        }
    })
    .await;
    let failure = failure(send(&peer, "app.example.com", authority.trusted()).await);
    assert_eq!(failure.class, ErrorClass::Reset);
    let message = format!("{} closed the connection without an answer", peer.addr());
    assert_eq!(failure.message, message);
}

#[test]
fn certificates_and_keys_that_are_none_are_refused() {
    let authority = Authority::new();
    let Identity { cert, key } = authority.issue("inbox");
    let other = authority.issue("inbox");
    let damaged = cert.replace("MII", "M!I");
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let identity = |cert: &str, key: &str| {
        let made = Tls::system().with_identity(cert.as_bytes(), key.as_bytes());
        made.unwrap_err().to_string()
    };
    let authorities = |pem: &str| {
        Tls::system()
            .with_authorities(pem.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        identity(&cert, &other.key),
        "the client's certificate and key cannot be used together"
    );
    assert_eq!(
        identity(no_der, &key),
        "the client's certificate and key cannot be used together"
    );
    assert_eq!(
        identity(&key, &key),
        "it contains no certificate in PEM that can be read"
    );
    assert_eq!(
        identity(&cert, &cert),
        "it contains no private key in PEM that can be read"
    );
    assert_eq!(
        authorities(""),
        "it contains no certificate in PEM that can be read"
    );
    assert_eq!(
        authorities(&damaged),
        "it contains no certificate in PEM that can be read"
    );
    assert_eq!(
        authorities(no_der),
        "the certificate of the authority cannot be used"
    );
}

#[test]
fn debug_shows_no_key() {
    let Identity { cert, key } = Authority::new().issue("inbox");
    let tls = Tls::system()
        .with_identity(cert.as_bytes(), key.as_bytes())
        .unwrap();
    assert_eq!(
        format!("{tls:?}"),
        "Tls { own_authorities: false, identity: true }"
    );
}
