//! Requests with what is expected of them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use webhook_sources::{
    InvalidSources, Outcome, Request, SecretLength, Secrets, Source, SourceOptions, preset,
};

/// A request that a preset must accept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    pub(crate) preset: String,
    /// Where a published or computed request is from.
    #[serde(default, rename = "from")]
    _from: Option<String>,
    /// The SDK that made or accepted the request.
    #[serde(default, rename = "sdk")]
    _sdk: Option<String>,
    /// `sdk`, or `recorder` if the SDK only verifies.
    #[serde(default, rename = "signed_by")]
    _signed_by: Option<String>,
    /// When it is received, in seconds since 1970.
    now: u64,
    pub(crate) secrets: BTreeMap<String, Vec<String>>,
    public_url: Option<String>,
    method: String,
    target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// A body that must be refused; none if the sender does not sign the body.
    pub(crate) altered_body: Option<String>,
    /// The ids of the events; null for an id that is not known beforehand.
    #[serde(default)]
    pub(crate) ids: Option<Vec<Option<String>>>,
    #[serde(default)]
    pub(crate) event_types: Option<Vec<Option<String>>>,
    /// The status and the body of the answer.
    #[serde(default)]
    pub(crate) answer: Option<(u16, String)>,
}

impl Fixture {
    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now)
    }

    pub(crate) fn source(&self) -> Result<Source, InvalidSources> {
        let spec = preset::get(&self.preset).unwrap().spec.clone();
        let secrets = self.secrets.iter().flat_map(|(name, secrets)| {
            secrets
                .iter()
                .map(move |secret| (name.as_str(), secret.as_str()))
        });
        let secrets = secrets.fold(Secrets::new(), |all, (name, secret)| all.with(name, secret));
        let options = SourceOptions {
            public_url: self.public_url.clone(),
            // Published secrets are short.
            secret_length: SecretLength::Unchecked,
            ..SourceOptions::default()
        };
        Source::new(spec, &secrets, options)
    }

    /// The headers as a request has them.
    pub(crate) fn header_pairs(&self) -> Vec<(&str, &[u8])> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect()
    }

    pub(crate) fn request<'a>(&'a self, headers: &'a [(&'a str, &'a [u8])]) -> Request<'a> {
        Request {
            method: &self.method,
            target: &self.target,
            headers,
            body: self.body.as_bytes(),
        }
    }

    pub(crate) fn received_at(&self, now: SystemTime) -> Outcome {
        let source = self
            .source()
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", self.preset));
        source.receive(&self.request(&self.header_pairs()), now)
    }

    pub(crate) fn received(&self) -> Outcome {
        self.received_at(self.now())
    }
}

fn parse(json: &str) -> Vec<Fixture> {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn published() -> Vec<Fixture> {
    parse(include_str!("../fixtures/published.json"))
}

pub(crate) fn computed() -> Vec<Fixture> {
    parse(include_str!("../fixtures/computed.json"))
}

pub(crate) fn sdk() -> Vec<Fixture> {
    parse(include_str!("../fixtures/sdk.json"))
}

pub(crate) fn all() -> Vec<Fixture> {
    [published(), computed(), sdk()].concat()
}
