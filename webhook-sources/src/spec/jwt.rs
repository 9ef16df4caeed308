//! Tokens that the sender signs: JSON Web Tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::duration;
use super::{Place, Template};

/// A JSON Web Token (RFC 7519) that the sender has signed, as a JWS in its compact form (RFC 7515).
///
/// A token covers nothing else of the request, except the body if [`body_hash`](Self::body_hash) is given. Without
/// it, whoever has seen a token can send it with another body until the token expires.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct JwtScheme {
    /// The place.
    pub at: Place,
    /// The text before the token, such as `Bearer `, compared without regard to case.
    #[serde(default)]
    pub prefix: String,
    /// The algorithms that are allowed; at least one. A token with another one is refused, and so is a key that is
    /// not made for the algorithm of the token.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where the public keys are.
    pub keys: KeySet,
    /// The values that the claim `iss` may have. Default: any, or none at all. As in [`audience`](Self::audience) and
    /// [`claims`](Self::claims), `{setting:NAME}` stands for a [setting](super::SourceSpec::settings).
    #[serde(default)]
    pub issuers: Vec<Template>,
    /// The value that the claim `aud` must have, or contain. Default: any.
    #[serde(default)]
    pub audience: Option<Template>,
    /// Other claims that the token must have, with their values.
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimValue>,
    /// The claim with the SHA-256 of the body, in hexadecimal. Default: the body is not covered.
    #[serde(default)]
    pub body_hash: Option<String>,
    /// How old a token may be by its claim `iat`, which it then must have. Default: any age; then it must have the
    /// claim `exp`.
    #[serde(default, with = "duration::optional")]
    pub max_age: Option<Duration>,
    /// How far the clocks of sender and receiver may be apart where `exp`, `nbf` and `iat` are checked. Default: 1
    /// minute.
    #[serde(default = "minute", with = "duration")]
    pub tolerance: Duration,
}

/// An algorithm of a JSON Web Token (RFC 7518, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
}

/// Where the public keys of a sender are: JSON Web Keys (RFC 7517).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeySet {
    /// A URL with all of them: `keys = { url = "https://…" }`. `{setting:NAME}` stands for a
    /// [setting](super::SourceSpec::settings).
    Url(Template),
    /// A URL that answers with the one key that is asked for.
    Each(EachKey),
    /// The secrets of this name, each a key or a set of keys as JSON.
    Given(String),
}

/// A URL that answers a `POST` of a JSON object with a key: `{"key": {…}}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EachKey {
    /// The URL. `{setting:NAME}` stands for a [setting](super::SourceSpec::settings).
    pub url: Template,
    /// The member of the object with the id of the key.
    pub key_id: String,
    /// The members with secrets of the receiver, and the names of these secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// The value that a claim must have.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClaimValue {
    /// `true` or `false`.
    Flag(bool),
    /// One of these texts.
    Text(Vec<Template>),
}

impl<'de> Deserialize<'de> for ClaimValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The shapes that a value is written in.
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected true, false, a text or a list of texts"
        )]
        enum Written {
            Flag(bool),
            One(Template),
            Several(Vec<Template>),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Flag(flag) => Self::Flag(flag),
            Written::One(text) => Self::Text(vec![text]),
            Written::Several(texts) => Self::Text(texts),
        })
    }
}

const fn minute() -> Duration {
    Duration::from_secs(60)
}
