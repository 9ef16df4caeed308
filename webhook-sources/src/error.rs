//! Why a source cannot be made.

use std::fmt;

use crate::spec::Place;
use crate::verification::MAX_PUBLIC_KEYS;

/// Everything that is wrong with a source, which is at least one thing. Its text has all of them, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSources(Vec<InvalidSource>);

impl InvalidSources {
    /// `problems` has at least one.
    pub(crate) const fn new(problems: Vec<InvalidSource>) -> Self {
        Self(problems)
    }

    /// The problems, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, InvalidSource> {
        self.0.iter()
    }
}

impl fmt::Display for InvalidSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSources {}

impl IntoIterator for InvalidSources {
    type Item = InvalidSource;
    type IntoIter = std::vec::IntoIter<InvalidSource>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a InvalidSources {
    type Item = &'a InvalidSource;
    type IntoIter = std::slice::Iter<'a, InvalidSource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What is wrong with a source: with its specification, its secrets or its options. It contains no part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSource {
    /// There is no secret of a name that the scheme needs, or of any of these names.
    #[error("there is no secret with the name {}", names.join(" or "))]
    NoSecret {
        /// The names, of which one is enough.
        names: Vec<String>,
    },
    /// A secret is not what the scheme needs.
    #[error("secret {} with the name {name} is {problem}", position + 1)]
    Secret {
        /// The name of the secrets.
        name: String,
        /// The position among the secrets of this name, from 0.
        position: usize,
        /// What is wrong with it.
        problem: SecretProblem,
    },
    /// There are more public keys of one name than are tried for a request.
    #[error("there are more than {MAX_PUBLIC_KEYS} keys with the name {name}")]
    TooManyKeys {
        /// The name of the keys.
        name: String,
    },
    /// The scheme signs the public URL, and none is given.
    #[error("the sender signs the URL that it was given, and no public URL is set")]
    NoPublicUrl,
    /// The scheme is satisfied by a request of anybody.
    #[error(
        "the scheme proves nothing: each of its alternatives needs a secret or a public key; write \
         scheme = \"none\" to receive requests of anybody"
    )]
    ProvesNothing,
    /// The signature is in a part of the request that is signed itself.
    #[error("the signature at {place} is in a part of the request that {signed} signs")]
    Circular {
        /// The place of the signature.
        place: Place,
        /// What is signed.
        signed: String,
    },
    /// A place that the scheme does not read there.
    #[error("{place} cannot hold {role}")]
    WrongPlace {
        /// The place.
        place: Place,
        /// What it is to hold.
        role: &'static str,
    },
    /// Something is read from the request, and is not part of what is signed, so that anybody could change it.
    #[error("{place} is not signed: write {placeholder} in what is signed")]
    NotSigned {
        /// The place.
        place: Place,
        /// The placeholder that stands for it.
        placeholder: &'static str,
    },
    /// A placeholder stands for something that the scheme does not say the place of, or that it does not have.
    #[error("{placeholder} is signed, and {missing}")]
    NoPlace {
        /// The placeholder.
        placeholder: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The items of a signature do not fit the rest of the scheme.
    #[error("the items of the signature need {missing}")]
    Items {
        /// What is missing.
        missing: &'static str,
    },
    /// The scheme needs a setting that the source does not have.
    #[error("there is no setting with the name {name}")]
    NoSetting {
        /// The name.
        name: String,
    },
    /// There is a setting of a name that the scheme does not take.
    #[error("the scheme takes no setting with the name {name}")]
    UnknownSetting {
        /// The name.
        name: String,
    },
    /// A URL is not one that keys can be fetched from.
    #[error(
        "{url:?} is no URL of keys: expected https://HOST/PATH without a user, a query and a fragment"
    )]
    KeyUrl {
        /// The URL.
        url: String,
    },
    /// A text stands for a part of the request where only settings may stand.
    #[error("{text} has a placeholder where only {{setting:NAME}} can stand")]
    OnlySettings {
        /// The text.
        text: String,
    },
    /// A part of the scheme is empty.
    #[error("{what} is empty")]
    Nothing {
        /// What is empty.
        what: &'static str,
    },
    /// A name that no certificate can be issued to.
    #[error("{name:?} is no DNS name")]
    DnsName {
        /// The name.
        name: String,
    },
    /// The values of several members are signed as lines, and may have several lines each.
    #[error("only one {{lines:/POINTER}} can be signed: otherwise their ends are ambiguous")]
    AmbiguousLines,
    /// A certificate verifies only signatures by RSA.
    #[error("an algorithm that is not of RSA cannot be named for a certificate")]
    CertificateAlgorithm,
    /// A digest by SHA-1, which does not protect a secret.
    #[error("a digest by SHA-1 is not safe: only SHA-256 and SHA-512 are supported")]
    WeakDigest,
    /// A setting has a value that it cannot have.
    #[error("{setting} is {value:?}: expected {expected}")]
    Setting {
        /// The name of the setting, such as `handshakes[0].method`.
        setting: String,
        /// Its value.
        value: String,
        /// What is right.
        expected: &'static str,
    },
    /// All events of a request would have the same id.
    #[error(
        "all events of a request would have the same id: with split, each id needs a part with \
         json:/POINTER, sha256 or generated"
    )]
    SameId,
    /// A header with a token or a password would be stored with each event.
    #[error("header {header} has a secret, and would be stored with each event")]
    KeptSecret {
        /// The name of the header.
        header: String,
    },
    /// The answer to a handshake would show a secret that verifies something.
    #[error("the answer to a handshake would show the secret with the name {name}")]
    ShownSecret {
        /// The name of the secret.
        name: String,
    },
    /// There is a secret of a name that neither the scheme nor a handshake takes.
    #[error("no scheme or handshake takes a secret with the name {name}")]
    UnknownSecret {
        /// The name of the secret.
        name: String,
    },
    /// The form of the public keys does not fit the algorithm.
    #[error("keys of this algorithm are written as SubjectPublicKeyInfo: write key = \"spki\"")]
    KeyForm,
}

/// What is wrong with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretProblem {
    /// It is empty.
    #[error("empty")]
    Empty,
    /// It is too short to be safe.
    #[error("too short to be safe: it needs at least {min_bytes} bytes")]
    TooShort {
        /// The smallest length, in bytes; that of the key if the secret is an encoded key.
        min_bytes: usize,
    },
    /// It is not what it must be.
    #[error("not {0}")]
    Not(&'static str),
}
