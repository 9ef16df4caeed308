//! Receives the webhooks of any sender: verifies who made a request, finds its events, and says what to answer.
//!
//! A [`Source`] is a sender with its secrets. What it needs to know of the sender is data: take a [`preset`], or
//! write a [`SourceSpec`](spec::SourceSpec).
//!
//! This crate does no I/O and knows no HTTP library: it takes a [`Request`] and the time as values. It depends on
//! no other crate of this project: use it with or without the inbox of `webhook-core`.
//!
//! # Receiving
//!
//! Give the source each request as it came: decompressed or reformatted bytes have another signature.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use webhook_sources::{Answer, Outcome, Outgoing, Request, Secrets, Source, SourceOptions, preset};
//!
//! /// Stores the events of a request, and returns the answer.
//! fn receive(source: &Source, request: &Request<'_>, store: &mut Vec<(String, Vec<u8>)>) -> Answer {
//!     match source.receive(request, SystemTime::now()) {
//!         Outcome::Received(received) => {
//!             // In one transaction, and only once for each id. If that fails, answer 503 instead.
//!             for event in received.events {
//!                 store.push((event.id, request.body[event.body].to_vec()));
//!             }
//!             received.answer
//!         }
//!         Outcome::Handshake(answer) => answer,
//!         Outcome::Refused(refusal) => {
//!             eprintln!("refused: {}", refusal.reason); // for the operator, not for the answer
//!             refusal.answer
//!         }
//!         other => panic!("a new outcome: {other:?}"),
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stripe = preset::get("stripe").expect("a preset").spec.clone();
//! let secrets = Secrets::of(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
//! let stripe = Source::new(stripe, &secrets, SourceOptions::default())?;
//!
//! // A test signs a request as Stripe does.
//! let body = br#"{"id": "evt_1", "type": "charge.succeeded"}"#;
//! let request = Request { method: "POST", target: "/stripe", headers: &[], body };
//! let outgoing = Outgoing { request, message_id: None };
//! let signed = stripe.sign(&outgoing, SystemTime::now())?;
//! let headers: Vec<(&str, &[u8])> =
//!     signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
//!
//! let mut store = Vec::new();
//! let signed = Request { headers: &headers, ..request };
//! assert_eq!(receive(&stripe, &signed, &mut store).status, 200);
//! assert_eq!(store, [("evt_1".to_owned(), body.to_vec())]);
//! assert_eq!(receive(&stripe, &request, &mut store).status, 401);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `http`, [`RequestParts`](http::RequestParts) makes the [`Request`] from the types of the crate
//! `http`, which hyper and axum use.
//!
//! [`Source::check_head`] refuses most forgeries before their body is read. [`Source::kept_headers`] are those that
//! are worth to be stored with the events.
//!
//! # What each part does
//!
//! | Part of a specification | Says | Default |
//! |---|---|---|
//! | [`scheme`](spec::Scheme) | how a request shows who made it: HMAC, token, password, public key, digest | |
//! | [`id`](spec::IdRule) | where the id of an event is; the store keeps one event for each id | the hash of the content |
//! | [`split`](spec::SourceSpec::split) | where the events of a request are, if it may have several | the body is one event |
//! | [`event_type`](spec::SourceSpec::event_type) | where the name of the event's type is | none |
//! | [`compare`](spec::Compare) | which content decides whether a repeated id is a duplicate or a conflict | all bytes |
//! | [`guard`](spec::Guard) | what makes an event with a new id a duplicate: nothing, a known body, or a known body and type | nothing |
//! | [`handshakes`](spec::Handshake) | which requests check the address, and their answers | none |
//! | [`answer`](spec::AnswerSpec), [`refused_status`](spec::SourceSpec::refused_status) | what the sender is answered | 200 and an empty body, 401 |
//!
//! A verified request always becomes a handshake or at least one event. If its id is missing, or its body is not
//! what the specification expects, the event has a [`Flaw`]: store it nevertheless, since the sender would only
//! repeat it.
//!
//! # A sender without a preset
//!
//! ```
//! use webhook_sources::spec::SourceSpec;
//!
//! let spec: SourceSpec = toml::from_str(r#"
//!     id = "header:x-delivery-id"
//!     event_type = "json:/event"
//!     guard = "body" # the header with the id is not signed
//!
//!     [scheme.hmac]
//!     signed = "{timestamp}.{body}"
//!     signature = { at = "header:x-signature", prefix = "sha256=" }
//!     time = { at = "header:x-timestamp" }
//! "#)?;
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! # Changing a secret
//!
//! Give the old and the new secret at once until the sender signs with the new one.
//! [`Verified::secret_index`] tells which of them matched.
//!
//! # Limits
//!
//! A request may have at most [`MAX_EVENTS`], [`MAX_FIELDS`] in a form, and [`MAX_SIGNATURES`]. An id has at most
//! [`MAX_ID_BYTES`], and the value of a handshake [`MAX_HANDSHAKE_VALUE_BYTES`]. Whoever calls this crate limits the
//! size of bodies. The time that a request takes is in proportion to its size.
//!
//! Without a signed time, somebody who has seen a delivery can send it again. Keep the ids of such events for a
//! long time: then the copy is a duplicate.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod compare;
mod content;
mod error;
mod handshake;
#[cfg(feature = "http")]
pub mod http;
mod identity;
mod keys;
mod outcome;
pub mod preset;
mod request;
mod secrets;
mod source;
pub mod spec;
mod verification;

pub use content::MAX_FIELDS;
pub use error::{InvalidSource, InvalidSources, SecretProblem};
pub use keys::{KeyRequest, Keys};
pub use outcome::{Answer, Flaw, Outcome, Received, ReceivedEvent, Refusal, RefusalReason};
pub use request::Request;
pub use secrets::Secrets;
pub use source::{Source, SourceOptions};
pub use verification::{
    BodyForm, CertificateProblem, ClaimProblem, DEFAULT_TOLERANCE, Hint, MAX_DIAGNOSED_BYTES,
    MAX_PUBLIC_KEY_CHECKS, MAX_PUBLIC_KEYS, MAX_SIGNATURES, MIN_KEY_BYTES, MIN_SECRET_BYTES,
    Outgoing, SecretLength, Signed, Unsigned, Unverified, Verification, VerificationOptions,
    Verified,
};

/// The most headers of a family such as `x-docusign-signature-{n}` that are read.
pub const MAX_NUMBERED_HEADERS: usize = 100;

/// The largest length of an id or of the name of an event's type, in bytes. A longer one is replaced by its
/// SHA-256.
pub const MAX_ID_BYTES: usize = 512;

/// The most events of one request. A request with more is one event.
pub const MAX_EVENTS: usize = 5_000;

/// The most headers that are kept with an event.
pub const MAX_KEPT_HEADERS: usize = 32;

/// The largest size of the headers that are kept with an event: of their names and values, in bytes.
pub const MAX_KEPT_HEADER_BYTES: usize = 8 * 1024;

/// The largest length of the value of a handshake, in bytes. A longer one is not answered.
pub const MAX_HANDSHAKE_VALUE_BYTES: usize = 4 * 1024;

/// The type of an event that asks the operator to visit a URL; see
/// [`Handshake::Confirm`](spec::Handshake::Confirm).
pub const CONFIRMATION: &str = "webhook.confirmation";

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
