//! [`Filter`]: which events are meant.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use webhook_core::{Kind, Pattern, Search, State};

use crate::model::Time;

/// The longest text of a filter, in bytes.
const MAX_FILTER_BYTES: usize = 4 * 1024;

/// Which events are meant. It has one grammar in the dashboard and in jobs, and the same names as query parameters:
///
/// | Term | Parameter | Meaning |
/// |---|---|---|
/// | `source:stripe` | `source` | events of this source |
/// | `state:failed` | `state` | `processing`, `processed` or `failed` |
/// | `type:invoice.paid`, `type:invoice.*` | `type` | the event type, or the beginning of it |
/// | `key:evt_1`, `key:evt_*` | `key` | the key, or the beginning of it |
/// | `error:"timed out"` | `error` | a part of the reason, in letters of either case |
/// | `header.x-id:abc` | `header.x-id` | a stored header has this value |
/// | `since:2h`, `since:2026-01-02T03:04:05Z` | `since` | received in that time, or since then |
/// | `until:10m`, `until:2026-01-02T03:04:05Z` | `until` | received before that time, or before then |
///
/// A value with a space, a quotation mark or a backslash is quoted: `error:"say \"no\""`. A word without a colon is a
/// key. Each name may be there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The source of the events.
    pub source: Option<Kind>,
    /// The state.
    pub state: Option<State>,
    /// The event type.
    pub event_type: Option<TextMatch>,
    /// The key.
    pub key: Option<TextMatch>,
    /// A part of the reason.
    pub error: Option<String>,
    /// A stored header, with its value.
    pub header: Option<(String, String)>,
    /// Received since then.
    pub since: Option<When>,
    /// Received until then.
    pub until: Option<When>,
}

/// A text that is matched: exactly, or by its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// The whole text.
    Exact(String),
    /// The beginning of the text.
    Prefix(String),
}

impl TextMatch {
    fn pattern(&self) -> Pattern {
        match self {
            Self::Exact(whole) => Pattern::Exact(whole.clone()),
            Self::Prefix(beginning) => Pattern::Prefix(beginning.clone()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            _ if text.is_empty() => None,
            Some(beginning) => Some(Self::Prefix(beginning.to_owned())),
            None => Some(Self::Exact(text.to_owned())),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
        }
    }
}

/// An instant, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// That instant.
    At(Time),
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl When {
    /// The instant, if it is `now`.
    pub fn instant(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH),
            Self::At(time) => time.system_time(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = text.parse::<Time>() {
            return Some(Self::At(time));
        }
        let unit = text.chars().last()?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        let digits = &text[..text.len() - unit.len_utf8()];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        number
            .checked_mul(seconds)
            .map(|seconds| Self::Ago(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::Ago(ago) => {
                let seconds = ago.as_secs();
                let unit = UNITS
                    .into_iter()
                    .find(|(_, size)| seconds >= *size && seconds % size == 0);
                let (name, size) = unit.unwrap_or(('s', 1));
                write!(f, "{}{name}", seconds / size)
            }
        }
    }
}

/// Why a text is no filter. The message is for the user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidFilter {
    /// A name is not known.
    #[error(
        "`{name}` is not known; known are source, state, type, key, error, since, until and header.NAME, and a key with \
         a colon needs quotation marks"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name is there twice.
    #[error("`{name}` is there twice; a value with spaces needs quotation marks")]
    Twice {
        /// The name.
        name: String,
    },
    /// A value is wrong.
    #[error("`{name}` must be {expected}")]
    Value {
        /// The name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A quotation mark is not closed.
    #[error("a quotation mark is not closed")]
    Quote,
    /// The text is too long.
    #[error("a filter has at most {MAX_FILTER_BYTES} bytes")]
    TooLong,
}

impl Filter {
    /// Parses a text such as `source:stripe state:failed error:"timed out"`.
    ///
    /// # Errors
    ///
    /// [`InvalidFilter`] says what is wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(InvalidFilter::TooLong);
        }
        let mut filter = Self::default();
        for (name, value) in terms(text)? {
            filter.set(name.as_deref().unwrap_or("key"), &value)?;
        }
        Ok(filter)
    }

    /// Sets one term. An empty value counts as none, as an empty field of a form does.
    ///
    /// # Errors
    ///
    /// [`InvalidFilter`] says what is wrong, and what is allowed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidFilter> {
        let wrong = |expected| InvalidFilter::Value {
            name: name.to_owned(),
            expected,
        };
        if value.len() > MAX_FILTER_BYTES {
            return Err(InvalidFilter::TooLong);
        }
        if value.is_empty() && !name.starts_with("header.") {
            return match name {
                "source" | "state" | "type" | "key" | "error" | "since" | "until" => Ok(()),
                _ => Err(InvalidFilter::Name {
                    name: name.to_owned(),
                }),
            };
        }
        let instant = || {
            When::parse(value).ok_or_else(|| {
                wrong(
                    "a number with s, m, h or d, such as 2h, or an instant such as \
                     2026-01-02T03:04:05Z",
                )
            })
        };
        let is_twice = match name {
            "source" => {
                let kind = Kind::new(value.to_owned()).map_err(|_| {
                    wrong("1 to 64 characters of a-z, 0-9, '.', '_' and '-', the name of a source")
                })?;
                self.source.replace(kind).is_some()
            }
            "state" => {
                let state = State::ALL
                    .into_iter()
                    .find(|state| state.as_str().eq_ignore_ascii_case(value));
                let state = state.ok_or_else(|| wrong("processing, processed or failed"))?;
                self.state.replace(state).is_some()
            }
            "type" => {
                let matched = TextMatch::parse(value);
                let matched =
                    matched.ok_or_else(|| wrong("an event type, or the beginning of one and *"))?;
                self.event_type.replace(matched).is_some()
            }
            "key" => {
                let matched = TextMatch::parse(value);
                let matched =
                    matched.ok_or_else(|| wrong("a key, or the beginning of one and *"))?;
                self.key.replace(matched).is_some()
            }
            "error" => self.error.replace(value.to_owned()).is_some(),
            "since" => self.since.replace(instant()?).is_some(),
            "until" => self.until.replace(instant()?).is_some(),
            _ => {
                let header = name.strip_prefix("header.");
                let header =
                    header
                        .filter(|it| !it.is_empty())
                        .ok_or_else(|| InvalidFilter::Name {
                            name: name.to_owned(),
                        })?;
                let header = (header.to_ascii_lowercase(), value.to_owned());
                self.header.replace(header).is_some()
            }
        };
        if is_twice {
            return Err(InvalidFilter::Twice {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// The terms of the filter, each with its name and its value: for links, and for chips that can be removed.
    pub fn terms(&self) -> Vec<(String, String)> {
        let mut terms = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                terms.push((name.to_owned(), value));
            }
        };
        add("source", self.source.as_ref().map(Kind::to_string));
        let state = self.state.map(|state| state.as_str().to_ascii_lowercase());
        add("state", state);
        add("type", self.event_type.as_ref().map(TextMatch::to_string));
        add("key", self.key.as_ref().map(TextMatch::to_string));
        add("error", self.error.clone());
        if let Some((header, value)) = &self.header {
            add(&format!("header.{header}"), Some(value.clone()));
        }
        add("since", self.since.map(|it| it.to_string()));
        add("until", self.until.map(|it| it.to_string()));
        terms
    }

    /// The filter without the term of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut filter = Self::default();
        for (term, value) in self.terms() {
            if term != name {
                // It was parsed before.
                let _ = filter.set(&term, &value);
            }
        }
        filter
    }

    /// The filter as query parameters, without a question mark.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.terms() {
            query.append_pair(&name, &value);
        }
        query.finish()
    }

    /// The search for the newest `limit` events that match, if it is `now`.
    pub(crate) fn to_search(&self, limit: NonZeroUsize, now: SystemTime) -> Search {
        let mut search = Search::new(limit)
            .state(self.state)
            .event_type(self.event_type.as_ref().map(TextMatch::pattern))
            .key(self.key.as_ref().map(TextMatch::pattern))
            .received_since(self.since.map(|it| it.instant(now)))
            .received_until(self.until.map(|it| it.instant(now)));
        if let Some(source) = &self.source {
            search = search.kinds([source.clone()]);
        }
        if let Some(error) = &self.error {
            search = search.reason(error);
        }
        if let Some((name, value)) = &self.header {
            search = search.header(name, value);
        }
        search
    }

    /// The filter with instants instead of ages, if it is `now`.
    #[must_use]
    pub(crate) fn fixed(self, now: SystemTime) -> Self {
        let fixed = |when: When| When::At(when.instant(now).into());
        Self {
            since: self.since.map(fixed),
            until: self.until.map(fixed),
            ..self
        }
    }

    /// Whether every event matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Prints the grammar that [`Filter::parse`] reads.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.terms().into_iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{name}:")?;
            let is_plain = !value.is_empty()
                && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '\\');
            if is_plain {
                f.write_str(&value)?;
                continue;
            }
            f.write_str("\"")?;
            for c in value.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        Ok(())
    }
}

/// The names and values in `text`. A word without a colon has no name.
fn terms(text: &str) -> Result<Vec<(Option<String>, String)>, InvalidFilter> {
    let mut terms = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(terms);
        }
        let (mut name, mut value) = (None, String::new());
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            match c {
                ':' if name.is_none() => name = Some(std::mem::take(&mut value)),
                '"' if value.is_empty() => loop {
                    match chars.next() {
                        None => return Err(InvalidFilter::Quote),
                        Some('"') => break,
                        Some('\\') => value.extend(chars.next()),
                        Some(c) => value.push(c),
                    }
                },
                c => value.push(c),
            }
        }
        terms.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_printed() {
        for text in [
            "",
            "source:stripe",
            "source:stripe state:failed type:invoice.* key:evt_1 error:timeout header.x-id:abc \
             since:2h until:10m",
            r#"error:"timed out""#,
            r#"error:"say \"no\" \\""#,
            "key:a:b",
            "since:2026-01-02T03:04:05.678Z",
            r#"header.x-empty:"""#,
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.to_string(), text);
            let mut again = Filter::default();
            for (name, value) in form_urlencoded::parse(filter.to_query().as_bytes()) {
                again.set(&name, &value).unwrap();
            }
            assert_eq!(again, filter, "{text}");
        }
        let filter = Filter::parse("  evt_1   STATE:x").unwrap_err();
        assert!(matches!(filter, InvalidFilter::Name { .. }));
        let filter = Filter::parse(" evt_1 state:FAILED since:120m ").unwrap();
        assert_eq!(filter.to_string(), "state:failed key:evt_1 since:2h");
        assert_eq!(filter.without("state").to_string(), "key:evt_1 since:2h");
    }

    #[test]
    fn wrong_filters_say_what_is_allowed() {
        for (text, part) in [
            ("state:lost", "processing, processed or failed"),
            ("source:Stripe", "name of a source"),
            ("since:2x", "2h"),
            ("since:h", "2h"),
            ("since:99999999999999999999d", "2h"),
            ("since:é", "2h"),
            ("colour:red", "known are source"),
            ("header.:x", "header.NAME"),
            ("state:failed state:failed", "twice"),
            ("a b", "twice"),
            ("timed out", "a value with spaces needs quotation marks"),
            ("https://a/1", "a key with a colon needs quotation marks"),
            (r#"error:"x"#, "not closed"),
        ] {
            let error = Filter::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(
            Filter::parse(&"x".repeat(MAX_FILTER_BYTES + 1)),
            Err(InvalidFilter::TooLong)
        );
    }
}
