//! An HTTP client that distinguishes how a request failed.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::http::{Connection, NoReply, Reply};
use tokio::time::timeout;

/// The time-out of connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The time-out of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// A connection to a node.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    answers: u32,
}

/// Why there is no answer. The server may have executed the request nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A connection that had been used before ended without a byte. Any server may close a
    /// connection that it considers idle.
    ClosedWhileIdle,
    /// The connection ended in another way.
    Cut,
    /// No answer arrived in time.
    Silent,
}

impl Client {
    /// Connects; returns `None` if nobody listens.
    pub(crate) async fn connect(addr: SocketAddr) -> Option<Self> {
        let connecting = timeout(CONNECT_LIMIT, Connection::connect(addr));
        Some(Self {
            connection: connecting.await.ok()?.ok()?,
            answers: 0,
        })
    }

    /// Returns whether the server has not closed the connection, as far as that is visible without
    /// a request.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Sends a request and reads its answer. After a failure the connection cannot be used any
    /// more.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Reply, Failure> {
        match timeout(ANSWER_LIMIT, self.exchange(request)).await {
            Ok(Ok(reply)) => {
                self.answers += 1;
                Ok(reply)
            }
            Ok(Err(NoReply::Closed)) if self.answers > 0 && self.connection.unread().is_empty() => {
                Err(Failure::ClosedWhileIdle)
            }
            Ok(Err(_)) => Err(Failure::Cut),
            Err(_) => Err(Failure::Silent),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Reply, NoReply> {
        // A server that closes the connection meanwhile may still have answered.
        let _ = self.connection.send(request).await;
        self.connection.reply().await
    }
}

/// Makes a request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Makes the request of a delivery.
pub(crate) fn post(body: &str) -> Vec<u8> {
    post_to("/v1/webhooks/transactions", body)
}

/// Makes the request of a delivery to another path.
pub(crate) fn post_to(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
