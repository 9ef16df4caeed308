//! Finds values in a request, which may be parsed before anybody knows who made it.
//!
//! Nothing here recurses into a document, so that deep nesting costs no stack, and each look-up takes time in
//! proportion to the size of the body.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::value::RawValue;

use crate::Request;
use crate::spec::{Place, Pointer};

/// The most fields of a form, or parameters of a query, that are read. A body with more has none.
pub const MAX_FIELDS: usize = 1_000;

/// The most values at a part of a pointer that are kept for the next pointer.
const MAX_KEPT_VALUES: usize = 64;

type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A request, with its body, its form and its query, which are parsed when they are first asked for.
pub(crate) struct Content<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) body: Document<'a>,
    form: OnceCell<Fields<'a>>,
    query: OnceCell<Fields<'a>>,
}

/// The values at a place of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// There is none.
    Nothing,
    /// There is one. It need not be UTF-8 if it is of a header.
    One(Cow<'a, [u8]>),
    /// There are several.
    Several,
}

impl<'a> Content<'a> {
    pub(crate) const fn new(request: Request<'a>) -> Self {
        Self {
            request,
            body: Document::new(request.body),
            form: OnceCell::new(),
            query: OnceCell::new(),
        }
    }

    /// The value at `place`, which is not an item of a signature: that of a header without the white space
    /// around it, the text of a JSON string, and any other JSON value but null as it is written.
    pub(crate) fn at(&self, place: &Place) -> Found<'a> {
        self.at_event(place, &self.body)
    }

    /// As [`at`](Self::at), where JSON pointers begin at `event`, which is a part of the body.
    pub(crate) fn at_event(&self, place: &Place, event: &Document<'a>) -> Found<'a> {
        match place {
            Place::Header(name) => one(self
                .request
                .header_values(name)
                .map(|it| Cow::Borrowed(it.trim_ascii()))),
            Place::Json(pointer) => {
                let texts = event.select(pointer).into_iter().filter_map(text);
                one(texts.map(bytes))
            }
            Place::Form(name) => one(values(self.form(), name)),
            Place::Query(name) => one(values(self.query(), name)),
            Place::Item(_) => Found::Nothing,
        }
    }

    /// The fields of the body as `application/x-www-form-urlencoded`, in their order; none if there are more than
    /// [`MAX_FIELDS`].
    pub(crate) fn form(&self) -> &Fields<'a> {
        self.form.get_or_init(|| fields(self.request.body))
    }

    /// Whether the body has more fields than are read.
    pub(crate) fn has_too_many_fields(&self) -> bool {
        self.form().is_empty()
            && form_urlencoded::parse(self.request.body)
                .nth(MAX_FIELDS)
                .is_some()
    }

    /// The parameters of the query, in their order; none if there are more than [`MAX_FIELDS`].
    pub(crate) fn query(&self) -> &Fields<'a> {
        self.query
            .get_or_init(|| fields(self.request.query().as_bytes()))
    }
}

fn fields(encoded: &[u8]) -> Fields<'_> {
    let mut fields = form_urlencoded::parse(encoded);
    let read: Fields<'_> = fields.by_ref().take(MAX_FIELDS).collect();
    if fields.next().is_some() {
        return Vec::new();
    }
    read
}

fn values<'f, 'a>(fields: &'f Fields<'a>, name: &'f str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let named = fields.iter().filter(move |(known, _)| known == name);
    named.map(|(_, value)| bytes(value.clone()))
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn one<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(value), None) => Found::One(value),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// The text of a JSON string, and of any other value but null as it is written.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get() {
        "null" => None,
        written if written.starts_with('"') => match serde_json::from_str::<&str>(written) {
            Ok(plain) => Some(Cow::Borrowed(plain)),
            // It has escapes. A lone surrogate is none that a string can hold.
            Err(_) => serde_json::from_str(written).ok().map(Cow::Owned),
        },
        written => Some(Cow::Borrowed(written)),
    }
}

/// Bytes that may be one JSON document. They are validated when they are first asked for, and only once: the scheme
/// and the id of Adyen read twelve values of a body.
pub(crate) struct Document<'a> {
    bytes: &'a [u8],
    whole: OnceCell<Option<&'a RawValue>>,
    /// The tokens of the last pointer, each with the values that they led to. The pointers of a source often begin
    /// with the same tokens.
    path: RefCell<Vec<(String, Vec<&'a RawValue>)>>,
}

impl<'a> Document<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            whole: OnceCell::new(),
            path: RefCell::new(Vec::new()),
        }
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The document without the white space around it; none if it is not one JSON document.
    pub(crate) fn whole(&self) -> Option<&'a RawValue> {
        *self
            .whole
            .get_or_init(|| serde_json::from_slice(self.bytes).ok())
    }

    /// Whether this is one JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.whole().is_some()
    }

    /// The values at `pointer`, in their order; none if this is not one JSON document. Of members with the same name,
    /// the last one counts.
    pub(crate) fn select(&self, pointer: &Pointer) -> Vec<&'a RawValue> {
        let Some(whole) = self.whole() else {
            return Vec::new();
        };
        let mut path = self.path.borrow_mut();
        let shared = path.iter().zip(pointer.tokens());
        let shared = shared.take_while(|((known, _), token)| known == token);
        let shared = shared.count();
        path.truncate(shared);
        let mut found = path
            .last()
            .map_or_else(|| vec![whole], |(_, found)| found.clone());
        let mut is_kept = true;
        for token in pointer.tokens().skip(shared) {
            found = found
                .into_iter()
                .flat_map(|value| step(value, token))
                .collect();
            is_kept &= found.len() <= MAX_KEPT_VALUES;
            if is_kept {
                path.push((token.to_owned(), found.clone()));
            }
        }
        found
    }

    /// The events of the document, which are the values at `pointer`. An element of an array on the way that has no
    /// such value is an event itself, so that nothing is lost, and so is a whole document without any: then the event
    /// comes with `false`. None if this is not one JSON document, or if it has more than `most` events.
    pub(crate) fn split(
        &self,
        pointer: &Pointer,
        most: usize,
    ) -> Option<Vec<(&'a RawValue, bool)>> {
        let whole = self.whole()?;
        // Each value with the element that it is in, or with the whole document.
        let mut found = vec![(whole, Some(whole))];
        for token in pointer.tokens() {
            let mut next = Vec::with_capacity(found.len());
            for (around, value) in found {
                let inner = value.map_or_else(Vec::new, |value| step(value, token));
                match (token, inner.as_slice()) {
                    (_, []) => next.push((around, None)),
                    ("*", elements) => next.extend(elements.iter().map(|it| (*it, Some(*it)))),
                    (_, [member, ..]) => next.push((around, Some(*member))),
                }
            }
            if next.len() > most {
                return None;
            }
            found = next;
        }
        let event =
            |(around, value): (_, Option<_>)| value.map_or((around, false), |it| (it, true));
        Some(found.into_iter().map(event).collect())
    }
}

/// A JSON value that was validated as a part of another.
impl<'a> From<&'a RawValue> for Document<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self {
            whole: OnceCell::from(Some(value)),
            ..Self::new(value.get().as_bytes())
        }
    }
}

/// The values at `pointer` in `json`, as [`Document::select`] finds them.
pub(crate) fn select<'a>(json: &'a [u8], pointer: &Pointer) -> Vec<&'a RawValue> {
    Document::new(json).select(pointer)
}

/// The elements or the member of `value` that one reference token names.
fn step<'a>(value: &'a RawValue, token: &str) -> Vec<&'a RawValue> {
    let mut json = serde_json::Deserializer::from_str(value.get());
    let found = match value.get().as_bytes().first() {
        Some(b'{') => json.deserialize_map(Member(token)),
        Some(b'[') => match (token, index(token)) {
            ("*", _) => json.deserialize_seq(Elements(None)),
            (_, Some(index)) => json.deserialize_seq(Elements(Some(index))),
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    // The document was parsed as a whole before.
    found.unwrap_or_default()
}

/// RFC 6901, section 4: digits without leading zeroes.
pub(crate) fn index(token: &str) -> Option<usize> {
    let is_index =
        token == "0" || (!token.starts_with('0') && token.bytes().all(|it| it.is_ascii_digit()));
    is_index.then(|| token.parse().ok()).flatten()
}

/// Finds the member with this name.
struct Member<'t>(&'t str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if name.0 == self.0.as_bytes() {
                found = vec![map.next_value()?];
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A string, borrowed unless it has escapes. A lone surrogate, which no text can have, is encoded as WTF-8 does.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> de::Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Cow<'de, [u8]>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(
                self,
                bytes: &'de [u8],
            ) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(bytes))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// The bytes that a JSON string stands for, which is given with its quotation marks.
pub(crate) fn unescaped(string: &[u8]) -> Option<Cow<'_, [u8]>> {
    let name: Name<'_> = serde_json::from_slice(string).ok()?;
    Some(name.0)
}

/// Finds one element by its index, or all of them.
struct Elements(Option<usize>);

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        let mut place = 0;
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if self.0.is_none_or(|wanted| wanted == place) {
                found.push(element);
            }
            place += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str, pointer: &str) -> Vec<Option<String>> {
        let found = select(json.as_bytes(), &pointer.parse().unwrap());
        found
            .into_iter()
            .map(|value| text(value).map(Cow::into_owned))
            .collect()
    }

    #[test]
    fn values_are_found_by_pointers() {
        let some = |text: &str| vec![Some(text.to_owned())];
        let json =
            r#"{"a": {"b": [1, 2.50, "x\u0041"], "a/b": null}, "c": true, "c": "last", "": 7}"#;
        assert_eq!(texts(json, "/a/b/1"), some("2.50"));
        assert_eq!(texts(json, "/a/b/2"), some("xA"));
        assert_eq!(texts(json, "/c"), some("last"));
        assert_eq!(texts(json, "/"), some("7"));
        assert_eq!(texts(json, "/a/a~1b"), [None]);
        assert_eq!(texts(json, "/a/b/*").len(), 3);
        for missing in ["/x", "/a/b/3", "/a/b/01", "/a/b/-", "/c/x", "/a/*"] {
            assert_eq!(texts(json, missing), [], "{missing}");
        }
        assert_eq!(texts(r#"{"\ud800": 1, "a": 2}"#, "/a"), some("2"));
        assert_eq!(texts("{", "/a"), []);
        assert_eq!(texts("{} {}", ""), []);
    }

    #[test]
    fn values_do_not_depend_on_earlier_pointers() {
        let many = vec!["{\"b\": [1]}"; MAX_KEPT_VALUES + 1].join(", ");
        let json = format!(
            r#"{{"a": [{{"b": [1, 2], "c": 3}}, {{"b": 4}}, {{"b": [5]}}], "d": {{"": {{"a": 6}}}}, "many": [{many}]}}"#
        );
        let pointers = [
            "",
            "/a",
            "/a/0",
            "/a/0/b",
            "/a/0/b/1",
            "/a/0/c",
            "/a/*/b",
            "/a/*/b/*",
            "/a/*/b/0",
            "/a/1/b",
            "/a/1/b/0",
            "/x/b",
            "/d//a",
            "/d",
            "/d/a",
            "/many/*/b",
            "/many/*/b/*",
            "/many/0/b",
        ];
        let document = Document::new(json.as_bytes());
        let places = |found: Vec<&RawValue>| {
            let place = |it: &RawValue| (it.get().as_ptr(), it.get().len());
            found.into_iter().map(place).collect::<Vec<_>>()
        };
        for first in pointers {
            for then in pointers {
                for pointer in [first, then] {
                    let pointer = pointer.parse().unwrap();
                    let found = places(document.select(&pointer));
                    let fresh = places(select(json.as_bytes(), &pointer));
                    assert_eq!(found, fresh, "{first} {then}");
                }
            }
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(texts(&deep, "/0/0/0").len(), 1);
    }

    fn events(json: &str, pointer: &str) -> Vec<(String, bool)> {
        let found = Document::new(json.as_bytes())
            .split(&pointer.parse().unwrap(), 4)
            .unwrap();
        let owned = |(event, is_element): (&RawValue, _)| (event.get().to_owned(), is_element);
        found.into_iter().map(owned).collect()
    }

    #[test]
    fn nothing_beside_the_events_of_an_array_is_lost() {
        let is = |events: &[(&str, bool)]| {
            let owned = events.iter().map(|(event, it)| ((*event).to_owned(), *it));
            owned.collect::<Vec<_>>()
        };
        assert_eq!(events("[1, {}]", "/*"), is(&[("1", true), ("{}", true)]));
        let nested = r#"[{"a": [1, 2]}, {"b": 3}, {"a": []}, 4]"#;
        let nested = Document::new(nested.as_bytes());
        assert!(nested.split(&"/*/a/*".parse().unwrap(), 4).is_none());
        assert_eq!(
            events(r#"[{"a": [1, 2]}, {"b": 3}, {"a": {}}]"#, "/*/a/*"),
            is(&[
                ("1", true),
                ("2", true),
                (r#"{"b": 3}"#, false),
                (r#"{"a": {}}"#, false)
            ])
        );
        for whole in [
            "{}",
            r#"{"a": []}"#,
            r#"{"a": {}}"#,
            r#"{"a": null}"#,
            "[1]",
            "7",
        ] {
            assert_eq!(events(whole, "/a/*"), is(&[(whole, false)]));
        }
        assert_eq!(events(r#"{"a": [ 1 ]}"#, "/a"), is(&[("[ 1 ]", true)]));
        assert_eq!(events(r#"[{"a": 1}]"#, "/*/a"), is(&[("1", true)]));
        assert!(
            Document::new(b"[")
                .split(&"/*".parse().unwrap(), 4)
                .is_none()
        );
    }

    #[test]
    fn too_many_fields_are_none() {
        let body = "a=1&".repeat(MAX_FIELDS + 1);
        let content = Content::new(Request {
            method: "POST",
            target: "/?q=%20x",
            headers: &[],
            body: body.as_bytes(),
        });
        assert!(content.form().is_empty());
        assert_eq!(
            content.at(&Place::Query("q".to_owned())),
            Found::One(b" x".as_slice().into())
        );
    }
}
