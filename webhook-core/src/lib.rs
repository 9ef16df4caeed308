//! A durable inbox for webhooks.
//!
//! A sender posts an event; the inbox makes it durable, once per (kind, key), and answers; a
//! worker processes it later, once, whatever crashes in between. This crate holds the promises
//! and the logic. It knows no SQL, no HTTP server and no backend: those implement [`Store`]
//! (what senders and readers see), [`Scheduler`] (what workers see) and [`Operator`] (what only
//! operators need).

mod backoff;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod event;
mod handler;
mod inbox;
mod operator;
mod panics;
pub mod payload;
mod pipeline;
mod pointers;
mod retention;
mod scheduler;
#[cfg(feature = "signatures")]
pub mod signature;
mod store;
pub mod transaction;
mod worker;

pub use backoff::Backoff;
pub use error::{Error, ErrorKind, Source};
pub use event::{
    Envelope, EventId, EventRecord, EventRef, EventSummary, Fingerprint, InvalidName, Key, Kind,
    MAX_KEY_BYTES, MAX_KIND_BYTES, State,
};
pub use handler::{Event, Handled, Handler, HandlerError, sharing};
pub use inbox::{Inbox, InboxOptions, Receipt, Reserved};
pub use operator::{
    ConflictRecord, Counts, FailedAttempt, MAX_FAILED_ATTEMPTS, MadeDue, Operator, Page, Prune,
    Requeued, RunningLeases, SettledCounts, Strip, TerminalState,
};
pub use payload::{FieldError, InvalidPayload, Payload};
pub use pipeline::{Pipeline, PipelineBuilder};
pub use retention::{Retention, Swept};
pub use scheduler::{
    Attempt, Claim, Claimed, ClaimedEvent, EXHAUSTED_REASON, Extended, Fence, LOST_REASON, Lease,
    MAX_REASON_BYTES, Outcome, Reason, Scheduler, Settled, Settlement,
};
pub use store::{
    Accepted, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES, NewEvent, Redelivery, Store,
};
pub use transaction::Transaction;
pub use worker::{Drained, Worker, WorkerOptions};

#[cfg(feature = "mocks")]
pub use {operator::MockOperator, scheduler::MockScheduler, store::MockStore};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
