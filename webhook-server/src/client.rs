//! Sends one HTTP request to a server, for the command `healthcheck` and for those that ask or try a running server.

mod no_verification;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use webhook_forward::system_authorities;

use crate::config::Config;
use crate::https_client;
pub(crate) use no_verification::wants_certificate;

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The longest body of an answer that is read, unless longer ones are expected.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// It is not.
    Plain,
    /// By TLS. The certificate of the server is not verified: connect to this machine only.
    UnverifiedTls,
    /// By TLS. The certificate of the server is verified by the authorities of the system.
    VerifiedTls,
}

impl Encryption {
    /// That of the server of this configuration.
    pub(crate) const fn of(config: &Config) -> Self {
        if config.tls.tls_cert_file.is_some() {
            Self::UnverifiedTls
        } else {
            Self::Plain
        }
    }

    /// The scheme of URLs.
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::UnverifiedTls | Self::VerifiedTls => "https",
        }
    }
}

/// The address to connect to; a loopback one if the server listens on all addresses.
pub(crate) fn reachable(bind_addr: SocketAddr) -> SocketAddr {
    let ip = match bind_addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind_addr.port())
}

/// The `http` or `https` URL in `text`.
pub(crate) fn http_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    (is_http && url.host().is_some()).then_some(url)
}

/// The host and the port of `url`, for errors. The rest may hold a secret.
pub(crate) fn host_and_port(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Sends `request`, and reads an answer of at most `max_answer_bytes`. `is_own` says that it is for the server of
/// `config`, which is on this machine.
pub(crate) async fn send_to(
    config: &Config,
    is_own: bool,
    url: &Uri,
    request: Request<Full<Bytes>>,
    max_answer_bytes: usize,
) -> Result<Response<Bytes>, AnyError> {
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addr = lookup_host((host, port)).await?.next();
    let addr = addr.ok_or("the host has no address")?;
    let is_here = addr.ip().is_loopback() || is_own && is_same(addr.ip(), config);
    // A server rarely has a certificate for the loopback address, where nobody could stand in between.
    let encryption = match is_tls {
        false => Encryption::Plain,
        true if is_here => Encryption::UnverifiedTls,
        true => Encryption::VerifiedTls,
    };
    let name = match encryption {
        Encryption::VerifiedTls => ServerName::try_from(host.to_owned())?,
        Encryption::Plain | Encryption::UnverifiedTls => addr.ip().into(),
    };
    let stream = TcpStream::connect(addr).await?;
    send(stream, encryption, name, request, max_answer_bytes).await
}

fn is_same(ip: IpAddr, config: &Config) -> bool {
    ip == config.bind_addr.ip()
}

/// Sends `request` over `stream`, which is connected to the host `name`, and reads an answer of at most
/// `max_answer_bytes`.
pub(crate) async fn send(
    stream: TcpStream,
    encryption: Encryption,
    name: ServerName<'static>,
    request: Request<Full<Bytes>>,
    max_answer_bytes: usize,
) -> Result<Response<Bytes>, AnyError> {
    let tls = match encryption {
        Encryption::Plain => return exchange(stream, request, max_answer_bytes).await,
        Encryption::UnverifiedTls => no_verification::client()?,
        Encryption::VerifiedTls => {
            let authorities = tokio::task::spawn_blocking(system_authorities).await?;
            https_client::tls_config(&authorities)
        }
    };
    let connector = TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await?;
    exchange(stream, request, max_answer_bytes).await
}

async fn exchange<S>(
    stream: S,
    mut request: Request<Full<Bytes>>,
    max_answer_bytes: usize,
) -> Result<Response<Bytes>, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, max_answer_bytes).collect().await?;
        Ok::<_, AnyError>(Response::from_parts(head, body.to_bytes()))
    };
    match tokio::join!(answer, connection) {
        (Ok(answer), _) => Ok(answer),
        // The error of the connection says more.
        (Err(_), Err(error)) => Err(error.into()),
        (Err(error), Ok(())) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[tokio::test]
    async fn certificates_are_verified_where_somebody_could_stand_in_between() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = key.serialize_der().try_into().unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let tls = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1_024]).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        for (encryption, is_sent) in [
            (Encryption::VerifiedTls, false),
            (Encryption::UnverifiedTls, true),
        ] {
            let stream = TcpStream::connect(addr).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let request = Request::get("/").body(Full::default()).unwrap();
            let sent = send(stream, encryption, name, request, 2).await;
            assert_eq!(sent.is_ok(), is_sent, "{encryption:?}: {sent:?}");
        }
        serving.abort();
    }

    #[test]
    fn server_on_all_addresses_is_reached_on_loopback() {
        let reached = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(reached("[::]:8000"), "[::1]:8000");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
    }
}
