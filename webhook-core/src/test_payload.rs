//! A payload for unit tests.

use crate::event::Fingerprint;
use crate::handler::HandlerError;
use crate::headers::Headers;
use crate::payload::{FieldError, Identity, InvalidPayload, Payload};

/// A payload whose body is its key.
#[derive(Debug)]
pub(crate) struct Word(pub(crate) String);

impl Payload for Word {
    const KIND: &'static str = "word";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::new(String::from_utf8_lossy(body), Fingerprint::of([body]))
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        match std::str::from_utf8(body) {
            Ok(word) => Ok(Self(word.to_owned())),
            Err(_) => Err(InvalidPayload::Fields(vec![FieldError::new(
                "/word",
                "must be text",
            )]))?,
        }
    }
}
