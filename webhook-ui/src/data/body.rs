//! Bodies and headers in documents.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::{RawValue, to_raw_value};

use super::masked::{holds_secret, masked};
use crate::model::{Body, BodyEncoding, Header};

/// A body, or the stored beginning of one of `whole_bytes`. With `mask`, values under names that hold secrets are
/// masked.
pub(crate) fn body_of(stored: &[u8], whole_bytes: u64, mask: bool) -> Body {
    let truncated = (stored.len() as u64) < whole_bytes;
    let text = text(stored, truncated);
    let hidden = text.filter(|_| mask).and_then(masked);
    let shown = hidden.as_deref().or(text);
    let json = shown
        .filter(|_| !truncated)
        .and_then(|it| json(it.as_bytes()));
    let (encoding, content) = match (json, shown) {
        (Some(json), _) => (BodyEncoding::Json, json.to_owned()),
        (None, Some(text)) => (BodyEncoding::Text, string(text)),
        (None, None) => (BodyEncoding::Base64, string(&STANDARD.encode(stored))),
    };
    Body {
        encoding,
        content,
        masked: hidden.is_some(),
        bytes: whole_bytes,
        truncated,
    }
}

/// The bytes, in which values under names that hold secrets are masked with `mask`.
pub(super) fn masked_bytes(bytes: &[u8], mask: bool) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(bytes).ok().filter(|_| mask);
    let hidden = text.and_then(masked);
    hidden.map_or(bytes.into(), |it| it.into_bytes().into())
}

/// A header, whose value is masked with `mask` if its name says that it is a secret.
pub(crate) fn masked_header(name: &str, value: &[u8], mask: bool) -> Header {
    let hidden = mask && holds_secret(name);
    Header {
        name: name.to_owned(),
        value: (!hidden).then(|| String::from_utf8_lossy(value).into_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_as_written_and_masked() {
        let shown = |stored: &[u8], whole_bytes, mask| {
            let body = body_of(stored, whole_bytes, mask);
            let content = body.content.get().to_owned();
            (body.encoding, content, body.masked, body.truncated)
        };
        let json = br#"{"n":1.50,"token":"x"}"#;
        let masked = r#"{"n":1.50,"token":"•••"}"#.to_owned();
        let open = String::from_utf8(json.to_vec()).unwrap();
        assert_eq!(
            shown(json, 22, true),
            (BodyEncoding::Json, masked, true, false)
        );
        assert_eq!(
            shown(json, 22, false),
            (BodyEncoding::Json, open, false, false)
        );
        let cut = r#""{\"n\":1.50,\"token\":\"•••\"""#.to_owned();
        assert_eq!(
            shown(&json[..19], 22, true),
            (BodyEncoding::Text, cut, true, true)
        );
        let text = shown("caf\u{e9}".as_bytes(), 5, true);
        let cafe = "\"caf\u{e9}\"".to_owned();
        assert_eq!(text, (BodyEncoding::Text, cafe, false, false));
        let bytes = shown(b"\xff\x00", 2, true);
        assert_eq!(
            bytes,
            (BodyEncoding::Base64, "\"/wA=\"".to_owned(), false, false)
        );
    }
}
