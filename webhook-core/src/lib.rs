//! A durable inbox for webhooks.
//!
//! An [`Inbox`] stores each event once per kind and key before it acknowledges it. A [`Worker`] processes
//! the event when it is due, and again after a failure or a crash, until it succeeds or its attempts are
//! spent. A [`Pipeline`] is both in one process.
//!
//! This crate contains no SQL, no HTTP server and no backend. A backend implements [`Store`] (for senders and
//! readers), [`Scheduler`] (for workers) and [`Admin`] (for operators): `webhook-postgres` keeps events in
//! PostgreSQL, `webhook-memory` in memory.
//!
//! # Example
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
//! # Where to start
//!
//! | To | see |
//! |---|---|
//! | accept and process events in one process | [`Pipeline`] |
//! | only accept, or only process them | [`Inbox`], [`Worker`] |
//! | define an event | [`Payload`], [`Identity`] |
//! | process events | [`Handler`], [`WorkerOptions`], [`Backoff`] |
//! | verify who sent an event | the crate `webhook-sources` |
//! | list, requeue and prune events | [`Admin`], [`Retention`] |
//! | write a backend | [`Store`], [`Scheduler`], [`Admin`], and [`conformance!`](crate::conformance!) to test it; `async_trait` and `bytes` are re-exported |
//!
//! # Features
//!
//! None is on by default.
//!
//! | Feature | Adds |
//! |---|---|
//! | `conformance` | [`conformance!`](crate::conformance!): the tests that every backend must pass |
//! | `mocks` | [`MockStore`], [`MockScheduler`] and [`MockAdmin`], made by mockall |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod event;
mod handler;
mod headers;
mod inbox;
mod observer;
mod operator;
mod panics;
pub mod payload;
mod pipeline;
mod pointers;
mod retention;
#[cfg(test)]
mod sample;
mod scheduler;
mod setters;
mod store;
pub mod throttle;
pub mod wakeup;
mod worker;

pub use backoff::Backoff;
pub use error::{Error, ErrorKind, Source, StoreError};
pub use event::{
    Envelope, EventId, EventRecord, EventRef, EventSummary, Fingerprint, InvalidName, Key, Kind,
    MAX_KEY_BYTES, MAX_KIND_BYTES, State,
};
pub use handler::{Event, Handled, Handler, HandlerError, RawEvent, sharing};
pub use headers::{Headers, InvalidHeader, MAX_HEADERS, MAX_HEADERS_BYTES};
pub use inbox::{Inbox, InboxOptions, Receipt, Reserved};
pub use observer::{AttemptEnd, Observed, Observer};
pub use operator::{
    Admin, ConflictRecord, Counts, DeleteBodies, FailedAttempt, MAX_FAILED_ATTEMPTS, MadeDue, Page,
    Prune, Requeued, RunningLeases, SettledCounts, TerminalState,
};
pub use payload::{FieldError, Identity, IntoEnvelope, InvalidPayload, Payload};
pub use pipeline::{Pipeline, PipelineBuilder};
pub use retention::{Retention, Swept};
pub use scheduler::{
    Attempt, Claim, Claimed, ClaimedEvent, Extended, FailureReason, Fence, Lease, MAX_REASON_BYTES,
    Outcome, Reason, Scheduler, Settled, Settlement,
};
pub use store::{
    Accepted, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES, NewEvent, OnFailed, Store,
};
pub use worker::{Drained, Worker, WorkerBuilder, WorkerOptions};

/// The attribute that implementations of [`Store`], [`Scheduler`] and [`Admin`] need, so that a backend
/// need not depend on the crate of that name.
#[doc(no_inline)]
pub use async_trait::async_trait;
/// The crate of [`Bytes`](bytes::Bytes), the type of bodies, in the version that this API has.
#[doc(no_inline)]
pub use bytes;

#[cfg(feature = "mocks")]
pub use {operator::MockAdmin, scheduler::MockScheduler, store::MockStore};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
