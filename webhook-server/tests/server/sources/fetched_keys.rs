//! Senders whose certificates are fetched from a URL in the request.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::tls::{Authority, certificate};
use crate::support::until;

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

/// The reply to a request, which is made again as long as the machine is too busy to fetch the key within a second.
async fn asked_until_there(client: &mut Client, request: &[u8]) -> Reply {
    let mut reply = client.ask(request).await;
    for _ in 0..30 {
        if reply.status != 503 {
            break;
        }
        reply = client.ask(request).await;
    }
    reply
}

/// Keeps [`RSA_KEY`] out of the log.
fn keep_key_secret() {
    for line in RSA_KEY.lines().filter(|line| !line.starts_with('-')) {
        secrets::keep(line);
    }
}

#[tokio::test]
async fn certificate_is_fetched_when_a_request_names_it_and_kept() {
    keep_key_secret();
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

    assert_stored(&asked_until_there(&mut client, &delivery(&url, "1")).await);
    let asked = provider.asked.load(Ordering::SeqCst);
    provider.serving.abort();
    assert_stored(&client.ask(delivery(&url, "2")).await);
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked);
    let mut forged = delivery(&url, "3");
    let at = forged.len() - 3;
    forged[at] = b'4';
    assert_refused(&client.ask(forged).await);
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The public key of [`RSA_KEY`] as a JSON Web Key.
fn jwk(id: &str) -> serde_json::Value {
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    // An `RSAPublicKey` (RFC 8017) of 2,048 bits: two lengths, a zero byte, the modulus, a length, the exponent.
    let der = key.der_bytes();
    assert_eq!(der.len(), 270);
    serde_json::json!({
        "kty": "RSA", "kid": id, "n": base64url(&der[9..265]), "e": base64url(&der[267..]),
    })
}

/// A delivery with a token that names this key.
fn with_token(key_id: &str, id: &str) -> Vec<u8> {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let header = serde_json::json!({"alg": "RS256", "kid": key_id});
    let claims = serde_json::json!({"iss": "https://issuer.example", "exp": since + 600});
    let [header, claims] = [header, claims].map(|part| base64url(part.to_string()));
    let content = format!("{header}.{claims}");
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let signature = base64url(key.sign(content.as_bytes()).unwrap());
    let bearer = format!("Bearer {content}.{signature}");
    secrets::keep(&bearer);
    let body = format!(r#"{{"id":"{id}"}}"#);
    request_of(
        "POST",
        "/v1/webhooks/push",
        &[("authorization", bearer.as_str())],
        body,
    )
}

#[tokio::test]
async fn key_set_is_fetched_at_the_start() {
    keep_key_secret();
    let authority = Authority::new();
    let keys = serde_json::json!({"keys": [jwk("k1")]}).to_string();
    let provider = Provider::start(&authority, HashMap::from([("/keys", keys)])).await;
    let setup = Setup::new(&format!(
        r#"
            [sources.push]
            id = "json:/id"
            settings.issuer = "https://issuer.example"
            [sources.push.scheme.jwt]
            at = "header:authorization"
            prefix = "Bearer "
            algorithms = ["rs256"]
            issuers = ["{{setting:issuer}}"]
            keys = {{ url = "{}" }}
        "#,
        provider.url("/keys")
    ));
    let authorities = setup.files.write("authority.pem", authority.pem());
    let mut server = setup.server(&[]).env("SSL_CERT_FILE", &authorities).start();
    let mut client = Client::connect(server.listens().await).await;
    until("the keys are fetched", async || {
        provider.asked.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_stored(&asked_until_there(&mut client, &with_token("k1", "1")).await);
    // The set is recent, so that nobody has such a key.
    for _ in 0..3 {
        assert_refused(&client.ask(with_token("k2", "2")).await);
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1);
}
