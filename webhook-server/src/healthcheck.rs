//! The command `healthcheck`, for the health check of a container.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{self, AnyError, Encryption};
use crate::config::Config;

/// Longer than a live server needs, and shorter than the time-outs of container engines.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Checks from this machine whether the server of this configuration is alive. If it serves TLS, its
/// certificate is not verified: the request contains no secret, and only the status matters.
///
/// # Errors
///
/// When there is no answer in time, or its status is not 200.
pub async fn healthcheck(config: &Config) -> Result<(), Unhealthy> {
    let addr = client::reachable(config.bind_addr);
    let status = async {
        let request = Request::get("/")
            .header(header::HOST, addr.to_string())
            .body(Full::default())?;
        let stream = TcpStream::connect(addr).await?;
        match client::send(
            stream,
            Encryption::of(config),
            addr.ip().into(),
            request,
            client::MAX_ANSWER_BYTES,
        )
        .await
        {
            Ok(answer) => Ok(answer.status()),
            // The server is alive, and serves only clients with a certificate.
            Err(error) if client::wants_certificate(&*error) => Ok(StatusCode::OK),
            Err(error) => Err(error),
        }
    };
    match timeout(TIMEOUT, status).await {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(Unhealthy::Status { addr, status }),
        Ok(Err(source)) => Err(Unhealthy::Unreachable { addr, source }),
        Err(_) => Err(Unhealthy::Silent { addr }),
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
