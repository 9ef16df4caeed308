//! Which event a request is.

use serde::{Deserialize, Deserializer, de};

use super::{Place, Pointer};

/// Where the id of an event is.
///
/// | Written as | Id |
/// |---|---|
/// | `"json:/id"`, `"header:x-github-delivery"`, `"form:MessageSid"`, … | the value at the [place](Place) |
/// | `"signed"` | the message id that the scheme verified |
/// | `"sha256"` | the SHA-256 of the event's bytes in hexadecimal, or of what [`Compare`] leaves of its JSON value |
/// | `"generated"` | a new id for every delivery: none is a duplicate |
/// | `["json:/event", "json:/data/id"]` | all of these, with colons between them; `:` and `%` within them are written as `%3A` and `%25` |
/// | `{ first_of = ["header:a", "json:/b"] }` | the first of these that the request has |
///
/// An event without its id, or without a part of it, gets the SHA-256 of its content instead, as by `sha256`: a
/// sender would repeat the same bytes, so refusing them would lose the event. An id of more than
/// [`MAX_ID_BYTES`](crate::MAX_ID_BYTES), with control characters or with bytes that are not UTF-8 is replaced by its
/// own SHA-256. The event's [`Flaw`](crate::Flaw) says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdRule {
    /// The value at a place.
    At(Place),
    /// The message id that the scheme verified.
    Signed,
    /// The SHA-256 of the content.
    #[default]
    Sha256,
    /// A new id for every delivery.
    Generated,
    /// All of these, joined.
    Joined(Vec<IdRule>),
    /// The first of these that the request has.
    FirstOf(Vec<IdRule>),
}

impl<'de> Deserialize<'de> for IdRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The shapes that a rule is written in.
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a place, signed, sha256, generated, a list of those, or first_of"
        )]
        enum Written {
            One(String),
            Joined(Vec<IdRule>),
            FirstOf { first_of: Vec<IdRule> },
        }
        match Written::deserialize(deserializer)? {
            Written::One(text) => match text.as_str() {
                "signed" => Ok(Self::Signed),
                "sha256" => Ok(Self::Sha256),
                "generated" => Ok(Self::Generated),
                place => place.parse().map(Self::At).map_err(de::Error::custom),
            },
            Written::Joined(rules) | Written::FirstOf { first_of: rules } if rules.is_empty() => {
                Err(de::Error::custom("an id of no parts"))
            }
            Written::Joined(rules) => Ok(Self::Joined(rules)),
            Written::FirstOf { first_of } => Ok(Self::FirstOf(first_of)),
        }
    }
}

/// Which part of the content is compared when an id comes again: equal content is a duplicate, other content a
/// conflict.
///
/// Written as `"bytes"`, `"json"`, `"none"`, `{ ignore = ["/attempt"] }` or `{ only = "/event" }`. An event is compared
/// by its bytes if it is not JSON, is nested deeper than 128 levels, or has no value at the pointer of `only`; its
/// [`Flaw`](crate::Flaw) says so. Of members with the same name, all count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compare {
    /// All bytes.
    #[default]
    Bytes,
    /// The JSON value, without regard to white space and to the order of members. Numbers are compared as they are
    /// written.
    Json,
    /// The JSON value without the values at these pointers.
    Ignore(Vec<Pointer>),
    /// Only the JSON value at this pointer.
    Only(Pointer),
    /// Nothing: the same id is always a duplicate.
    None,
}

impl<'de> Deserialize<'de> for Compare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The shapes that a comparison is written in.
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected bytes, json, none, { ignore = [POINTERS] } or { only = POINTER }"
        )]
        enum Written {
            Name(String),
            Ignore { ignore: Vec<Pointer> },
            Only { only: Pointer },
        }
        match Written::deserialize(deserializer)? {
            Written::Name(name) => match name.as_str() {
                "bytes" => Ok(Self::Bytes),
                "json" => Ok(Self::Json),
                "none" => Ok(Self::None),
                other => Err(de::Error::unknown_variant(
                    other,
                    &["bytes", "json", "none"],
                )),
            },
            Written::Ignore { ignore } => Ok(Self::Ignore(ignore)),
            Written::Only { only } => Ok(Self::Only(only)),
        }
    }
}

/// What makes an event with a new id a duplicate of one that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guard {
    /// Nothing.
    #[default]
    None,
    /// The same body.
    Body,
    /// The same body and the same type, for senders that report several types of events with the same body, as
    /// Shopify's topics `orders/create` and `orders/paid`. If the type is in a header that is not signed, somebody
    /// who has seen a delivery can send it again with another type.
    BodyAndType,
}
