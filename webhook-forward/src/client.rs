//! Sends one request, and says what came of it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::address::Reach;
use crate::connector::{self, ConnectError, Connector, Established, Times, words};
use crate::error_class::ErrorClass;
use crate::resolve::{Resolve, SystemResolver, Target};
use crate::tls::{self, Tls};

/// How many bytes of the body of an answer are read and kept.
pub const MAX_ANSWER_BODY_BYTES: usize = 16 * 1024;

/// How large the head of an answer may be.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// [`MAX_HEAD_BYTES`], as HTTP/2 wants it.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// How many headers an answer by HTTP/1.1 may have.
const MAX_HEADERS: usize = 100;

/// How long the body of an answer is awaited. The head has decided already; a body that has been read to its end leaves
/// the connection to the next request.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection that is not used is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// After this time a connection gets no further request, so that a host whose addresses change is followed, and checked,
/// however busy the connection is.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(5 * 60);

/// How many bytes of bodies an HTTP/2 connection takes in before they are read: for one answer, and for all.
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// How many bytes of a body HTTP/2 copies before the peer takes them.
const H2_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// How often a busy HTTP/2 connection is probed, and how long the answer to the probe may take.
const H2_PING_INTERVAL: Duration = Duration::from_secs(10);

/// Options of a [`Client`].
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How long an exchange may take, from the look-up of the host to the answer: 15 s by default.
    pub timeout: Duration,
    /// How long the look-up of the host, the connection and the TLS handshake may take together: 5 s by default.
    pub connect_timeout: Duration,
    /// Which addresses may be dialed: private ones too by default.
    pub reach: Reach,
    /// Whom the client trusts, and its certificate: the authorities of the system and none by default.
    pub tls: Tls,
    /// What looks up host names: [`SystemResolver`] by default.
    pub resolver: Arc<dyn Resolve>,
    /// How many connections per host are kept for later requests, for 30 s each: 32 by default.
    pub max_idle: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            reach: Reach::Private,
            tls: Tls::system(),
            resolver: Arc::new(SystemResolver::new()),
            max_idle: 32,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("reach", &self.reach)
            .field("tls", &self.tls)
            .field("max_idle", &self.max_idle)
            .finish_non_exhaustive()
    }
}

/// A client of HTTP/1.1 and HTTP/2 that dials checked addresses only.
///
/// It keeps connections for later requests, and uses no proxy. It follows no redirect. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    timeout: Duration,
}

impl Client {
    /// Creates a client.
    pub fn new(options: ClientOptions) -> Self {
        let connector = Connector::new(connector::Options {
            timeout: options.connect_timeout,
            reach: options.reach,
            resolver: options.resolver,
            tls: options.tls,
        });
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(options.max_idle)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .http2_initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .http2_max_send_buf_size(H2_SEND_BUFFER_BYTES)
            .http2_keep_alive_interval(H2_PING_INTERVAL)
            .http2_keep_alive_timeout(H2_PING_INTERVAL)
            .build(connector.clone());
        Self {
            http,
            connector,
            timeout: options.timeout,
        }
    }

    /// Connects to the host of `url` as a request would, with TLS if it is `https`, and closes the connection without
    /// sending a request. Returns the address that was dialed.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says in one line what is wrong.
    pub async fn connect(&self, url: &Uri) -> Result<SocketAddr, ConnectError> {
        self.connector.peer_of(url).await
    }

    /// Sends `request`, whose URI is a whole URL, and reads the answer.
    ///
    /// Any answer is an [`Answer`], whatever its status. A request is sent again only where a kept connection turned out
    /// to be closed before anything of the request was written.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time, which ends the exchange; the destination may have got the request.
    pub async fn send(&self, request: Request<Bytes>) -> Exchange {
        let began = Instant::now();
        let until = deadline(began, self.timeout);
        let mut request = request.map(Full::new);
        // Which version is spoken is for the connection to decide.
        *request.version_mut() = Version::HTTP_11;
        let url = request.uri().clone();
        let connection = capture_connection(&mut request);
        let answered = timeout_at(until, self.http.request(request)).await;
        let answered_at = Instant::now();

        let established = established(connection.connection_metadata().as_ref());
        let mut peer = established.as_ref().map(Established::peer);
        let mut timings = Timings::default();
        let mut sending_since = began;
        if let Some(established) = &established
            && let Some(times) = established.first_use(began)
        {
            timings.set(times);
            sending_since = established.ready();
        }
        let result = match answered {
            Ok(Ok(response)) => {
                timings.first_byte = Some(answered_at.saturating_duration_since(sending_since));
                answer(response, until, peer).await
            }
            Ok(Err(error)) => Err(match find::<ConnectError>(&error) {
                Some(error) => {
                    peer = error.peer;
                    timings.set(error.times);
                    Failure::new(error.class, &error.message)
                }
                None => failure(&error, &url, peer),
            }),
            Err(_) => Err(timed_out(&url, self.timeout, peer)),
        };
        timings.total = began.elapsed();
        Exchange {
            result,
            peer,
            timings,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// The address of the connection that was used, or that could not be made.
    pub peer: Option<SocketAddr>,
    /// How long the exchange took.
    pub timings: Timings,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers: at most 64 KiB.
    pub headers: HeaderMap,
    /// The body, or as much of it as came within [`MAX_ANSWER_BODY_BYTES`] and a second.
    pub body: Bytes,
    /// Whether `body` is the whole body.
    pub is_body_whole: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Its class.
    pub class: ErrorClass,
    /// What happened, in one line for people, without secrets and without more of the URL than its host.
    pub message: String,
}

/// How long the message of a [`Failure`] may be: parts of some come from the peer.
const MAX_MESSAGE_CHARS: usize = 500;

impl Failure {
    /// `message` may hold what the peer sent: it is made one line of bounded length.
    fn new(class: ErrorClass, message: &str) -> Self {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let message = message
            .chars()
            .take(MAX_MESSAGE_CHARS)
            .map(visible)
            .collect();
        Self { class, message }
    }
}

/// How long the steps of an exchange took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The look-up of the host name. This and the next two are none where a connection was reused or there is no such
    /// step.
    pub dns: Option<Duration>,
    /// Connecting by TCP, with addresses that did not answer.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From a connection that is ready to the head of the answer.
    pub first_byte: Option<Duration>,
    /// The whole exchange, with the body of the answer.
    pub total: Duration,
}

impl Timings {
    fn set(&mut self, times: Times) {
        let Times { dns, connect, tls } = times;
        (self.dns, self.connect, self.tls) = (dns, connect, tls);
    }
}

/// `from` and `within`, without an overflow: a time-out of centuries is none.
pub(crate) fn deadline(from: Instant, within: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    from + within.min(NEVER)
}

/// What is known about the connection, which gets no further request once it is old.
fn established(connected: Option<&Connected>) -> Option<Established> {
    let connected = connected?;
    let mut extensions = Extensions::new();
    connected.get_extras(&mut extensions);
    let established: Established = extensions.remove()?;
    if established.ready().elapsed() > MAX_CONNECTION_AGE {
        connected.poison();
    }
    Some(established)
}

async fn answer(
    response: Response<Incoming>,
    until: Instant,
    peer: Option<SocketAddr>,
) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    // hyper looks at its limit only where a head comes in pieces.
    if bytes_of(&head.headers) > MAX_HEAD_BYTES {
        let message = too_large(&name_of(peer));
        return Err(Failure::new(ErrorClass::TooLarge, &message));
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let message = "answered 101 Switching Protocols, which nobody asked for";
        return Err(Failure::new(ErrorClass::Protocol, message));
    }
    let until = until.min(Instant::now() + BODY_TIMEOUT);
    let (body, is_body_whole) = read(body, until).await;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
        is_body_whole,
    })
}

/// How many bytes the headers have in HTTP/1.1.
fn bytes_of(headers: &HeaderMap) -> usize {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    bytes.sum()
}

/// Reads as much of `body` as is kept. What is not read to its end closes the connection, or the stream of HTTP/2, when
/// it is dropped here.
async fn read(mut body: Incoming, until: Instant) -> (Bytes, bool) {
    let mut kept = BytesMut::new();
    // Frames cannot be empty for ever: the crate h2 counts them, and ends the connection.
    loop {
        let data = match timeout_at(until, body.frame()).await {
            Ok(None) => return (kept.freeze(), true),
            // Trailers are of no use.
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(_))) | Err(_) => return (kept.freeze(), false),
        };
        let room = MAX_ANSWER_BODY_BYTES - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (kept.freeze(), false);
        }
    }
}

fn timed_out(url: &Uri, timeout: Duration, peer: Option<SocketAddr>) -> Failure {
    match peer {
        Some(_) => {
            let message = format!("no answer within {timeout:?}");
            Failure::new(ErrorClass::TimeoutResponse, &message)
        }
        None => {
            let host = url.host().unwrap_or("the destination");
            let message = format!("no connection to {host} within {timeout:?}");
            Failure::new(ErrorClass::TimeoutConnect, &message)
        }
    }
}

/// Says why an exchange failed on a connection.
fn failure(error: &legacy::Error, url: &Uri, peer: Option<SocketAddr>) -> Failure {
    let peer = name_of(peer);
    let (class, message) = if let Some(error) = find::<rustls::Error>(error) {
        tls::failure_of_rustls(error, url.host().unwrap_or_default(), &peer)
    } else if let Some(error) = find::<h2::Error>(error) {
        h2_failure(error, &peer)
    } else if let Some(error) = find::<io::Error>(error) {
        (ErrorClass::Reset, broken(error, &peer))
    } else if let Some(error) = find::<hyper::Error>(error) {
        hyper_failure(error, &peer)
    } else {
        // Target::new has refused all other URLs; nothing else of a request is for hyper to judge.
        let message = match Target::new(url) {
            Ok(_) => format!("the request to {peer} cannot be sent: {error}"),
            Err(error) => error.to_string(),
        };
        (ErrorClass::Protocol, message)
    };
    Failure::new(class, &message)
}

fn name_of(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "the destination".to_owned(), |peer| peer.to_string())
}

fn hyper_failure(error: &hyper::Error, peer: &str) -> (ErrorClass, String) {
    if error.is_parse_too_large() {
        (ErrorClass::TooLarge, too_large(peer))
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        (ErrorClass::Reset, closed(peer))
    } else {
        let message = format!("{peer} did not answer with valid HTTP: {error}");
        (ErrorClass::Protocol, message)
    }
}

fn broken(error: &io::Error, peer: &str) -> String {
    match error.kind() {
        // TLS was not closed as it should be.
        io::ErrorKind::UnexpectedEof => closed(peer),
        _ => format!("the connection to {peer} broke: {}", words(error)),
    }
}

fn closed(peer: &str) -> String {
    format!("{peer} closed the connection without an answer")
}

fn too_large(peer: &str) -> String {
    let kib = MAX_HEAD_BYTES / 1024;
    format!(
        "the answer of {peer} has more than {MAX_HEADERS} headers, or more than {kib} KiB of them"
    )
}

fn h2_failure(error: &h2::Error, peer: &str) -> (ErrorClass, String) {
    let reason = error.reason();
    if let Some(error) = error.get_io() {
        return (ErrorClass::Reset, broken(error, peer));
    }
    if error.is_remote() {
        let message = match reason {
            Some(reason) => format!("{peer} broke off the exchange: {}", reason.description()),
            None => format!("{peer} broke off the exchange"),
        };
        return (ErrorClass::Reset, message);
    }
    match reason {
        // What the crate h2 answers to a head of many times the limit.
        Some(h2::Reason::ENHANCE_YOUR_CALM) => (ErrorClass::TooLarge, too_large(peer)),
        // h2 does not tell a head that is too large from one that is wrong.
        _ => {
            let message = format!(
                "{peer} did not answer with valid HTTP/2, or with more than {} KiB of headers: {error}",
                MAX_HEAD_BYTES / 1024
            );
            (ErrorClass::Protocol, message)
        }
    }
}

/// The first error of this type among `error` and its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            // `source` of an io::Error skips the error that it wraps.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_a_failure_is_one_line_of_bounded_length() {
        let failure = Failure::new(ErrorClass::Protocol, "a\r\nb\u{1b}[31m");
        assert_eq!(failure.message, "a  b [31m");
        let failure = Failure::new(ErrorClass::Protocol, &"ä".repeat(10_000));
        assert_eq!(failure.message.chars().count(), MAX_MESSAGE_CHARS);
    }

    #[tokio::test]
    async fn deadline_of_the_longest_duration_does_not_overflow() {
        let now = Instant::now();
        assert!(deadline(now, Duration::MAX) > now);
    }
}
