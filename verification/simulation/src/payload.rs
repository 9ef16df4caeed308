//! The payloads: two kinds, whose bodies are a key and a number as content.

use bytes::Bytes;
use webhook_core::{
    Envelope, EventType, FieldError, Fingerprint, HandlerError, Headers, Identity, InvalidPayload,
    Key, Kind, Payload, payload,
};

/// A content that handlers cannot decode.
pub(crate) const UNREADABLE: u64 = 9;

/// An event of the first kind.
#[derive(Debug)]
pub(crate) struct Alpha;

/// An event of the second kind.
#[derive(Debug)]
pub(crate) struct Beta;

struct Fields {
    key: String,
    content: u64,
}

impl Fields {
    fn decode(body: &[u8]) -> Result<Self, InvalidPayload> {
        let fields = std::str::from_utf8(body).ok().and_then(|body| {
            let (key, content) = body.split_once(' ')?;
            let content = content.parse().ok().filter(|it| *it != UNREADABLE)?;
            let key = key.to_owned();
            Some(Self { key, content })
        });
        fields.ok_or_else(|| {
            InvalidPayload::Fields(vec![FieldError::new("", "is not a key and a content")])
        })
    }
}

macro_rules! payload {
    ($payload:ident, $kind:literal) => {
        impl Payload for $payload {
            const KIND: &'static str = $kind;

            fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
                let fields = Fields::decode(body)?;
                Identity::new(fields.key, fingerprint(fields.content))
            }

            fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
                Fields::decode(body)?;
                Ok(Self)
            }
        }
    };
}

payload!(Alpha, "alpha");
payload!(Beta, "beta");

/// Returns both kinds.
pub(crate) fn kinds() -> [Kind; 2] {
    [payload::kind_of::<Alpha>(), payload::kind_of::<Beta>()]
}

/// Makes a delivery of `content` under `key`. Every other content has an event type of its own.
pub(crate) fn envelope(kind: &Kind, key: &Key, content: u64) -> Envelope {
    Envelope::new(
        kind.clone(),
        key.clone(),
        fingerprint(content),
        Bytes::from(format!("{key} {content}")),
    )
    .with_event_type((content % 2 == 1).then(|| event_type(content)))
}

fn event_type(content: u64) -> EventType {
    EventType::new(format!("type {content}")).expect("a valid event type")
}

fn fingerprint(content: u64) -> Fingerprint {
    Fingerprint::of([content.to_be_bytes()])
}
