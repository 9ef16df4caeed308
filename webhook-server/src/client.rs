//! Sends one HTTP request to a server, for the commands `healthcheck`, `send`, `sources` and `refused`.

mod no_verification;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::config::Config;
pub(crate) use no_verification::wants_certificate;

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The longest body of an answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// It is not.
    Plain,
    /// By TLS. The certificate of the server is not verified: connect to this machine only.
    UnverifiedTls,
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
            Self::UnverifiedTls => "https",
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

/// Sends `request`. `is_own` says that it is for the server of `config`, which is on this machine.
pub(crate) async fn send_to(
    config: &Config,
    is_own: bool,
    url: &Uri,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, AnyError> {
    let encryption = match url.scheme_str() {
        Some("https") => Encryption::UnverifiedTls,
        _ => Encryption::Plain,
    };
    let port = url.port_u16().unwrap_or(match encryption {
        Encryption::Plain => 80,
        Encryption::UnverifiedTls => 443,
    });
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addr = lookup_host((host, port)).await?.next();
    let addr = addr.ok_or("the host has no address")?;
    let is_here = addr.ip().is_loopback() || is_own && is_same(addr.ip(), config);
    if encryption == Encryption::UnverifiedTls && !is_here {
        return Err(
            "this command verifies no certificates: it sends by https to this machine only".into(),
        );
    }
    let stream = TcpStream::connect(addr).await?;
    send(stream, encryption, addr.ip(), request).await
}

fn is_same(ip: IpAddr, config: &Config) -> bool {
    ip == config.bind_addr.ip()
}

/// Sends `request` over `stream`, which is connected to `ip`, and reads the answer.
pub(crate) async fn send(
    stream: TcpStream,
    encryption: Encryption,
    ip: IpAddr,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, AnyError> {
    match encryption {
        Encryption::Plain => exchange(stream, request).await,
        Encryption::UnverifiedTls => {
            let connector = TlsConnector::from(Arc::new(no_verification::client()?));
            let stream = connector.connect(ip.into(), stream).await?;
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(
    stream: S,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
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
    use super::*;

    #[test]
    fn server_on_all_addresses_is_reached_on_loopback() {
        let reached = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(reached("[::]:8000"), "[::1]:8000");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
    }
}
