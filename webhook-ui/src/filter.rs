//! [`Filter`]: which events are meant.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use webhook_core::{InvalidPattern, Kind, Pattern, Search, State};

use crate::model::Time;

/// The longest text of a filter, in bytes.
const MAX_FILTER_BYTES: usize = 4 * 1024;

/// Which events are meant. It has one grammar in the dashboard and in jobs, and the same names as query parameters:
///
/// | Term | Parameter | Meaning |
/// |---|---|---|
/// | `source:stripe` | `source` | events of this source |
/// | `state:failed` | `state` | `processing`, `processed` or `failed` |
/// | `type:invoice.paid`, `type:invoice.*` | `type` | the event type, or the beginning of it: a [`Pattern`] |
/// | `key:evt_1`, `key:evt_*`, `key:"a*"` | `key` | the key, or the beginning of it: a [`Pattern`] |
/// | `error:"timed out"` | `error` | a part of the reason, in letters of either case |
/// | `header.x-id:abc` | `header.x-id` | a stored header has this value |
/// | `since:2h`, `since:2026-01-02T03:04:05Z` | `since` | received in that time, or since then |
/// | `until:10m`, `until:2026-01-02T03:04:05Z` | `until` | received before that time, or before then |
///
/// A value with a space, a quotation mark or a backslash is quoted: `error:"say \"no\""`. A `*` in quotation marks is a
/// part of the value; behind them it means the beginning, as in `key:"a b"*`. A word without a colon is a key. Each name
/// may be there once.
///
/// The parameters `type` and `key` are quoted like the terms: `?key="a*"`. The others are never quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The source of the events.
    pub source: Option<Kind>,
    /// The state.
    pub state: Option<State>,
    /// The event type.
    pub event_type: Option<Pattern>,
    /// The key.
    pub key: Option<Pattern>,
    /// A part of the reason.
    pub error: Option<String>,
    /// A stored header, with its value.
    pub header: Option<(String, String)>,
    /// Received since then.
    pub since: Option<When>,
    /// Received until then.
    pub until: Option<When>,
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
    /// A value is not quoted as it should be.
    #[error(transparent)]
    Quoting(InvalidPattern),
    /// Something follows a quoted value that is no pattern.
    #[error(
        "nothing may follow the quotation mark that closes a value, except `*` in `type` and `key`"
    )]
    AfterQuote,
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
            match name.as_deref().unwrap_or("key") {
                name if is_pattern(name) => filter.set(name, &value)?,
                name => filter.set(name, &unquoted(value)?)?,
            }
        }
        Ok(filter)
    }

    /// Sets one term, whose value is that of a query parameter. An empty value counts as none, as an empty field of a
    /// form does.
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
                let pattern = value.parse().map_err(InvalidFilter::Quoting)?;
                self.event_type.replace(pattern).is_some()
            }
            "key" => {
                let pattern = value.parse().map_err(InvalidFilter::Quoting)?;
                self.key.replace(pattern).is_some()
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
        add("type", self.event_type.as_ref().map(Pattern::to_string));
        add("key", self.key.as_ref().map(Pattern::to_string));
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
            .event_type(self.event_type.clone())
            .key(self.key.clone())
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
            match &*name {
                name if is_pattern(name) => write!(f, "{name}:{value}")?,
                name => write!(f, "{name}:{}", Pattern::Exact(value))?,
            }
        }
        Ok(())
    }
}

/// Whether the values of this name are patterns, which are quoted in query parameters as well.
fn is_pattern(name: &str) -> bool {
    matches!(name, "type" | "key")
}

/// The value of a term that is no pattern, without its quotation marks.
fn unquoted(value: String) -> Result<String, InvalidFilter> {
    if !value.starts_with('"') {
        return Ok(value);
    }
    match value.parse() {
        Ok(Pattern::Exact(value)) => Ok(value),
        Err(InvalidPattern::Empty) => Ok(String::new()),
        Ok(Pattern::Prefix(_)) | Err(InvalidPattern::AfterQuote) => Err(InvalidFilter::AfterQuote),
        Err(error) => Err(InvalidFilter::Quoting(error)),
    }
}

/// A text ends within quotation marks.
const UNCLOSED: InvalidFilter = InvalidFilter::Quoting(InvalidPattern::Unclosed);

/// The names and values in `text`. A word without a colon has no name. Values that are quoted keep their quotation marks.
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
                ':' if name.is_none() && !value.starts_with('"') => {
                    name = Some(std::mem::take(&mut value));
                }
                '"' if value.is_empty() => {
                    value.push('"');
                    loop {
                        let c = chars.next().ok_or(UNCLOSED)?;
                        value.push(c);
                        match c {
                            '"' => break,
                            '\\' => value.push(chars.next().ok_or(UNCLOSED)?),
                            _ => {}
                        }
                    }
                }
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
            r#"key:"a*""#,
            r#"type:"order paid"* key:"a\""*"#,
            "type:* key:a**",
            r#"error:"50 *""#,
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
        // Only patterns have a `*`, and quotation marks in query parameters.
        let mut filter = Filter::parse("error:50* header.etag:\"\\\"1\\\"\"").unwrap();
        assert_eq!(filter.error.as_deref(), Some("50*"));
        assert_eq!(filter.header.as_ref().unwrap().1, "\"1\"");
        filter.set("key", "\"a*\"").unwrap();
        assert_eq!(filter.key, Some(Pattern::Exact("a*".to_owned())));
        let mut filter = Filter::default();
        filter.set("error", "\"50\"*").unwrap();
        assert_eq!(filter.error.as_deref(), Some("\"50\"*"));
        assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn a_key_can_be_meant_whatever_it_is() {
        for key in [
            "a*",
            "*",
            "\"",
            "\"a\"",
            "a b",
            "a:b",
            "a\\",
            "\\*",
            "a\"*",
            "state:failed",
        ] {
            for pattern in [
                Pattern::Exact(key.to_owned()),
                Pattern::Prefix(key.to_owned()),
            ] {
                let filter = Filter {
                    key: Some(pattern),
                    ..Filter::default()
                };
                assert_eq!(
                    Filter::parse(&filter.to_string()),
                    Ok(filter.clone()),
                    "{key}"
                );
                let quoted = filter.to_string();
                let quoted = quoted.strip_prefix("key:").unwrap();
                let mut set = Filter::default();
                set.set("key", quoted).unwrap();
                assert_eq!(set, filter, "{key}");
            }
        }
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
            (r#"key:"x"#, "not closed"),
            (r#"key:"x\"#, "not closed"),
            (r#"key:"x"y"#, "only `*` may follow"),
            (r#"key:"C:\temp""#, "a backslash may stand only"),
            (r#"key:"""#, "the text is empty"),
            (r#"error:"x"y"#, "nothing may follow"),
            (r#"error:"x"*"#, "nothing may follow"),
            (r#""a":b"#, "only `*` may follow"),
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
