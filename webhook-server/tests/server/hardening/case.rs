//! A case: what a client sends, what it gets, and why.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::client::{Client, Reply, post, post_as};
use crate::support::{in_time, transaction};

/// The id of what is delivered where it must not be accepted.
pub(super) const SMUGGLED: &str = "smuggled";

/// The id of the transaction that every case finds, and that is delivered again after each.
pub(super) const GOOD: &str = "good";

/// Between two bytes of a client that takes its time.
const DRIBBLE_PAUSE: Duration = Duration::from_millis(50);

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    bytes: Vec<u8>,
    then: Then,
    /// The statuses of the answers, in their order.
    pub(super) answers: &'static [u16],
    pub(super) end: End,
    /// With the section that says so.
    pub(super) why: &'static str,
}

/// What the client does after it has sent its bytes.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Waits for its answers.
    Waits,
    /// Closes its half of the connection.
    ClosesItsHalf,
    /// Sends this byte again and again, slowly.
    Dribbles(u8),
    /// Sends all of it again and again, and reads nothing.
    NeverReads,
}

/// How the connection is after the answers.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// It serves the next request.
    Open,
    /// The server has closed it, and looks at nothing more that came.
    Closed,
}

/// A client that sends `bytes`.
pub(super) fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        then: Then::Waits,
        answers: &[],
        end: End::Closed,
        why: "",
    }
}

impl Case {
    pub(super) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// The answers after which the connection stays open.
    pub(super) fn gets(self, answers: &'static [u16], why: &'static str) -> Self {
        Self {
            answers,
            end: End::Open,
            why,
            ..self
        }
    }

    /// The answers before the connection is closed.
    pub(super) fn ends_with(self, answers: &'static [u16], why: &'static str) -> Self {
        Self {
            answers,
            end: End::Closed,
            why,
            ..self
        }
    }

    /// Does what the case says, on a connection of its own.
    pub(super) async fn run(&self, addr: SocketAddr) {
        let mut client = Client::connect(addr).await;
        // The server may answer, and close, before it has read all.
        client.send_some(&self.bytes).await;
        match self.then {
            Then::Waits => {}
            Then::ClosesItsHalf => client.stream.shutdown().await.unwrap(),
            Then::Dribbles(byte) => dribble(&mut client, byte).await,
            Then::NeverReads => return flood(&mut client, &self.bytes).await,
        }
        for &status in self.answers {
            let Some(reply) = client.try_reply().await else {
                panic!("{}: closed before the answer {status}", self.name);
            };
            assert_eq!(reply.status, status, "{}: {reply:?}", self.name);
            assert_is_sound(&reply, &self.name);
        }
        match self.end {
            End::Open => {
                client.send_some(GET).await;
                let reply = client.try_reply().await;
                let status = reply.map(|reply| reply.status);
                assert_eq!(status, Some(200), "{}: not open", self.name);
            }
            End::Closed => client.closed().await,
        }
    }
}

/// Sends one byte at a time until the server answers or closes the connection.
async fn dribble(client: &mut Client, byte: u8) {
    in_time("the server's answer", async {
        loop {
            tokio::select! {
                readable = client.stream.readable() => return readable.unwrap(),
                () = tokio::time::sleep(DRIBBLE_PAUSE) => {}
            }
            client.send_some([byte]).await;
        }
    })
    .await;
}

async fn flood(client: &mut Client, bytes: &[u8]) {
    in_time("the server's closing", async {
        while client.stream.write_all(bytes).await.is_ok() {}
    })
    .await;
}

/// An answer of the server says what is wrong; one of hyper's parser has only a status, and closes the
/// connection.
fn assert_is_sound(reply: &Reply, name: &str) {
    let closes = reply.header("connection") == Some("close");
    if reply.status < 400 {
        assert_ne!(reply.status, 101, "{name}");
    } else if reply.body.is_empty() {
        assert!([400, 414, 431].contains(&reply.status), "{name}: {reply:?}");
        assert!(closes, "{name}: {reply:?}");
        assert_eq!(reply.headers.len(), 3, "{name}: {reply:?}");
    } else {
        reply.problem(reply.status);
    }
}

/// Asserts that the server serves others as ever, and has not accepted what it must not.
pub(super) async fn assert_unharmed(addr: SocketAddr, name: &str) {
    let mut client = Client::connect(addr).await;
    let reply = client.post(transaction(GOOD)).await;
    assert_eq!(reply.status, 202, "{name}: {reply:?}");
    for events in ["/v1/transactions", "/v1/events/github"] {
        let reply = client.get(&format!("{events}/{SMUGGLED}")).await;
        assert_eq!(reply.status, 404, "{name}: it was executed");
    }
}

/// A request that is answered 200.
pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A GET of this target.
pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A GET of `/` with these lines in its head.
pub(super) fn get_with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// The delivery that must not be accepted.
pub(super) fn smuggled() -> Vec<u8> {
    post(transaction(SMUGGLED))
}

/// The head of a delivery with these lines, and then `rest`.
pub(super) fn delivery(lines: &str, rest: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!(
        "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\r\n"
    );
    [head.as_bytes(), rest.as_ref()].concat()
}

/// A delivery that is accepted as it is, with these lines in its head.
pub(super) fn good_with(lines: &str) -> Vec<u8> {
    let lines = format!("Content-Type: application/json\r\n{lines}");
    post_as(&lines, transaction(GOOD))
}

/// `body` in one chunk, without the last.
pub(super) fn chunk(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}
