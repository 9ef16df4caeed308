//! Stripe's signatures.

use std::time::{Duration, SystemTime};

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, HeaderLookup, InvalidSecret, MAX_SIGNATURES,
    SecretLength, Signer, Unsigned, Unverified, Verified, Verifier, required_header,
};

const HEADER: &str = "stripe-signature";

/// Stripe's scheme: the header `Stripe-Signature: t=…,v1=…` with HMAC-SHA256 over time, full stop and body.
/// There are several `v1` while Stripe rolls a secret. Other versions are ignored.
///
/// A secret is the whole text that the dashboard shows, including `whsec_`.
#[derive(Clone, Debug)]
pub struct Stripe {
    keys: Vec<MacKey>,
    tolerance: Duration,
}

impl Stripe {
    /// Creates a verifier that accepts signatures of any of the `secrets`, within [`DEFAULT_TOLERANCE`].
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if there is no secret, or one with fewer than [`MIN_SECRET_BYTES`](super::MIN_SECRET_BYTES) bytes.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::with_length(SecretLength::Checked, secrets)
    }

    /// Like [`new`](Self::new), and accepts secrets of any length with [`SecretLength::Unchecked`].
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if there is no secret, an empty one, or one that is too short.
    pub fn with_length<S: AsRef<str>>(
        length: SecretLength,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidSecret> {
        Ok(Self {
            keys: mac::keys(secrets, length)?,
            tolerance: DEFAULT_TOLERANCE,
        })
    }

    /// Sets how far the time of a signature may be from now, in both directions. Default:
    /// [`DEFAULT_TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

/// The parsed header of a delivery.
struct Signed<'a> {
    time: &'a str,
    tags: Vec<Vec<u8>>,
}

impl Stripe {
    fn parse<'a>(
        &self,
        headers: &HeaderLookup<'a>,
        received_at: SystemTime,
    ) -> Result<Signed<'a>, Unverified> {
        let malformed = || Unverified::malformed(HEADER);
        let mut time = None;
        let mut values = Vec::new();
        for item in required_header(headers, HEADER)?.split(',') {
            let (name, value) = item.split_once('=').ok_or_else(malformed)?;
            match name.trim() {
                "t" if time.is_some() => return Err(malformed()),
                "t" => time = Some(value),
                "v1" if values.len() == MAX_SIGNATURES => return Err(malformed()),
                "v1" => values.push(value.trim()),
                _ => {}
            }
        }
        let time = time.ok_or_else(malformed)?;
        let seconds = timestamp::parse(time).ok_or_else(malformed)?;
        let at = Duration::from_secs(seconds);
        if !timestamp::is_near(at, received_at, self.tolerance) {
            return Err(Unverified::TooFar);
        }
        let tags = mac::decode_tags(Encoding::Hex, values);
        if tags.is_empty() {
            return Err(Unverified::NoMatch);
        }
        Ok(Signed { time, tags })
    }
}

impl Verifier for Stripe {
    fn check_headers(
        &self,
        headers: &HeaderLookup<'_>,
        received_at: SystemTime,
    ) -> Result<(), Unverified> {
        self.parse(headers, received_at).map(drop)
    }

    fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, Unverified> {
        let Signed { time, tags } = self.parse(delivery.headers, delivery.received_at)?;
        let parts = [time.as_bytes(), b".", delivery.body];
        let secret_index = mac::find_match(self.keys.iter().enumerate(), &parts, &tags);
        secret_index.map(Verified::by).ok_or(Unverified::NoMatch)
    }

    fn secret_count(&self) -> usize {
        self.keys.len()
    }
}

impl Signer for Stripe {
    /// Signs with every secret, up to [`MAX_SIGNATURES`]. Stripe's scheme has no id.
    fn sign(
        &self,
        _id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned> {
        let since_epoch = timestamp::since_epoch(at).ok_or(Unsigned::Time)?;
        let time = since_epoch.as_secs().to_string();
        let mut value = format!("t={time}");
        for key in self.keys.iter().take(MAX_SIGNATURES) {
            let tag = key.tag(&[time.as_bytes(), b".", body]);
            value.push_str(",v1=");
            value.push_str(&Encoding::Hex.encode(&tag));
        }
        Ok(vec![(HEADER.to_owned(), value)])
    }
}
