//! The HTTP client of these tests: it sends what it is told, byte for byte, within limits of time,
//! and looks at every reply.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use serde_json::Value;
use testkit::http::{Connection, NoReply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{in_time, secrets};

/// One connection.
pub(crate) struct Client<S = TcpStream>(Connection<S>);

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply(testkit::http::Reply);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).await.unwrap()
    }

    pub(crate) async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        in_time("connecting", Connection::connect(addr))
            .await
            .map(Self)
    }
}

impl<S> Deref for Client<S> {
    type Target = Connection<S>;

    fn deref(&self) -> &Connection<S> {
        &self.0
    }
}

impl<S> DerefMut for Client<S> {
    fn deref_mut(&mut self) -> &mut Connection<S> {
        &mut self.0
    }
}

impl Deref for Reply {
    type Target = testkit::http::Reply;

    fn deref(&self) -> &testkit::http::Reply {
        &self.0
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) const fn over(stream: S) -> Self {
        Self(Connection::over(stream))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        secrets::keep_headers(bytes.as_ref());
        in_time("sending", self.0.send(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// Sends as much of `bytes` as the server takes; it may close meanwhile.
    pub(crate) async fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = in_time("sending", self.0.send(bytes.as_ref())).await;
    }

    /// Sends `request` and reads its reply.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request).await;
        self.reply().await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await
    }

    pub(crate) async fn post(&mut self, body: impl AsRef<[u8]>) -> Reply {
        self.ask(post(body)).await
    }

    /// The next reply, to anything but HEAD.
    pub(crate) async fn reply(&mut self) -> Reply {
        let reply = self.try_reply().await;
        reply.unwrap_or_else(|| panic!("closed before a reply: {:?}", self.unread_text()))
    }

    /// The next reply, to anything but HEAD; none where the connection ends before.
    pub(crate) async fn try_reply(&mut self) -> Option<Reply> {
        let reply = well_formed(in_time("a reply", self.0.reply()).await)?;
        reply.assert_is_safe();
        Some(reply)
    }

    /// The next reply, which has no body, whatever its head says.
    pub(crate) async fn reply_head(&mut self) -> Reply {
        let reply = well_formed(in_time("a reply", self.0.reply_head()).await);
        reply.unwrap_or_else(|| panic!("closed before a reply: {:?}", self.unread_text()))
    }

    /// Waits for the server to end the connection, with nothing more to read.
    pub(crate) async fn closed(&mut self) {
        while in_time("the connection's end", self.0.read()).await {}
        assert!(
            self.unread().is_empty(),
            "unexpected: {}",
            self.unread_text()
        );
    }

    fn unread_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.unread())
    }
}

/// Fails the test where the server sent something else than HTTP.
fn well_formed(reply: Result<testkit::http::Reply, NoReply>) -> Option<Reply> {
    match reply {
        Ok(reply) => Some(Reply(reply)),
        Err(NoReply::Closed) => None,
        Err(NoReply::Malformed(head)) => panic!("no HTTP: {head:?}"),
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it says nothing of what serves it, and leaves nothing to guess and to store.
    fn assert_is_safe(&self) {
        for name in ["server", "x-powered-by", "via"] {
            assert_eq!(self.header(name), None, "{self:?}");
        }
        // RFC 9110, section 6.6.1.
        let needs_date = (200..500).contains(&self.status);
        assert!(!needs_date || self.header("date").is_some(), "{self:?}");
        if !self.body.is_empty() {
            assert!(self.header("content-type").is_some(), "{self:?}");
            assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(self.header("cache-control"), Some("no-store"));
        }
    }

    /// Asserts that this is a problem of RFC 9457 with `status`, and returns its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}\n{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["status"], status);
        assert!(document["title"].is_string());
        document["detail"].as_str().unwrap().to_owned()
    }

    /// Asserts that this is a 503 that says when to come back.
    #[track_caller]
    pub(crate) fn unavailable(&self) -> String {
        let detail = self.problem(503);
        let seconds: u32 = self.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
        detail
    }

    /// Asserts that a delivery was answered 202 with `status`.
    #[track_caller]
    pub(crate) fn acknowledged(&self, status: &str) {
        assert_eq!(self.status, 202, "{}", self.text());
        assert_eq!(self.json()["status"], status);
    }
}

/// A delivery of `body`.
pub(crate) fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    post_as("Content-Type: application/json\r\n", body)
}

/// A delivery of `body` under these `headers`, beside Host and Content-Length.
pub(crate) fn post_as(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!(
        "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A request with these headers, beside Host and Content-Length.
pub(crate) fn request_of<S: AsRef<str>>(
    method: &str,
    target: &str,
    headers: &[(S, S)],
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{}: {}\r\n", name.as_ref(), value.as_ref()));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}
