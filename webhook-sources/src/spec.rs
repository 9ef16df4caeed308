//! What describes a source, as data: who signs how, which event a request is, and how it is answered.
//!
//! A [`SourceSpec`] is what a [preset](crate::preset) is made of, and what an operator writes in a configuration
//! file. Every type here implements [`serde::Deserialize`]; the examples are in TOML. A
//! [`Source`](crate::Source) is a specification with its secrets, ready to receive requests.

mod answer;
mod certificate;
mod duration;
mod handshake;
mod identity;
mod jwt;
mod place;
mod scheme;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

pub use answer::AnswerSpec;
pub use certificate::{
    FetchedCertificateScheme, HostPattern, InvalidHost, NamedAlgorithms, RequiredValue,
};
pub use duration::Tolerance;
pub use handshake::{Handshake, HandshakeAnswer};
pub use identity::{Compare, Guard, IdRule};
pub use jwt::{ClaimValue, EachKey, JwtAlgorithm, JwtScheme, KeySet};
pub use place::{InvalidPlace, Place, Pointer};
pub use scheme::{
    Algorithm, BasicScheme, DigestScheme, HashFunction, HmacScheme, KeyForm, PublicKeyForm,
    PublicKeyScheme, Scheme, SignatureSpec, TimeFormat, TimeSpec, TokenForm, TokenScheme,
};
pub use template::{InvalidTemplate, LineForm, Part, Template};

pub use crate::verification::Encoding;

/// Describes a source: its sender's signatures, ids, handshakes and answers.
///
/// ```
/// use webhook_sources::spec::SourceSpec;
///
/// let spec: SourceSpec = toml::from_str(r#"
///     id = "json:/id"
///     event_type = "json:/type"
///
///     [scheme.hmac]
///     signed = "{timestamp}.{body}"
///     signature = { at = "header:stripe-signature", split = ",", item = "v1=" }
///     time = { at = "item:t" }
/// "#)?;
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SourceSpec {
    /// How a request shows that the sender made it.
    pub scheme: Scheme,
    /// What the receiver knows of its account at the sender, and what is no secret, such as the id of its webhook:
    /// `{setting:NAME}` in the scheme stands for it.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where the id of an event is. Default: the SHA-256 of its content.
    #[serde(default)]
    pub id: IdRule,
    /// Where the events of a request are, if it may carry several: a JSON pointer with `*` for the elements of
    /// an array, such as `/events/*`. All pointers of [`id`](Self::id), [`event_type`](Self::event_type) and
    /// [`compare`](Self::compare) then begin at an event. What is around the events is not kept; but an element on the
    /// way that has no event is an event itself, and so is a body that has none.
    #[serde(default)]
    pub split: Option<Pointer>,
    /// Where the name of the event's type is, such as `json:/type` or `header:x-github-event`; of a list of places, the
    /// first that has one counts. Default: nowhere.
    #[serde(default, deserialize_with = "place::one_or_several")]
    pub event_type: Vec<Place>,
    /// Which part of the content decides whether a repeated id is a duplicate or a conflict. Default: all bytes.
    #[serde(default)]
    pub compare: Compare,
    /// What makes an event with a new id a duplicate. For senders whose id is in a header that is not signed:
    /// somebody who has seen a delivery could send it again with another id. Default: nothing.
    #[serde(default)]
    pub guard: Guard,
    /// The requests that the sender makes to check the address. Default: none.
    #[serde(default)]
    pub handshakes: Vec<Handshake>,
    /// The answer to a request whose events are stored. Default: 200 with an empty body.
    #[serde(default)]
    pub answer: AnswerSpec,
    /// The status of the answer to a request that is refused because it does not show who made it. Default: 401.
    #[serde(default = "unauthorized")]
    pub refused_status: u16,
    /// The methods of deliveries, in upper case. Default: `POST`.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// The headers that are kept with an event, in lower case. `content-type` and the headers that
    /// [`id`](Self::id) and [`event_type`](Self::event_type) name are always kept.
    #[serde(default)]
    pub keep_headers: Vec<String>,
    /// How long the sender waits for the answer, if that is known.
    #[serde(default, with = "duration::optional")]
    pub timeout: Option<Duration>,
}

const fn unauthorized() -> u16 {
    401
}

fn post() -> Vec<String> {
    vec!["POST".to_owned()]
}
