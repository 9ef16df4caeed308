//! Secret texts in the request.

use std::borrow::Cow;
use std::fmt;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::content::Attempt;
use super::{Encoding, Unverified, Verified};
use crate::content::{Document, text};
use crate::spec::{Place, Pointer, TokenForm};

/// A scheme of tokens, with its secrets.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) at: Place,
    pub(super) prefix: String,
    pub(super) form: TokenForm,
    /// What must be in the request, with the indexes of the secrets: the text, or the bytes of its hash.
    pub(super) secrets: Vec<(usize, Zeroizing<Vec<u8>>)>,
}

impl Token {
    /// Finds out everything if the token is in the head.
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        if attempt.has(&self.at) {
            self.verify(attempt)?;
        }
        Ok(())
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let values = match &self.at {
            Place::Json(pointer) => attempt
                .content()
                .body
                .select(pointer)
                .into_iter()
                .map(text)
                .map(|value| value.map(|value| Cow::Owned(value.into_owned().into_bytes())))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| Unverified::Malformed {
                    place: self.at.clone(),
                })?,
            place => attempt.value(place)?.into_iter().collect(),
        };
        let is_everywhere = match &self.at {
            Place::Json(pointer) => is_everywhere(&attempt.content().body, pointer),
            _ => true,
        };
        if values.is_empty() || !is_everywhere {
            return Err(Unverified::Missing {
                place: self.at.clone(),
            });
        }
        let mut first = None;
        for value in values {
            let index = self.find(&value)?;
            first.get_or_insert(index);
        }
        Ok(Verified {
            secret_index: first.unwrap_or_default(),
            message_id: None,
        })
    }

    /// The index of the secret that `value` is.
    fn find(&self, value: &[u8]) -> Result<usize, Unverified> {
        let malformed = || Unverified::Malformed {
            place: self.at.clone(),
        };
        let (prefix, token) = value
            .split_at_checked(self.prefix.len())
            .filter(|(prefix, _)| prefix.eq_ignore_ascii_case(self.prefix.as_bytes()))
            .ok_or_else(malformed)?;
        // Authorization schemes may be followed by several spaces (RFC 9110, section 11.4).
        let token = match prefix.last() {
            Some(b' ') => token.trim_ascii_start(),
            _ => token,
        };
        match self.form {
            TokenForm::Plain => find_equal(&self.secrets, token),
            TokenForm::Sha256 => {
                let written = str::from_utf8(token).ok();
                let hash = written.and_then(|hash| Encoding::Hex.decode(hash));
                find_equal(&self.secrets, &hash.ok_or_else(malformed)?)
            }
        }
    }
}

/// Whether each element that a `*` of `pointer` stands for has what the pointer names in it.
fn is_everywhere(body: &Document<'_>, pointer: &Pointer) -> bool {
    let tokens: Vec<&str> = pointer.tokens().collect();
    let is_any = |place: &usize| tokens[*place] == "*";
    (0..tokens.len()).filter(is_any).all(|any| {
        let next = (any + 1..tokens.len()).find(is_any);
        let elements = body.select(&pointer.first(any + 1));
        let inner = body.select(&pointer.first(next.unwrap_or(tokens.len())));
        elements.len() == inner.len()
    })
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("at", &self.at)
            .field("prefix", &self.prefix)
            .field("form", &self.form)
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

/// Users and passwords.
#[derive(Clone)]
pub(super) struct Basic {
    /// `user:password`, with the index of the secret.
    pub(super) secrets: Vec<(usize, Zeroizing<Vec<u8>>)>,
}

impl Basic {
    /// Finds out everything, since the head has all of it.
    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let place = Place::Header("authorization".to_owned());
        let value = attempt.text(&place)?;
        let credentials = value.split_once(' ').and_then(|(scheme, credentials)| {
            let is_basic = scheme.eq_ignore_ascii_case("basic");
            is_basic.then_some(credentials.trim_ascii())
        });
        let decoded = credentials.and_then(|it| Encoding::Base64.decode_secret(it));
        let decoded = decoded.ok_or(Unverified::Malformed { place })?;
        Ok(Verified {
            secret_index: find_equal(&self.secrets, &decoded)?,
            message_id: None,
        })
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic")
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

/// The index of the secret that equals `value`. The time tells only whether a secret has its length.
fn find_equal(secrets: &[(usize, Zeroizing<Vec<u8>>)], value: &[u8]) -> Result<usize, Unverified> {
    let (mut is_found, mut found) = (Choice::from(0), 0_u64);
    for (index, secret) in secrets {
        let matches = secret.as_slice().ct_eq(value);
        found.conditional_assign(&(*index as u64), matches & !is_found);
        is_found |= matches;
    }
    if is_found.into() {
        usize::try_from(found).map_err(|_| Unverified::NoMatch)
    } else {
        Err(Unverified::NoMatch)
    }
}
