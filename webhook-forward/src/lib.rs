//! Forwards the events of a webhook inbox to a URL: signed by Standard Webhooks, retried on a schedule, and never
//! more than the receiver can take.

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
mod verdict;

pub use address::{BlockedAddress, Reach, check_address};
pub use client::{
    Answer, Client, ClientOptions, Exchange, Failure, MAX_ANSWER_BODY_BYTES, Timings,
};
pub use destination::{Destination, InvalidDestination, MAX_TIMEOUT};
pub use error_class::ErrorClass;
pub use forwarder::Forwarder;
pub use rate::{InvalidRate, Rate};
pub use request::{Trigger, webhook_id};
pub use resolve::{Resolve, SystemResolver, UrlError, check_url};
pub use schedule::{InvalidSchedule, MAX_ATTEMPTS, MAX_DELAY, Schedule};
pub use signing::{InvalidSigningKey, MAX_SIGNING_KEYS, RandomError, SigningKeys};
pub use status::{AnswerRecord, DestinationState, DestinationStatus};
pub use statuses::{InvalidStatus, StatusSet};
pub use tls::{Tls, TlsError, system_authorities};
