//! Runs the HTTP side on a store that finds every id, and a client of it, on one thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use testkit::http::{Connection, Reply};
use tokio::net::TcpListener;
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
    connection: Option<Connection>,
}

/// The server's answer to a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200, with the transaction of this id.
    Shown(String),
    /// 404, with this detail.
    NotFound(String),
    /// 400: the path is invalid.
    BadRequest,
    /// 414: the path is longer than that of any id.
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
                // A fuzzer may pause for a long time between two inputs.
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

    /// Requests the transaction at `segment`, which must not contain a line end.
    pub(super) fn get(&mut self, segment: &[u8]) -> Answer {
        let request = [
            b"GET /v1/transactions/",
            segment,
            b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ]
        .concat();
        let connection = self.connection.take();
        let addr = self.server.addr();
        let (reply, connection) = self.runtime.block_on(async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::connect(addr).await.expect("the server listens"),
            };
            connection.send(&request).await.expect("the server reads");
            let reply = connection.reply().await;
            (reply.expect("the server answers every request"), connection)
        });
        self.connection = (!reply.is_last()).then_some(connection);
        Answer::of(&reply)
    }
}

impl Answer {
    fn of(reply: &Reply) -> Self {
        let document = || -> Value { serde_json::from_slice(&reply.body).expect("a body in JSON") };
        let text = |name: &str| match &document()[name] {
            Value::String(text) => text.clone(),
            other => panic!("{name} is {other}"),
        };
        match reply.status {
            200 => Self::Shown(text("transaction_id")),
            404 => Self::NotFound(text("detail")),
            400 => Self::BadRequest,
            414 => Self::TooLong,
            _ => panic!("unexpected: {reply:?}"),
        }
    }
}

/// A store that finds every event.
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
