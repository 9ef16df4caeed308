//! [`Tokens`]: bearer tokens (RFC 6750), of which only the digests are known.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Problem;
use crate::access::{Access, Caller};

/// Tokens that are known by their SHA-256 digests. Tokens are long and random, so their digests need no salt.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    callers: Vec<Caller>,
}

impl Tokens {
    /// No tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the holder of a token: a [`Caller::with_token`].
    #[must_use]
    pub fn with(mut self, caller: Caller) -> Self {
        self.callers.push(caller);
        self
    }
}

impl Access for Tokens {
    fn caller(&self, head: &Parts, client: Option<IpAddr>) -> Result<Caller, Problem> {
        let token = bearer(&head.headers);
        let caller = token.and_then(|token| self.find(token));
        caller
            .map(|caller| caller.clone().at(client))
            .ok_or_else(Problem::without_token)
    }

    fn of_token(&self, token: &str) -> Option<Caller> {
        self.find(token.as_bytes()).cloned()
    }

    fn is_current(&self, caller: &Caller) -> bool {
        self.callers.iter().any(|known| {
            known.token_digest == caller.token_digest
                && (known.right, &known.source) == (caller.right, &caller.source)
        })
    }
}

impl Tokens {
    /// Finds the holder of `token`. The time does not depend on which token it is.
    fn find(&self, token: &[u8]) -> Option<&Caller> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for caller in &self.callers {
            let digest = caller.token_digest.as_ref();
            if digest.is_some_and(|digest| digest.ct_eq(&presented).into()) {
                found = Some(caller);
            }
        }
        found
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
