//! JSON Web Tokens that the sender has signed (RFC 7519, RFC 7515, RFC 8725).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::content::{Attempt, Scope};
use super::jwk::{self, Jwk};
use super::{ClaimProblem, Encoding, Unverified, Verified, mac};
use crate::keys::{KeyRequest, Keys};
use crate::spec::{HashFunction, JwtAlgorithm, Place};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest id of a key, in bytes.
const MAX_KEY_ID_BYTES: usize = 200;

/// A scheme of tokens, with its keys.
#[derive(Clone, Debug)]
pub(super) struct Jwt {
    pub(super) at: Place,
    pub(super) prefix: String,
    pub(super) algorithms: Vec<JwtAlgorithm>,
    pub(super) keys: PublicKeys,
    pub(super) issuers: Vec<String>,
    pub(super) audience: Option<String>,
    pub(super) claims: Vec<(String, Expected)>,
    pub(super) body_hash: Option<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) tolerance: Duration,
}

/// What a claim must be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Flag(bool),
    OneOf(Vec<String>),
}

/// Where the public keys are.
#[derive(Clone)]
pub(super) enum PublicKeys {
    /// All of them at a URL.
    Fetched {
        request: KeyRequest,
        known: Option<Arc<dyn Keys>>,
    },
    /// Each for itself.
    Each {
        url: String,
        /// The member with the id.
        key_id: String,
        /// The other members.
        secrets: BTreeMap<String, Zeroizing<String>>,
        known: Option<Arc<dyn Keys>>,
    },
    /// Here, with the indexes of the secrets that they are.
    Given(Vec<(usize, Vec<Jwk>)>),
}

/// The members of a header that count.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; this understands none.
    crit: Option<Value>,
}

/// A token, of which nothing is verified.
struct Token<'t> {
    algorithm: JwtAlgorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
    /// What is signed.
    content: &'t [u8],
    signature: Vec<u8>,
}

impl Jwt {
    /// Checks the claims of a token in the head. Its signature costs more.
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        if attempt.has(&self.at) {
            let text = attempt.text(&self.at)?;
            self.check_claims(&self.token(&text)?, attempt)?;
        }
        Ok(())
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let text = attempt.text(&self.at)?;
        let token = self.token(&text)?;
        // Before the key is looked for, so that tokens that can never be accepted cause no fetch.
        self.check_claims(&token, attempt)?;
        let secret_index = self.find_signer(&token, attempt)?;
        Ok(Verified {
            secret_index,
            message_id: None,
        })
    }

    fn malformed(&self) -> Unverified {
        Unverified::Malformed {
            place: self.at.clone(),
        }
    }

    /// Reads a token in its compact form (RFC 7515, section 3.1).
    fn token<'t>(&self, text: &'t str) -> Result<Token<'t>, Unverified> {
        let token = text
            .split_at_checked(self.prefix.len())
            .filter(|(prefix, _)| prefix.eq_ignore_ascii_case(&self.prefix))
            .map(|(_, token)| token.trim_ascii());
        let token = token.filter(|it| it.len() <= MAX_TOKEN_BYTES);
        let token = token.ok_or_else(|| self.malformed())?;
        let read = || {
            let (content, signature) = token.rsplit_once('.')?;
            let (header, claims) = content.split_once('.')?;
            let decode = |part: &str| Encoding::Base64Url.decode(part);
            let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
            let claims: Map<String, Value> = serde_json::from_slice(&decode(claims)?).ok()?;
            Some((header, claims, content.as_bytes(), decode(signature)?))
        };
        let (header, claims, content, signature) = read().ok_or_else(|| self.malformed())?;
        if header.crit.is_some() {
            return Err(self.malformed());
        }
        let is_usable = |id: &String| {
            (1..=MAX_KEY_ID_BYTES).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_graphic())
        };
        if header.kid.as_ref().is_some_and(|id| !is_usable(id)) {
            return Err(self.malformed());
        }
        let mut algorithms = self.algorithms.iter();
        let algorithm = algorithms.find(|known| jwk::name(**known) == header.alg);
        let algorithm = algorithm.ok_or_else(|| Unverified::Algorithm {
            place: self.at.clone(),
        })?;
        Ok(Token {
            algorithm: *algorithm,
            key_id: header.kid,
            claims,
            content,
            signature,
        })
    }

    /// Checks the claims, except that of a body that is yet to be read.
    fn check_claims(&self, token: &Token<'_>, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        self.check_times(token, attempt.now)?;
        if !self.issuers.is_empty() {
            let is_known = |value: &Value| self.issuers.iter().any(|known| value == known);
            token.check("iss", is_known)?;
        }
        if let Some(audience) = &self.audience {
            token.check("aud", |value| match value {
                Value::Array(values) => values.iter().any(|value| value == audience),
                value => value == audience,
            })?;
        }
        for (name, expected) in &self.claims {
            token.check(name, |value| match expected {
                Expected::Flag(flag) => value == flag,
                Expected::OneOf(texts) => texts.iter().any(|text| value == text),
            })?;
        }
        match &self.body_hash {
            Some(name) if attempt.scope == Scope::Whole => {
                let body = attempt.content().request.body;
                let made = mac::hash(HashFunction::Sha256, [body]);
                token.check(name, |value| {
                    let written = value.as_str().and_then(|text| Encoding::Hex.decode(text));
                    written.is_some_and(|hash| bool::from(made.as_bytes().ct_eq(&hash)))
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks `exp`, `nbf` and `iat`.
    fn check_times(&self, token: &Token<'_>, now: SystemTime) -> Result<(), Unverified> {
        let now = seconds(now);
        let tolerance = whole_seconds(self.tolerance);
        let refused = |name: &str, problem| Unverified::Claim {
            name: name.to_owned(),
            problem,
        };
        match token.time("exp")? {
            Some(at) if at.saturating_add(tolerance) <= now => {
                return Err(refused("exp", ClaimProblem::Expired));
            }
            None if self.max_age.is_none() => return Err(refused("exp", ClaimProblem::Missing)),
            _ => {}
        }
        if let Some(at) = token.time("nbf")?
            && at.saturating_sub(tolerance) > now
        {
            return Err(refused("nbf", ClaimProblem::NotYet));
        }
        let issued = token.time("iat")?;
        if let Some(age) = self.max_age {
            let at = issued.ok_or_else(|| refused("iat", ClaimProblem::Missing))?;
            let too_old = now.saturating_sub(at) > whole_seconds(age).saturating_add(tolerance);
            if too_old || at.saturating_sub(tolerance) > now {
                return Err(Unverified::TooFar {
                    seconds: at.saturating_sub(now),
                });
            }
        }
        Ok(())
    }

    /// The index of the secret that is the key which has signed the token; 0 for a key that was fetched.
    fn find_signer(
        &self,
        token: &Token<'_>,
        attempt: &Attempt<'_, '_>,
    ) -> Result<usize, Unverified> {
        let now = seconds(attempt.now);
        let verify = |keys: &[Jwk]| {
            let key = token.key_among(keys)?;
            let is_genuine = key.fits(token.algorithm, now)
                && attempt.may_check_public_key()
                && key.has_signed(token.content, &token.signature);
            Some(is_genuine)
        };
        let (request, known) = match &self.keys {
            PublicKeys::Given(sets) => {
                let mut sets = sets.iter();
                let found = sets.find(|(_, keys)| verify(keys) == Some(true));
                return found.map(|(index, _)| *index).ok_or(Unverified::NoMatch);
            }
            PublicKeys::Fetched { request, known } => (request.clone(), known),
            PublicKeys::Each { url, known, .. } => {
                let id = token.key_id.as_deref().ok_or_else(|| self.malformed())?;
                (KeyRequest::post(url, self.keys.body(id)), known)
            }
        };
        let document = known.as_ref().and_then(|known| known.find(&request));
        let Some(document) = document else {
            return Err(Unverified::KeyNotFetched { request });
        };
        // What is no set of keys has none.
        match verify(&jwk::read(&document).unwrap_or_default()) {
            Some(true) => Ok(0),
            Some(false) => Err(Unverified::NoMatch),
            None => Err(Unverified::UnknownKey { request }),
        }
    }
}

impl Token<'_> {
    /// The key that the token names; if it names none, the only one.
    fn key_among<'k>(&self, keys: &'k [Jwk]) -> Option<&'k Jwk> {
        match (&self.key_id, keys) {
            (Some(id), _) => keys.iter().find(|key| key.id.as_ref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    fn check(&self, name: &str, is_right: impl Fn(&Value) -> bool) -> Result<(), Unverified> {
        let problem = match self.claims.get(name) {
            None => ClaimProblem::Missing,
            Some(value) if is_right(value) => return Ok(()),
            Some(_) => ClaimProblem::Other,
        };
        Err(Unverified::Claim {
            name: name.to_owned(),
            problem,
        })
    }

    /// The claim `name` in whole seconds since 1970, if it is there.
    fn time(&self, name: &str) -> Result<Option<i64>, Unverified> {
        let Some(value) = self.claims.get(name) else {
            return Ok(None);
        };
        let written = value.as_number().map(ToString::to_string);
        // Times may have fractions (RFC 7519, section 2).
        let whole = written
            .as_deref()
            .map(|it| it.split('.').next().unwrap_or(it));
        match whole.and_then(|it| it.parse().ok()) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(Unverified::Claim {
                name: name.to_owned(),
                problem: ClaimProblem::Other,
            }),
        }
    }
}

impl PublicKeys {
    /// What to fetch to have the keys, if that is known before a request comes.
    pub(super) const fn request(&self) -> Option<&KeyRequest> {
        match self {
            Self::Fetched { request, .. } => Some(request),
            Self::Each { .. } | Self::Given(_) => None,
        }
    }

    /// The document that asks for the key with this id.
    fn body(&self, id: &str) -> Zeroizing<String> {
        let Self::Each {
            key_id, secrets, ..
        } = self
        else {
            return Zeroizing::default();
        };
        let named = secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), secret.as_str()));
        let members: BTreeMap<&str, &str> = named.chain([(key_id.as_str(), id)]).collect();
        // Texts can always be written.
        Zeroizing::new(serde_json::to_string(&members).unwrap_or_default())
    }
}

/// Shows no secrets.
impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetched { request, .. } => f.debug_tuple("Fetched").field(request).finish(),
            Self::Each { url, .. } => f
                .debug_struct("Each")
                .field("url", url)
                .finish_non_exhaustive(),
            Self::Given(sets) => f.debug_tuple("Given").field(&sets.len()).finish(),
        }
    }
}

/// The whole seconds from 1970 to `at`; 0 before.
fn seconds(at: SystemTime) -> i64 {
    whole_seconds(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
