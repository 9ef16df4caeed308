//! What is signed: texts, and parts of the request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::{InvalidPlace, Place, Pointer};

/// What is signed, such as `v0:{timestamp}:{body}`. `{{` and `}}` stand for braces.
///
/// | Placeholder | Stands for |
/// |---|---|
/// | `{body}` | the bytes of the body |
/// | `{timestamp}` | the time of the signature, as it is written in the request |
/// | `{id}` | the message id of the scheme |
/// | `{url}` | the public URL with its query, as the sender was given it |
/// | `{method}` | the method, in upper case |
/// | `{secret}` | the secret; only in a digest |
/// | `{header:NAME}` | the value of a header |
/// | `{json:/POINTER}` | a value in the JSON body: the text of a string, and others as they are written; nothing if it is missing or null |
/// | `{form:FIELD}` | the value of a field of a form; nothing if it is missing |
/// | `{form+}` | all fields of a form, sorted by name: names and values joined, each pair once |
/// | `{line:/POINTER}` | two lines with the name and the value of a member of the JSON body; it must be there, and be one line |
/// | `{line?:/POINTER}` | the same, or nothing if the member is missing |
/// | `{lines:/POINTER}` | the same as `{line:/POINTER}`, with a value that may have several lines; only once |
/// | `{crc32}` | the CRC-32 of the body, in decimal digits |
/// | `{setting:NAME}` | a [setting](super::SourceSpec::settings) of the source |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The text itself.
    Text(String),
    /// `{body}`.
    Body,
    /// `{timestamp}`.
    Timestamp,
    /// `{id}`.
    Id,
    /// `{url}`.
    Url,
    /// `{method}`.
    Method,
    /// `{secret}`.
    Secret,
    /// `{header:NAME}`, `{json:/POINTER}` or `{form:FIELD}`.
    At(Place),
    /// `{form+}`.
    WholeForm,
    /// `{line:/POINTER}`, `{line?:/POINTER}` or `{lines:/POINTER}`.
    Line(Pointer, LineForm),
    /// `{crc32}`.
    Crc32,
    /// `{setting:NAME}`.
    Setting(String),
}

/// Which values a [`Part::Line`] may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineForm {
    /// `{line:/POINTER}`: one line.
    One,
    /// `{line?:/POINTER}`: one line, or none.
    Optional,
    /// `{lines:/POINTER}`: any.
    Several,
}

/// A template that is not written as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTemplate {
    /// A brace has no counterpart.
    #[error("a brace without its counterpart: write {{{{ and }}}} for the braces themselves")]
    Brace,
    /// Nothing is signed.
    #[error("an empty template: nothing would be signed")]
    Empty,
    /// There is no such placeholder.
    #[error(
        "there is no placeholder {{{0}}}: expected body, timestamp, id, url, method, secret, header:NAME, \
         json:/POINTER, form:FIELD, form+, line:/POINTER, line?:/POINTER, lines:/POINTER, crc32 or \
         setting:NAME"
    )]
    Placeholder(String),
    /// A place in a placeholder is not written as it must be.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
}

impl Template {
    /// The parts, in their order; at least one.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The names of the settings in it.
    pub fn setting_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Setting(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The same with the texts that `value` has for settings.
    pub(crate) fn with_settings(&self, value: impl Fn(&str) -> String) -> Self {
        let parts = self.0.iter().map(|part| match part {
            Part::Setting(name) => Part::Text(value(name)),
            other => other.clone(),
        });
        Self(parts.collect())
    }

    /// The text that it is, unless something in it stands for a part of a request.
    pub(crate) fn text(&self) -> Option<String> {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inner = brace.strip_prefix('{').ok_or(InvalidTemplate::Brace)?;
                let (name, after) = inner.split_once('}').ok_or(InvalidTemplate::Brace)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(placeholder(name)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.is_empty() {
            return Err(InvalidTemplate::Empty);
        }
        Ok(Self(parts))
    }
}

fn placeholder(name: &str) -> Result<Part, InvalidTemplate> {
    Ok(match name {
        "body" => Part::Body,
        "timestamp" => Part::Timestamp,
        "id" => Part::Id,
        "url" => Part::Url,
        "method" => Part::Method,
        "secret" => Part::Secret,
        "form+" => Part::WholeForm,
        "crc32" => Part::Crc32,
        other => match other.split_once(':') {
            Some(("line", pointer)) => Part::Line(pointer.parse()?, LineForm::One),
            Some(("line?", pointer)) => Part::Line(pointer.parse()?, LineForm::Optional),
            Some(("lines", pointer)) => Part::Line(pointer.parse()?, LineForm::Several),
            Some(("setting", name)) if !name.is_empty() => Part::Setting(name.to_owned()),
            Some(("header" | "json" | "form", _)) => Part::At(other.parse()?),
            _ => return Err(InvalidTemplate::Placeholder(other.to_owned())),
        },
    })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Body => f.write_str("{body}"),
            Part::Timestamp => f.write_str("{timestamp}"),
            Part::Id => f.write_str("{id}"),
            Part::Url => f.write_str("{url}"),
            Part::Method => f.write_str("{method}"),
            Part::Secret => f.write_str("{secret}"),
            Part::At(place) => write!(f, "{{{place}}}"),
            Part::WholeForm => f.write_str("{form+}"),
            Part::Line(pointer, LineForm::One) => write!(f, "{{line:{pointer}}}"),
            Part::Line(pointer, LineForm::Optional) => write!(f, "{{line?:{pointer}}}"),
            Part::Line(pointer, LineForm::Several) => write!(f, "{{lines:{pointer}}}"),
            Part::Crc32 => f.write_str("{crc32}"),
            Part::Setting(name) => write!(f, "{{setting:{name}}}"),
        })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_written_as_they_are_read() {
        for text in [
            "{body}",
            "{timestamp}.{body}",
            "v0:{timestamp}:{body}",
            "{id}.{timestamp}.{body}",
            "{method}{url}{body}{timestamp}",
            "{json:/signature/timestamp}{json:/signature/token}",
            "{secret}|{form:status}|{form+}|{header:x-a}",
            "{{{body}}}",
            "{lines:/a}{line:/b}{line?:/c/d}",
            "{setting:webhook_id}|{crc32}",
        ] {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for text in [
            "",
            "{",
            "}",
            "{body",
            "body}",
            "{bodies}",
            "{query:a}",
            "{json:a}",
            "{}",
            "{line:a}",
            "{setting:}",
        ] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}
