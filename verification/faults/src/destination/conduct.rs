//! What a destination does with a request.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

/// How long a slow destination takes until it answers, and for each of the first bytes of its
/// answer.
const SLOW: Duration = Duration::from_millis(300);
const SLOW_BYTE: Duration = Duration::from_millis(10);

/// The length of a huge answer, which is sent in pieces.
const HUGE_BYTES: usize = 1 << 30;
const PIECE: &[u8] = &[b'.'; 64 * 1024];

/// How many headers are too many.
const MANY_HEADERS: usize = 10_000;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What a destination does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// It answers 200.
    Well,
    /// It has no listener, and its connections are reset.
    Killed,
    /// It reads requests and does not answer.
    Stalled,
    /// It answers 200 late, byte by byte.
    Slow,
    /// It answers 200, and resets the connection in the middle of the body.
    Reset,
    /// It answers 200 with a body of 1 GiB.
    Huge,
    /// It answers 200 with 10,000 headers.
    ManyHeaders,
    /// It answers with bytes that are not HTTP.
    Garbage,
    /// Its certificate has expired.
    Expired,
    /// It takes the event and answers 200, and resets the connection before the end of the head.
    Vanishing,
}

impl Conduct {
    /// Whether it has a listener.
    pub(super) const fn listens(self) -> bool {
        !matches!(self, Self::Killed)
    }

    /// Whether it takes the events that it gets: they may be PROCESSED.
    pub(super) const fn takes(self) -> bool {
        matches!(self, Self::Well | Self::Slow | Self::Reset | Self::Huge)
    }

    /// Whether it gets whole requests.
    pub(crate) const fn gets_requests(self) -> bool {
        !matches!(self, Self::Killed | Self::Expired)
    }

    /// Answers a request; returns whether the connection may have another one.
    pub(super) async fn answer(
        self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        until_changed: impl Future<Output = ()>,
    ) -> bool {
        // What the client does not read is for the record of requests to judge.
        match self {
            Self::Well => {
                return stream.write_all(GOOD).await.is_ok() && stream.flush().await.is_ok();
            }
            // A connection of the time before would hide that the certificate has expired.
            Self::Killed | Self::Expired => {}
            Self::Stalled => until_changed.await,
            Self::Slow => {
                sleep(SLOW).await;
                for byte in GOOD {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return false;
                    }
                    sleep(SLOW_BYTE).await;
                }
                return true;
            }
            Self::Reset => {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf of ";
                let _ = stream.write_all(half).await;
                // The rest of a connection that is reset need not arrive.
                sleep(SLOW).await;
            }
            Self::Huge => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE_BYTES}\r\n\r\n");
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    for _ in 0..HUGE_BYTES / PIECE.len() {
                        if stream.write_all(PIECE).await.is_err() {
                            break;
                        }
                    }
                }
            }
            Self::ManyHeaders => {
                let headers = (0..MANY_HEADERS).map(|number| format!("x-{number}: {number}\r\n"));
                let headers: String = headers.collect();
                let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            Self::Garbage => {
                let _ = stream.write_all(&[0xff, 0, b'\n', b'\r', 0x80]).await;
            }
            Self::Vanishing => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            }
        }
        false
    }
}
