//! Finds the members of JSON documents, and brings them into a canonical form to compare them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{FieldError, Identity, InvalidPayload, without_byte_order_mark};
use crate::event::{Fingerprint, Key};

/// Objects and arrays that are nested more deeply than this are compared byte for byte.
const MAX_DEPTH: usize = 32;

type Members<'a> = BTreeMap<String, &'a RawValue>;

impl Identity {
    /// Returns the identity of a JSON document, by JSON pointers (RFC 6901): the string or number at `key` is
    /// its key, and the values at `compared` are its content.
    ///
    /// White space, the order of members and escapes in strings do not change the content. The spelling of
    /// numbers does: 1, 1.0 and 1e0 are different. A missing member is different from null. If a member occurs
    /// twice, the last one counts. A byte-order mark before the document is ignored.
    ///
    /// Compare members that are the same in each redelivery. Senders change some members each time, such as
    /// Stripe's `pending_webhooks`: if these are compared, every redelivery is a conflict. Changing the list of
    /// pointers changes the fingerprints: redeliveries of earlier events are conflicts then.
    ///
    /// ```
    /// use webhook_core::Identity;
    ///
    /// let first = br#"{"id": "evt_1", "type": "charge.refunded", "data": {"n": 1}, "pending_webhooks": 2}"#;
    /// let again = br#"{"id": "evt_1", "type": "charge.refunded", "data": {"n":1}, "pending_webhooks": 1}"#;
    /// let identity = |body| Identity::of_json(body, "/id", &["/type", "/data"]);
    /// assert_eq!(identity(first)?, identity(again)?);
    /// assert_eq!(identity(first)?.key.as_str(), "evt_1");
    /// # Ok::<(), webhook_core::InvalidPayload>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] if `body` is not JSON, if there is no string or number at `key`, or if that is not a valid key.
    ///
    /// # Panics
    ///
    /// Panics if a pointer is neither empty nor begins with `/`.
    pub fn of_json(body: &[u8], key: &str, compared: &[&str]) -> Result<Self, InvalidPayload> {
        let document = document(body)?;
        let field = |detail: &str| InvalidPayload::Fields(vec![FieldError::new(key, detail)]);
        let found = at(document, key).ok_or_else(|| field("is missing"))?.get();
        let text = match found.as_bytes()[0] {
            b'"' => serde_json::from_str(found).map_err(|_| field("is not valid text"))?,
            b'-' | b'0'..=b'9' => found.to_owned(),
            _ => return Err(field("must be text or a number")),
        };
        Ok(Self {
            key: Key::new(text).map_err(InvalidPayload::Key)?,
            fingerprint: fingerprint(document, compared),
        })
    }
}

impl Fingerprint {
    /// Computes the digest of the values at `pointers` in a JSON document, as [`Identity::of_json`] does.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload::Malformed`] if `body` is not JSON.
    ///
    /// # Panics
    ///
    /// Panics if a pointer is neither empty nor begins with `/`.
    pub fn of_json(body: &[u8], pointers: &[&str]) -> Result<Self, InvalidPayload> {
        Ok(fingerprint(document(body)?, pointers))
    }
}

fn document(body: &[u8]) -> Result<&RawValue, InvalidPayload> {
    let document = serde_json::from_slice(without_byte_order_mark(body));
    document.map_err(|error| InvalidPayload::Malformed {
        detail: error.to_string(),
    })
}

fn fingerprint(document: &RawValue, pointers: &[&str]) -> Fingerprint {
    let values = pointers.iter().map(|pointer| {
        // Empty for a missing value; no value is empty.
        let mut text = String::new();
        if let Some(value) = at(document, pointer) {
            write(value, 0, &mut text);
        }
        text
    });
    Fingerprint::of(values)
}

/// Returns the value at a JSON pointer, if there is one.
fn at<'a>(document: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    assert!(
        pointer.is_empty() || pointer.starts_with('/'),
        "JSON pointer {pointer:?} does not begin with /"
    );
    let mut value = document;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = match value.get().as_bytes()[0] {
            b'{' => members(value)?.remove(&token)?,
            b'[' => items(value)?.get(index(&token)?).copied()?,
            _ => return None,
        };
    }
    Some(value)
}

/// Parses an index without leading zeros, as RFC 6901 requires.
fn index(token: &str) -> Option<usize> {
    let is_canonical = token == "0" || token.starts_with(|c: char| matches!(c, '1'..='9'));
    is_canonical.then(|| token.parse().ok())?
}

/// Returns the members of an object; `None` if a name is not valid Unicode (RFC 8259, section 8.2).
fn members(object: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(object.get()).ok()
}

fn items(array: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(array.get()).ok()
}

/// Writes `value` without white space, with sorted members and the shortest escapes. A value that cannot be
/// decoded is written unchanged.
fn write(value: &RawValue, depth: usize, text: &mut String) {
    let written = value.get();
    let shallow = depth < MAX_DEPTH;
    match written.as_bytes()[0] {
        b'"' => match serde_json::from_str::<String>(written) {
            Ok(decoded) => quote(&decoded, text),
            Err(_) => text.push_str(written),
        },
        b'{' if shallow && let Some(members) = members(value) => {
            text.push('{');
            for (name, member) in members {
                quote(&name, text);
                text.push(':');
                write(member, depth + 1, text);
                text.push(',');
            }
            text.push('}');
        }
        b'[' if shallow && let Some(items) = items(value) => {
            text.push('[');
            for item in items {
                write(item, depth + 1, text);
                text.push(',');
            }
            text.push(']');
        }
        _ => text.push_str(written),
    }
}

fn quote(decoded: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(decoded).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let digest = |body: &str| Fingerprint::of_json(body.as_bytes(), &[""]).unwrap();
        digest(one) == digest(other)
    }

    #[test]
    fn only_numbers_are_compared_by_their_spelling() {
        for (one, other) in [
            (
                r#"{"a":1,"b":[2,{"c":3,"d":4}]}"#,
                "\u{feff}{ \"b\" : [2, {\"d\":4,\n\"c\":3}] , \"a\":1 }",
            ),
            (r#""A/é""#, r#""\u0041\/\u00e9""#),
            (r#"{"a":1}"#, r#"{"a":2,"\u0061":1}"#),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "1.0"),
            ("1", "\"1\""),
            (
                "12345678901234567890123456789.1",
                "12345678901234567890123456789.2",
            ),
            ("[1,2]", "[2,1]"),
            ("[1,2]", "[12]"),
            ("{}", "[]"),
            ("[]", "[[]]"),
            (r#"{"a":null}"#, "{}"),
            (r#""a b""#, r#""a  b""#),
            (r#""\ud800""#, r#""\ud801""#),
            (r#"{"\ud800":1}"#, r#"{"\ud800":2}"#),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn deeply_nested_documents_are_compared() {
        let deep = |depth: usize, inner: &str| {
            format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))
        };
        assert!(same(&deep(MAX_DEPTH, "1"), &deep(MAX_DEPTH, " 1 ")));
        assert!(!same(&deep(100_000, "1"), &deep(100_000, "2")));
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        let body = br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let document = document(body).unwrap();
        for (pointer, expected) in [
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(at(document, pointer).unwrap().get(), expected, "{pointer}");
        }
        for pointer in [
            "/foo/2", "/foo/00", "/foo/-", "/foo/+1", "/foo/bar", "/nope", "//", "/foo/0/x",
        ] {
            assert!(at(document, pointer).is_none(), "{pointer}");
        }
    }

    #[test]
    fn keys_are_strings_or_numbers() {
        let key = |body: &str| Identity::of_json(body.as_bytes(), "/id", &[]).map(|it| it.key);
        for (body, expected) in [
            (r#"{"id":"a\u0020b"}"#, "a b"),
            (r#"{"id":12345678901234567890}"#, "12345678901234567890"),
            (r#"{"id":-1.50}"#, "-1.50"),
            (r#"{"id":"a","id":"b"}"#, "b"),
        ] {
            assert_eq!(key(body).unwrap().as_str(), expected);
        }
        for body in [
            "{}",
            "[]",
            r#"{"id":null}"#,
            r#"{"id":[1]}"#,
            r#"{"id":true}"#,
            r#"{"id":"\ud800"}"#,
        ] {
            match key(body).unwrap_err() {
                InvalidPayload::Fields(fields) => assert_eq!(fields[0].pointer, "/id", "{body}"),
                other => panic!("{other}"),
            }
        }
        for body in [r#"{"id":""}"#, r#"{"id":"\n"}"#] {
            assert!(matches!(key(body), Err(InvalidPayload::Key(_))), "{body}");
        }
        for body in ["", "{", "\u{feff}", "{}{}", "nope"] {
            assert!(
                matches!(key(body), Err(InvalidPayload::Malformed { .. })),
                "{body}"
            );
        }
        assert!(matches!(
            Identity::of_json(b"\"\xff\"", "", &[]),
            Err(InvalidPayload::Malformed { .. })
        ));
    }

    #[test]
    fn missing_members_differ_from_null_and_from_each_other() {
        let digest = |body: &str| Fingerprint::of_json(body.as_bytes(), &["/a", "/b"]).unwrap();
        let bodies = [
            "{}",
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            r#"{"a":null}"#,
            r#"{"a":1,"b":1}"#,
        ];
        for (place, one) in bodies.iter().enumerate() {
            for other in &bodies[place + 1..] {
                assert_ne!(digest(one), digest(other), "{one} {other}");
            }
        }
        assert_eq!(digest("{}"), digest(r#"{"c":1}"#));
    }

    #[test]
    #[should_panic(expected = "does not begin with /")]
    fn pointer_without_leading_slash_panics() {
        let _ = Identity::of_json(b"{}", "id", &[]);
    }
}
