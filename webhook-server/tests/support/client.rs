//! An HTTP client that sends what it is told, byte for byte.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{in_time, secrets};

/// One connection.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    /// Read, and not yet part of a reply.
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).await.unwrap()
    }

    pub(crate) async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = in_time("connecting", TcpStream::connect(addr)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) const fn over(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        secrets::keep_headers(bytes.as_ref());
        in_time("sending", self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// Sends as much of `bytes` as the server takes; it may close meanwhile.
    pub(crate) async fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = in_time("sending", self.stream.write_all(bytes.as_ref())).await;
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

    /// The same; none where the server is gone before it is whole.
    pub(crate) async fn try_reply(&mut self) -> Option<Reply> {
        let mut reply = self.try_reply_head().await?;
        let length = reply
            .header("content-length")
            .map_or(0, |it| it.parse().unwrap());
        while self.unread.len() < length {
            if !self.read().await {
                return None;
            }
        }
        reply.body = self.unread.drain(..length).collect();
        reply.assert_is_safe();
        Some(reply)
    }

    /// The next reply, which has no body, whatever its head says.
    pub(crate) async fn reply_head(&mut self) -> Reply {
        let reply = self.try_reply_head().await;
        reply.unwrap_or_else(|| panic!("closed before a reply: {:?}", self.unread_text()))
    }

    async fn try_reply_head(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|it| it == b"\r\n\r\n") {
                break at;
            }
            if !self.read().await {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut status = lines.next().unwrap().splitn(3, ' ');
        Some(Reply {
            version: status.next().unwrap().to_owned(),
            status: status.next().unwrap().parse().unwrap(),
            headers: lines
                .map(|line| {
                    let (name, value) = line.split_once(": ").unwrap();
                    (name.to_ascii_lowercase(), value.to_owned())
                })
                .collect(),
            body: Vec::new(),
        })
    }

    /// Waits for the server to end the connection, with nothing more to read.
    pub(crate) async fn closed(&mut self) {
        while self.read().await {}
        assert!(self.unread.is_empty(), "unexpected: {}", self.unread_text());
    }

    fn unread_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.unread)
    }

    /// Reads more; false at the end. A reset is an end, too.
    async fn read(&mut self) -> bool {
        let read = in_time("reading", self.stream.read_buf(&mut self.unread)).await;
        matches!(read, Ok(bytes) if bytes > 0)
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        first
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

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
