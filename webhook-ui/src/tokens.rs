//! Bearer tokens (RFC 6750), of which only the digests are known.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use webhook_core::Kind;

use crate::Problem;
use crate::access::{Access, Caller};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// See states, and bodies with masked values.
    Read,
    /// Everything: act, see bodies unmasked, and what the other scopes allow.
    Operate,
    /// Read metrics, and nothing else.
    Metrics,
}

impl Scope {
    /// Whether a token of this scope allows what one of the scope `other` does.
    pub const fn includes(self, other: Self) -> bool {
        match self {
            Self::Operate => true,
            Self::Read => matches!(other, Self::Read),
            Self::Metrics => matches!(other, Self::Metrics),
        }
    }

    /// The scope as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Metrics => "metrics",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scopes = [Self::Read, Self::Operate, Self::Metrics].into_iter();
        let scope = scopes.find(|scope| scope.as_str() == text);
        scope.ok_or_else(|| "expected read, operate or metrics".to_owned())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The most characters of a token's name.
const MAX_NAME_CHARS: usize = 64;

/// The name of a token: 1 to 64 letters, digits, full stops, hyphens and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName(String);

impl FromStr for TokenName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_known = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if (1..=MAX_NAME_CHARS).contains(&text.len()) && text.chars().all(is_known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "expected 1 to {MAX_NAME_CHARS} letters, digits, full stops, hyphens and underscores"
            ))
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The day from which on a token is not valid, in UTC: `2027-01-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(Date);

impl Expiry {
    /// Whether a token with this expiry is no longer valid at `now`.
    pub fn is_over(self, now: SystemTime) -> bool {
        let begins = self.0.to_zoned(TimeZone::UTC);
        begins.is_ok_and(|begins| SystemTime::from(begins.timestamp()) <= now)
    }
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date = text.parse::<Date>().ok();
        // jiff reads more forms of dates than it writes.
        let date = date.filter(|date| date.to_string() == text);
        date.map(Self)
            .ok_or_else(|| "expected a date such as 2027-01-01".to_owned())
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 digest of a token, and what the token allows. Tokens are long and random, so their
/// digests need no salt.
///
/// As text it is `NAME:SCOPE:source=SOURCE:expires=DATE:DIGEST`, of which only the scope and the digest must be there.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest {
    name: Option<TokenName>,
    scope: Scope,
    source: Option<Kind>,
    expiry: Option<Expiry>,
    digest: [u8; 32],
}

impl TokenDigest {
    /// The digest of `token`.
    pub fn of(scope: Scope, token: &str) -> Self {
        Self {
            name: None,
            scope,
            source: None,
            expiry: None,
            digest: Sha256::digest(token).into(),
        }
    }

    /// Gives the token a name for the log.
    #[must_use]
    pub fn named(self, name: impl Into<Option<TokenName>>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Restricts the token to a source.
    #[must_use]
    pub fn of_source(self, source: impl Into<Option<Kind>>) -> Self {
        Self {
            source: source.into(),
            ..self
        }
    }

    /// Lets the token expire.
    #[must_use]
    pub fn expiring(self, expiry: impl Into<Option<Expiry>>) -> Self {
        Self {
            expiry: expiry.into(),
            ..self
        }
    }

    /// The name of the token in the log; without a name, the first digits of its digest.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("unnamed, digest {}…", hex::encode(&self.digest[..4])),
        }
    }

    /// What the token allows.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// The only source that the token is for; `None` for all of them.
    pub const fn source(&self) -> Option<&Kind> {
        self.source.as_ref()
    }

    /// Whether the token is valid at `now`, and allows what `scope` does.
    pub fn allows(&self, scope: Scope, now: SystemTime) -> bool {
        self.scope.includes(scope) && !self.expiry.is_some_and(|expiry| expiry.is_over(now))
    }

    /// The holder of the token.
    pub fn caller(&self) -> Caller {
        Caller::with_token(self.label(), self.scope, self.digest).of_source(self.source.clone())
    }
}

impl FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected read:, operate: or metrics: and the 64 hexadecimal digits of a token's SHA-256 \
             digest, with a name and a colon before them if it has a name, as `webhook-server token` \
             writes them"
                .to_owned()
        };
        let (mut rest, digits) = text.rsplit_once(':').ok_or_else(wrong)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).map_err(|_| wrong())?;
        let (mut source, mut expiry) = (None, None);
        while let Some((before, option)) = rest.rsplit_once(':') {
            let Some((name, value)) = option.split_once('=') else {
                break;
            };
            let is_new = match name {
                "source" => {
                    let kind = Kind::new(value.to_owned());
                    let kind = kind.map_err(|_| {
                        "expected the name of a source after source=, such as source=stripe"
                            .to_owned()
                    })?;
                    source.replace(kind).is_none()
                }
                "expires" => {
                    let date: Expiry = value.parse().map_err(|_| {
                        "expected a date after expires=, such as expires=2027-01-01".to_owned()
                    })?;
                    expiry.replace(date).is_none()
                }
                _ => false,
            };
            if !is_new {
                return Err(
                    "expected source= and expires=, each at most once, between scope and digest"
                        .to_owned(),
                );
            }
            rest = before;
        }
        let (name, scope) = match rest.rsplit_once(':') {
            Some((name, scope)) => (Some(name.parse().map_err(|_| wrong())?), scope),
            None => (None, rest),
        };
        Ok(Self {
            name,
            scope: scope.parse().map_err(|_| wrong())?,
            source,
            expiry,
            digest,
        })
    }
}

impl TokenDigest {
    /// Writes everything but the digest.
    fn write_terms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}:")?;
        }
        write!(f, "{}:", self.scope)?;
        if let Some(source) = &self.source {
            write!(f, "source={source}:")?;
        }
        if let Some(expiry) = &self.expiry {
            write!(f, "expires={expiry}:")?;
        }
        Ok(())
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_terms(f)?;
        f.write_str(&hex::encode(self.digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_terms(f)?;
        f.write_str("***")
    }
}

/// Tokens that are known by their digests.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: Vec<TokenDigest>,
}

impl Tokens {
    /// These tokens.
    pub fn new(known: impl IntoIterator<Item = TokenDigest>) -> Self {
        Self {
            known: known.into_iter().collect(),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[TokenDigest] {
        &self.known
    }

    /// Finds the bearer token of a request, if it is valid and allows what `scope` does. The time does not depend on
    /// which token it is.
    pub fn allow(&self, scope: Scope, headers: &HeaderMap) -> Option<&TokenDigest> {
        self.find(scope, bearer(headers)?)
    }

    fn find(&self, scope: Scope, token: &[u8]) -> Option<&TokenDigest> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let now = SystemTime::now();
        let mut is_allowed = Choice::from(0);
        let mut found = 0;
        for (index, token) in (0_u64..).zip(&self.known) {
            if token.allows(scope, now) {
                let is_same = token.digest.ct_eq(&presented);
                found.conditional_assign(&index, is_same);
                is_allowed |= is_same;
            }
        }
        let found = usize::try_from(found).ok()?;
        bool::from(is_allowed)
            .then(|| self.known.get(found))
            .flatten()
    }
}

impl Access for Tokens {
    fn caller(&self, head: &Parts, client: Option<IpAddr>) -> Result<Caller, Problem> {
        let token = self.allow(Scope::Read, &head.headers);
        token
            .map(|token| token.caller().at(client))
            .ok_or_else(Problem::without_token)
    }

    fn of_token(&self, token: &str) -> Option<Caller> {
        let token = self.find(Scope::Read, token.as_bytes());
        token.map(TokenDigest::caller)
    }

    fn is_current(&self, caller: &Caller) -> bool {
        let now = SystemTime::now();
        self.known.iter().any(|known| {
            Some(known.digest) == caller.token_digest
                && (known.scope, &known.source) == (caller.scope, &caller.source)
                && known.allows(Scope::Read, now)
        })
    }
}

/// The token of a request, which must have exactly one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn tokens_are_found_by_their_digests() {
        let known = Tokens::new([
            TokenDigest::of(Scope::Read, "reader"),
            TokenDigest::of(Scope::Operate, "operator"),
            TokenDigest::of(Scope::Metrics, "scraper"),
            TokenDigest::of(Scope::Operate, "former").expiring("2026-01-01".parse::<Expiry>().ok()),
        ]);
        for (headers, reads, operates, scrapes) in [
            (with(&["Bearer reader"]), true, false, false),
            (with(&["bearer reader"]), true, false, false),
            (with(&["Bearer operator"]), true, true, true),
            (with(&["Bearer scraper"]), false, false, true),
            (with(&["Bearer former"]), false, false, false),
            (with(&["Bearer other"]), false, false, false),
            (with(&["Bearer reader "]), false, false, false),
            (with(&["Bearer  reader"]), false, false, false),
            (with(&["reader"]), false, false, false),
            (with(&["Basic reader"]), false, false, false),
            (with(&["Bearer "]), false, false, false),
            (with(&[""]), false, false, false),
            (
                with(&["Bearer reader", "Bearer reader"]),
                false,
                false,
                false,
            ),
            (with(&[]), false, false, false),
        ] {
            for (scope, expected) in [
                (Scope::Read, reads),
                (Scope::Operate, operates),
                (Scope::Metrics, scrapes),
            ] {
                let allowed = known.allow(scope, &headers).is_some();
                assert_eq!(allowed, expected, "{scope} {headers:?}");
            }
        }
        let none = Tokens::default();
        assert!(none.allow(Scope::Read, &with(&["Bearer reader"])).is_none());
        let found = known.allow(Scope::Read, &with(&["Bearer operator"]));
        assert_eq!(found, Some(&known.all()[1]));
    }

    #[test]
    fn digests_may_have_names() {
        let digest = TokenDigest::of(Scope::Read, "abc");
        assert_eq!(digest.label(), "unnamed, digest ba7816bf…");
        for name in ["ci", "read", "ana.b-c_d", &"x".repeat(64)] {
            let text = format!("{name}:{digest}");
            let named: TokenDigest = text.parse().unwrap();
            assert_eq!(named.label(), name);
            assert_eq!(named.to_string(), text);
            assert_eq!(format!("{named:?}"), format!("{name}:read:***"));
        }
        for name in ["", "a b", "a:b", "caf\u{e9}", "a\u{1b}[m", &"x".repeat(65)] {
            let text = format!("{name}:{digest}");
            assert!(text.parse::<TokenDigest>().is_err(), "{name}");
            assert!(name.parse::<TokenName>().is_err(), "{name}");
        }
    }

    #[test]
    fn digests_are_written_and_read() {
        let digest = TokenDigest::of(Scope::Read, "abc");
        // FIPS 180-4's own example.
        let text = "read:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest.clone()));
        assert_eq!(format!("{digest:?}"), "read:***");
        let short = &text[..text.len() - 1];
        let other = text.replace("read", "write");
        for wrong in ["", "read", "read:", "read:abc", &text[5..], short, &other] {
            assert!(wrong.parse::<TokenDigest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn digests_may_have_a_source_and_an_expiry() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for terms in [
            "operate:source=stripe",
            "read:expires=2027-01-01",
            "ci:operate:source=stripe:expires=2027-01-01",
            "ci:metrics",
        ] {
            let text = format!("{terms}:{digits}");
            let token: TokenDigest = text.parse().unwrap();
            assert_eq!(token.to_string(), text);
            assert_eq!(format!("{token:?}"), format!("{terms}:***"));
        }
        for terms in [
            "operate:source=",
            "operate:source=Stripe",
            "operate:expires=2027-02-30",
            "operate:expires=2027",
            "operate:colour=red",
            "operate:source=a:source=b",
            "source=a:operate",
            "expires=2027-01-01",
        ] {
            let text = format!("{terms}:{digits}");
            assert!(text.parse::<TokenDigest>().is_err(), "{terms}");
        }
    }

    #[test]
    fn tokens_expire_when_their_day_begins() {
        let expiry: Expiry = "1970-01-03".parse().unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!expiry.is_over(at(2 * 86_400 - 1)));
        assert!(expiry.is_over(at(2 * 86_400)));
    }
}
