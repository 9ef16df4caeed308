//! Where a value is in a request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Where a value is in a request: `header:NAME`, `json:/POINTER`, `form:FIELD`, `query:NAME` or `item:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A header; its name is in lower case.
    Header(String),
    /// A value in the JSON body.
    Json(Pointer),
    /// A field of the body, which is `application/x-www-form-urlencoded`.
    Form(String),
    /// A parameter of the query of the URL.
    Query(String),
    /// An item `NAME=…` beside the signatures.
    Item(String),
}

/// A JSON pointer (RFC 6901), in which `*` stands for every element of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// The reference tokens, unescaped. None for the whole document.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Pointer {
    /// The pointer with an index instead of the reference token at `place`.
    pub(crate) fn with_index(&self, place: usize, index: usize) -> Self {
        let mut tokens = self.0.clone();
        tokens[place] = index.to_string();
        Self(tokens)
    }

    /// The pointer to what the first `count` reference tokens name.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self(self.0.iter().take(count).cloned().collect())
    }
}

/// A place or a pointer that is not written as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPlace {
    /// It does not begin with the name of a sort of place.
    #[error(
        "{0:?} is no place: expected header:NAME, json:/POINTER, form:FIELD, query:NAME or item:NAME"
    )]
    Sort(String),
    /// The name after the sort is empty, or no header can have it.
    #[error("{0:?} names nothing after the colon, or what no header is named")]
    Name(String),
    /// A JSON pointer does not begin with `/`, or has `~` before something else than `0` and `1`.
    #[error("{0:?} is no JSON pointer: expected /member/member, with ~1 for / and ~0 for ~")]
    Pointer(String),
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (sort, name) = text
            .split_once(':')
            .ok_or_else(|| InvalidPlace::Sort(text.to_owned()))?;
        let named = || match name {
            "" => Err(InvalidPlace::Name(text.to_owned())),
            name => Ok(name.to_owned()),
        };
        match sort {
            "header" if is_header_name(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            "header" => Err(InvalidPlace::Name(text.to_owned())),
            "json" => name.parse().map(Self::Json),
            "form" => named().map(Self::Form),
            "query" => named().map(Self::Query),
            "item" => named().map(Self::Item),
            _ => Err(InvalidPlace::Sort(text.to_owned())),
        }
    }
}

/// A token of RFC 9110, section 5.6.2, or one with `{n}` for a number.
fn is_header_name(name: &str) -> bool {
    let name = name.replacen("{n}", "1", 1);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Item(name) => write!(f, "item:{name}"),
        }
    }
}

impl FromStr for Pointer {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let wrong = || InvalidPlace::Pointer(text.to_owned());
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/').ok_or_else(wrong)?.split('/');
        tokens
            .map(|token| unescape(token).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// RFC 6901, section 4.
fn unescape(token: &str) -> Option<String> {
    let mut unescaped = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(character) = rest.next() {
        unescaped.push(match character {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(unescaped)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Reads a place, or a list of places.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Place>, D::Error> {
    /// The shapes that places are written in.
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a place or a list of places")]
    enum Written {
        One(String),
        Several(Vec<String>),
    }
    let texts = match Written::deserialize(deserializer)? {
        Written::One(text) => vec![text],
        Written::Several(texts) => texts,
    };
    let places = texts.iter().map(|text| text.parse());
    places.collect::<Result<_, _>>().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in [
            "header:x-signature",
            "header:x-docusign-signature-{n}",
            "json:/a/0/~0b~1c",
            "json:",
            "json:/value/*/clientState",
            "form:txnid",
            "query:token",
            "item:t",
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn wrong_places_are_refused() {
        for text in [
            "",
            "x",
            "header:",
            "header:a b",
            "json:a",
            "json:/~2",
            "json:/~",
            "form:",
            "item:",
            "cookie:a",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
