//! Forwards the events of a webhook inbox to a URL: signed by Standard Webhooks, retried on a schedule, and
//! limited to what the receiver can take.
//!
//! A [`Forwarder`] is a handler of `webhook-core`. It sends each event of a kind to a [`Destination`], and
//! tells the worker how many events the destination can take now.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use webhook_core::{Kind, Worker, WorkerOptions};
//! use webhook_forward::{Destination, Forwarder, SigningKeys};
//! use webhook_memory::MemoryStore;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::default());
//! let keys: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
//! let destination = Destination::new("http://127.0.0.1:3000/hooks".parse()?).with_keys(keys);
//! let forwarder = Forwarder::new(destination)?.with_admin(store.clone());
//!
//! let kind = Kind::from_static("stripe");
//! let options = forwarder.worker_options(WorkerOptions::default());
//! let worker = Worker::builder().handle_raw(kind, options, forwarder.clone()).start(store);
//!
//! println!("{:?}", forwarder.status());
//! worker.shutdown(Duration::from_secs(20)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Requests
//!
//! A request is a POST with the body of the event, byte for byte. Its headers are made, not copied: of the
//! sender's headers it has `content-type` and those in [`Destination::pass_headers`], if they are stored
//! with the event.
//!
//! | Header | Value |
//! |---|---|
//! | `webhook-id` | the same for all attempts at an event, also after a requeue and in another store: see [`webhook_id`] |
//! | `webhook-timestamp` | the time of this attempt, in seconds since 1970 |
//! | `webhook-signature` | the signatures by all [`SigningKeys`], separated by spaces |
//! | `inbox-source` | the kind |
//! | `inbox-key` | the idempotency key; all but visible ASCII is percent-encoded, and so is `%` |
//! | `inbox-type` | the event type, if there is one; encoded like the key |
//! | `inbox-received-at` | when the event was accepted, such as `2026-01-02T03:04:05.678Z` |
//! | `inbox-attempt` | the number of this attempt, and how many there are at most, such as `3/13` |
//! | `inbox-trigger` | a [`Trigger`], such as `retry` |
//! | `traceparent` | that of the [`RequestTracer`], or else the stored one, if it is valid (W3C Trace Context) |
//!
//! If the headers have more than 8 KiB, the longest of those that begin with `inbox-` are left out.
//!
//! An event is delivered at least once. If the process dies between the answer and the settlement, the app
//! gets the event again, with the same `webhook-id`.
//!
//! # Answers
//!
//! | Answer | Event | Destination |
//! |---|---|---|
//! | 2xx | processed | a success |
//! | 410 | waits, without using up an attempt | paused: [`Admin::resume`](webhook_core::Admin::resume) ends it |
//! | a status in [`Destination::fail_on`] | failed | unchanged |
//! | 429, 503 with `Retry-After` | tried again, not before that time | gets no events until then, at most 24 h |
//! | 3xx | tried again: redirects are not followed | a failure |
//! | time-out, 502, 504 | tried again after 60 s or more | a failure |
//! | other answers, no connection | tried again | a failure |
//!
//! A failed attempt keeps its answer as JSON: the status, the headers without secrets, the first 16 KiB of
//! the body, the times of each step, the address, and an [`ErrorClass`]. See
//! [`Admin::failed_attempts`](webhook_core::Admin::failed_attempts).
//!
//! # Limits
//!
//! Events that a destination cannot take now are not claimed. They stay due, use up no attempts, and cost
//! nothing. Each process has its own limits for each destination:
//!
//! - At most [`Destination::concurrency`] requests run at the same time, and at most those of
//!   [`Destination::rate`] begin in a second, minute or hour.
//! - A destination starts slowly: with one request at first, after 10 s without a request, after an open
//!   breaker, and after a pause. Each success allows one request more; a time-out or a failure to connect
//!   halves the number.
//! - A circuit breaker opens if half of at least 20 attempts in 60 s failed, or after 5 failures to connect
//!   in a row. After 30 s, the event that has been due for the longest is forwarded as a probe. Three
//!   successes in a row close the breaker; a failure opens it for twice as long, up to 10 minutes.
//!
//! # Addresses
//!
//! The host is looked up once for each connection. Every address is checked by [`check_address`], and the
//! connection goes to a checked address. Cloud metadata, link-local and other special addresses are never
//! allowed; private ones only with [`Reach::Private`], which is the default of a destination that an
//! operator configures.
//!
//! # Features
//!
//! None is on by default.
//!
//! | Feature | Adds |
//! |---|---|
//! | `metrics` | `webhook_forward::metrics`: metrics of the destinations that have a name, see [`Forwarder::with_name`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod breaker;
mod client;
mod connector;
mod destination;
mod details;
mod error_class;
mod forwarder;
mod limit;
mod measures;
#[cfg(feature = "metrics")]
pub mod metrics;
mod rate;
mod request;
mod resolve;
mod retry_after;
mod schedule;
mod signing;
mod slow_start;
mod status;
mod statuses;
mod tls;
mod token_bucket;
mod trace;
mod verdict;

pub use address::{BlockedAddress, Reach, check_address};
pub use client::{
    Answer, Client, ClientOptions, Exchange, Failure, MAX_ANSWER_BODY_BYTES, Timings,
};
pub use connector::ConnectError;
pub use destination::{Destination, InvalidDestination, MAX_TIMEOUT};
pub use error_class::ErrorClass;
pub use forwarder::Forwarder;
pub use limit::NotNow;
pub use rate::{InvalidRate, Rate};
pub use request::{Trigger, webhook_id};
pub use resolve::{InvalidUrl, Resolve, SystemResolver, UrlError, check_url};
pub use schedule::{InvalidSchedule, MAX_ATTEMPTS, MAX_DELAY, Schedule};
pub use signing::{InvalidSigningKey, MAX_SIGNING_KEYS, RandomError, SigningKeys};
pub use status::{AnswerRecord, DestinationState, DestinationStatus, PauseRecord};
pub use statuses::{InvalidStatus, StatusSet};
pub use tls::{Tls, TlsError, system_authorities};
pub use trace::{RequestSpan, RequestTracer};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
