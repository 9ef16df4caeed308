//! Verifies and creates signatures of webhooks, over the raw body and the headers.
//!
//! A [`Verifier`] does not depend on an HTTP library: a closure looks up headers by name, and returns *all*
//! values of a header, so that a repeated header is detected and refused:
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
//! The schemes are [`StandardWebhooks`] (and Svix), [`Stripe`], and [`BodyHmac`] with presets for GitHub,
//! Razorpay, Shopify and Cashfree. Each accepts several secrets at the same time, for rotation, and reports
//! which of them matched. Each can also create signatures, for tests and for senders.
//!
//! Signatures are compared in constant time. Secrets are wiped from memory when they are dropped, and neither
//! `Debug` nor an error shows any part of them. Constructors refuse secrets that are too short to be safe,
//! unless the caller allows them ([`SecretLength::Unchecked`]).

mod body_hmac;
mod mac;
mod secret;
mod standard;
mod stripe;
mod timestamp;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use crate::verification::Encoding;
pub use body_hmac::{BodyHmac, BodyHmacScheme, TimestampHeader, TimestampUnit};
pub use secret::{InvalidSecret, MIN_KEY_BYTES, MIN_SECRET_BYTES, SecretLength};
pub use standard::{MAX_PUBLIC_KEYS, StandardWebhooks};
pub use stripe::Stripe;

/// The default tolerance: how far the time of a signature may be from now, in both directions.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The largest number of signatures in a header. A header with more is refused.
pub const MAX_SIGNATURES: usize = 16;

/// The largest number of pairs of a signature and a public key that are tried for one delivery, so that a
/// forged delivery cannot cost more verifications.
pub const MAX_PUBLIC_KEY_CHECKS: usize = 4;

/// Verifies the signatures of a sender.
pub trait Verifier: fmt::Debug + Send + Sync + 'static {
    /// Checks only the headers, before the body is read: each header of the scheme must occur exactly once and
    /// be well-formed, the time must be within the tolerance, and at least one signature must have a valid
    /// form. The check uses no key and takes less than a microsecond.
    ///
    /// `Ok` does not mean that the delivery is genuine; only [`verify`](Self::verify) finds that out.
    ///
    /// # Errors
    ///
    /// The reason why [`verify`](Self::verify) would refuse the delivery with any body.
    fn check_headers(
        &self,
        headers: &HeaderLookup<'_>,
        received_at: SystemTime,
    ) -> Result<(), Unverified>;

    /// Verifies that one of the secrets has signed this delivery within the tolerance. Begins with the checks
    /// of [`check_headers`](Self::check_headers). The work is bounded: one HMAC per secret, and at most
    /// [`MAX_PUBLIC_KEY_CHECKS`] verifications with public keys.
    ///
    /// # Errors
    ///
    /// The reason, for the log; do not send it to the sender. No delivery causes a panic.
    fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, Unverified>;

    /// Returns the number of secrets; [`Verified::secret_index`] is always less.
    fn secret_count(&self) -> usize;
}

/// The result of verifying a genuine delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The index of the secret that matched, in the order of the constructor's arguments. If several match, the
    /// first one.
    pub secret_index: usize,
}

impl Verified {
    const fn by(secret_index: usize) -> Self {
        Self { secret_index }
    }
}

/// Creates signatures as a sender does.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// Returns the headers to send with `body` at the time `at`, with names in lower case. `id` is the id of
    /// the message, if the scheme has one.
    ///
    /// # Errors
    ///
    /// [`Unsigned`] if there is no key to sign with, or if the id or the time cannot be signed.
    fn sign(
        &self,
        id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned>;
}

/// Looks up all values of a header by its name in lower case.
pub type HeaderLookup<'a> = dyn Fn(&str) -> HeaderValues<'a> + 'a;

/// The values of one header, collected from an iterator over all of its values, in any order.
///
/// A verifier must know if there is a second value; otherwise it could check one value while a proxy or a
/// handler uses the other. So there is no conversion from an `Option`: look up all values, not only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValues<'a> {
    /// The header does not occur.
    Missing,
    /// The header occurs once, with this value.
    Once(&'a [u8]),
    /// The header occurs several times, with equal or different values.
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

/// Returns the value of the header `name`, which must be ASCII, if it occurs.
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

/// Returns the value of the header `name`, which must occur and be ASCII.
fn required_header<'a>(headers: &HeaderLookup<'a>, name: &str) -> Result<&'a str, Unverified> {
    let missing = || Unverified::Missing {
        header: name.to_owned(),
    };
    optional_header(headers, name)?.ok_or_else(missing)
}

/// A request to verify.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    headers: &'a HeaderLookup<'a>,
    body: &'a [u8],
    received_at: SystemTime,
}

impl<'a> Delivery<'a> {
    /// Creates a delivery from the headers, the body as it was received, and the time of receipt.
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

/// The reason why a delivery was not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// A header is missing.
    #[error("header {header} is missing")]
    Missing {
        /// The name of the header.
        header: String,
    },
    /// A header occurs more than once, or in two spellings with different values.
    #[error("header {header} is given more than once")]
    Repeated {
        /// The name of the header.
        header: String,
    },
    /// A header does not have the form that its scheme requires.
    #[error("header {header} is malformed")]
    Malformed {
        /// The name of the header.
        header: String,
    },
    /// The time of the signature is too long ago, or too far in the future.
    #[error("signed at a time too far from now")]
    TooFar,
    /// None of the signatures was made with one of the secrets.
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

/// The reason why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsigned {
    /// There are only public keys.
    #[error("no key to sign with: all keys are public")]
    NoKey,
    /// The id is empty, or has a full stop or a character that is not allowed in headers.
    #[error("invalid message id: it must be visible ASCII without a full stop")]
    Id,
    /// The time is before 1970.
    #[error("invalid time: it is before 1970")]
    Time,
}

#[cfg(test)]
mod tests;
