//! Signatures that are verified by a certificate, whose URL is in the request.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::{Algorithm, Place, SignatureSpec, Template, TimeSpec};

/// A signature by the private key of an X.509 certificate (RFC 5280). The request says where the certificate is; it
/// is fetched from there only if the URL is one that the sender uses.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FetchedCertificateScheme {
    /// The place of the URL. It must begin with `https://`, and have no user, no query and no fragment.
    pub url: Place,
    /// The hosts that the URL may have; at least one.
    pub hosts: Vec<HostPattern>,
    /// What the path of the URL must begin with. Default: anything.
    #[serde(default)]
    pub path_prefix: String,
    /// What the path of the URL must end with, such as `.pem`. Default: anything.
    #[serde(default)]
    pub path_suffix: String,
    /// Where the request names the algorithm, and which are allowed.
    pub algorithm: NamedAlgorithms,
    /// The DNS names of which the certificate must have one. An authority that the system trusts must have issued such
    /// a certificate. Default: every certificate at an allowed URL is taken.
    #[serde(default)]
    pub issued_to: Vec<String>,
    /// What is signed.
    pub signed: Template,
    /// Where the signature is, and how it is written.
    pub signature: SignatureSpec,
    /// Where the time of the signature is. Default: no time is checked.
    #[serde(default)]
    pub time: Option<TimeSpec>,
    /// Signed values that the request must have, for senders who sign for everybody with the same key.
    #[serde(default)]
    pub required: Vec<RequiredValue>,
}

/// Where a request names the algorithm of its signature.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NamedAlgorithms {
    /// The place.
    pub at: Place,
    /// The names that are allowed, with their algorithms, which are of RSA.
    pub allowed: BTreeMap<String, Algorithm>,
}

/// A value that a request must have.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RequiredValue {
    /// The place.
    pub at: Place,
    /// The value. `{setting:NAME}` stands for a [setting](super::SourceSpec::settings).
    pub equals: Template,
}

/// The host of a URL, such as `api.paypal.com`. `{region}` stands for a label that is the name of a region of AWS,
/// such as `us-east-1`: other labels there are not those of a region, such as the one of a storage service, where
/// anybody can have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(Vec<Label>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Text(String),
    Region,
}

/// A host that is not written as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no host: expected a name in lower case such as api.example.com, in which {{region}} may stand for the \
     name of a region of AWS"
)]
pub struct InvalidHost(String);

impl HostPattern {
    /// Whether `host` is one of these hosts. It is in lower case, and has a port if the pattern has one.
    pub fn matches(&self, host: &str) -> bool {
        let mut labels = host.split('.');
        let fits = self.0.iter().all(|label| match (label, labels.next()) {
            (_, None) => false,
            (Label::Text(text), Some(label)) => text == label,
            (Label::Region, Some(label)) => is_region(label),
        });
        fits && labels.next().is_none()
    }
}

/// Two words of letters or more, and a number: `us-gov-west-1`.
fn is_region(label: &str) -> bool {
    let Some((words, number)) = label.rsplit_once('-') else {
        return false;
    };
    let is_word = |word: &str| word.len() >= 2 && word.bytes().all(|it| it.is_ascii_lowercase());
    (1..=2).contains(&number.len())
        && number.bytes().all(|it| it.is_ascii_digit())
        && words.contains('-')
        && words.split('-').all(is_word)
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (host, port) = text.split_once(':').unwrap_or((text, "443"));
        let is_plain = |label: &str| {
            let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
            !label.is_empty() && label.bytes().all(is_plain)
        };
        let is_host = host
            .split('.')
            .all(|label| label == "{region}" || is_plain(label));
        if !is_host || port.parse::<u16>().is_err() {
            return Err(InvalidHost(text.to_owned()));
        }
        let label = |label: &str| match label {
            "{region}" => Label::Region,
            text => Label::Text(text.to_owned()),
        };
        Ok(Self(text.split('.').map(label).collect()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, label) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            match label {
                Label::Text(text) => f.write_str(text)?,
                Label::Region => f.write_str("{region}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_regions_are_told_from_others() {
        let pattern: HostPattern = "sns.{region}.amazonaws.com".parse().unwrap();
        assert_eq!(pattern.to_string(), "sns.{region}.amazonaws.com");
        for region in [
            "us-east-1",
            "ap-southeast-12",
            "us-gov-west-1",
            "cn-north-1",
        ] {
            assert!(
                pattern.matches(&format!("sns.{region}.amazonaws.com")),
                "{region}"
            );
        }
        for host in [
            // Buckets of a storage service named `sns`.
            "sns.s3.amazonaws.com",
            "sns.s3-us-west-2.amazonaws.com",
            "sns.us-east-1.amazonaws.com.evil.example",
            "evil.example.sns.us-east-1.amazonaws.com",
            "sns.us-east-1.amazonaws.com.",
            "sns.us-east-1.amazonaws.com:444",
            "sns.us-east-1.evil.amazonaws.com",
            "sns.us-east.amazonaws.com",
            "sns.us-1.amazonaws.com",
            "sns.us-east-1x.amazonaws.com",
            "sns..amazonaws.com",
            "sns.us-east-1",
            "",
        ] {
            assert!(!pattern.matches(host), "{host}");
        }
    }

    #[test]
    fn wrong_hosts_are_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "*.example.com",
            "A.example",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "{x}.a",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        assert!(
            "localhost:8443"
                .parse::<HostPattern>()
                .unwrap()
                .matches("localhost:8443")
        );
    }
}
