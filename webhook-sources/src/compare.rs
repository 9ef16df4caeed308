//! The digest of what is compared when an id comes again.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::content::{self, Document};
use crate::spec::{Compare, Pointer};

/// The deepest nesting of a JSON document that is compared by its value. One that is nested deeper is compared by
/// its bytes.
const MAX_DEPTH: usize = 128;

/// The digest of what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) digest: [u8; 32],
    /// Whether the bytes had to be compared, because there is no such JSON value.
    pub(crate) is_fallback: bool,
}

/// Computes the digest of what `compare` compares of `event`. The digests of different comparisons differ, whatever
/// the events are.
pub(crate) fn compared(compare: &Compare, event: &Document<'_>) -> Compared {
    let json = match compare {
        Compare::Bytes => return by_bytes(event.bytes(), false),
        Compare::None => {
            return Compared {
                digest: digest("none", b""),
                is_fallback: false,
            };
        }
        Compare::Json => whole(event, &[]).map(|it| digest("json", &it)),
        Compare::Ignore(ignored) => whole(event, ignored).map(|it| digest("ignore", &it)),
        Compare::Only(pointer) => only(event, pointer).map(|it| digest("only", &it)),
    };
    json.map_or_else(
        || by_bytes(event.bytes(), true),
        |digest| Compared {
            digest,
            is_fallback: false,
        },
    )
}

/// The SHA-256 that stands for an id: of the bytes, or the digest of the part that is compared.
pub(crate) fn identifying(compare: &Compare, event: &[u8], compared: Compared) -> [u8; 32] {
    match compare {
        // Without a comparison, the events of a source would all have the same id.
        Compare::Bytes | Compare::None => Sha256::digest(event).into(),
        Compare::Json | Compare::Ignore(_) | Compare::Only(_) => compared.digest,
    }
}

fn by_bytes(event: &[u8], is_fallback: bool) -> Compared {
    Compared {
        digest: digest("bytes", event),
        is_fallback,
    }
}

fn digest(comparison: &str, content: &[u8]) -> [u8; 32] {
    let hash = Sha256::new()
        .chain_update("webhook-sources ")
        .chain_update(comparison)
        .chain_update("\0");
    hash.chain_update(content).finalize().into()
}

fn whole(event: &Document<'_>, ignored: &[Pointer]) -> Option<Vec<u8>> {
    canonical(event.whole()?, ignored)
}

fn only(event: &Document<'_>, pointer: &Pointer) -> Option<Vec<u8>> {
    let found = event.select(pointer);
    let mut whole = Vec::new();
    for value in &found {
        whole.extend(canonical(value, &[])?);
    }
    (!found.is_empty()).then_some(whole)
}

/// Returns a JSON value without the values at the pointers `ignored`, in a form that does not depend on white space,
/// escapes and the order of members; none if it is nested too deeply.
///
/// Each string and number begins with its length, so that no two values have the same form.
fn canonical(json: &RawValue, ignored: &[Pointer]) -> Option<Vec<u8>> {
    let json = json.get().as_bytes();
    let ignored: Vec<Vec<&str>> = ignored.iter().map(|it| it.tokens().collect()).collect();
    let ignored: Vec<&[&str]> = ignored.iter().map(Vec::as_slice).collect();
    let mut writer = Writer {
        rest: json,
        written: Vec::with_capacity(json.len()),
    };
    if ignored.iter().any(|pointer| pointer.is_empty()) {
        return Some(Vec::new());
    }
    writer.value(&ignored, 0)?;
    Some(writer.written)
}

/// Reads well-formed JSON and writes its canonical form.
struct Writer<'a> {
    rest: &'a [u8],
    written: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Takes a value without the values at the pointers `ignored`, which begin at this value. Returns `None` if it is
    /// nested too deeply.
    fn value(&mut self, ignored: &[&[&str]], depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.next()? {
            b'{' => self.object(ignored, depth),
            b'[' => self.array(ignored, depth),
            b'"' => {
                let text = self.string()?;
                self.write_text(b'"', &text);
                Some(())
            }
            _ => {
                let word = self.word()?;
                self.write_text(b'#', word);
                Some(())
            }
        }
    }

    fn object(&mut self, ignored: &[&[&str]], depth: usize) -> Option<()> {
        self.skip(b'{')?;
        self.written.push(b'{');
        let start = self.written.len();
        let mut members: Vec<(Cow<'a, [u8]>, Range<usize>)> = Vec::new();
        loop {
            match self.next()? {
                b'}' => break,
                b',' => self.skip(b',')?,
                _ => {}
            }
            if self.next()? == b'}' {
                break;
            }
            let name = self.string()?;
            self.next()?;
            self.skip(b':')?;
            let begin = self.written.len();
            self.write_text(b'"', &name);
            if self.child(ignored, |token| token.as_bytes() == &*name, depth)? {
                members.push((name, begin..self.written.len()));
            } else {
                self.written.truncate(begin);
            }
        }
        self.skip(b'}')?;
        // Members of the same name keep their order: another order may be another value.
        if !members.is_sorted_by(|(a, _), (b, _)| a <= b) {
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let unsorted = self.written.split_off(start);
            for (_, place) in members {
                let place = place.start - start..place.end - start;
                self.written.extend_from_slice(&unsorted[place]);
            }
        }
        self.written.push(b'}');
        Some(())
    }

    fn array(&mut self, ignored: &[&[&str]], depth: usize) -> Option<()> {
        self.skip(b'[')?;
        self.written.push(b'[');
        for index in 0_usize.. {
            match self.next()? {
                b']' => break,
                b',' => self.skip(b',')?,
                _ => {}
            }
            let begin = self.written.len();
            let is_index = |token: &str| token == "*" || content::index(token) == Some(index);
            if !self.child(ignored, is_index, depth)? {
                self.written.truncate(begin);
            }
        }
        self.skip(b']')?;
        self.written.push(b']');
        Some(())
    }

    /// Takes a value in another, and returns whether it counts.
    fn child(
        &mut self,
        ignored: &[&[&str]],
        is_named: impl Fn(&str) -> bool,
        depth: usize,
    ) -> Option<bool> {
        let mut inner = Vec::new();
        for pointer in ignored {
            if let [token, rest @ ..] = pointer
                && is_named(token)
            {
                inner.push(rest);
            }
        }
        self.value(&inner, depth + 1)?;
        Some(inner.iter().all(|pointer| !pointer.is_empty()))
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        let (string, rest) = self.rest.split_at(at + 1);
        self.rest = rest;
        let plain = &string[1..at];
        if plain.contains(&b'\\') {
            content::unescaped(string)
        } else {
            Some(Cow::Borrowed(plain))
        }
    }

    /// A number, `true`, `false` or `null`, as it is written.
    fn word(&mut self) -> Option<&'a [u8]> {
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn write_text(&mut self, sort: u8, text: &[u8]) {
        self.written.push(sort);
        self.written
            .extend_from_slice(&(text.len() as u64).to_be_bytes());
        self.written.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json(event: &str) -> Compared {
        compared(&Compare::Json, &Document::new(event.as_bytes()))
    }

    fn ignoring(pointers: &[&str], event: &str) -> Compared {
        let pointers = pointers.iter().map(|it| it.parse().unwrap()).collect();
        compared(&Compare::Ignore(pointers), &Document::new(event.as_bytes()))
    }

    #[test]
    fn json_is_compared_by_its_value() {
        let one = json(r#"{"a": [1, "x", null], "b": {"c": true, "d": {}}}"#);
        assert!(!one.is_fallback);
        assert_eq!(
            json("{\"b\":{\"d\":{ },\"c\":true}\n,\"\\u0061\":[1,\"\\u0078\",null]}"),
            one
        );
        for other in [
            r#"{"a": [1, "x"], "b": {"c": true, "d": {}}}"#,
            r#"{"a": ["x", 1, null], "b": {"c": true, "d": {}}}"#,
            r#"{"a": ["1", "x", null], "b": {"c": true, "d": {}}}"#,
            r#"{"a": [1, "x", null], "b": {"c": "true", "d": {}}}"#,
            r#"{"a": [1, "x", null], "b": {"c": true, "d": []}}"#,
            r#"{"a": [1.0, "x", null], "b": {"c": true, "d": {}}}"#,
            r#"{"a": [1, "x", null], "b": {"c": true}, "d": {}}"#,
        ] {
            assert_ne!(json(other).digest, one.digest, "{other}");
        }
        assert_ne!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2,"a":1}"#));
        assert_ne!(json(r#""\ud800""#), json(r#""\ud801""#));
    }

    #[test]
    fn ignored_values_are_not_compared() {
        let one = ignoring(
            &["/n", "/a/*/t", "/x~1y/0"],
            r#"{"a": [{"i": 1}, {"i": 2}]}"#,
        );
        for same in [
            r#"{"n": 1, "a": [{"i": 1, "t": 5}, {"t": {"t": []}, "i": 2}]}"#,
            r#"{"a": [{"i": 1}, {"i": 2}], "n": {"n": 2}, "n": 3}"#,
        ] {
            assert_eq!(ignoring(&["/n", "/a/*/t", "/x~1y/0"], same), one, "{same}");
        }
        for other in [
            r#"{"a": [{"i": 1}, {"i": 3}]}"#,
            r#"{"a": [{"i": 1}, {"i": 2}], "t": 1}"#,
            r#"{"a": [{"i": 1}, {"i": 2}], "x/y": [1]}"#,
            r#"{"a": {"*": {"i": 1}}}"#,
        ] {
            assert_ne!(
                ignoring(&["/n", "/a/*/t", "/x~1y/0"], other),
                one,
                "{other}"
            );
        }
        assert_eq!(ignoring(&["/0"], "[1, 2]"), ignoring(&["/0"], "[3, 2]"));
        assert_eq!(ignoring(&[""], "[1, 2]"), ignoring(&[""], "{}"));
    }

    #[test]
    fn one_value_is_compared_alone() {
        let only = |event: &str| {
            compared(
                &Compare::Only("/e".parse().unwrap()),
                &Document::new(event.as_bytes()),
            )
        };
        assert_eq!(
            only(r#"{"n": 1, "e": {"a": 1, "b": 2}}"#),
            only(r#"{"n": 2, "e": {"b": 2, "a": 1}}"#)
        );
        assert_ne!(only(r#"{"e": 1}"#), only(r#"{"e": 2}"#));
        assert!(!only(r#"{"e": null}"#).is_fallback);
        assert!(only(r#"{"n": 1}"#).is_fallback);
    }

    #[test]
    fn bytes_are_compared_where_there_is_no_json() {
        for event in ["", "{", "a=1", "[1] 2", "\"\u{1}\"", "{\"a\" 1}"] {
            let it = json(event);
            assert!(it.is_fallback, "{event}");
            assert_eq!(
                it.digest,
                compared(&Compare::Bytes, &Document::new(event.as_bytes())).digest
            );
        }
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!json(&nested(MAX_DEPTH)).is_fallback);
        assert!(json(&nested(MAX_DEPTH + 1)).is_fallback);
        assert!(json(&nested(500_000)).is_fallback);
    }

    #[test]
    fn digests_of_different_comparisons_differ() {
        let event = br#"{"a":1}"#;
        let all = [
            Compare::Bytes,
            Compare::Json,
            Compare::None,
            Compare::Ignore(vec!["/b".parse().unwrap()]),
            Compare::Only("".parse().unwrap()),
        ];
        let digests: std::collections::BTreeSet<_> = all
            .iter()
            .map(|it| compared(it, &Document::new(event)).digest)
            .collect();
        assert_eq!(digests.len(), all.len());
    }

    /// JSON values of some depth and width.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\"\\\\\u{7f}é\n]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"]{0,2}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn equal_values_have_equal_digests(a in values(), b in values()) {
            let compact = a.to_string();
            let pretty = serde_json::to_string_pretty(&a).unwrap();
            prop_assert_eq!(json(&compact), json(&pretty));
            prop_assert!(!json(&compact).is_fallback);
            prop_assert_eq!(a == b, json(&compact) == json(&b.to_string()));
        }

        #[test]
        fn an_ignored_member_makes_no_difference(value in values(), other in values()) {
            let with = |extra: &Value| format!(r#"{{"z": {extra}, "value": {value}}}"#);
            prop_assert_eq!(ignoring(&["/z"], &with(&value)), ignoring(&["/z"], &with(&other)));
            prop_assert_eq!(value == other, json(&with(&value)) == json(&with(&other)));
        }
    }
}
