//! An HTTP client that knows in which way it failed.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    answers: u32,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

/// Why there is no answer; what was asked for may have happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A connection that had been used before ended without a byte: any server may do that to a
    /// connection that it takes for idle.
    ClosedWhileIdle,
    /// The connection ended otherwise.
    Cut,
    /// Nothing came.
    Silent,
}

impl Client {
    /// Connects; none where nobody listens.
    pub(crate) async fn connect(addr: SocketAddr) -> Option<Self> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(addr))
            .await
            .ok()?
            .ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self {
            stream,
            unread: Vec::new(),
            answers: 0,
        })
    }

    /// Whether the server has not closed it, as far as one can see without asking.
    pub(crate) fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a request and reads its answer. After a failure the connection is of no use.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        match timeout(ANSWER_LIMIT, self.exchange(request)).await {
            Ok(Some(answer)) => {
                self.answers += 1;
                Ok(answer)
            }
            Ok(None) if self.answers > 0 && self.unread.is_empty() => Err(Failure::ClosedWhileIdle),
            Ok(None) => Err(Failure::Cut),
            Err(_) => Err(Failure::Silent),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Option<Answer> {
        // A server that closes meanwhile may still have answered.
        let _ = self.stream.write_all(request).await;
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            self.read().await?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let header = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value)
        };
        let length = header("content-length").map_or(Some(0), |it| it.parse().ok())?;
        while self.unread.len() < length {
            self.read().await?;
        }
        Some(Answer {
            status,
            body: self.unread.drain(..length).collect(),
            closes: header("connection") == Some("close"),
        })
    }

    async fn read(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(bytes) if bytes > 0 => Some(()),
            _ => None,
        }
    }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A delivery.
pub(crate) fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
