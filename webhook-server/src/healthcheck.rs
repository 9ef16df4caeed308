//! The command `healthcheck`, for the health check of a container.

mod no_verification;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::Config;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Longer than a live server needs, and shorter than the time-outs of container engines.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Checks from this machine whether the server of this configuration is alive. If it serves TLS, its
/// certificate is not verified: the request contains no secret, and only the status matters.
///
/// # Errors
///
/// When there is no answer in time, or its status is not 200.
pub async fn healthcheck(config: &Config) -> Result<(), Unhealthy> {
    let addr = reachable(config.bind_addr);
    let status = async {
        let stream = TcpStream::connect(addr).await?;
        if config.tls.tls_cert_file.is_none() {
            return ask(addr, stream).await;
        }
        let connector = TlsConnector::from(Arc::new(no_verification::client()?));
        let stream = connector.connect(addr.ip().into(), stream).await?;
        match ask(addr, stream).await {
            // The server is alive, and serves only clients with a certificate.
            Err(error) if no_verification::wants_certificate(&*error) => Ok(StatusCode::OK),
            status => status,
        }
    };
    match timeout(TIMEOUT, status).await {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(Unhealthy::Status { addr, status }),
        Ok(Err(source)) => Err(Unhealthy::Unreachable { addr, source }),
        Err(_) => Err(Unhealthy::Silent { addr }),
    }
}

/// The address to connect to; a loopback one if the server listens on all addresses.
fn reachable(bind_addr: SocketAddr) -> SocketAddr {
    let ip = match bind_addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind_addr.port())
}

async fn ask<S>(addr: SocketAddr, stream: S) -> Result<StatusCode, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/")
        .header(header::HOST, addr.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (answer, ended) = tokio::join!(sender.send_request(request), connection);
    match answer {
        Ok(answer) => Ok(answer.status()),
        // The error of the connection says more.
        Err(error) => Err(ended.err().unwrap_or(error).into()),
    }
}

/// Why a server is not healthy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unhealthy {
    /// No server listens, or it does not speak HTTP.
    #[error("no server answers on {addr}")]
    Unreachable {
        /// The address.
        addr: SocketAddr,
        /// The error.
        source: AnyError,
    },
    /// The server listens, and does not answer in time.
    #[error("the server on {addr} does not answer")]
    Silent {
        /// The address.
        addr: SocketAddr,
    },
    /// The server answers with another status than 200.
    #[error("the server on {addr} answers {status}")]
    Status {
        /// The address.
        addr: SocketAddr,
        /// The status.
        status: StatusCode,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_on_all_addresses_is_checked_on_loopback() {
        let checked = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(checked("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(checked("[::]:8000"), "[::1]:8000");
        assert_eq!(checked("192.0.2.1:80"), "192.0.2.1:80");
    }
}
