//! The HTTP side on a store that knows every id, and a client of it, on one thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use webhook_core::{
    Accepted, Envelope, EventId, EventRecord, EventRef, Fingerprint, Inbox, InboxOptions, NewEvent,
    State, Store, StoreError,
};
use webhook_server::http::{App, HttpOptions, HttpServer};

const BODY: &[u8] = br#"{"transaction_id":"any","source_account":"a","destination_account":"b",
    "amount":1500.50,"currency":"EUR"}"#;

/// A server and one connection to it.
pub(super) struct Server {
    runtime: Runtime,
    server: HttpServer,
    connection: Option<TcpStream>,
}

/// What the server makes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200, with the transaction of this id.
    Shown(String),
    /// 404, with this detail.
    NotFound(String),
    /// 400: not a path at all.
    BadRequest,
    /// 414: longer than any path of an id.
    TooLong,
}

impl Server {
    pub(super) fn start() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let server = runtime.block_on(async {
            let store: Arc<dyn Store> = Arc::new(EveryId);
            let inbox = Inbox::new(Arc::clone(&store), InboxOptions::default());
            let options = HttpOptions {
                // A fuzzer may pause for long between two inputs.
                header_timeout: Duration::from_secs(24 * 60 * 60),
                ..HttpOptions::default()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            HttpServer::start(listener, App::new(inbox, store, options))
                .expect("the listener listens")
        });
        Self {
            runtime,
            server,
            connection: None,
        }
    }

    /// Asks for the transaction behind `segment`, which ends no line.
    pub(super) fn get(&mut self, segment: &[u8]) -> Answer {
        let request = [
            b"GET /v1/transactions/",
            segment,
            b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ]
        .concat();
        let connection = self.connection.take();
        let addr = self.server.addr();
        let (answer, connection) = self.runtime.block_on(async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => TcpStream::connect(addr).await.expect("the server listens"),
            };
            connection
                .write_all(&request)
                .await
                .expect("the server reads");
            let (head, body) = read(&mut connection).await;
            (
                Answer::of(&head, &body),
                (!is_last(&head)).then_some(connection),
            )
        });
        self.connection = connection;
        answer
    }
}

/// Whether the server ends the connection after this answer.
fn is_last(head: &str) -> bool {
    head.contains("connection: close")
}

/// Reads one answer: its head, and its body by its length.
async fn read(connection: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut head_end = None;
    loop {
        if head_end.is_none() {
            head_end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        }
        if let Some(end) = head_end {
            let head = str::from_utf8(&bytes[..end]).expect("a head in ASCII");
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a length"));
            if bytes.len() >= end + 4 + length {
                let head = head.to_owned();
                return (head, bytes.split_off(end + 4));
            }
        }
        let count = connection.read_buf(&mut bytes).await.expect("an answer");
        assert!(count > 0, "the server answers every request");
    }
}

impl Answer {
    fn of(head: &str, body: &[u8]) -> Self {
        let document = || -> Value { serde_json::from_slice(body).expect("a body in JSON") };
        let text = |name: &str| match &document()[name] {
            Value::String(text) => text.clone(),
            other => panic!("{name} is {other}"),
        };
        match head.split(' ').nth(1) {
            Some("200") => Self::Shown(text("transaction_id")),
            Some("404") => Self::NotFound(text("detail")),
            Some("400") => Self::BadRequest,
            Some("414") => Self::TooLong,
            _ => panic!("unexpected: {head}"),
        }
    }
}

/// A store that finds whatever it is asked for.
struct EveryId;

#[async_trait]
impl Store for EveryId {
    async fn accept(&self, _: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        unreachable!("nothing is posted")
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let record = |event: &EventRef| {
            let envelope = Envelope::new(
                event.kind.clone(),
                event.key.clone(),
                Fingerprint::from_bytes([0; 32]),
                Bytes::from_static(BODY),
            );
            let accepted_at = SystemTime::UNIX_EPOCH;
            let mut record =
                EventRecord::new(EventId::new(1), envelope, State::Processing, accepted_at);
            record.due_at = Some(accepted_at);
            record
        };
        Ok(events.iter().map(record).map(Some).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
