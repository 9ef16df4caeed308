//! Who sent it: signatures of webhooks, verified over the raw body and its headers.
//!
//! A [`Verifier`] knows nothing of HTTP libraries: it looks headers up by name. With any of them,
//! before anything of the body is read:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::{collections::HashMap, time::SystemTime};
//! # let headers: HashMap<&str, &str> = HashMap::new();
//! # let body: &[u8] = b"{}";
//! use webhook_core::signature::{Delivery, StandardWebhooks, Verifier};
//!
//! let verifier = StandardWebhooks::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])?;
//! let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
//! let verified = verifier.verify(&Delivery::new(&header, body, SystemTime::now()));
//! # assert!(verified.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! Schemes: [`StandardWebhooks`] (and Svix), [`Stripe`], and [`BodyHmac`] with presets for GitHub,
//! Razorpay, Shopify and Cashfree. Each takes several secrets at once, for rotation, and signs as
//! well: for tests, and for senders.
//!
//! What is compared is compared in constant time; secrets are wiped from memory when they are
//! dropped, and no `Debug` shows them.

mod body_hmac;
mod encoding;
mod mac;
mod standard;
mod stripe;
mod timestamp;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use body_hmac::{BodyHmac, BodyHmacScheme, TimestampHeader, TimestampUnit};
pub use encoding::Encoding;
pub use standard::StandardWebhooks;
pub use stripe::Stripe;

/// How far a signature's time may be from now, in both directions, where nothing else is said.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// At most as many signatures are looked at in one header; one with more is refused.
pub const MAX_SIGNATURES: usize = 16;

/// Knows a sender by its signature.
pub trait Verifier: fmt::Debug + Send + Sync + 'static {
    /// Whether one of the secrets has signed this delivery, and of late.
    ///
    /// # Errors
    ///
    /// Why not, for the log; tell the sender nothing of it. Whatever the delivery holds, this does
    /// not panic.
    fn verify(&self, delivery: &Delivery<'_>) -> Result<(), Unverified>;
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

/// Looks a header up by its name in lower case; its first value, where there are several.
pub type HeaderLookup<'a> = dyn Fn(&str) -> Option<&'a [u8]> + 'a;

/// What is verified: a request as it came.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    header: &'a HeaderLookup<'a>,
    body: &'a [u8],
    received_at: SystemTime,
}

impl<'a> Delivery<'a> {
    /// A request with these headers and this body, byte for byte, received at that time.
    pub fn new(header: &'a HeaderLookup<'a>, body: &'a [u8], received_at: SystemTime) -> Self {
        Self {
            header,
            body,
            received_at,
        }
    }

    /// The value of a header that must be there, in ASCII.
    fn header(&self, name: &str) -> Result<&'a str, Unverified> {
        let missing = || Unverified::Missing {
            header: name.to_owned(),
        };
        let value = (self.header)(name).ok_or_else(missing)?;
        std::str::from_utf8(value)
            .ok()
            .filter(|value| value.is_ascii())
            .ok_or_else(|| Unverified::malformed(name))
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

/// Why a text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// There is none.
    #[error("no secret is given")]
    None,
    /// It has no characters, or stands for no bytes.
    #[error("a secret is empty")]
    Empty,
    /// It should be Base64, after its prefix, and is not.
    #[error("a secret is not Base64")]
    NotBase64,
    /// It should be an Ed25519 key of 32 bytes (or 64, where it is a private one), and is not.
    #[error("a key is not an Ed25519 key")]
    NotEd25519,
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
