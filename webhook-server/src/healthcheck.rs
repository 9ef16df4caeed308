//! Asks a running server whether it is alive: what a container's health check runs.

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

/// Longer than a live server takes, shorter than the patience of container engines.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server of this configuration, from this machine, for its liveness. Where it speaks TLS,
/// any certificate will do: nothing is told, and what is asked is whether there is an answer.
///
/// # Errors
///
/// When there is no answer in time, or another than 200.
pub async fn healthcheck(config: &Config) -> Result<(), Unhealthy> {
    let addr = reachable(config.bind_addr);
    let asked = async {
        let stream = TcpStream::connect(addr).await?;
        if config.tls.tls_cert_file.is_none() {
            return ask(addr, stream).await;
        }
        let connector = TlsConnector::from(Arc::new(no_verification::client()?));
        let stream = connector.connect(addr.ip().into(), stream).await?;
        match ask(addr, stream).await {
            // It answers: that it talks to those alone who have a certificate.
            Err(error) if no_verification::wants_certificate(&*error) => Ok(StatusCode::OK),
            asked => asked,
        }
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(Unhealthy::Status { addr, status }),
        Ok(Err(source)) => Err(Unhealthy::Unreachable { addr, source }),
        Err(_) => Err(Unhealthy::Silent { addr }),
    }
}

/// Where to reach a server that listens on all addresses.
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
        // Of the two, the connection knows more.
        Err(error) => Err(ended.err().unwrap_or(error).into()),
    }
}

/// Why a server does not count as alive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unhealthy {
    /// Nobody listens, or what listens speaks no HTTP.
    #[error("no server answers on {addr}")]
    Unreachable {
        /// Where it was looked for.
        addr: SocketAddr,
        /// What was met instead.
        source: AnyError,
    },
    /// It listens and says nothing.
    #[error("the server on {addr} does not answer")]
    Silent {
        /// Where it listens.
        addr: SocketAddr,
    },
    /// It answers with something else than 200.
    #[error("the server on {addr} answers {status}")]
    Status {
        /// Where it listens.
        addr: SocketAddr,
        /// What it answers.
        status: StatusCode,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_machine() {
        let asked = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(asked("[::]:8000"), "[::1]:8000");
        assert_eq!(asked("192.0.2.1:80"), "192.0.2.1:80");
    }
}
