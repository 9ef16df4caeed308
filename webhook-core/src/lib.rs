//! A durable inbox for webhooks.
//!
//! An app receives an event, stores it, answers its sender, and processes the event later: once, with
//! retries, whatever crashes in between.
//!
//! - An [`Inbox`] stores each event once per kind and key, before it acknowledges it.
//! - A [`Worker`] processes the event when it is due, and again after a failure or a crash, until it succeeds
//!   or its attempts are used up.
//! - A [`Pipeline`] is both in one process.
//!
//! This crate contains no SQL, no HTTP server and no backend. Take a backend with it: `webhook-postgres`
//! keeps events in PostgreSQL, `webhook-sqlite` in one file, `webhook-memory` in memory. To verify who sent
//! an event, take `webhook-sources`.
//!
//! This page is a guide: [a first pipeline](#a-first-pipeline), [answering a sender](#answering-a-sender),
//! [payloads](#payloads), [handlers](#handlers), [events that follow](#events-that-follow),
//! [options](#options), [several processes](#several-processes), [testing](#testing),
//! [operating](#operating), [backends](#backends), [features](#features).
//!
//! # A first pipeline
//!
//! A [`Payload`] says which event a delivery is. A handler does the work.
//!
//! ```
//! use std::time::Duration;
//!
//! use webhook_core::{
//!     Accepted, Event, HandlerError, Headers, Identity, InvalidPayload, Payload, Pipeline,
//! };
//! use webhook_memory::MemoryStore;
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     id: String,
//!     total_cents: u64,
//! }
//!
//! impl Payload for Order {
//!     const KIND: &'static str = "order";
//!
//!     // Events with the same id are the same event; with another total, a redelivery is a conflict.
//!     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
//!         Identity::of_json(body, "/id", &["/total_cents"])
//!     }
//!
//!     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
//!         Ok(serde_json::from_slice(body)?)
//!     }
//! }
//!
//! async fn ship(order: Event<Order>) -> Result<(), HandlerError> {
//!     println!("shipping order {}", order.payload.id);
//!     Ok(())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), webhook_core::Error> {
//! let pipeline = Pipeline::builder(MemoryStore::default()).handle(ship).start();
//! let inbox = pipeline.inbox();
//!
//! // Once `receive` has returned, the event is stored: acknowledge it.
//! let receipt = inbox.receive::<Order>(r#"{"id": "o-1", "total_cents": 995}"#.into()).await?;
//! assert_eq!(receipt.accepted, Accepted::New);
//!
//! let receipt = inbox.receive::<Order>(r#"{"total_cents": 995, "id": "o-1"}"#.into()).await?;
//! assert_eq!(receipt.accepted, Accepted::Duplicate);
//!
//! let receipt = inbox.receive::<Order>(r#"{"id": "o-1", "total_cents": 1}"#.into()).await?;
//! assert_eq!(receipt.accepted, Accepted::Conflict);
//!
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Answering a sender
//!
//! Every [`Accepted`] is durable and a success for the sender, a conflict too: the store keeps the first
//! event and records the conflict. An [`Error`] has a [kind](Error::kind) that decides the answer. [`Inbox`]
//! is cheap to clone, so it fits the state of any web framework.
//!
//! ```
//! use webhook_core::{ErrorKind, Inbox};
//! # use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, InboxOptions, Payload};
//! # struct Order;
//! # impl Payload for Order {
//! #     const KIND: &'static str = "order";
//! #     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> { Identity::of_json(body, "/id", &[]) }
//! #     fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> { Ok(Self) }
//! # }
//!
//! /// The HTTP status for a delivered body.
//! async fn deliver(inbox: &Inbox, body: Vec<u8>) -> u16 {
//!     match inbox.receive::<Order>(body.into()).await {
//!         Ok(_) => 202,
//!         Err(error) => match error.kind() {
//!             ErrorKind::Invalid => 422,
//!             // With `Retry-After`: the queue is full, or the store is down or slow.
//!             ErrorKind::Temporary => 503,
//!             _ => 500,
//!         },
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! # let store = std::sync::Arc::new(webhook_memory::MemoryStore::default());
//! # let inbox = Inbox::new(store, InboxOptions::default());
//! assert_eq!(deliver(&inbox, br#"{"id": "o-1"}"#.to_vec()).await, 202);
//! assert_eq!(deliver(&inbox, b"hello".to_vec()).await, 422);
//! # }
//! ```
//!
//! Read a record back with [`Inbox::find`]. A consumer of a queue can wait for room instead of getting
//! [`Error::Overloaded`]: see [`Inbox::reserve`] and [`Inbox::accept_all`]. A request with many events, which
//! must be stored all or none, is for [`Inbox::accept_together`].
//!
//! # Payloads
//!
//! [`Payload::identify`] runs when a delivery arrives: it gives the key and a [`Fingerprint`] of the content
//! that is compared when the key comes again. [`Payload::decode`] runs when the event is processed. The key
//! may come from a header that you keep with the event:
//!
//! ```
//! use webhook_core::{Fingerprint, HandlerError, Headers, Identity, InvalidPayload, Payload};
//!
//! /// What GitHub sends: the event's name and the delivery's id are in headers.
//! struct GithubEvent {
//!     name: String,
//!     body: serde_json::Value,
//! }
//!
//! impl Payload for GithubEvent {
//!     const KIND: &'static str = "github";
//!
//!     fn identify(body: &[u8], headers: &Headers) -> Result<Identity, InvalidPayload> {
//!         let Some(id) = headers.get_str("x-github-delivery") else {
//!             let detail = "needs the header X-GitHub-Delivery".to_owned();
//!             return Err(InvalidPayload::Malformed { detail });
//!         };
//!         Identity::new(id, Fingerprint::of([body]))
//!     }
//!
//!     fn decode(body: &[u8], headers: &Headers) -> Result<Self, HandlerError> {
//!         let name = headers.get_str("x-github-event").unwrap_or_default().to_owned();
//!         Ok(Self { name, body: serde_json::from_slice(body)? })
//!     }
//! }
//!
//! let kept = [("X-GitHub-Delivery", "72d3162e"), ("X-GitHub-Event", "push")];
//! let headers = Headers::try_from_iter(kept)?;
//! let identity = GithubEvent::identify(b"{}", &headers)?;
//! assert_eq!(identity.key.as_str(), "72d3162e");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Pass the headers to [`Inbox::receive_with`]. Refuse as little as possible: see [`Payload`].
//!
//! # Handlers
//!
//! A [`Handler`] is an async function, a closure, or a type of its own. It runs at least once per event. How
//! it returns decides what happens next:
//!
//! ```
//! use std::time::Duration;
//!
//! use webhook_core::{Event, HandlerError, RawEvent};
//!
//! async fn charge(event: RawEvent) -> Result<(), HandlerError> {
//!     // `?` retries, with exponential backoff, until the attempts are used up.
//!     let amount: u64 = std::str::from_utf8(&event.body)?.trim().parse()?;
//!     match amount {
//!         // Fails the event for good.
//!         0 => Err(HandlerError::reject("nothing to charge")),
//!         // Retries when the handler says.
//!         1..100 => Err(HandlerError::retry_after(Duration::from_secs(60), "card declined")),
//!         // Does not count this attempt: it says nothing about the event.
//!         100..1_000 => Err(HandlerError::postpone(Duration::from_secs(5), "throttled")),
//!         _ => Ok(()),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let kind = webhook_core::Kind::from_static("charge");
//! # let event = |body: &'static str| Event::raw(kind.clone(), body);
//! assert_eq!(charge(event("5000")).await, Ok(()));
//! assert!(charge(event("0")).await.unwrap_err().is_rejection());
//! assert!(charge(event("500")).await.unwrap_err().is_postponement());
//! # }
//! ```
//!
//! A panic and a time-out are retried. After a crash or a lost lease a handler runs again for an event that
//! it may have finished. Effects happen exactly once if they are idempotent by the event's key, or if they
//! are made in the transaction that settles the event (`settle_with` of `webhook-postgres` and
//! `webhook-sqlite`).
//!
//! Handlers log in a span that names kind, key and attempt. For metrics and alerts, implement [`Observer`].
//!
//! # Events that follow
//!
//! A handler finds the pipeline's inbox in its event. A payload that implements `serde::Serialize` can be
//! accepted directly:
//!
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use webhook_core::{Event, HandlerError, Headers, Identity, InvalidPayload, Payload, Pipeline};
//! # use webhook_memory::MemoryStore;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Paid { order: String }
//! #[derive(Serialize, Deserialize)]
//! struct SendReceipt { order: String }
//! # macro_rules! by_order { ($($payload:ident $kind:literal),*) => { $(impl Payload for $payload {
//! #     const KIND: &'static str = $kind;
//! #     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> { Identity::of_json(body, "/order", &[]) }
//! #     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> { Ok(serde_json::from_slice(body)?) }
//! # })* } }
//! # by_order!(Paid "paid", SendReceipt "send-receipt");
//!
//! async fn on_paid(event: Event<Paid>) -> Result<(), HandlerError> {
//!     let inbox = event.inbox().expect("handlers of a pipeline have it");
//!     // Accepted again by a second attempt, it is a duplicate.
//!     inbox.accept(&SendReceipt { order: event.payload.order.clone() }).await?;
//!     Ok(())
//! }
//!
//! async fn send_receipt(event: Event<SendReceipt>) -> Result<(), HandlerError> {
//!     println!("receipt for order {}", event.payload.order);
//!     Ok(())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), webhook_core::Error> {
//! let pipeline = Pipeline::builder(MemoryStore::default())
//!     .handle(on_paid)
//!     .handle(send_receipt)
//!     .start();
//! pipeline.inbox().accept(&Paid { order: "o-1".to_owned() }).await?;
//! pipeline.idle().await;
//! let key = webhook_core::Key::new("o-1").expect("a valid key");
//! let receipt = pipeline.inbox().find::<SendReceipt>(&key).await?.expect("it followed");
//! assert_eq!(receipt.state, webhook_core::State::Processed);
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Options
//!
//! Every limit has a default and an option: [`InboxOptions`], [`WorkerOptions`], [`Backoff`], [`Retention`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use webhook_core::{InboxOptions, Kind, Pipeline, RawEvent, Retention, WorkerOptions};
//! use webhook_memory::MemoryStore;
//!
//! # #[tokio::main]
//! # async fn main() {
//! const EMAIL: Kind = Kind::from_static("email");
//! const DAY: Duration = Duration::from_secs(24 * 3600);
//!
//! let store = Arc::new(MemoryStore::default());
//! let pipeline = Pipeline::builder(store.clone())
//!     // Events are due half a minute after they are accepted.
//!     .inbox(InboxOptions::default().with_delay(Duration::from_secs(30)))
//!     .handle_raw(
//!         EMAIL,
//!         WorkerOptions::default().with_concurrency(8).with_handler_timeout(Duration::from_secs(60)),
//!         async |email: RawEvent| {
//!             println!("sending {} bytes", email.body.len());
//!             Ok(())
//!         },
//!     )
//!     // Keys are kept for a year, so that late redeliveries are recognised; bodies for a month.
//!     .retain(store, Retention::new(EMAIL, 365 * DAY).with_keep_bodies(30 * DAY))
//!     .start();
//! # pipeline.shutdown(Duration::ZERO).await;
//! # }
//! ```
//!
//! # Several processes
//!
//! A process that only accepts takes an [`Inbox`], one that only processes a [`Worker`]. With
//! `webhook-postgres` they may be on different machines, any number of each.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use webhook_core::{Envelope, Fingerprint, Inbox, InboxOptions, Key, Kind, RawEvent, Worker, WorkerOptions};
//! use webhook_memory::MemoryStore;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::default());
//! const EMAIL: Kind = Kind::from_static("email");
//!
//! // The process that accepts. An event without a payload type goes in as an envelope.
//! let inbox = Inbox::new(store.clone(), InboxOptions::default());
//! let envelope = Envelope::new(EMAIL, Key::new("m-1")?, Fingerprint::of(["hello"]), "hello".into());
//! inbox.accept(envelope).await?;
//!
//! // The process that works.
//! let worker = Worker::builder()
//!     .handle_raw(EMAIL, WorkerOptions::default(), async |_: RawEvent| Ok(()))
//!     .start(store);
//! worker.idle().await;
//!
//! // On SIGTERM: let running handlers end, release the other events, and store what is queued.
//! worker.shutdown(Duration::from_secs(25)).await;
//! inbox.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Several databases
//!
//! [`Partitioned`] is one inbox over several backends, such as schemas of several PostgreSQL servers: each event is in
//! the one that a hash of its kind and its key chooses. It is a backend itself.
//!
//! # Testing
//!
//! A handler is a function: call it with [`Event::new`] and compare its [`HandlerError`], as in [the example
//! of `Handler`](Handler#testing). A whole app runs on `webhook-memory`, whose clock is Tokio's: with a
//! paused clock, hours of retries take no time. [`Pipeline::idle`] waits until nothing is left to do.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//!
//! # use webhook_core::{Envelope, Fingerprint, HandlerError, Key, Kind, Pipeline, RawEvent, State, WorkerOptions};
//! # use webhook_memory::MemoryStore;
//! // In a test: #[tokio::test(start_paused = true)]
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let calls = AtomicU32::new(0);
//! let kind = Kind::from_static("call");
//! let store = MemoryStore::default();
//! let handler = move |_: RawEvent| {
//!     let call = calls.fetch_add(1, Ordering::Relaxed);
//!     async move {
//!         match call {
//!             0 => Err(HandlerError::retry_after(Duration::from_secs(3600), "line busy")),
//!             _ => Ok(()),
//!         }
//!     }
//! };
//! let pipeline = Pipeline::builder(store.clone())
//!     .handle_raw(kind.clone(), WorkerOptions::default(), handler)
//!     .start();
//!
//! let began = tokio::time::Instant::now();
//! let envelope = Envelope::new(kind, Key::new("c-1")?, Fingerprint::of(["c-1"]), "".into());
//! pipeline.inbox().accept(envelope).await?;
//! pipeline.idle().await;
//! assert!(began.elapsed() >= Duration::from_secs(3600));
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `mocks`, a test can use a backend whose calls fail.
//!
//! # Operating
//!
//! [`Admin`] counts, lists, requeues, pauses and prunes events. `webhook-server` has commands for all of it,
//! and they work on the database of any app: `webhook-server list --kind order --state failed`.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use webhook_core::{Admin, EventRef, Kind, Page, State, StoreError};
//! # use webhook_memory::MemoryStore;
//!
//! /// Schedules up to a hundred failed events again.
//! async fn requeue_failed(admin: &dyn Admin, kind: Kind) -> Result<usize, StoreError> {
//!     let limit = NonZeroUsize::new(100).expect("not zero");
//!     let failed = admin.list(&Page::new(kind, State::Failed, limit)).await?;
//!     let events: Vec<EventRef> = failed.into_iter().map(|summary| summary.event).collect();
//!     Ok(admin.requeue(&events).await?.len())
//! }
//! # #[tokio::main]
//! # async fn main() {
//! # let none = requeue_failed(&MemoryStore::default(), Kind::from_static("order")).await;
//! # assert_eq!(none.expect("a store in memory answers"), 0);
//! # }
//! ```
//!
//! # Backends
//!
//! A backend implements [`Store`] for senders and readers, [`Scheduler`] for workers, and [`Admin`] for
//! operators. Each method documents what it guarantees. [`conformance!`](crate::conformance!) makes a test of
//! each guarantee. [`throttle`] and [`wakeup`] help with what backends have in common. `async_trait` and
//! `bytes` are re-exported.
//!
//! # Features
//!
//! None is on by default.
//!
//! | Feature | Adds |
//! |---|---|
//! | `conformance` | [`conformance!`](crate::conformance!): the tests that every backend must pass |
//! | `metrics` | `webhook_core::metrics`: counters, gauges and histograms for the recorder of the facade `metrics` |
//! | `mocks` | [`MockStore`], [`MockScheduler`] and [`MockAdmin`], made by mockall |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod backoff;
mod claim_limit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod event;
mod handler;
mod headers;
mod inbox;
mod measures;
#[cfg(feature = "metrics")]
pub mod metrics;
mod observer;
mod panics;
mod partitioned;
pub mod payload;
mod pipeline;
mod placement;
mod pointers;
mod retention;
mod scheduler;
mod setters;
mod store;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod test_payload;
mod text;
pub mod throttle;
mod trace_parent;
pub mod transfer;
pub mod wakeup;
mod worker;

pub use admin::{
    ActionId, ActionPage, ActionRecord, Admin, ConflictRecord, Counts, DEFAULT_MAX_EXAMINED,
    DEFAULT_MAX_TIME, DeleteBodies, Deleted, Erased, FailedAttempt, InvalidPattern, KindSample,
    MAX_ACTION_DETAILS_BYTES, MAX_ACTION_PAGE, MAX_ACTIONS, MAX_ACTOR_BYTES, MAX_FAILED_ATTEMPTS,
    MAX_NODE_EXPIRY, MAX_NODE_ID_BYTES, MAX_NODE_TEXT_BYTES, MAX_NODES, MAX_TARGET_BYTES, MadeDue,
    NodeId, NodeRecord, NodeReport, NodeTable, Page, Pattern, Prune, Requeued, RunningLeases,
    Search, SearchPage, SearchScan, SearchStep, SettledCounts, StoppedEarly, StoredAction,
    TerminalState,
};
pub use backoff::Backoff;
pub use claim_limit::ClaimLimit;
pub use error::{Error, ErrorKind, Source, StoreError, with_causes};
pub use event::{
    Envelope, EventId, EventRecord, EventRef, EventSummary, EventType, Fingerprint, InvalidName,
    Key, Kind, MAX_EVENT_TYPE_BYTES, MAX_KEY_BYTES, MAX_KIND_BYTES, State,
};
pub use handler::{Event, Handled, Handler, HandlerError, RawEvent, sharing};
pub use headers::{Headers, InvalidHeader, MAX_HEADERS, MAX_HEADERS_BYTES};
pub use inbox::{Inbox, InboxOptions, MAX_TOGETHER, Receipt, Reserved};
pub use observer::{AttemptEnd, Observed, Observer};
pub use partitioned::{
    FoundInbox, OpenMode, Partition, PartitionError, PartitionOptions, PartitionPlan, Partitioned,
    refuse_partition,
};
pub use payload::{FieldError, Identity, IntoEnvelope, InvalidPayload, Payload};
pub use pipeline::{Pipeline, PipelineBuilder};
pub use placement::{MAX_PARTITIONS, Placement};
pub use retention::{Retention, Swept};
pub use scheduler::{
    Attempt, Claim, Claimed, ClaimedEvent, Extended, FailureReason, Fence, Lease,
    MAX_DETAILS_BYTES, MAX_REASON_BYTES, Outcome, Reason, Scheduler, Settled, Settlement,
};
pub use store::{
    Accepted, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES, NewEvent, OnFailed, Store,
};
pub use text::BoundedText;
pub use trace_parent::TraceParent;
pub use worker::{Drained, Worker, WorkerBuilder, WorkerOptions};

/// The attribute that implementations of [`Store`], [`Scheduler`] and [`Admin`] need, so that a backend
/// need not depend on the crate of that name.
#[doc(no_inline)]
pub use async_trait::async_trait;
/// The crate of [`Bytes`](bytes::Bytes), the type of bodies, in the version that this API has.
#[doc(no_inline)]
pub use bytes;

#[cfg(feature = "mocks")]
pub use {admin::MockAdmin, scheduler::MockScheduler, store::MockStore};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
