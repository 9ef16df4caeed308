//! Makes connections: resolves once, checks every address, dials the checked addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::address::Reach;
use crate::client::deadline;
use crate::error_class::ErrorClass;
use crate::resolve::{Host, InvalidUrl, Resolve, Target, UrlError};
use crate::tls::{self, Tls};

/// How many addresses of a host name are dialed at most. A share of the connect timeout would be too short for more.
const MAX_DIALED: usize = 8;

/// Makes connections for hyper's client.
#[derive(Clone)]
pub(crate) struct Connector {
    options: Arc<Options>,
}

pub(crate) struct Options {
    /// For the look-up, the connection and the TLS handshake together.
    pub(crate) timeout: Duration,
    pub(crate) reach: Reach,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: Tls,
}

/// Why there is no connection, and how far it got.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    pub(crate) class: ErrorClass,
    /// One line for people, with the address.
    pub(crate) message: String,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) times: Times,
}

/// How long the steps of connecting took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// None for an address.
    pub(crate) dns: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    /// None without TLS.
    pub(crate) tls: Option<Duration>,
}

/// What is known about a connection. Whoever uses it finds this through hyper's `Connected`.
#[derive(Clone, Debug)]
pub(crate) struct Established(Arc<EstablishedInner>);

#[derive(Debug)]
struct EstablishedInner {
    peer: SocketAddr,
    began: Instant,
    ready: Instant,
    times: Times,
    is_used: AtomicBool,
}

impl Established {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// When the connection was ready for requests.
    pub(crate) fn ready(&self) -> Instant {
        self.0.ready
    }

    /// Takes the connection for a request that began at `began`. Returns the times of connecting if it was made for
    /// this request, which has waited for it; none if it had been used or was being made before.
    pub(crate) fn first_use(&self, began: Instant) -> Option<Times> {
        let was_used = self.0.is_used.swap(true, Ordering::Relaxed);
        (!was_used && began <= self.0.began).then_some(self.0.times)
    }
}

impl Connector {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
        }
    }

    /// Connects, and returns the address that was dialed.
    pub(crate) async fn peer_of(&self, url: &Uri) -> Result<SocketAddr, ConnectError> {
        let stream = self.connect(url).await?;
        Ok(stream.established.peer())
    }

    async fn connect(&self, url: &Uri) -> Result<Stream, ConnectError> {
        let mut attempt = Attempt::new(&self.options);
        let stream = attempt.connect(url).await;
        stream.map_err(|failure| attempt.failed(failure))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&url).await.map(TokioIo::new) })
    }
}

/// One attempt to connect.
struct Attempt<'a> {
    options: &'a Options,
    began: Instant,
    deadline: Instant,
    peer: Option<SocketAddr>,
    times: Times,
}

type Failure = (ErrorClass, String);

impl<'a> Attempt<'a> {
    fn new(options: &'a Options) -> Self {
        let began = Instant::now();
        Self {
            options,
            began,
            deadline: deadline(began, options.timeout),
            peer: None,
            times: Times::default(),
        }
    }

    fn failed(self, (class, message): Failure) -> ConnectError {
        ConnectError {
            class,
            message,
            peer: self.peer,
            times: self.times,
        }
    }

    async fn connect(&mut self, url: &Uri) -> Result<Stream, Failure> {
        let target = Target::new(url).map_err(|error| from_url(error.into()))?;
        let addresses = self.resolve(&target).await?;
        let (tcp, peer) = self.dial(&addresses).await?;
        let (socket, is_h2) = match target.is_tls {
            true => self.shake_hands(&target.host, tcp, peer).await?,
            false => (Box::new(tcp) as Box<dyn Socket>, false),
        };
        Ok(Stream {
            socket,
            is_h2,
            established: Established(Arc::new(EstablishedInner {
                peer,
                began: self.began,
                ready: Instant::now(),
                times: self.times,
                is_used: AtomicBool::new(false),
            })),
        })
    }

    async fn resolve(&mut self, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        let began = Instant::now();
        let looking = target.addresses(self.options.reach, &*self.options.resolver);
        let found = timeout_at(self.deadline, looking).await;
        if let Host::Name(_) = target.host {
            self.times.dns = Some(began.elapsed());
        }
        let found = found.map_err(|_| {
            let message = format!(
                "the look-up of the host name {} gave no answer within {:?}",
                target.host, self.options.timeout
            );
            (ErrorClass::TimeoutConnect, message)
        })?;
        found.map_err(from_url)
    }

    /// Dials the addresses in order, each with an equal share of the time that is left.
    async fn dial(&mut self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
        let began = Instant::now();
        let mut first_failure = None;
        let mut others = 0;
        let dialed = &addresses[..addresses.len().min(MAX_DIALED)];
        for (at, &address) in dialed.iter().enumerate() {
            self.peer = Some(address);
            let left = self.deadline.saturating_duration_since(Instant::now());
            let remaining = u32::try_from(dialed.len() - at).unwrap_or(u32::MAX);
            let connected = timeout(left / remaining, TcpStream::connect(address)).await;
            self.times.connect = Some(began.elapsed());
            let failure = match connected {
                Ok(Ok(tcp)) => {
                    // A request is one or two writes, which should not wait for acknowledgements.
                    let _ = tcp.set_nodelay(true);
                    return Ok((tcp, address));
                }
                Ok(Err(error)) => (ErrorClass::Connect, format!("{address}: {}", words(&error))),
                Err(_) => {
                    let waited = rounded(left / remaining);
                    let message = format!("{address}: no answer within {waited:?}");
                    (ErrorClass::TimeoutConnect, message)
                }
            };
            match first_failure {
                None => first_failure = Some((address, failure)),
                Some(_) => others += 1,
            }
        }
        let Some((address, (class, reason))) = first_failure else {
            // `Target::addresses` returns at least one.
            return Err((ErrorClass::Dns, "the host name has no addresses".to_owned()));
        };
        self.peer = Some(address);
        let others = match others {
            0 => String::new(),
            1 => " (one other address failed too)".to_owned(),
            _ => format!(" ({others} other addresses failed too)"),
        };
        Err((class, format!("failed to connect to {reason}{others}")))
    }

    async fn shake_hands(
        &mut self,
        host: &Host,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<(Box<dyn Socket>, bool), Failure> {
        let began = Instant::now();
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
                let message = format!("the host name {name} cannot stand in a certificate");
                (ErrorClass::TlsVerify, message)
            })?,
        };
        let shaking = async {
            let config = self.options.tls.client_config().await;
            TlsConnector::from(config).connect(name, tcp).await
        };
        let shaken = timeout_at(self.deadline, shaking).await;
        self.times.tls = Some(began.elapsed());
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(tls::failure(&error, &host.to_string(), &peer.to_string()));
            }
            Err(_) => {
                let timeout = self.options.timeout;
                let message =
                    format!("the TLS handshake with {peer} did not end within {timeout:?}");
                return Err((ErrorClass::TimeoutConnect, message));
            }
        };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_h2))
    }
}

fn from_url(error: UrlError) -> Failure {
    let class = match error {
        UrlError::Invalid(InvalidUrl::Host { .. })
        | UrlError::Resolve { .. }
        | UrlError::NoAddresses { .. } => ErrorClass::Dns,
        UrlError::Invalid(_) => ErrorClass::Protocol,
        UrlError::Blocked(_) | UrlError::OnlyBlocked { .. } => ErrorClass::BlockedAddress,
    };
    let message = match &error {
        UrlError::Resolve { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    };
    (class, message)
}

/// What the system says, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) if error.kind() != io::Error::other("").kind() => error.kind().to_string(),
        _ => error.to_string(),
    }
}

/// To tenths of a second: nobody wants to read 1.666666666s.
fn rounded(duration: Duration) -> Duration {
    if duration < Duration::from_millis(100) {
        return Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }
    let tenths = (duration.as_millis() + 50) / 100;
    Duration::from_millis(u64::try_from(tenths * 100).unwrap_or(u64::MAX))
}

/// What a connection reads from and writes to.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection.
pub(crate) struct Stream {
    socket: Box<dyn Socket>,
    is_h2: bool,
    established: Established,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.established.clone());
        match self.is_h2 {
            true => connected.negotiated_h2(),
            false => connected,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
