//! Finds the id and the type of an event.

use std::borrow::Cow;
use std::cell::OnceCell;

use sha2::{Digest, Sha256};

use crate::MAX_ID_BYTES;
use crate::compare::{self, Compared};
use crate::content::{Content, Document, Found};
use crate::outcome::Flaw;
use crate::spec::{Compare, IdRule, Place};

/// An event of a request.
pub(crate) struct Event<'e, 'a> {
    pub(crate) request: &'e Content<'a>,
    /// The event in the body of the request.
    pub(crate) document: &'e Document<'a>,
    /// The message id that the scheme verified.
    pub(crate) message_id: Option<&'e str>,
    compare: &'e Compare,
    compared: OnceCell<Compared>,
}

impl<'e, 'a> Event<'e, 'a> {
    pub(crate) const fn new(
        request: &'e Content<'a>,
        document: &'e Document<'a>,
        message_id: Option<&'e str>,
        compare: &'e Compare,
    ) -> Self {
        Self {
            request,
            document,
            message_id,
            compare,
            compared: OnceCell::new(),
        }
    }

    /// The digest of what is compared.
    pub(crate) fn compared(&self) -> Compared {
        *self
            .compared
            .get_or_init(|| compare::compared(self.compare, self.document))
    }

    /// The id by `rule`, or else a hash of the content, and what is wrong with the event then.
    pub(crate) fn id(&self, rule: &IdRule) -> (String, Option<Flaw>) {
        let Some(id) = self.value(rule).filter(|id| !id.is_empty()) else {
            return (self.hash(), Some(self.missing(rule)));
        };
        match usable(&id) {
            Some(id) => (id.to_owned(), None),
            None => (hashed(&id), Some(Flaw::UnusableId)),
        }
    }

    /// The name of the event's type at `place`, or its hash if it cannot be a name.
    pub(crate) fn event_type(&self, place: &Place) -> Option<String> {
        let name = self.at(place).filter(|name| !name.is_empty())?;
        Some(usable(&name).map_or_else(|| hashed(&name), str::to_owned))
    }

    fn at(&self, place: &Place) -> Option<Cow<'a, [u8]>> {
        match self.request.at_event(place, self.document) {
            Found::One(value) => Some(value),
            Found::Nothing | Found::Several => None,
        }
    }

    fn hash(&self) -> String {
        hex::encode(compare::identifying(
            self.compare,
            self.document.bytes(),
            self.compared(),
        ))
    }

    /// The id by `rule`, which may be empty.
    fn value(&self, rule: &IdRule) -> Option<Cow<'_, [u8]>> {
        match rule {
            IdRule::At(place) => self.at(place),
            IdRule::Signed => self.message_id.map(|id| Cow::Borrowed(id.as_bytes())),
            IdRule::Sha256 => Some(Cow::Owned(self.hash().into_bytes())),
            IdRule::Generated => generated().map(|id| Cow::Owned(id.into_bytes())),
            IdRule::Joined(rules) => self.joined(rules).map(Cow::Owned),
            IdRule::FirstOf(rules) => rules
                .iter()
                .find_map(|rule| self.value(rule).filter(|id| !id.is_empty())),
        }
    }

    /// The parts, with colons between them. Without one of its parts an id would be that of other events as well.
    fn joined(&self, rules: &[IdRule]) -> Option<Vec<u8>> {
        let mut joined = Vec::new();
        let mut is_empty = true;
        for (position, rule) in rules.iter().enumerate() {
            if position > 0 {
                joined.push(b':');
            }
            let part = self.value(rule)?;
            is_empty &= part.is_empty();
            for &byte in part.iter() {
                match byte {
                    b':' => joined.extend(b"%3A"),
                    b'%' => joined.extend(b"%25"),
                    other => joined.push(other),
                }
            }
        }
        (!is_empty).then_some(joined)
    }

    /// Why there is no id.
    fn missing(&self, rule: &IdRule) -> Flaw {
        if needs_json(rule) && !self.document.is_json() {
            Flaw::NotJson
        } else {
            Flaw::NoId
        }
    }
}

fn needs_json(rule: &IdRule) -> bool {
    match rule {
        IdRule::At(Place::Json(_)) => true,
        IdRule::Joined(rules) | IdRule::FirstOf(rules) => rules.iter().any(needs_json),
        IdRule::At(_) | IdRule::Signed | IdRule::Sha256 | IdRule::Generated => false,
    }
}

/// Whether the events of one request may have different ids by `rule`.
pub(crate) fn differs_within_request(rule: &IdRule) -> bool {
    match rule {
        IdRule::At(Place::Json(_)) | IdRule::Sha256 | IdRule::Generated => true,
        IdRule::Joined(rules) => rules.iter().any(differs_within_request),
        // The first one is the same for all, or missing for all.
        IdRule::FirstOf(rules) => rules.iter().all(differs_within_request),
        IdRule::At(_) | IdRule::Signed => false,
    }
}

/// The places that `rule` reads.
pub(crate) fn places(rule: &IdRule) -> Vec<&Place> {
    match rule {
        IdRule::At(place) => vec![place],
        IdRule::Joined(rules) | IdRule::FirstOf(rules) => rules.iter().flat_map(places).collect(),
        IdRule::Signed | IdRule::Sha256 | IdRule::Generated => Vec::new(),
    }
}

/// The text, if it can be an id.
fn usable(id: &[u8]) -> Option<&str> {
    let id = str::from_utf8(id).ok()?;
    (id.len() <= MAX_ID_BYTES && !id.contains(char::is_control)).then_some(id)
}

fn hashed(id: &[u8]) -> String {
    hex::encode(Sha256::digest(id))
}

/// 128 random bits. The system may have none shortly after it was started.
fn generated() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Request;

    fn rule(text: &str) -> IdRule {
        #[derive(serde::Deserialize)]
        struct Written {
            id: IdRule,
        }
        toml::from_str::<Written>(&format!("id = {text}"))
            .unwrap()
            .id
    }

    /// The id of a request with these headers and this body.
    fn id_of(written: &str, headers: &[(&str, &[u8])], body: &str) -> (String, Option<Flaw>) {
        let content = Content::new(Request {
            method: "POST",
            target: "/?q=1",
            headers,
            body: body.as_bytes(),
        });
        let event = Event::new(&content, &content.body, Some("msg_1"), &Compare::Bytes);
        event.id(&rule(written))
    }

    fn sha256(text: impl AsRef<[u8]>) -> String {
        hashed(text.as_ref())
    }

    #[test]
    fn ids_are_found_where_the_rule_says() {
        let body = r#"{"id": "evt_1", "n": 7, "a": [1, 2], "empty": "", "null": null}"#;
        let headers: &[(&str, &[u8])] = &[("X-Id", b" h:1% "), ("x-empty", b"")];
        for (written, id) in [
            (r#""json:/id""#, "evt_1"),
            (r#""json:/n""#, "7"),
            (r#""header:x-id""#, "h:1%"),
            (r#""query:q""#, "1"),
            (r#""signed""#, "msg_1"),
            (r#"["json:/id", "header:x-id"]"#, "evt_1:h%3A1%25"),
            (r#"["json:/id", "json:/empty", "json:/n"]"#, "evt_1::7"),
            (
                r#"{ first_of = ["json:/x", "json:/null", "json:/empty", "json:/n"] }"#,
                "7",
            ),
            (
                r#"{ first_of = ["header:x-empty", ["json:/x", "json:/id"], "signed"] }"#,
                "msg_1",
            ),
        ] {
            assert_eq!(
                id_of(written, headers, body),
                (id.to_owned(), None),
                "{written}"
            );
        }
        assert_eq!(id_of(r#""sha256""#, headers, body), (sha256(body), None));
    }

    #[test]
    fn without_an_id_the_content_identifies() {
        let body = r#"{"id": "", "a": [1, 2]}"#;
        let twice: &[(&str, &[u8])] = &[("x-id", b"1"), ("x-id", b"2")];
        for written in [
            r#""json:/id""#,
            r#""json:/x""#,
            r#""json:/a/*""#,
            r#""header:x-id""#,
            r#""form:x""#,
            r#"["json:/a/0", "json:/x"]"#,
            r#"["json:/id", "json:/id"]"#,
            r#"{ first_of = ["json:/x", "json:/id"] }"#,
        ] {
            let no_id = (sha256(body), Some(Flaw::NoId));
            assert_eq!(id_of(written, twice, body), no_id, "{written}");
        }
        let not_json = (sha256("{"), Some(Flaw::NotJson));
        assert_eq!(id_of(r#""json:/id""#, &[], "{"), not_json);
    }

    #[test]
    fn unusable_ids_are_hashed() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let ids: [&[u8]; 4] = [long.as_bytes(), b"a\tb", b"\xff\xfe", "\u{85}".as_bytes()];
        for id in ids {
            let hashed = (sha256(id), Some(Flaw::UnusableId));
            assert_eq!(id_of(r#""header:x-id""#, &[("x-id", id)], ""), hashed);
        }
        let longest = &long[1..];
        let (id, flaw) = id_of(r#""header:x-id""#, &[("x-id", longest.as_bytes())], "");
        assert_eq!((id.as_str(), flaw), (longest, None));
    }

    #[test]
    fn generated_ids_are_always_new() {
        let (first, second) = (
            id_of(r#""generated""#, &[], ""),
            id_of(r#""generated""#, &[], ""),
        );
        assert_ne!(first, second);
        assert_eq!((first.0.len(), first.1), (32, None));
    }

    #[test]
    fn rules_that_tell_events_of_a_request_apart_are_known() {
        for (written, differs) in [
            (r#""json:/id""#, true),
            (r#""sha256""#, true),
            (r#""header:x""#, false),
            (r#""signed""#, false),
            (r#"["header:x", "json:/id"]"#, true),
            (r#"["header:x", "signed"]"#, false),
            (r#"{ first_of = ["header:x", "json:/id"] }"#, false),
            (r#"{ first_of = ["json:/id", "sha256"] }"#, true),
        ] {
            assert_eq!(differs_within_request(&rule(written)), differs, "{written}");
        }
    }

    proptest! {
        #[test]
        fn joined_ids_are_equal_only_if_their_parts_are(
            a in prop::array::uniform2("[a:%3A]{0,3}"),
            b in prop::array::uniform2("[a:%3A]{0,3}"),
        ) {
            let id = |parts: &[String; 2]| {
                let headers: [(&str, &[u8]); 2] =
                    [("x-a", parts[0].as_bytes()), ("x-b", parts[1].as_bytes())];
                id_of(r#"["header:x-a", "header:x-b"]"#, &headers, "").0
            };
            prop_assert_eq!(id(&a) == id(&b), a == b);
        }
    }
}
