//! HMAC-SHA256 (RFC 2104, FIPS 180-4) with one or more keys.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Encoding, InvalidSecret, MIN_SECRET_BYTES, SecretLength};

/// The length of a tag, in bytes.
const TAG_BYTES: usize = 32;

/// A key, stored as the initial state of the digest. It is wiped when it is dropped.
#[derive(Clone)]
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Creates a key from `secret`, which is not empty.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// Computes the tag of the concatenated `parts`.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Creates a key for each of the `secrets`, which are used as text.
pub(super) fn keys<S: AsRef<str>>(
    secrets: impl IntoIterator<Item = S>,
    length: SecretLength,
) -> Result<Vec<MacKey>, InvalidSecret> {
    let mut keys = Vec::new();
    for secret in secrets {
        let secret = secret.as_ref().as_bytes();
        length.check(secret, MIN_SECRET_BYTES)?;
        keys.push(MacKey::new(secret));
    }
    if keys.is_empty() {
        return Err(InvalidSecret::None);
    }
    Ok(keys)
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Decodes the `values` that are valid tags.
pub(super) fn decode_tags<'a>(
    encoding: Encoding,
    values: impl IntoIterator<Item = &'a str>,
) -> Vec<Vec<u8>> {
    let tags = values
        .into_iter()
        .filter_map(|value| encoding.decode(value));
    tags.filter(|tag| tag.len() == TAG_BYTES).collect()
}

/// Returns the number of the first of `keys` whose tag of `parts` is one of `tags`. The time does not depend on
/// which key matches, nor on whether one matches.
pub(super) fn find_match<'a>(
    keys: impl IntoIterator<Item = (usize, &'a MacKey)>,
    parts: &[&[u8]],
    tags: &[Vec<u8>],
) -> Option<usize> {
    let (mut is_found, mut found) = (Choice::from(0), 0_u64);
    for (number, key) in keys {
        let made = key.tag(parts);
        let mut matches = Choice::from(0);
        for tag in tags {
            matches |= made.as_slice().ct_eq(tag);
        }
        found.conditional_assign(&(number as u64), matches & !is_found);
        is_found |= matches;
    }
    if is_found.into() {
        usize::try_from(found).ok()
    } else {
        None
    }
}
