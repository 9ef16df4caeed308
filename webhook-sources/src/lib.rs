//! Verifies who sent a webhook.
//!
//! [`signature`] verifies the signatures of Standard Webhooks (and Svix), Stripe, GitHub, Shopify, Razorpay,
//! Cashfree, and of any sender that signs the body by HMAC-SHA256. It makes them as well: for tests, and for
//! senders.
//!
//! This crate does no I/O and knows no HTTP library: it takes the headers by a closure, the body as bytes, and the
//! time as a value. It depends on no other crate of this project: use it with or without the inbox of
//! `webhook-core`.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//!
//! use webhook_sources::signature::{Delivery, Signer, Stripe, Unverified, Verifier};
//!
//! /// Fails unless Stripe sent `body` with these headers.
//! fn verify(stripe: &Stripe, headers: &[(String, String)], body: &[u8]) -> Result<(), Unverified> {
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
//! let body = br#"{"type": "charge.succeeded"}"#;
//! let headers = stripe.sign("evt_1", SystemTime::now(), body)?;
//! assert_eq!(verify(&stripe, &headers, body), Ok(()));
//! assert_eq!(verify(&stripe, &headers, b"{}"), Err(Unverified::NoMatch));
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod signature;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
