//! Bodies whose format only an embedding app knows.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use webhook_core::ConflictRecord;

use crate::logging::{Escaping, escaped};

/// A body: JSON as it is, other text as a string, anything else in Base64.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Body<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Base64(String),
}

/// The members of a document for a body; null if it is deleted.
#[derive(Serialize)]
pub(crate) struct BodyMembers<'a> {
    body: Option<Body<'a>>,
    body_encoding: Option<&'static str>,
}

impl<'a> Body<'a> {
    /// A whole body.
    pub(crate) fn of(body: &'a [u8]) -> Self {
        json(body).map_or_else(|| Self::text_or_bytes(body), Self::Json)
    }

    /// The stored part of the body of a conflicting delivery. A character that is cut at its end is left
    /// out.
    pub(crate) fn of_conflict(conflict: &'a ConflictRecord) -> Self {
        let body = &conflict.body;
        if body.len() as u64 == conflict.body_bytes {
            return Self::of(body);
        }
        match std::str::from_utf8(body) {
            Err(error) if error.error_len().is_none() => {
                Self::text_or_bytes(&body[..error.valid_up_to()])
            }
            _ => Self::text_or_bytes(body),
        }
    }

    fn text_or_bytes(body: &'a [u8]) -> Self {
        std::str::from_utf8(body).map_or_else(|_| Self::Base64(STANDARD.encode(body)), Self::Text)
    }

    /// The name of the encoding.
    pub(crate) const fn encoding(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Base64(_) => "base64",
        }
    }

    /// The body on one line, with control and invisible characters escaped. JSON stays valid JSON.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Json(json) => {
                let mut line = Vec::with_capacity(json.get().len());
                let mut serializer = serde_json::Serializer::with_formatter(&mut line, Escaping);
                match json.serialize(&mut serializer) {
                    Ok(()) => String::from_utf8_lossy(&line).into_owned(),
                    Err(_) => escaped(json.get()).into_owned(),
                }
            }
            Self::Text(text) => escaped(text).into_owned(),
            Self::Base64(text) => text.clone(),
        }
    }
}

impl<'a> From<Option<Body<'a>>> for BodyMembers<'a> {
    fn from(body: Option<Body<'a>>) -> Self {
        Self {
            body_encoding: body.as_ref().map(Body::encoding),
            body,
        }
    }
}

/// The body as JSON. `None` if it contains something that many parsers refuse: a lone surrogate, a number
/// beyond the range of a double, or nesting deeper than about a hundred. They could not parse a document
/// with such a body.
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use webhook_core::Fingerprint;

    use super::*;

    fn document(body: Body<'_>) -> String {
        serde_json::to_string(&BodyMembers::from(Some(body))).unwrap()
    }

    fn shown(body: impl AsRef<[u8]>) -> String {
        document(Body::of(body.as_ref()))
    }

    #[test]
    fn json_is_kept_as_it_is_written() {
        for body in [
            r#"{"b": 1.50, "a":1e2, "b":[null, true]}"#,
            "12345678901234567890.10",
            r#""\u00e9\ud83d\ude00""#,
            "null",
        ] {
            let expected = format!(r#"{{"body":{body},"body_encoding":"json"}}"#);
            assert_eq!(shown(body), expected);
            assert_eq!(shown(format!(" \r\n{body}\t")), expected);
        }
    }

    #[test]
    fn other_text_is_a_string() {
        let deep = "[".repeat(127) + &"]".repeat(127);
        for body in [
            "",
            "a=1&b=2",
            "{\"a\":",
            "{} {}",
            "\u{feff}{}",
            r#""\ud800""#,
            "1e999",
            "1],[2",
            "1,2",
            &deep,
            "\u{1b}[31m\u{202e}\0",
        ] {
            let text = serde_json::to_string(body).unwrap();
            let expected = format!(r#"{{"body":{text},"body_encoding":"text"}}"#);
            assert_eq!(shown(body), expected);
        }
    }

    #[test]
    fn bytes_are_base64() {
        let expected = r#"{"body":"AP/+","body_encoding":"base64"}"#;
        assert_eq!(shown([0, 0xff, 0xfe]), expected);
        let expected = r#"{"body":"Iv8i","body_encoding":"base64"}"#;
        assert_eq!(shown(*b"\"\xff\""), expected);
    }

    #[test]
    fn lines_escape_control_and_invisible_characters() {
        for (body, line) in [
            (
                &b"{\"a\":\n\t[1,\r\n\"\xe2\x80\xae\"]}\n"[..],
                r#"{"a":  [1,  "\u202e"]}"#,
            ),
            (b"a\x1b[31m\n\xe2\x80\xae", r"a\u{1b}[31m\n\u{202e}"),
            (b"\x1b\xff", "G/8="),
        ] {
            assert_eq!(Body::of(body).line(), line);
        }
    }

    #[test]
    fn a_conflicting_body_may_be_cut_within_a_character() {
        let shown = |body: &'static [u8], body_bytes| {
            let conflict = ConflictRecord::new(
                SystemTime::UNIX_EPOCH,
                Fingerprint::from_bytes([0; 32]),
                Bytes::from_static(body),
                body_bytes,
            );
            document(Body::of_conflict(&conflict))
        };
        let text = r#"{"body":"\"a","body_encoding":"text"}"#;
        assert_eq!(shown(b"\"a\xc3", 5), text);
        assert_eq!(shown(b"7", 2), r#"{"body":"7","body_encoding":"text"}"#);
        assert_eq!(shown(b"7", 1), r#"{"body":7,"body_encoding":"json"}"#);
        let bytes = r#"{"body":"IsM=","body_encoding":"base64"}"#;
        assert_eq!(shown(b"\"\xc3", 2), bytes);
    }
}
