//! Senders whose certificates are fetched from a URL in the request.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::tls::{Authority, certificate};

/// The private key of the sender. Making one would take seconds.
const RSA_KEY: &str = include_str!("../../../../webhook-sources/src/verification/tests/rsa.pem");

/// A server of certificates on this machine.
struct Provider {
    port: u16,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Provider {
    async fn start(authority: &Authority, documents: HashMap<&'static str, String>) -> Self {
        let identity = authority.issue();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate(&identity.cert)], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let (status, body) = match documents.get(path) {
                    Some(document) => ("200 OK", document.as_str()),
                    None => ("404 Not Found", "not there"),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        Self {
            port,
            asked,
            serving,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

/// A delivery that is signed with [`RSA_KEY`].
fn delivery(url: &str, id: &str) -> Vec<u8> {
    let body = format!(r#"{{"id":"{id}"}}"#);
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let signature = BASE64_STANDARD.encode(key.sign(body.as_bytes()).unwrap());
    let headers = [
        ("x-cert-url", url),
        ("x-algorithm", "RSA"),
        ("x-signature", signature.as_str()),
    ];
    request_of("POST", "/v1/webhooks/bank", &headers, body)
}

#[tokio::test]
async fn certificate_is_fetched_when_a_request_names_it_and_kept() {
    for line in RSA_KEY.lines().filter(|line| !line.starts_with('-')) {
        secrets::keep(line);
    }
    let authority = Authority::new();
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let own = CertificateParams::new(["bank".to_owned()]).unwrap();
    let own = own.self_signed(&key).unwrap().pem();
    let provider = Provider::start(&authority, HashMap::from([("/certs/a.pem", own)])).await;
    let setup = Setup::new(&format!(
        r#"
            [sources.bank]
            id = "json:/id"
            [sources.bank.scheme.fetched_certificate]
            url = "header:x-cert-url"
            hosts = ["127.0.0.1:{}"]
            path_prefix = "/certs/"
            algorithm = {{ at = "header:x-algorithm", allowed = {{ RSA = "rsa_pkcs1_sha256" }} }}
            signed = "{{body}}"
            signature = {{ at = "header:x-signature", encoding = "base64" }}
        "#,
        provider.port
    ));
    let authorities = setup.files.write("authority.pem", authority.pem());
    let mut server = setup.server(&[]).env("SSL_CERT_FILE", &authorities).start();
    let mut client = Client::connect(server.listens().await).await;
    let url = provider.url("/certs/a.pem");

    // Forged URLs cause no fetch.
    for wrong in [
        url.replace("https:", "http:"),
        url.replace("127.0.0.1", "127.0.0.1.evil.example"),
        url.replace("127.0.0.1", "user@127.0.0.1"),
        url.replace("/certs/", "/other/"),
        url.replace("/certs/", "/certs/../"),
    ] {
        assert_refused(&client.ask(delivery(&wrong, "forged")).await);
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 0);

    // What is not there may be the provider's fault.
    let missing = client
        .ask(delivery(&provider.url("/certs/b.pem"), "1"))
        .await;
    assert_eq!(
        (missing.status, missing.header("retry-after")),
        (503, Some("5"))
    );

    // A busy machine may not fetch it within the second.
    let mut reply = client.ask(delivery(&url, "1")).await;
    for _ in 0..30 {
        if reply.status != 503 {
            break;
        }
        reply = client.ask(delivery(&url, "1")).await;
    }
    assert_stored(&reply);
    let asked = provider.asked.load(Ordering::SeqCst);
    provider.serving.abort();
    assert_stored(&client.ask(delivery(&url, "2")).await);
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked);
    let mut forged = delivery(&url, "3");
    let at = forged.len() - 3;
    forged[at] = b'4';
    assert_refused(&client.ask(forged).await);
}
