//! HMAC-SHA256 (RFC 2104, FIPS 180-4) with one or more keys.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::InvalidSecret;

/// The length of a tag, in bytes.
const TAG_BYTES: usize = 32;

/// A key, as the state that it brings the digest into; wiped when it is dropped.
#[derive(Clone)]
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(super) fn new(secret: &[u8]) -> Result<Self, InvalidSecret> {
        if secret.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        let keyed = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Ok(Self(keyed))
    }

    /// The tag of `parts`, one after the other.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// A key for each of `secrets`, taken as they are.
pub(super) fn keys<S: AsRef<str>>(
    secrets: impl IntoIterator<Item = S>,
) -> Result<Vec<MacKey>, InvalidSecret> {
    let keys = secrets
        .into_iter()
        .map(|it| MacKey::new(it.as_ref().as_bytes()));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
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

/// Whether one of `keys` makes one of `tags` out of `parts`. Takes as long whichever it is.
pub(super) fn any_matches(keys: &[MacKey], parts: &[&[u8]], tags: &[Vec<u8>]) -> bool {
    let mut matches = Choice::from(0);
    for key in keys {
        let made = key.tag(parts);
        for tag in tags {
            matches |= made.as_slice().ct_eq(tag);
        }
    }
    matches.into()
}
