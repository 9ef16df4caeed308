//! Who sent it: signatures of webhooks, verified over the raw body and its headers.
//!
//! A [`Verifier`] knows nothing of HTTP libraries: a closure looks headers up by name, and collects
//! *all* values of a header, so that a header that is given twice is seen and refused:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::time::SystemTime;
//! # let headers: Vec<(&str, &str)> = Vec::new();
//! # let body: &[u8] = b"{}";
//! use webhook_sources::signature::{Delivery, StandardWebhooks, Verifier};
//!
//! let verifier = StandardWebhooks::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])?;
//! let header = |name: &str| {
//!     let values = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
//!     values.map(|(_, value)| value.as_bytes()).collect()
//! };
//! // Optional: refuses most forgeries before the body is read.
//! let checked = verifier.check_headers(&header, SystemTime::now());
//! let verified = verifier.verify(&Delivery::new(&header, body, SystemTime::now()));
//! # assert!(checked.is_err() && verified.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! With the crate `http` (hyper, axum) the closure is
//! `|name: &str| headers.get_all(name).iter().map(|value| value.as_bytes()).collect()`.
//!
//! Schemes: [`StandardWebhooks`] (and Svix), [`Stripe`], and [`BodyHmac`] with presets for GitHub,
//! Razorpay, Shopify and Cashfree. Each takes several secrets at once, for rotation, tells which of
//! them matched, and signs as well: for tests, and for senders.
//!
//! Signatures are compared in constant time. Secrets are wiped from memory when they are dropped, and
//! no `Debug` and no error shows any part of them. Constructors refuse secrets that are too short to
//! be safe, unless they are told otherwise ([`SecretLength::Unchecked`]).

mod body_hmac;
mod encoding;
mod mac;
mod secret;
mod standard;
mod stripe;
mod timestamp;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use body_hmac::{BodyHmac, BodyHmacScheme, TimestampHeader, TimestampUnit};
pub use encoding::Encoding;
pub use secret::{InvalidSecret, MIN_KEY_BYTES, MIN_SECRET_BYTES, SecretLength};
pub use standard::{MAX_PUBLIC_KEYS, StandardWebhooks};
pub use stripe::Stripe;

/// How far a signature's time may be from now, in both directions, where nothing else is said.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// At most as many signatures are looked at in one header; one with more is refused.
pub const MAX_SIGNATURES: usize = 16;

/// The most pairs of a signature and a public key that are tried for one delivery. A forged delivery
/// costs no more verifications than this.
pub const MAX_PUBLIC_KEY_CHECKS: usize = 4;

/// Knows a sender by its signature.
pub trait Verifier: fmt::Debug + Send + Sync + 'static {
    /// Checks the headers alone, before the body is read: the scheme's headers must be there, once
    /// each, well-formed and signed in time, and one signature must be of a form that could match.
    /// The check uses no key and costs less than a microsecond.
    ///
    /// `Ok` does not mean that the delivery is genuine; only [`verify`](Self::verify) knows that.
    ///
    /// # Errors
    ///
    /// The reason for which [`verify`](Self::verify) would refuse the delivery whatever its body is.
    fn check_headers(
        &self,
        headers: &HeaderLookup<'_>,
        received_at: SystemTime,
    ) -> Result<(), Unverified>;

    /// Verifies that one of the secrets has signed this delivery, and recently. Makes the same checks
    /// as [`check_headers`](Self::check_headers) first, and does a bounded amount of work: one
    /// HMAC for each secret, and at most [`MAX_PUBLIC_KEY_CHECKS`] verifications by public keys.
    ///
    /// # Errors
    ///
    /// The reason, for the log; do not tell the sender. Whatever the delivery holds, this does not
    /// panic.
    fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, Unverified>;

    /// The number of secrets; [`Verified::secret_index`] is less.
    fn secret_count(&self) -> usize;
}

/// The outcome of verifying a genuine delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The secret that matched, by its position among those that the constructor took, from 0. When
    /// several match, the first.
    pub secret_index: usize,
}

impl Verified {
    const fn by(secret_index: usize) -> Self {
        Self { secret_index }
    }
}

/// Signs as a sender does.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// The headers, in lower case, to send along with `body` at the time `at`. The `id` names the
    /// message, where the scheme has a place for that.
    ///
    /// # Errors
    ///
    /// When there is no key to sign with, or the scheme has no way to say so.
    fn sign(
        &self,
        id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned>;
}

/// Looks up all values of a header by its name in lower case.
pub type HeaderLookup<'a> = dyn Fn(&str) -> HeaderValues<'a> + 'a;

/// The values of one header; collected from an iterator over all of them, in any order.
///
/// A verifier must know of a second value, or it could check one while a proxy or a handler reads
/// the other. So there is no conversion from an `Option`: look up all values, not the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValues<'a> {
    /// The header is not there.
    Missing,
    /// The header is there once, with this value.
    Once(&'a [u8]),
    /// The header is there several times, with the same or with other values.
    Repeated,
}

impl<'a> FromIterator<&'a [u8]> for HeaderValues<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// The value of the header `name`, in ASCII, where it is there.
fn optional_header<'a>(
    headers: &HeaderLookup<'a>,
    name: &str,
) -> Result<Option<&'a str>, Unverified> {
    match headers(name) {
        HeaderValues::Missing => Ok(None),
        HeaderValues::Repeated => Err(Unverified::Repeated {
            header: name.to_owned(),
        }),
        HeaderValues::Once(value) => str::from_utf8(value)
            .ok()
            .filter(|value| value.is_ascii())
            .map(Some)
            .ok_or_else(|| Unverified::malformed(name)),
    }
}

/// The value of the header `name`, in ASCII, which must be there.
fn required_header<'a>(headers: &HeaderLookup<'a>, name: &str) -> Result<&'a str, Unverified> {
    let missing = || Unverified::Missing {
        header: name.to_owned(),
    };
    optional_header(headers, name)?.ok_or_else(missing)
}

/// What is verified: a request as it came.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    headers: &'a HeaderLookup<'a>,
    body: &'a [u8],
    received_at: SystemTime,
}

impl<'a> Delivery<'a> {
    /// A request with these headers and this body, byte for byte, received at that time.
    pub fn new(headers: &'a HeaderLookup<'a>, body: &'a [u8], received_at: SystemTime) -> Self {
        Self {
            headers,
            body,
            received_at,
        }
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("body_bytes", &self.body.len())
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// Why a delivery is not its sender's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// A header is missing.
    #[error("header {header} is missing")]
    Missing {
        /// Its name.
        header: String,
    },
    /// A header is given more than once, or in two spellings with different values.
    #[error("header {header} is given more than once")]
    Repeated {
        /// Its name.
        header: String,
    },
    /// A header does not have the form of its scheme.
    #[error("header {header} is malformed")]
    Malformed {
        /// Its name.
        header: String,
    },
    /// It was signed too long ago, or in the future.
    #[error("signed at a time too far from now")]
    TooFar,
    /// No secret has made any of the signatures.
    #[error("no signature matches")]
    NoMatch,
}

impl Unverified {
    fn malformed(header: &str) -> Self {
        Self::Malformed {
            header: header.to_owned(),
        }
    }
}

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsigned {
    /// There are only public keys.
    #[error("there is no key to sign with")]
    NoKey,
    /// The message's id has characters that no header may have, or a full stop.
    #[error("the message's id cannot be signed")]
    Id,
    /// The time is before 1970.
    #[error("the time cannot be signed")]
    Time,
}

#[cfg(test)]
mod tests;
