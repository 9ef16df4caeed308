//! Verifies who made a request, by a [`Scheme`] and its secrets.

mod certificate;
mod content;
mod diagnose;
mod digest;
mod encoding;
mod hmac;
mod html;
mod jwk;
mod jwt;
mod mac;
mod prepare;
mod public_key;
mod secret;
mod sign;
mod time;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::certificate::FetchedCertificate;
use self::content::{Attempt, Scope};
use self::digest::Digest;
use self::hmac::Hmac;
use self::jwt::Jwt;
use self::prepare::Preparation;
use self::public_key::PublicKeys;
use self::token::{Basic, Token};
use crate::content::{Content, MAX_FIELDS};
use crate::error::InvalidSources;
use crate::keys::{KeyRequest, Keys};
use crate::request::Request;
use crate::secrets::Secrets;
use crate::spec::{Part, Place, Scheme};

pub use diagnose::{BodyForm, Hint, MAX_DIAGNOSED_BYTES};
pub use encoding::Encoding;
pub(crate) use mac::MacKey;
pub(crate) use prepare::secret_key;
pub use secret::{MIN_KEY_BYTES, MIN_SECRET_BYTES, SecretLength};
pub use sign::{Outgoing, Signed, Unsigned};

/// The default tolerance: how far the time of a signature may be from now, in both directions.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The largest number of signatures in a place. A request with more is refused. A numbered family of headers may
/// have [`MAX_NUMBERED_HEADERS`](crate::MAX_NUMBERED_HEADERS).
pub const MAX_SIGNATURES: usize = 16;

/// The largest number of pairs of a signature and a public key that are tried for one request, so that a forged
/// one cannot cost more verifications.
pub const MAX_PUBLIC_KEY_CHECKS: usize = 4;

/// The largest number of public and private keys of one name: a single signature is tried with each of them.
pub const MAX_PUBLIC_KEYS: usize = MAX_PUBLIC_KEY_CHECKS;

/// What a [`Verification`] needs besides a scheme and its secrets.
#[derive(Clone, Debug, Default)]
pub struct VerificationOptions {
    /// The URL that the sender was given, byte for byte and without its query, for senders that sign it. The query
    /// of each request is appended. Default: none.
    pub public_url: Option<String>,
    /// Whether short secrets are refused. Default: yes.
    pub secret_length: SecretLength,
    /// The [settings](crate::spec::SourceSpec::settings) of the source. Default: none.
    pub settings: BTreeMap<String, String>,
    /// The keys that are fetched, for schemes with such keys. Default: none is ever there.
    pub keys: Option<Arc<dyn Keys>>,
}

/// Verifies that the sender of a [`Scheme`] made a request, and signs as that sender does.
///
/// Signatures are compared in constant time. Secrets are wiped from memory when this is dropped, and neither `Debug`
/// nor an error shows any part of them.
#[derive(Clone)]
pub struct Verification {
    node: Node,
    public_url: String,
    signs_url: bool,
    asks_for_password: bool,
    names: Vec<String>,
}

/// A scheme with its secrets.
#[derive(Clone, Debug)]
enum Node {
    None,
    Hmac(Hmac),
    Token(Token),
    Basic(Basic),
    PublicKey(PublicKeys),
    Digest(Digest),
    Jwt(Box<Jwt>),
    Certificate(Box<FetchedCertificate>),
    AnyOf(Vec<Node>),
    AllOf(Vec<Node>),
}

/// What a verified request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The index of the secret that matched, less than [`Verification::secret_count`]; see
    /// [`Verification::secret_name`]. If several match, the first one; 0 if the scheme needs none.
    pub secret_index: usize,
    /// The message id that is signed, if the scheme has one.
    pub message_id: Option<String>,
}

/// The reason why a request was not verified. It is for the operator: do not send it to whoever made the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// A value is missing.
    #[error("{} is missing", Named(place))]
    Missing {
        /// The place of the value.
        place: Place,
    },
    /// A value is given more than once, where the scheme expects one.
    #[error("{} is given more than once", Named(place))]
    Repeated {
        /// The place of the value.
        place: Place,
    },
    /// A value does not have the form that the scheme requires.
    #[error("{} is malformed", Named(place))]
    Malformed {
        /// The place of the value.
        place: Place,
    },
    /// There are more signatures than are read.
    #[error("{} has too many signatures", Named(place))]
    TooManySignatures {
        /// The place of the signatures.
        place: Place,
    },
    /// The body is not a form, and the scheme signs its fields.
    #[error("the body is not a form with 1 to {MAX_FIELDS} fields")]
    NotForm,
    /// The time of the signature is too far from now.
    #[error(
        "signed at a time too far from now: {} s {}",
        seconds.unsigned_abs(),
        if *seconds < 0 { "ago" } else { "ahead" }
    )]
    TooFar {
        /// The seconds from now to the time of the signature, rounded away from zero: negative if it is in the past.
        seconds: i64,
    },
    /// A claim of the token is missing, or is not what the source requires.
    #[error("claim {name} of the token {problem}")]
    Claim {
        /// The name of the claim.
        name: String,
        /// What is wrong with it.
        problem: ClaimProblem,
    },
    /// The request names an algorithm that the source does not allow.
    #[error("{} names an algorithm that the source does not allow", Named(place))]
    Algorithm {
        /// The place of the algorithm's name, or of the token that names it.
        place: Place,
    },
    /// The URL of the certificate is not one that the sender uses.
    #[error("{} is a URL that the source does not allow", Named(place))]
    Url {
        /// The place of the URL.
        place: Place,
    },
    /// A value is not the one that the source requires.
    #[error("{} is not the value that the source requires", Named(place))]
    OtherValue {
        /// The place of the value.
        place: Place,
    },
    /// The key has to be fetched first. This is not the sender's fault: answer 503, and fetch the key.
    #[error("the key at {} is not there yet", request.url())]
    KeyNotFetched {
        /// What to fetch.
        request: KeyRequest,
    },
    /// The sender's keys are there, and the one that the request names is not among them. If they were fetched some
    /// time ago, the sender may have added one since.
    #[error("the request names a key that is not among those at {}", request.url())]
    UnknownKey {
        /// What the keys were fetched by.
        request: KeyRequest,
    },
    /// The certificate is not one of the sender.
    #[error("the certificate {problem}")]
    Certificate {
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// None of the signatures was made with one of the secrets, or no token is one of them.
    #[error("no signature matches")]
    NoMatch,
}

/// What is wrong with a claim of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimProblem {
    /// It is missing.
    #[error("is missing")]
    Missing,
    /// It has another value than the source requires, or is of another type.
    #[error("is not what the source requires")]
    Other,
    /// The token is not valid any more.
    #[error("says that it has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("says that it is not valid yet")]
    NotYet,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is not a certificate in PEM.
    #[error("is not X.509 in PEM")]
    Unreadable,
    /// It has expired, or is not valid yet.
    #[error("has expired or is not valid yet")]
    NotValidNow,
    /// No authority that the system trusts has issued it.
    #[error("was not issued by an authority that the system trusts")]
    Untrusted,
    /// It is for other names than those of the sender.
    #[error("is not for a name of the sender")]
    Name,
    /// It has a key of another algorithm.
    #[error("has no RSA key of 2,048 to 8,192 bits")]
    Key,
}

/// A place, in words.
struct Named<'p>(&'p Place);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Header(name) => write!(f, "header {name}"),
            Place::Json(pointer) => write!(f, "JSON value {pointer}"),
            Place::Form(name) => write!(f, "form field {name}"),
            Place::Query(name) => write!(f, "query parameter {name}"),
            Place::Item(name) => write!(f, "item {name} of the signature"),
        }
    }
}

impl Unverified {
    /// How far a request came until it was refused; the reason of the one that came farthest tells the most.
    const fn progress(&self) -> u8 {
        match self {
            Self::Missing { .. } => 0,
            Self::Repeated { .. }
            | Self::Malformed { .. }
            | Self::TooManySignatures { .. }
            | Self::NotForm => 1,
            Self::Claim { .. }
            | Self::Algorithm { .. }
            | Self::Url { .. }
            | Self::OtherValue { .. }
            | Self::TooFar { .. } => 2,
            Self::Certificate { .. } | Self::NoMatch => 3,
            // Another key may still verify the request.
            Self::UnknownKey { .. } | Self::KeyNotFetched { .. } => 4,
        }
    }
}

impl Verification {
    /// Makes a scheme ready to verify requests.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the scheme, its secrets or the options. Secrets with names that the scheme does
    /// not take are no error here; see [`Scheme::secret_names`].
    pub fn new(
        scheme: &Scheme,
        secrets: &Secrets,
        options: VerificationOptions,
    ) -> Result<Self, InvalidSources> {
        let mut preparation = Preparation::new(secrets, &options);
        let node = preparation.whole(scheme);
        if !preparation.problems.is_empty() {
            return Err(InvalidSources::new(preparation.problems));
        }
        let names = preparation.names;
        Ok(Self {
            signs_url: node.any(&|node| {
                let form = node.form();
                form.is_some_and(|form| form.signed.parts().contains(&Part::Url))
            }),
            asks_for_password: node.any(&|node| matches!(node, Node::Basic(_))),
            node,
            public_url: options.public_url.unwrap_or_default(),
            names,
        })
    }

    /// Checks what the head alone shows, before the body is read: every value of the scheme in it must be there and
    /// be well-formed, a time in it must be within the tolerance, and at least one signature must have a valid form.
    /// Tokens and passwords in it are verified. The body of `request` is not looked at.
    ///
    /// `Ok` does not mean that the request is genuine; only [`verify`](Self::verify) finds that out.
    ///
    /// # Errors
    ///
    /// A reason why [`verify`](Self::verify) would refuse the request with any body.
    pub fn check_head(&self, request: &Request<'_>, now: SystemTime) -> Result<(), Unverified> {
        let content = Content::new(*request);
        self.node
            .check_head(&Attempt::new(&content, now, Scope::Head, &self.public_url))
    }

    /// Verifies that the sender made this request. Begins with the checks of [`check_head`](Self::check_head). The work
    /// is bounded: one HMAC or hash for each secret and scheme, and at most [`MAX_PUBLIC_KEY_CHECKS`] verifications
    /// with public keys.
    ///
    /// # Errors
    ///
    /// The reason, for the operator. No request causes a panic.
    pub fn verify(&self, request: &Request<'_>, now: SystemTime) -> Result<Verified, Unverified> {
        self.verify_content(&Content::new(*request), now)
    }

    /// As [`verify`](Self::verify), with a body that is parsed once for this and for whatever follows.
    pub(crate) fn verify_content(
        &self,
        content: &Content<'_>,
        now: SystemTime,
    ) -> Result<Verified, Unverified> {
        let attempt = Attempt::new(content, now, Scope::Whole, &self.public_url);
        self.node.verify(&attempt)
    }

    /// Signs a request as the sender does: with each secret if the scheme has a place for several signatures, otherwise
    /// with the first one. Of several schemes, the first one signs that can.
    ///
    /// # Errors
    ///
    /// [`Unsigned`] if there is no key to sign with, or if the request has no place for a part of the signature.
    pub fn sign(&self, outgoing: &Outgoing<'_>, at: SystemTime) -> Result<Signed, Unsigned> {
        sign::sign(&self.node, outgoing, at, &self.public_url)
    }

    /// The number of secrets.
    pub fn secret_count(&self) -> usize {
        self.names.len()
    }

    /// The name of the secret with this index, and its position among the secrets of that name, from 0.
    pub fn secret_name(&self, secret_index: usize) -> Option<(&str, usize)> {
        let name = self.names.get(secret_index)?;
        let first = self.names.iter().position(|known| known == name)?;
        Some((name, secret_index - first))
    }

    /// What to fetch to have the keys that are the same for every request. Fetch them ahead, so that no sender waits.
    pub fn key_requests(&self) -> Vec<KeyRequest> {
        let mut requests = Vec::new();
        self.node.visit(&mut |node| {
            if let Node::Jwt(jwt) = node
                && let Some(request) = jwt.keys.request()
                && !requests.contains(request)
            {
                requests.push(request.clone());
            }
        });
        requests
    }

    /// Whether the sender signs the URL that it was given.
    pub const fn signs_url(&self) -> bool {
        self.signs_url
    }

    /// The value of the header `WWW-Authenticate` with which a request that is refused must be answered, together with
    /// the status 401: some senders send a user and a password only when they are asked for them (RFC 7617).
    pub const fn challenge(&self) -> Option<&'static str> {
        if self.asks_for_password {
            Some("Basic realm=\"webhooks\", charset=\"UTF-8\"")
        } else {
            None
        }
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("scheme", &self.node)
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

impl Node {
    fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        match self {
            Self::None => Ok(()),
            Self::Hmac(hmac) => hmac.check_head(attempt),
            Self::Token(token) => token.check_head(attempt),
            Self::Basic(basic) => basic.verify(attempt).map(drop),
            Self::PublicKey(keys) => keys.check_head(attempt),
            Self::Digest(digest) => digest.check_head(attempt),
            Self::Jwt(jwt) => jwt.check_head(attempt),
            Self::Certificate(certificate) => certificate.check_head(attempt),
            Self::AnyOf(nodes) => any(nodes, |node| node.check_head(attempt)),
            Self::AllOf(nodes) => nodes.iter().try_for_each(|node| node.check_head(attempt)),
        }
    }

    fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        match self {
            Self::None => Ok(Verified {
                secret_index: 0,
                message_id: None,
            }),
            Self::Hmac(hmac) => hmac.verify(attempt),
            Self::Token(token) => token.verify(attempt),
            Self::Basic(basic) => basic.verify(attempt),
            Self::PublicKey(keys) => keys.verify(attempt),
            Self::Digest(digest) => digest.verify(attempt),
            Self::Jwt(jwt) => jwt.verify(attempt),
            Self::Certificate(certificate) => certificate.verify(attempt),
            Self::AnyOf(nodes) => any(nodes, |node| node.verify(attempt)),
            Self::AllOf(nodes) => all(nodes, attempt),
        }
    }

    /// Whether this scheme, or one of which it is made, is as `is_wanted` says.
    fn any(&self, is_wanted: &dyn Fn(&Self) -> bool) -> bool {
        let inner = match self {
            Self::AnyOf(nodes) | Self::AllOf(nodes) => nodes.as_slice(),
            _ => &[],
        };
        is_wanted(self) || inner.iter().any(|node| node.any(is_wanted))
    }

    /// Shows this scheme, and those of which it is made, to `look`.
    fn visit<'n>(&'n self, look: &mut dyn FnMut(&'n Self)) {
        look(self);
        if let Self::AnyOf(nodes) | Self::AllOf(nodes) = self {
            for node in nodes {
                node.visit(look);
            }
        }
    }

    /// How the sender signs, if it does.
    const fn form(&self) -> Option<&content::Form> {
        match self {
            Self::Hmac(hmac) => Some(&hmac.form),
            Self::PublicKey(keys) => Some(&keys.form),
            Self::Digest(digest) => Some(&digest.form),
            Self::Certificate(certificate) => Some(&certificate.form),
            _ => None,
        }
    }
}

/// What the first of `nodes` says that refuses nothing; otherwise the reason that tells the most.
fn any<T>(nodes: &[Node], check: impl Fn(&Node) -> Result<T, Unverified>) -> Result<T, Unverified> {
    let mut farthest: Option<Unverified> = None;
    for node in nodes {
        let reason = match check(node) {
            Ok(checked) => return Ok(checked),
            Err(reason) => reason,
        };
        if farthest
            .as_ref()
            .is_none_or(|known| known.progress() < reason.progress())
        {
            farthest = Some(reason);
        }
    }
    Err(farthest.unwrap_or(Unverified::NoMatch))
}

/// Verifies that all of `nodes` accept a request. Its secret is the one of the first that has any.
fn all(nodes: &[Node], attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
    let mut whole = Verified {
        secret_index: 0,
        message_id: None,
    };
    let mut has_secret = false;
    for node in nodes {
        let verified = node.verify(attempt)?;
        if !has_secret && node.has_secrets() {
            whole.secret_index = verified.secret_index;
            has_secret = true;
        }
        whole.message_id = whole.message_id.or(verified.message_id);
    }
    Ok(whole)
}

impl Node {
    /// Whether a request is verified by a secret.
    fn has_secrets(&self) -> bool {
        match self {
            Self::None | Self::Certificate(_) => false,
            Self::Digest(digest) => digest.signs_secret,
            Self::Jwt(jwt) => matches!(jwt.keys, jwt::PublicKeys::Given(_)),
            Self::Hmac(_) | Self::Token(_) | Self::Basic(_) | Self::PublicKey(_) => true,
            Self::AnyOf(nodes) | Self::AllOf(nodes) => nodes.iter().any(Self::has_secrets),
        }
    }
}

#[cfg(test)]
mod tests;
