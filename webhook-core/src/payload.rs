//! [`Payload`]: identifies and decodes the body of an event.

mod json;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Envelope, Fingerprint, InvalidName, Key, Kind};
use crate::handler::HandlerError;
use crate::headers::Headers;

/// The payload type of a kind of events: says when two deliveries are the same event, and how to decode one.
///
/// An inbox identifies each delivery, and refuses it if that fails. A worker decodes an event when it processes
/// it, and tries again later if that fails.
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
/// Refuse as little as possible: a refused event is lost once its sender gives up, and some senders disable an
/// endpoint that refuses deliveries. Identify events of unknown types like any other, and let the handler
/// ignore them. A later version of the app can process them, since FAILED events can be requeued, but refused
/// ones cannot. For Stripe's events, for example, `/id` is the key, and `/type` and `/data` are the content,
/// whatever the type is:
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
    /// The name of the kind, which must be valid for [`Kind::new`].
    const KIND: &'static str;

    /// Returns the key and the fingerprint of a delivery. An inbox calls it for each delivery.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] refuses the delivery. It should list everything that is wrong.
    fn identify(body: &[u8], headers: &Headers) -> Result<Identity, InvalidPayload>;

    /// Decodes an accepted event. A worker calls it for each attempt.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] ends the attempt, like an error of the handler. With `?` the event is tried again later, since another
    /// version of the app may be able to decode it, for example during a rolling deployment.
    fn decode(body: &[u8], headers: &Headers) -> Result<Self, HandlerError>;
}

/// The key and the fingerprint of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The idempotency key: deliveries with the same key are the same event.
    pub key: Key,
    /// The digest of the content: a delivery with the same key and digest is a duplicate, a delivery with the
    /// same key and another digest is a conflict.
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// Creates an identity, and checks the key.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload::Key`] if the key is not valid.
    pub fn new(key: impl Into<Arc<str>>, fingerprint: Fingerprint) -> Result<Self, InvalidPayload> {
        Ok(Self {
            key: Key::new(key).map_err(InvalidPayload::Key)?,
            fingerprint,
        })
    }
}

/// Returns the kind of a payload type.
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
    /// Identifies a delivery as a `P`, and creates its envelope.
    ///
    /// # Errors
    ///
    /// The error of [`Payload::identify`].
    pub fn of<P: Payload>(body: Bytes, headers: Headers) -> Result<Self, InvalidPayload> {
        let Identity { key, fingerprint } = P::identify(&body, &headers)?;
        Ok(Self::new(kind_of::<P>(), key, fingerprint, body).with_headers(headers))
    }
}

/// Everything that an inbox accepts: an [`Envelope`], or a reference to a payload that serde can serialize as
/// JSON.
///
/// The latter is for events of the app itself, for example events that follow from others. Their
/// [`identify`](Payload::identify) must be able to read the serialized form.
pub trait IntoEnvelope {
    /// Creates the envelope.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] if the payload cannot be serialized or identified.
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

/// Decodes a body as JSON with serde.
///
/// A byte-order mark before the JSON text is ignored, as RFC 8259, section 8.1 allows.
///
/// # Errors
///
/// [`InvalidPayload::Malformed`] if the body is not JSON; [`InvalidPayload::Fields`], without a pointer, if it is JSON that
/// `T` does not accept.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidPayload> {
    serde_json::from_slice(without_byte_order_mark(body)).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            InvalidPayload::Fields(vec![FieldError::new("", error.to_string())])
        }
        _ => InvalidPayload::Malformed {
            detail: error.to_string(),
        },
    })
}

/// Returns `body` without a byte-order mark at its beginning.
///
/// [`from_json`] and [`Identity::of_json`] call it. A [`Payload`] that decodes JSON in another way should call it first, so
/// that it accepts the same bodies.
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The reason why a body is not a valid payload. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPayload {
    /// The body is not in the expected format at all.
    #[error("malformed payload: {detail}")]
    Malformed {
        /// What is wrong, and where.
        detail: String,
    },
    /// Fields are missing, of the wrong type or out of bounds. All such fields are listed.
    #[error("invalid payload: {}", list(.0))]
    Fields(Vec<FieldError>),
    /// The key is not valid.
    #[error("invalid key: {0}")]
    Key(InvalidName),
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The JSON pointer (RFC 6901) of the field, such as `/amount`. Empty for the whole document.
    pub pointer: String,
    /// What is wrong, as the end of a sentence: `must be greater than 0`.
    pub detail: String,
}

impl FieldError {
    /// Says what is wrong with the field at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
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
    fn json_of_another_shape_and_malformed_json_have_different_errors() {
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
    fn serializable_payloads_convert_into_envelopes() {
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
