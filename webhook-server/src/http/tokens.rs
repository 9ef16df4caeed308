//! Bearer tokens (RFC 6750). The server knows only their digests.

use std::fmt;
use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read transactions.
    Read,
    /// Read transactions, and use the routes for operators.
    Operate,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "operate" => Ok(Self::Operate),
            _ => Err("expected read or operate".to_owned()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
        })
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

/// The SHA-256 digest of a token, and what the token allows. Tokens are long and random, so their
/// digests need no salt.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest {
    name: Option<TokenName>,
    scope: Scope,
    digest: [u8; 32],
}

impl TokenDigest {
    /// The digest of `token`.
    pub fn of(scope: Scope, token: &str) -> Self {
        Self {
            name: None,
            scope,
            digest: Sha256::digest(token).into(),
        }
    }

    /// Gives the token a name for the log.
    #[must_use]
    pub fn named(self, name: TokenName) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// The name of the token in the log; without a name, the first digits of its digest.
    pub(super) fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("unnamed, digest {}…", hex::encode(&self.digest[..4])),
        }
    }

    /// What the token allows.
    pub const fn scope(&self) -> Scope {
        self.scope
    }
}

/// Parses the form of a configuration: `read:` and 64 hexadecimal digits, or with a name, `ci:read:`
/// and the digits.
impl FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected read: or operate: and the 64 hexadecimal digits of a token's SHA-256 digest, \
             with a name and a colon before them if it has a name, as `webhook-server token` writes \
             them"
                .to_owned()
        };
        let (scope, digits) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (name, scope) = match scope.rsplit_once(':') {
            Some((name, scope)) => (Some(name.parse().map_err(|_| wrong())?), scope),
            None => (None, scope),
        };
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).map_err(|_| wrong())?;
        let scope = scope.parse().map_err(|_| wrong())?;
        Ok(Self {
            name,
            scope,
            digest,
        })
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}:")?;
        }
        write!(f, "{}:{}", self.scope, hex::encode(self.digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}:")?;
        }
        write!(f, "{}:***", self.scope)
    }
}

/// Finds the token of the request among `known`, if it allows `scope`. The time does not depend on which
/// token it is.
pub(super) fn allow<'a>(
    known: &'a [TokenDigest],
    scope: Scope,
    headers: &HeaderMap,
) -> Option<&'a TokenDigest> {
    let token = bearer(headers)?;
    let presented: [u8; 32] = Sha256::digest(token).into();
    let mut is_allowed = Choice::from(0);
    let mut found = 0;
    for (index, token) in (0_u64..).zip(known) {
        if token.scope >= scope {
            let is_same = token.digest.ct_eq(&presented);
            found.conditional_assign(&index, is_same);
            is_allowed |= is_same;
        }
    }
    let found = usize::try_from(found).ok()?;
    bool::from(is_allowed).then(|| known.get(found)).flatten()
}

/// The token of a request, which must have exactly one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
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
        let known = [
            TokenDigest::of(Scope::Read, "reader"),
            TokenDigest::of(Scope::Operate, "operator"),
        ];
        for (headers, reads, operates) in [
            (with(&["Bearer reader"]), true, false),
            (with(&["bearer reader"]), true, false),
            (with(&["Bearer operator"]), true, true),
            (with(&["Bearer other"]), false, false),
            (with(&["Bearer reader "]), false, false),
            (with(&["Bearer  reader"]), false, false),
            (with(&["reader"]), false, false),
            (with(&["Basic reader"]), false, false),
            (with(&["Bearer "]), false, false),
            (with(&[""]), false, false),
            (with(&["Bearer reader", "Bearer reader"]), false, false),
            (with(&[]), false, false),
        ] {
            let read = allow(&known, Scope::Read, &headers);
            assert_eq!(read.is_some(), reads, "{headers:?}");
            let operate = allow(&known, Scope::Operate, &headers);
            assert_eq!(operate.is_some(), operates, "{headers:?}");
        }
        assert!(allow(&[], Scope::Read, &with(&["Bearer reader"])).is_none());
        let found = allow(&known, Scope::Read, &with(&["Bearer operator"]));
        assert_eq!(found, Some(&known[1]));
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
}
