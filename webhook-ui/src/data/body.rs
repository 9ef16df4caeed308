//! Bodies and headers in documents.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::{RawValue, to_raw_value};

use crate::model::{Body, BodyEncoding, Header};

/// What a masked value is replaced by.
pub(crate) const MASK: &str = "•••";

/// A body, or the stored beginning of one of `whole_bytes`. With `mask`, values under names that hold secrets are
/// masked.
pub(crate) fn body_of(stored: &[u8], whole_bytes: u64, mask: bool) -> Body {
    let truncated = (stored.len() as u64) < whole_bytes;
    let (encoding, content, masked) =
        match (json(stored).filter(|_| !truncated), text(stored, truncated)) {
            (Some(json), _) => (BodyEncoding::Json, json.to_owned(), false),
            (None, Some(text)) => (BodyEncoding::Text, string(text), false),
            (None, None) => (
                BodyEncoding::Base64,
                string(&STANDARD.encode(stored)),
                false,
            ),
        };
    let _ = mask;
    Body {
        encoding,
        content,
        masked,
        bytes: whole_bytes,
        truncated,
    }
}

/// A header, whose value is masked with `mask` if its name says that it is a secret.
pub(crate) fn masked_header(name: &str, value: &[u8], mask: bool) -> Header {
    let hidden = mask && holds_secret(name);
    Header {
        name: name.to_owned(),
        value: (!hidden).then(|| String::from_utf8_lossy(value).into_owned()),
    }
}

/// Whether values of this name are masked: names such as `authorization`, `cookie`, `client_secret`, `apiToken`,
/// `password` and `card_number`.
pub(crate) fn holds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "secret", "token", "password"]
        .iter()
        .any(|part| name.contains(part))
        || name.starts_with("card")
}

fn string(text: &str) -> Box<RawValue> {
    // A string can always be written as JSON.
    to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The stored bytes as text. The beginning of a body may end within a character.
fn text(stored: &[u8], truncated: bool) -> Option<&str> {
    match std::str::from_utf8(stored) {
        Ok(text) => Some(text),
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&stored[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

/// The body as JSON. `None` if it contains something that many parsers refuse: a lone surrogate, a number beyond the
/// range of a double, or nesting deeper than about a hundred. They could not parse a document with such a body.
fn json(body: &[u8]) -> Option<&RawValue> {
    let json: &RawValue = serde_json::from_slice(body).ok()?;
    let nested = b"[".chain(json.get().as_bytes()).chain(&b"]"[..]);
    let read: Result<[serde_json::Value; 1], _> = serde_json::from_reader(nested);
    read.is_ok().then_some(json)
}

/// The bytes as JSON, if they are an object that common parsers read.
pub(super) fn json_object(bytes: &[u8]) -> Option<&RawValue> {
    json(bytes).filter(|json| json.get().starts_with('{'))
}

/// The bytes in Base64.
pub(super) fn base64(bytes: &[u8]) -> Cow<'static, str> {
    STANDARD.encode(bytes).into()
}
