//! Typed payloads: what lives above the opaque envelope.

mod json;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Envelope, Fingerprint, InvalidName, Key, Kind};
use crate::handler::HandlerError;
use crate::headers::Headers;

/// A sort of event: what makes two deliveries the same event, and how to read one.
///
/// An inbox identifies a delivery when it comes, and refuses it where it cannot. A worker decodes
/// the event when it is processed, and tries again later where it cannot.
///
/// ```
/// use serde::Deserialize;
/// use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, Payload};
///
/// #[derive(Deserialize)]
/// struct Order { id: String, total_cents: u64 }
///
/// impl Payload for Order {
///     const KIND: &'static str = "order";
///
///     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
///         Identity::of_json(body, "/id", &["/total_cents"])
///     }
///
///     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
///         Ok(serde_json::from_slice(body)?)
///     }
/// }
/// # use webhook_core::Envelope;
/// # let body = br#"{"id":"o-1","total_cents":995}"#.as_slice();
/// # let envelope = Envelope::of::<Order>(body.into(), Headers::new()).unwrap();
/// # assert_eq!(envelope.key.as_str(), "o-1");
/// ```
///
/// # What to refuse
///
/// As little as possible: an event that is refused is lost once its sender gives up, and some
/// senders disable an endpoint that refuses. Identify an event whose type is unknown like any
/// other, and let its handler do nothing. A new version of the app can process it later: FAILED events
/// can be requeued, refused ones cannot. Of Stripe's events, for example, `/id` is the key, and
/// `/type` and `/data` are the content, whatever the type is:
///
/// ```
/// use serde::Deserialize;
/// use webhook_core::{Event, HandlerError, Headers, Identity, InvalidPayload, Payload};
///
/// struct StripeEvent { r#type: String, object: serde_json::Value }
///
/// impl Payload for StripeEvent {
///     const KIND: &'static str = "stripe";
///
///     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
///         Identity::of_json(body, "/id", &["/type", "/data"])
///     }
///
///     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
///         #[derive(Deserialize)]
///         struct Body { r#type: String, data: Data }
///         #[derive(Deserialize)]
///         struct Data { object: serde_json::Value }
///         let Body { r#type, data } = serde_json::from_slice(body)?;
///         Ok(Self { r#type, object: data.object })
///     }
/// }
///
/// async fn on_stripe(event: Event<StripeEvent>) -> Result<(), HandlerError> {
///     match event.payload.r#type.as_str() {
///         "payment_intent.succeeded" => println!("paid: {}", event.payload.object),
///         // Nothing to do for the others, among them those that Stripe adds later.
///         _ => {}
///     }
///     Ok(())
/// }
/// # fn takes(_: impl webhook_core::Handler<StripeEvent>) {}
/// # takes(on_stripe);
/// ```
pub trait Payload: Sized + Send + 'static {
    /// The kind's name, as [`Kind::new`] takes it.
    const KIND: &'static str;

    /// Says which event a delivery is, and what its content is. An inbox calls it for each delivery.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] refuses the delivery, and says all that is wrong with it.
    fn identify(body: &[u8], headers: &Headers) -> Result<Identity, InvalidPayload>;

    /// Reads an event that was accepted. A worker calls it for each attempt.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] ends the attempt, as one of a handler does: `?` tries again later, since
    /// another version of the app may be able to read what this one cannot, as in a rolling deploy.
    fn decode(body: &[u8], headers: &Headers) -> Result<Self, HandlerError>;
}

/// Which event a delivery is, and what its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The idempotency key: deliveries that share it are the same event.
    pub key: Key,
    /// Digest of the content: deliveries of one key that share it are duplicates, others are
    /// conflicts.
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// Takes `key` as the key.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload::Key`] when it cannot be one.
    pub fn new(key: impl Into<Arc<str>>, fingerprint: Fingerprint) -> Result<Self, InvalidPayload> {
        Ok(Self {
            key: Key::new(key).map_err(InvalidPayload::Key)?,
            fingerprint,
        })
    }
}

/// The kind of a payload type.
///
/// A [`Payload::KIND`] that is not a valid kind does not compile:
///
/// ```compile_fail,E0080
/// # use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, Payload};
/// struct Order;
///
/// impl Payload for Order {
///     const KIND: &'static str = "Order.Placed";
/// #     fn identify(_: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> { unimplemented!() }
/// #     fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> { Ok(Self) }
/// }
///
/// webhook_core::payload::kind_of::<Order>();
/// ```
pub fn kind_of<P: Payload>() -> Kind {
    const { Kind::from_static(P::KIND) }
}

impl Envelope {
    /// Identifies a delivery as a `P` and puts it in its envelope.
    ///
    /// # Errors
    ///
    /// What [`Payload::identify`] returns.
    pub fn of<P: Payload>(body: Bytes, headers: Headers) -> Result<Self, InvalidPayload> {
        let Identity { key, fingerprint } = P::identify(&body, &headers)?;
        Ok(Self::new(kind_of::<P>(), key, fingerprint, body).with_headers(headers))
    }
}

/// What an inbox accepts: an [`Envelope`], or a payload that serde can write as JSON.
///
/// The latter is for an app's own events, such as those that follow from others. Its
/// [`identify`](Payload::identify) must read what serde writes.
pub trait IntoEnvelope {
    /// Puts it in an envelope.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] when it cannot be written, or cannot be identified.
    fn into_envelope(self) -> Result<Envelope, InvalidPayload>;
}

impl IntoEnvelope for Envelope {
    fn into_envelope(self) -> Result<Envelope, InvalidPayload> {
        Ok(self)
    }
}

impl<P: Payload + Serialize> IntoEnvelope for &P {
    fn into_envelope(self) -> Result<Envelope, InvalidPayload> {
        let body = serde_json::to_vec(self).map_err(|error| InvalidPayload::Malformed {
            detail: error.to_string(),
        })?;
        Envelope::of::<P>(body.into(), Headers::new())
    }
}

/// Reads a body as JSON with serde, and says where it is not what `T` wants.
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
///
/// [`from_json`] and [`Identity::of_json`] call it; a [`Payload`] that reads JSON in another way calls it first, so that
/// it takes the same bodies.
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
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

    #[derive(serde::Serialize)]
    struct Note<'a>(#[serde(serialize_with = "fails_when_empty")] &'a str);

    fn fails_when_empty<S: serde::Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
        if text.is_empty() {
            return Err(serde::ser::Error::custom("empty"));
        }
        to.serialize_str(text)
    }

    impl Payload for Note<'static> {
        const KIND: &'static str = "note";

        fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
            Identity::of_json(body, "", &[""])
        }

        fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> {
            Err("not needed")?
        }
    }

    #[test]
    fn payloads_that_serde_writes_have_an_envelope() {
        let envelope = (&Note("a")).into_envelope().unwrap();
        assert_eq!(
            (envelope.key.as_str(), &*envelope.body),
            ("a", &b"\"a\""[..])
        );
        assert_eq!(envelope.kind.as_str(), "note");
        assert_eq!(envelope.clone().into_envelope(), Ok(envelope));
        assert!(matches!(
            (&Note("\n")).into_envelope(),
            Err(InvalidPayload::Key(_))
        ));
        let unwritable = (&Note("")).into_envelope();
        assert!(matches!(unwritable, Err(InvalidPayload::Malformed { .. })));
    }
}
