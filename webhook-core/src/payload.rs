//! Typed payloads: what lives above the opaque envelope.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::event::{Envelope, Fingerprint, InvalidName, Key, Kind};

/// A sort of event: how to read it, what makes it the same event, what makes it the same content.
///
/// ```
/// use serde::Deserialize;
/// use webhook_core::{Fingerprint, InvalidPayload, Payload, payload};
///
/// #[derive(Deserialize)]
/// struct Order { id: String, total_cents: u64 }
///
/// impl Payload for Order {
///     const KIND: &'static str = "order";
///     fn decode(body: &[u8]) -> Result<Self, InvalidPayload> { payload::from_json(body) }
///     fn key(&self) -> &str { &self.id }
///     fn fingerprint(&self) -> Fingerprint { Fingerprint::of([self.total_cents.to_be_bytes()]) }
/// }
/// # let body = br#"{"id":"o-1","total_cents":995}"#.as_slice();
/// # assert_eq!(payload::seal::<Order>(body.into()).unwrap().key.as_str(), "o-1");
/// ```
pub trait Payload: Sized + Send + Sync + 'static {
    /// The kind's name, as [`Kind::new`] takes it.
    const KIND: &'static str;

    /// Reads and validates a body, both when it is delivered and when it is processed.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] says all that is wrong with it.
    fn decode(body: &[u8]) -> Result<Self, InvalidPayload>;

    /// The idempotency key, as [`Key::new`] takes it.
    fn key(&self) -> &str;

    /// Digest of the content: deliveries of one key that share it are duplicates, others are
    /// conflicts.
    fn fingerprint(&self) -> Fingerprint;
}

/// The kind of a payload type.
///
/// A [`Payload::KIND`] that is not a valid kind does not compile:
///
/// ```compile_fail,E0080
/// # use webhook_core::{Fingerprint, InvalidPayload, Payload};
/// struct Order;
///
/// impl Payload for Order {
///     const KIND: &'static str = "Order.Placed";
/// #     fn decode(_: &[u8]) -> Result<Self, InvalidPayload> { Ok(Self) }
/// #     fn key(&self) -> &str { "" }
/// #     fn fingerprint(&self) -> Fingerprint { Fingerprint::of([""]) }
/// }
///
/// webhook_core::payload::kind_of::<Order>();
/// ```
pub fn kind_of<P: Payload>() -> Kind {
    const { Kind::from_static(P::KIND) }
}

/// Reads a delivered body as a `P` and puts it in its envelope.
///
/// # Errors
///
/// [`InvalidPayload`] when it does not decode, or when its key cannot be one.
pub fn seal<P: Payload>(body: Bytes) -> Result<Envelope, InvalidPayload> {
    let payload = P::decode(&body)?;
    let key = Key::new(payload.key()).map_err(InvalidPayload::Key)?;
    Ok(Envelope::new(
        kind_of::<P>(),
        key,
        payload.fingerprint(),
        body,
    ))
}

/// Reads a body as JSON with serde, for a [`Payload::decode`] that needs no more.
///
/// A byte-order mark before the JSON text is ignored, as RFC 8259, section 8.1 allows.
///
/// # Errors
///
/// [`InvalidPayload::Malformed`] where the body is not JSON, [`InvalidPayload::Fields`] (without
/// a pointer) where it is JSON of another shape.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidPayload> {
    serde_json::from_slice(without_byte_order_mark(body)).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => InvalidPayload::Fields(vec![FieldError {
            pointer: String::new(),
            detail: error.to_string(),
        }]),
        _ => InvalidPayload::Malformed {
            detail: error.to_string(),
        },
    })
}

/// The JSON text in `body`: all of it but for one byte-order mark at its beginning.
pub(crate) fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Why a body is not a payload. Nothing of it was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPayload {
    /// It is not of the format at all.
    #[error("malformed payload: {detail}")]
    Malformed {
        /// What is wrong, and where.
        detail: String,
    },
    /// It is of the format, but fields are missing, of the wrong type or out of bounds: all of
    /// them.
    #[error("invalid payload: {}", list(.0))]
    Fields(Vec<FieldError>),
    /// Its key cannot be one.
    #[error("invalid key: {0}")]
    Key(InvalidName),
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901): `/amount`. Empty for the whole document.
    pub pointer: String,
    /// What is wrong, as a sentence's end: `must be greater than 0`.
    pub detail: String,
}

fn list(errors: &[FieldError]) -> String {
    let errors: Vec<_> = errors
        .iter()
        .map(|error| format!("{} {}", error.pointer, error.detail))
        .collect();
    errors.join("; ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_another_shape_is_told_from_what_is_not_json() {
        assert_eq!(from_json::<[u8; 2]>(b"[1, 2]"), Ok([1, 2]));
        assert_eq!(
            from_json::<[u8; 2]>("\u{feff}[1, 2]".as_bytes()),
            Ok([1, 2])
        );
        for (body, is_json) in [
            (&b"{}"[..], true),
            (b"[1]", true),
            (b"[1, 256]", true),
            (b"[1, \"2\"]", true),
            (b"", false),
            (b"\xef\xbb\xbf", false),
            (b"\xef\xbb\xbf\xef\xbb\xbf[1, 2]", false),
            (b"[1, 2", false),
            (b"[1, 2] 3", false),
            (b"\xff", false),
        ] {
            match from_json::<[u8; 2]>(body).unwrap_err() {
                InvalidPayload::Fields(fields) if is_json => assert_eq!(fields[0].pointer, ""),
                InvalidPayload::Malformed { .. } if !is_json => {}
                other => panic!("{other}"),
            }
        }
    }
}
