//! HMAC-SHA256 over the body, which most senders use.

use std::time::{Duration, SystemTime};

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, HeaderLookup, InvalidSecret, SecretLength, Signer,
    Unsigned, Unverified, Verified, Verifier, required_header,
};

/// HMAC-SHA256 over the body alone, or over a time and the body.
///
/// Without a signed time, somebody who has seen a delivery can send it again. The inbox recognises it by its
/// key, as long as it keeps the key.
#[derive(Clone, Debug)]
pub struct BodyHmac {
    keys: Vec<MacKey>,
    scheme: BodyHmacScheme,
}

/// How a sender signs: which header has the signature, how it is written, and whether a time is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyHmacScheme {
    /// The name of the header with the signature, in lower case.
    pub header: String,
    /// The text before the signature.
    pub prefix: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// The header with a time that is signed with the body, if there is one.
    pub timestamp: Option<TimestampHeader>,
}

/// The header with the time of the signature, which is signed before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimestampHeader {
    /// The name of the header, in lower case.
    pub header: String,
    /// The unit of its number.
    pub unit: TimestampUnit,
    /// The text that is signed between the time and the body.
    pub separator: String,
    /// How far the time may be from now, in both directions.
    pub tolerance: Duration,
}

/// The unit of a time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimestampUnit {
    /// Whole seconds.
    Seconds,
    /// Whole milliseconds.
    Milliseconds,
}

impl TimestampHeader {
    /// A time in `header`, counted in `unit`, that is signed directly before the body, within
    /// [`DEFAULT_TOLERANCE`].
    pub fn new(header: &str, unit: TimestampUnit) -> Self {
        Self {
            header: header.to_ascii_lowercase(),
            unit,
            separator: String::new(),
            tolerance: DEFAULT_TOLERANCE,
        }
    }

    /// Sets the bytes that are signed between the time and the body.
    #[must_use]
    pub fn with_separator(self, separator: &str) -> Self {
        let separator = separator.to_owned();
        Self { separator, ..self }
    }

    /// Sets how far the time may be from now, in both directions.
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

impl BodyHmacScheme {
    /// Sets the text before the signature, such as `sha256=`.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix, ..self }
    }

    /// Sets the header with a time that is signed with the body.
    #[must_use]
    pub fn with_timestamp(self, timestamp: TimestampHeader) -> Self {
        Self {
            timestamp: Some(timestamp),
            ..self
        }
    }

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
        Self::hex("x-hub-signature-256").with_prefix("sha256=")
    }

    /// Razorpay: `X-Razorpay-Signature`, in hexadecimal digits.
    pub fn razorpay() -> Self {
        Self::hex("x-razorpay-signature")
    }

    /// Shopify: `X-Shopify-Hmac-Sha256`, in Base64.
    pub fn shopify() -> Self {
        Self::base64("x-shopify-hmac-sha256")
    }

    /// Cashfree: `x-webhook-signature`, in Base64, over `x-webhook-timestamp` in milliseconds and the body,
    /// without a separator.
    pub fn cashfree() -> Self {
        let timestamp = TimestampHeader::new("x-webhook-timestamp", TimestampUnit::Milliseconds);
        Self::base64("x-webhook-signature").with_timestamp(timestamp)
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
    /// Creates a verifier that accepts signatures of any of the `secrets`, which are used as text.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if there is no secret, or one with fewer than [`MIN_SECRET_BYTES`](super::MIN_SECRET_BYTES) bytes.
    pub fn new<S: AsRef<str>>(
        scheme: BodyHmacScheme,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidSecret> {
        Self::with_length(scheme, SecretLength::Checked, secrets)
    }

    /// Like [`new`](Self::new), and accepts secrets of any length with [`SecretLength::Unchecked`].
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if there is no secret, an empty one, or one that is too short.
    pub fn with_length<S: AsRef<str>>(
        scheme: BodyHmacScheme,
        length: SecretLength,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidSecret> {
        let keys = mac::keys(secrets, length)?;
        Ok(Self { keys, scheme })
    }
}

/// The parsed headers of a delivery.
struct Signed<'a> {
    time: Option<&'a str>,
    tags: Vec<Vec<u8>>,
}

impl BodyHmac {
    fn parse<'a>(
        &self,
        headers: &HeaderLookup<'a>,
        received_at: SystemTime,
    ) -> Result<Signed<'a>, Unverified> {
        let scheme = &self.scheme;
        let malformed = || Unverified::malformed(&scheme.header);
        let value = required_header(headers, &scheme.header)?.trim();
        let tag = value.strip_prefix(&scheme.prefix).ok_or_else(malformed)?;
        let tags = mac::decode_tags(scheme.encoding, [tag]);
        if tags.is_empty() {
            return Err(malformed());
        }
        let mut time = None;
        if let Some(timestamp) = &scheme.timestamp {
            let header = &timestamp.header;
            let text = required_header(headers, header)?;
            let number = timestamp::parse(text).ok_or_else(|| Unverified::malformed(header))?;
            let at = timestamp.unit.duration(number);
            if !timestamp::is_near(at, received_at, timestamp.tolerance) {
                return Err(Unverified::TooFar);
            }
            time = Some(text);
        }
        Ok(Signed { time, tags })
    }
}

impl Verifier for BodyHmac {
    fn check_headers(
        &self,
        headers: &HeaderLookup<'_>,
        received_at: SystemTime,
    ) -> Result<(), Unverified> {
        self.parse(headers, received_at).map(drop)
    }

    fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, Unverified> {
        let Signed { time, tags } = self.parse(delivery.headers, delivery.received_at)?;
        let mut parts = Vec::with_capacity(3);
        if let (Some(time), Some(timestamp)) = (time, &self.scheme.timestamp) {
            parts.extend([time.as_bytes(), timestamp.separator.as_bytes()]);
        }
        parts.push(delivery.body);
        let secret_index = mac::find_match(self.keys.iter().enumerate(), &parts, &tags);
        secret_index.map(Verified::by).ok_or(Unverified::NoMatch)
    }

    fn secret_count(&self) -> usize {
        self.keys.len()
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
