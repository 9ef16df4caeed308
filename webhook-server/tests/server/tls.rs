//! TLS termination.

use std::net::SocketAddr;

use rustix::process::Signal;
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::process::{Process, Starter, webhook_server};
use crate::support::tls::{Authority, Identity, certificate};
use crate::support::transaction;

fn server(files: &Files, identity: &Identity) -> Starter {
    command(&[], files, identity)
}

fn command(args: &[&str], files: &Files, identity: &Identity) -> Starter {
    webhook_server(args)
        .env("TLS_CERT_FILE", &files.write("cert.pem", &identity.cert))
        .env("TLS_KEY_FILE", &files.write("key.pem", &identity.key))
}

#[tokio::test]
async fn the_contract_holds_over_tls_1_2_and_1_3() {
    let (authority, files) = (Authority::new(), Files::new());
    let mut process = server(&files, &authority.issue()).start();
    let addr = process.listens().await;
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = authority.client(&[version], None);
        let mut client = Client::shake(addr, config).await.unwrap();
        let (_, session) = client.stream.get_ref();
        assert_eq!(session.protocol_version(), Some(expected));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        let id = format!("{expected:?}");
        let delivered = client.post(transaction(&id)).await;
        delivered.acknowledged("ACCEPTED");
        let shown = client.get(&format!("/v1/transactions/{id}")).await;
        assert_eq!(shown.status, 200);
        // Longer than one record.
        let long = "x".repeat(200_000);
        client.post(long).await.problem(400);
        // Closed with close_notify, which shows that the connection was not cut.
        client
            .ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
        client.closed().await;
    }
}

#[tokio::test]
async fn plain_text_client_of_a_tls_server_gets_no_answer() {
    let (authority, files) = (Authority::new(), Files::new());
    let mut process = server(&files, &authority.issue()).start();
    let addr = process.listens().await;
    for noise in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\0\0\0\0",
        "\u{16}\u{3}\u{1}\u{2}\0",
    ] {
        let mut client = Client::connect(addr).await;
        client.send(noise).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let other = Authority::new().client(&[&TLS13], None);
    assert!(
        Client::shake(addr, other).await.is_err(),
        "signed by another"
    );
    let config = authority.client(&[&TLS13], None);
    let mut client = Client::shake(addr, config).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn unfinished_tls_handshake_times_out() {
    let (authority, files) = (Authority::new(), Files::new());
    let mut process = server(&files, &authority.issue())
        .env("HEADER_TIMEOUT_SECONDS", "0.2")
        .start();
    let addr = process.listens().await;
    Client::connect(addr).await.closed().await;
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());

    let mut process = server(&files, &authority.issue()).start();
    let _silent = Client::connect(process.listens().await).await;
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());
    assert!(
        !process
            .logged
            .iter()
            .any(|it| it.contains("drain time ended before"))
    );
}

#[tokio::test]
async fn certificates_are_read_again_and_no_connection_is_dropped() {
    let (authority, files) = (Authority::new(), Files::new());
    let (old, new) = (authority.issue(), authority.issue());
    let mut process = server(&files, &old).start();
    let addr = process.listens().await;
    let shown = async || {
        let client = Client::shake(addr, authority.client(&[&TLS13], None))
            .await
            .unwrap();
        let (_, session) = client.stream.get_ref();
        session.peer_certificates().unwrap()[0].clone()
    };
    let config = authority.client(&[&TLS13], None);
    let mut client = Client::shake(addr, config).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(shown().await, certificate(&old.cert));
    files.write("cert.pem", &new.cert);
    process.signal(Signal::HUP);
    let failed = "failed to reload secrets, tokens and certificates; the current ones stay in use";
    process.logs(failed).await;
    assert_eq!(
        shown().await,
        certificate(&old.cert),
        "the key is still the old one"
    );
    files.write("key.pem", &new.key);
    process.signal(Signal::HUP);
    process
        .logs("secrets, tokens and certificates reloaded")
        .await;
    assert_eq!(shown().await, certificate(&new.cert));
    assert_eq!(client.get("/").await.status, 200);
}

/// A handshake's messages may say that they have up to 16 MiB.
#[tokio::test]
async fn endless_tls_handshake_is_not_buffered() {
    let (authority, files) = (Authority::new(), Files::new());
    let mut process = server(&files, &authority.issue())
        .env("HEADER_TIMEOUT_SECONDS", "3600")
        .start();
    let mut client = Client::connect(process.listens().await).await;
    // The beginning of a ClientHello (RFC 8446, section 4) of 60,000 bytes, in records of 1,000.
    client.send([22, 3, 1, 0, 4, 1, 0, 0xea, 0x60]).await;
    let record = [&[22, 3, 1, 3, 0xe8][..], &[3; 1_000]].concat();
    for _ in 0..59 {
        client.send_some(&record).await;
    }
    client.closed().await;
}

#[tokio::test]
async fn client_certificates_are_required_if_configured() {
    let (authority, files) = (Authority::new(), Files::new());
    let (clients, stranger) = (Authority::new(), Authority::new());
    let roots = files.write("clients.pem", clients.pem());
    let identity = authority.issue();
    let mut process = server(&files, &identity)
        .env("TLS_CLIENT_CA_FILE", &roots)
        .start();
    let addr = process.listens().await;
    let known = clients.issue();
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version], Some(&known));
        let mut client = Client::shake(addr, config).await.unwrap();
        assert_eq!(client.get("/").await.status, 200);
        for identity in [None, Some(&stranger.issue())] {
            let config = authority.client(&[version], identity);
            // By TLS 1.3 a client learns of it when it reads.
            if let Ok(mut client) = Client::shake(addr, config).await {
                client
                    .send_some("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .await;
                assert!(client.try_reply().await.is_none());
            }
        }
    }
    is_seen_alive_and_dead(process, addr, &|| {
        command(&["healthcheck"], &files, &identity).env("TLS_CLIENT_CA_FILE", &roots)
    })
    .await;
}

#[tokio::test]
async fn client_certificates_authenticate_senders() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let roots = files.write("clients.pem", clients.pem());
    let identity = authority.issue();
    let mut process = server(&files, &identity)
        .env("TLS_CLIENT_CA_FILE", &roots)
        .start_on("0.0.0.0:0");
    process.listens().await;
    let log = process.logged.join("\n");
    assert!(
        log.contains(
            "every client with a certificate may deliver transactions to 0.0.0.0:0, and read events"
        ),
        "{log}"
    );
    let (code, _, log) = server(&files, &identity)
        .env("BIND_ADDR", "0.0.0.0:0")
        .output()
        .await;
    assert_eq!(code, 2);
    assert!(log.contains("--insecure"), "{log}");
}

#[tokio::test]
async fn health_check_works_with_tls() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue();
    let mut process = server(&files, &identity).start();
    let addr = process.listens().await;
    is_seen_alive_and_dead(process, addr, &|| {
        command(&["healthcheck"], &files, &identity)
    })
    .await;
}

async fn is_seen_alive_and_dead(mut process: Process, addr: SocketAddr, ask: &dyn Fn() -> Starter) {
    let asked = || ask().env("BIND_ADDR", &addr.to_string()).output();
    let (code, _, log) = asked().await;
    assert_eq!(code, 0, "{log}");
    process.signal(Signal::TERM);
    process.ends().await;
    let (code, _, log) = asked().await;
    assert_eq!(code, 1, "{log}");
}

#[tokio::test]
async fn invalid_tls_options_are_reported_by_name() {
    let (authority, files) = (Authority::new(), Files::new());
    let (identity, other) = (authority.issue(), authority.issue());
    let cert = files.write("cert.pem", &identity.cert);
    let key = files.write("key.pem", &identity.key);
    let other_key = files.write("other.pem", &other.key);
    let none = files.write("none.pem", "no certificate\n");
    for (variables, expected) in [
        (
            &[("TLS_CERT_FILE", &cert)][..],
            "TLS_CERT_FILE (--tls-cert-file) needs TLS_KEY_FILE",
        ),
        (
            &[("TLS_KEY_FILE", &key)],
            "TLS_KEY_FILE (--tls-key-file) needs TLS_CERT_FILE",
        ),
        (
            &[("TLS_CLIENT_CA_FILE", &cert)],
            "needs TLS_CERT_FILE and TLS_KEY_FILE",
        ),
        (
            &[("TLS_CERT_FILE", &none), ("TLS_KEY_FILE", &key)],
            "cannot use TLS_CERT_FILE",
        ),
        (
            &[("TLS_CERT_FILE", &cert), ("TLS_KEY_FILE", &none)],
            "cannot use TLS_KEY_FILE",
        ),
        (
            &[
                ("TLS_CERT_FILE", &cert),
                ("TLS_KEY_FILE", &"/nowhere".to_owned()),
            ],
            "cannot use TLS_KEY_FILE /nowhere",
        ),
        (
            &[("TLS_CERT_FILE", &cert), ("TLS_KEY_FILE", &other_key)],
            "invalid certificates or private key",
        ),
        (
            &[
                ("TLS_CERT_FILE", &cert),
                ("TLS_KEY_FILE", &key),
                ("TLS_CLIENT_CA_FILE", &none),
            ],
            "cannot use TLS_CLIENT_CA_FILE",
        ),
    ] {
        let mut starter = webhook_server(&["--bind-addr=127.0.0.1:0"]);
        for (name, value) in variables {
            starter = starter.env(name, value);
        }
        let (code, _, log) = starter.output().await;
        assert_ne!(code, 0);
        assert!(log.contains(expected), "{log}");
    }
}
