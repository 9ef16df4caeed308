//! HMAC-SHA256 over the body, as most other senders have it.

use std::time::{Duration, SystemTime};

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, InvalidSecret, Signer, Unsigned, Unverified, Verifier,
};

/// HMAC-SHA256 over the body alone, or over a time and the body.
///
/// Without a time, who has seen a delivery can send it again; the inbox then knows it by its key.
#[derive(Clone, Debug)]
pub struct BodyHmac {
    keys: Vec<MacKey>,
    scheme: BodyHmacScheme,
}

/// What a sender's headers look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyHmacScheme {
    /// The header that holds the signature, in lower case.
    pub header: String,
    /// What stands before the signature.
    pub prefix: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Where the time is that is signed with the body, if it is.
    pub timestamp: Option<TimestampHeader>,
}

/// A header with the time of the signature, which is signed before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampHeader {
    /// Its name, in lower case.
    pub header: String,
    /// What its number counts.
    pub unit: TimestampUnit,
    /// What is signed between it and the body.
    pub separator: String,
    /// How far it may be from now, in both directions.
    pub tolerance: Duration,
}

/// What a time counts, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampUnit {
    /// Whole seconds.
    Seconds,
    /// Whole milliseconds.
    Milliseconds,
}

impl BodyHmacScheme {
    /// A signature in hexadecimal digits in `header`, over the body alone.
    pub fn hex(header: &str) -> Self {
        Self {
            header: header.to_ascii_lowercase(),
            prefix: String::new(),
            encoding: Encoding::Hex,
            timestamp: None,
        }
    }

    /// A signature in Base64 in `header`, over the body alone.
    pub fn base64(header: &str) -> Self {
        Self {
            encoding: Encoding::Base64,
            ..Self::hex(header)
        }
    }

    /// GitHub: `X-Hub-Signature-256: sha256=…`, in hexadecimal digits.
    pub fn github() -> Self {
        Self {
            prefix: "sha256=".to_owned(),
            ..Self::hex("x-hub-signature-256")
        }
    }

    /// Razorpay: `X-Razorpay-Signature`, in hexadecimal digits.
    pub fn razorpay() -> Self {
        Self::hex("x-razorpay-signature")
    }

    /// Shopify: `X-Shopify-Hmac-Sha256`, in Base64.
    pub fn shopify() -> Self {
        Self::base64("x-shopify-hmac-sha256")
    }

    /// Cashfree: `x-webhook-signature`, in Base64, over `x-webhook-timestamp` in milliseconds and
    /// the body, with nothing between them.
    pub fn cashfree() -> Self {
        Self {
            timestamp: Some(TimestampHeader {
                header: "x-webhook-timestamp".to_owned(),
                unit: TimestampUnit::Milliseconds,
                separator: String::new(),
                tolerance: DEFAULT_TOLERANCE,
            }),
            ..Self::base64("x-webhook-signature")
        }
    }
}

impl TimestampUnit {
    fn duration(self, number: u64) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(number),
            Self::Milliseconds => Duration::from_millis(number),
        }
    }

    fn number(self, duration: Duration) -> u128 {
        match self {
            Self::Seconds => duration.as_secs().into(),
            Self::Milliseconds => duration.as_millis(),
        }
    }
}

impl BodyHmac {
    /// Verifies by any of `secrets`, taken as they are.
    ///
    /// # Errors
    ///
    /// When there is no secret, or an empty one.
    pub fn new<S: AsRef<str>>(
        scheme: BodyHmacScheme,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidSecret> {
        let keys = mac::keys(secrets)?;
        Ok(Self { keys, scheme })
    }
}

impl Verifier for BodyHmac {
    fn verify(&self, delivery: &Delivery<'_>) -> Result<(), Unverified> {
        let scheme = &self.scheme;
        let malformed = || Unverified::malformed(&scheme.header);
        let value = delivery.header(&scheme.header)?.trim();
        let tag = value.strip_prefix(&scheme.prefix).ok_or_else(malformed)?;
        let tag = scheme.encoding.decode(tag).ok_or_else(malformed)?;
        let mut parts = Vec::with_capacity(3);
        if let Some(TimestampHeader {
            header,
            unit,
            separator,
            tolerance,
        }) = &scheme.timestamp
        {
            let time = delivery.header(header)?;
            let number = timestamp::parse(time).ok_or_else(|| Unverified::malformed(header))?;
            if !timestamp::is_near(unit.duration(number), delivery.received_at, *tolerance) {
                return Err(Unverified::TooFar);
            }
            parts.extend([time.as_bytes(), separator.as_bytes()]);
        }
        parts.push(delivery.body);
        if mac::any_matches(&self.keys, &parts, &[tag]) {
            Ok(())
        } else {
            Err(Unverified::NoMatch)
        }
    }
}

impl Signer for BodyHmac {
    /// With the first secret. The scheme has no place for the id.
    fn sign(
        &self,
        _id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned> {
        let scheme = &self.scheme;
        let mut headers = Vec::new();
        let mut before = String::new();
        if let Some(timestamp) = &scheme.timestamp {
            let since_epoch = timestamp::since_epoch(at).ok_or(Unsigned::Time)?;
            let time = timestamp.unit.number(since_epoch).to_string();
            before = format!("{time}{}", timestamp.separator);
            headers.push((timestamp.header.clone(), time));
        }
        let key = self.keys.first().ok_or(Unsigned::NoKey)?;
        let tag = scheme.encoding.encode(&key.tag(&[before.as_bytes(), body]));
        headers.push((scheme.header.clone(), format!("{}{tag}", scheme.prefix)));
        Ok(headers)
    }
}
