//! Stripe's signatures.

use std::time::{Duration, SystemTime};

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, InvalidSecret, MAX_SIGNATURES, Signer, Unsigned,
    Unverified, Verifier,
};

const HEADER: &str = "stripe-signature";

/// Stripe's scheme: the header `Stripe-Signature: t=…,v1=…` with HMAC-SHA256 over time, full stop
/// and body; several `v1`, where Stripe is rolling a secret. Other versions are ignored.
///
/// A secret is the whole text that the dashboard shows, `whsec_` included.
#[derive(Clone, Debug)]
pub struct Stripe {
    keys: Vec<MacKey>,
    tolerance: Duration,
}

impl Stripe {
    /// Verifies by any of `secrets`, within [`DEFAULT_TOLERANCE`].
    ///
    /// # Errors
    ///
    /// When there is no secret, or an empty one.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Ok(Self {
            keys: mac::keys(secrets)?,
            tolerance: DEFAULT_TOLERANCE,
        })
    }

    /// Takes signatures made at most as long ago, or as far in the future.
    #[must_use]
    pub fn within(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

impl Verifier for Stripe {
    fn verify(&self, delivery: &Delivery<'_>) -> Result<(), Unverified> {
        let malformed = || Unverified::malformed(HEADER);
        let mut time = None;
        let mut tags = Vec::new();
        for item in delivery.header(HEADER)?.split(',') {
            let (name, value) = item.split_once('=').ok_or_else(malformed)?;
            match name.trim() {
                "t" if time.is_some() => return Err(malformed()),
                "t" => time = Some(value),
                // What is no tag matches none.
                "v1" => tags.extend(Encoding::Hex.decode(value.trim())),
                _ => {}
            }
        }
        let time = time.ok_or_else(malformed)?;
        let seconds = timestamp::parse(time).ok_or_else(malformed)?;
        if tags.len() > MAX_SIGNATURES {
            return Err(malformed());
        }
        let at = Duration::from_secs(seconds);
        if !timestamp::is_near(at, delivery.received_at, self.tolerance) {
            return Err(Unverified::TooFar);
        }
        let parts = [time.as_bytes(), b".", delivery.body];
        if mac::any_matches(&self.keys, &parts, &tags) {
            Ok(())
        } else {
            Err(Unverified::NoMatch)
        }
    }
}

impl Signer for Stripe {
    /// With every secret, as far as a receiver looks at their signatures. Stripe's scheme has no place for the id.
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
