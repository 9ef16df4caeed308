//! Parameters of paths, queries and bodies.

use std::num::NonZeroUsize;

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use webhook_core::{EventRef, Key, Kind};

use super::Request;
use crate::Problem;
use crate::data::{DEFAULT_LIMIT, MAX_LIMIT};

/// What stands before the keys `.` and `..` in a path. Without it, browsers and other clients take them for folders.
pub(crate) const DOTS_MARK: &str = ";";

/// Decodes the key in a segment of a path. `None` if it is the key of no event: its percent-encoding is broken, or it is
/// not UTF-8, contains control characters, or is too long. The segments `;.` and `;..` stand for the keys `.` and `..`.
pub fn key_in_path(segment: &str) -> Option<Key> {
    let dots = segment.strip_prefix(DOTS_MARK);
    let segment = match dots {
        Some(dots @ ("." | "..")) => dots,
        _ => segment,
    };
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let broken = |digit: Option<u8>| !digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && (broken(bytes.next()) || broken(bytes.next())) {
            return None;
        }
    }
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Key::new(text).ok()
}

/// Decodes the name of a source in a segment of a path. `None` if it is the name of no source.
pub(crate) fn kind(segment: &str) -> Option<Kind> {
    Kind::new(key_in_path(segment)?.as_str().to_owned()).ok()
}

impl Request<'_> {
    /// The source in the path.
    pub(super) fn source(&self) -> Result<Kind, Problem> {
        let segment = self.parameters.first();
        let source = segment.and_then(|segment| kind(segment));
        source.ok_or_else(Problem::no_such_source)
    }

    /// The event in the path.
    pub(super) fn event(&self) -> Result<EventRef, Problem> {
        match self.parameters[..] {
            [source, id] => match (kind(source), key_in_path(id)) {
                (Some(kind), Some(key)) => Ok(EventRef { kind, key }),
                _ => Err(Problem::no_such_event()),
            },
            _ => Err(Problem::no_such_event()),
        }
    }

    /// Reads the query. `set` takes each parameter: it returns `None` for an unknown one, and what it expects for a
    /// wrong value. `known` lists the parameters for the error.
    pub(super) fn read_query(
        &self,
        known: &str,
        mut set: impl FnMut(&str, &str) -> Option<Result<(), String>>,
    ) -> Result<(), Problem> {
        for (name, value) in form_urlencoded::parse(self.query().as_bytes()) {
            let read = set(&name, &value);
            let read =
                read.ok_or_else(|| Problem::bad_request(format!("Query: only {known} known")))?;
            read.map_err(|expected| Problem::bad_request(format!("Query: {expected}")))?;
        }
        Ok(())
    }

    /// Rejects a query with parameters.
    pub(super) fn no_query(&self) -> Result<(), Problem> {
        if self.query().is_empty() {
            Ok(())
        } else {
            Err(Problem::bad_request("Query: no parameter is known"))
        }
    }

    /// Reads the body, which must be a JSON object.
    pub(super) fn document<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // Otherwise serde would read an array as the members in their order.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::bad_request(
                "Malformed body: it must be a JSON object",
            ));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::bad_request(format!("Malformed body: {error}")))
    }
}

/// The number of a page's entries, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageQuery {
    pub(super) before: Option<i64>,
    pub(super) limit: NonZeroUsize,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self {
            before: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl PageQuery {
    /// Sets `before` or `limit`; `None` for any other name.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        match name {
            "before" => Some(match value.parse() {
                Ok(before) => {
                    self.before = Some(before);
                    Ok(())
                }
                Err(_) => Err("before must be the id of an entry".to_owned()),
            }),
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|it: &NonZeroUsize| it.get() <= MAX_LIMIT);
                Some(match limit {
                    Some(limit) => {
                        self.limit = limit;
                        Ok(())
                    }
                    None => Err(format!("limit must be a number from 1 to {MAX_LIMIT}")),
                })
            }
            _ => None,
        }
    }
}

/// Parses `true` or `false`.
pub(super) fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{name} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_or_rejected() {
        for (segment, id) in [
            ("tx-1", Some("tx-1")),
            ("a%2Fb", Some("a/b")),
            ("a%2fb%20c", Some("a/b c")),
            ("a+b", Some("a+b")),
            ("caf%C3%A9", Some("café")),
            ("%25zz", Some("%zz")),
            (";.", Some(".")),
            (";..", Some("..")),
            ("%3B..", Some(";..")),
            (";...", Some(";...")),
            ("%", None),
            ("a%4", None),
            ("a%zz", None),
            ("%%41", None),
            ("%ff", None),
            ("%C3", None),
            ("a%00b", None),
            ("a%0A", None),
            ("%C2%85", None),
        ] {
            let key = key_in_path(segment);
            assert_eq!(key.as_ref().map(Key::as_str), id, "{segment}");
        }
        assert!(key_in_path(&"x".repeat(512)).is_some());
        assert!(key_in_path(&"x".repeat(513)).is_none());
    }
}
