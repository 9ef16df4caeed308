//! HTTP clients: one that sends what it is told, byte for byte, and one for ordinary requests.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection of HTTP/1.1, over which a test sends any bytes.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    /// What it runs over, for tests that treat that in another way.
    pub stream: S,
    /// Read, and not yet part of a reply.
    unread: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The protocol's version, such as `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// The connection ended before; a reset is an end, too.
    Closed,
    /// It is not HTTP.
    Malformed(String),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Whether the server has not closed it, and sent nothing more, as far as one can see without
    /// asking.
    pub fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection over any stream.
    pub const fn over(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends these bytes.
    ///
    /// # Errors
    ///
    /// When the server closes the connection meanwhile; it may have answered nevertheless.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next reply, to anything but HEAD.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn reply(&mut self) -> Result<Reply, NoReply> {
        let mut reply = self.reply_head().await?;
        let length = match reply.header("content-length") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| NoReply::Malformed(format!("content-length: {text}")))?,
        };
        while self.unread.len() < length {
            if !self.read().await {
                return Err(NoReply::Closed);
            }
        }
        reply.body = self.unread.drain(..length).collect();
        Ok(reply)
    }

    /// The next reply, which has no body, whatever its head says.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn reply_head(&mut self) -> Result<Reply, NoReply> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read().await {
                return Err(NoReply::Closed);
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        parse_head(&head)
            .ok_or_else(|| NoReply::Malformed(String::from_utf8_lossy(&head).into_owned()))
    }

    /// Reads more; false at the end. A reset is an end, too.
    pub async fn read(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.unread).await, Ok(bytes) if bytes > 0)
    }

    /// What is read, and not yet part of a reply.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }
}

fn parse_head(head: &[u8]) -> Option<Reply> {
    let mut lines = str::from_utf8(head).ok()?.trim_end().split("\r\n");
    let mut status = lines.next()?.splitn(3, ' ');
    Some(Reply {
        version: status.next()?.to_owned(),
        status: status.next()?.parse().ok()?,
        headers: lines
            .map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.to_ascii_lowercase(), value.to_owned()))
            })
            .collect::<Option<_>>()?,
        body: Vec::new(),
    })
}

impl Reply {
    /// The value of a header, named in lower case.
    ///
    /// # Panics
    ///
    /// When there are several headers of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        first
    }

    /// Whether the server closes the connection after it.
    pub fn is_last(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the body is text")
    }
}

/// An ordinary request on a connection of its own, and its answer.
///
/// # Errors
///
/// When the server does not answer.
pub async fn request(
    addr: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let serving = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", addr)
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await.context("the body is cut off")?;
    serving.abort();
    Ok(Reply {
        version: format!("{:?}", head.version),
        status: head.status.as_u16(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: body.to_bytes().to_vec(),
    })
}
