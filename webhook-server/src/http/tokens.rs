//! Bearer tokens (RFC 6750), known by their digests only.

use std::fmt;
use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To see where a transaction stands.
    Read,
    /// That, and all that operators may do.
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

/// A token by its SHA-256 digest. A token is as long and as random as a key: its digest needs no salt.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest {
    scope: Scope,
    digest: [u8; 32],
}

impl TokenDigest {
    /// That of `token`.
    pub fn of(scope: Scope, token: &str) -> Self {
        Self {
            scope,
            digest: Sha256::digest(token).into(),
        }
    }

    /// What the token allows.
    pub const fn scope(&self) -> Scope {
        self.scope
    }
}

/// As it stands in a configuration: `read:`, and 64 hexadecimal digits.
impl FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected read: or operate: and the 64 hexadecimal digits of a token's SHA-256 digest, \
             as `webhook-server token` writes them"
                .to_owned()
        };
        let (scope, digits) = text.split_once(':').ok_or_else(wrong)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).map_err(|_| wrong())?;
        let scope = scope.parse().map_err(|_| wrong())?;
        Ok(Self { scope, digest })
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, hex::encode(self.digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.scope)
    }
}

/// Whether the request brings a token that allows `scope`. Takes as long whichever token it is.
pub(super) fn allow(known: &[TokenDigest], scope: Scope, headers: &HeaderMap) -> bool {
    let Some(token) = bearer(headers) else {
        return false;
    };
    let presented: [u8; 32] = Sha256::digest(token).into();
    let mut allowed = Choice::from(0);
    for token in known.iter().filter(|token| token.scope >= scope) {
        allowed |= token.digest.ct_eq(&presented);
    }
    allowed.into()
}

/// The one token that a request brings.
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
    fn tokens_are_known_by_their_digests() {
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
            assert_eq!(allow(&known, Scope::Read, &headers), reads, "{headers:?}");
            let operate = allow(&known, Scope::Operate, &headers);
            assert_eq!(operate, operates, "{headers:?}");
        }
        assert!(!allow(&[], Scope::Read, &with(&["Bearer reader"])));
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
