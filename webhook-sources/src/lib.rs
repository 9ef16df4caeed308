//! Verifies who sent a webhook.
//!
//! [`signature`] verifies the signatures of Standard Webhooks (and Svix), Stripe, GitHub, Shopify, Razorpay,
//! Cashfree, and of any sender that signs the body by HMAC-SHA256. It makes them as well: for tests, and for
//! senders.
//!
//! This crate does no I/O and knows no HTTP library: it takes the headers by a closure, the body as bytes,
//! and the time as a value. It depends on no other crate of this project: use it with or without the inbox of
//! `webhook-core`.
//!
//! # Verifying a delivery
//!
//! Verify the bytes as they were received, before anything parses them.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use webhook_sources::signature::{Delivery, Signer, Stripe, Unverified, Verifier};
//!
//! /// Fails unless Stripe sent `body` with these headers.
//! fn verify(stripe: &Stripe, headers: &[(String, String)], body: &[u8]) -> Result<(), Unverified> {
//!     // All values of a header, so that a second one is seen and refused.
//!     let header = |name: &str| {
//!         let values = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
//!         values.map(|(_, value)| value.as_bytes()).collect()
//!     };
//!     stripe.verify(&Delivery::new(&header, body, SystemTime::now()))?;
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stripe = Stripe::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])?;
//!
//! // A test signs a delivery as Stripe does.
//! let body = br#"{"type": "charge.succeeded"}"#;
//! let headers = stripe.sign("evt_1", SystemTime::now(), body)?;
//! assert_eq!(verify(&stripe, &headers, body), Ok(()));
//! assert_eq!(verify(&stripe, &headers, b"{}"), Err(Unverified::NoMatch));
//! # Ok(())
//! # }
//! ```
//!
//! With the crate `http` (hyper, axum) the closure is
//! `|name: &str| headers.get_all(name).iter().map(|value| value.as_bytes()).collect()`.
//!
//! # Changing a secret
//!
//! Give the old and the new secret at once until the sender signs with the new one.
//! [`Verified`](signature::Verified) tells which of them matched:
//!
//! ```
//! # use std::time::SystemTime;
//! use webhook_sources::signature::{BodyHmac, BodyHmacScheme, Delivery, Signer, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let both = BodyHmac::new(BodyHmacScheme::github(), ["the old secret", "the new secret"])?;
//!
//! let sender = BodyHmac::new(BodyHmacScheme::github(), ["the new secret"])?;
//! let headers = sender.sign("", SystemTime::now(), b"{}")?;
//! let header = |name: &str| {
//!     let values = headers.iter().filter(|(known, _)| known == name);
//!     values.map(|(_, value)| value.as_bytes()).collect()
//! };
//! let verified = both.verify(&Delivery::new(&header, b"{}", SystemTime::now()))?;
//! assert_eq!(verified.secret_index, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Choosing a scheme
//!
//! | Sender | Verifier | Signs a time |
//! |---|---|---|
//! | Standard Webhooks, Svix | [`StandardWebhooks`](signature::StandardWebhooks) | yes |
//! | Stripe | [`Stripe`](signature::Stripe) | yes |
//! | GitHub, Shopify, Razorpay | [`BodyHmac`](signature::BodyHmac) with a preset | no |
//! | Cashfree | [`BodyHmac`](signature::BodyHmac) with a preset | yes |
//! | others that sign by HMAC-SHA256 | [`BodyHmac`](signature::BodyHmac) with a [`BodyHmacScheme`](signature::BodyHmacScheme) | as you say |
//!
//! Without a signed time, somebody who has seen a delivery can send it again. Keep the keys of such events
//! for a long time: then the copy is a duplicate.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod compare;
mod content;
mod error;
mod handshake;
#[cfg(feature = "http")]
pub mod http;
mod identity;
mod outcome;
pub mod preset;
mod request;
mod secrets;
pub mod signature;
mod source;
pub mod spec;
mod verification;

pub use content::MAX_FIELDS;
pub use error::{InvalidSource, SecretProblem};
pub use outcome::{Answer, Flaw, Outcome, Received, ReceivedEvent, Refusal, RefusalReason};
pub use request::Request;
pub use secrets::Secrets;
pub use source::{Source, SourceOptions};
pub use verification::{
    DEFAULT_TOLERANCE, MAX_PUBLIC_KEY_CHECKS, MAX_PUBLIC_KEYS, MAX_SIGNATURES, MIN_KEY_BYTES,
    MIN_SECRET_BYTES, Outgoing, SecretLength, Signed, Unsigned, Unverified, Verification,
    VerificationOptions, Verified,
};

/// The most headers of a family such as `x-docusign-signature-{n}` that are read.
pub const MAX_NUMBERED_HEADERS: usize = 100;

/// The largest length of an id or of the name of an event's type, in bytes. A longer one is replaced by its
/// SHA-256.
pub const MAX_ID_BYTES: usize = 512;

/// The most events of one request. A request with more is one event.
pub const MAX_EVENTS: usize = 10_000;

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
