//! HMAC (RFC 2104) and hash functions (FIPS 180-4), with one or more keys.

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::content::Piece;
use crate::spec::HashFunction;

/// The length of the longest tag, in bytes.
const MAX_TAG_BYTES: usize = 64;

/// What an HMAC or a hash function makes.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    bytes: [u8; MAX_TAG_BYTES],
    length: usize,
}

impl Tag {
    fn new(made: &[u8]) -> Self {
        let mut bytes = [0; MAX_TAG_BYTES];
        bytes[..made.len()].copy_from_slice(made);
        Self {
            bytes,
            length: made.len(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The length of what `hash` makes, in bytes.
pub(super) const fn tag_bytes(hash: HashFunction) -> usize {
    match hash {
        HashFunction::Sha1 => 20,
        HashFunction::Sha256 => 32,
        HashFunction::Sha512 => 64,
    }
}

/// A key, stored as the initial state of the digest. It is wiped when it is dropped.
#[derive(Clone)]
pub(crate) enum MacKey {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Box<Hmac<Sha512>>),
}

impl MacKey {
    /// Creates a key from `secret`, which is not empty.
    pub(crate) fn new(hash: HashFunction, secret: &[u8]) -> Self {
        fn hmac<M: KeyInit>(secret: &[u8]) -> M {
            M::new_from_slice(secret).expect("HMAC takes keys of any length")
        }
        match hash {
            HashFunction::Sha1 => Self::Sha1(hmac(secret)),
            HashFunction::Sha256 => Self::Sha256(hmac(secret)),
            HashFunction::Sha512 => Self::Sha512(Box::new(hmac(secret))),
        }
    }

    /// Computes the tag of the concatenated `parts`.
    pub(crate) fn tag<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
        fn made<'p, M: Mac>(mut mac: M, parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
            for part in parts {
                mac.update(part);
            }
            Tag::new(&mac.finalize().into_bytes())
        }
        match self {
            Self::Sha1(mac) => made(mac.clone(), parts),
            Self::Sha256(mac) => made(mac.clone(), parts),
            Self::Sha512(mac) => made(Hmac::clone(mac), parts),
        }
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Hashes the concatenated `parts`.
pub(super) fn hash<'p>(function: HashFunction, parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
    fn made<'p, D: Digest>(parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
        let mut digest = D::new();
        for part in parts {
            digest.update(part);
        }
        Tag::new(&digest.finalize())
    }
    match function {
        HashFunction::Sha1 => made::<Sha1>(parts),
        HashFunction::Sha256 => made::<Sha256>(parts),
        HashFunction::Sha512 => made::<Sha512>(parts),
    }
}

/// The bytes of `pieces`, with `secret` where it belongs.
pub(super) fn parts<'p>(
    pieces: &'p [Piece<'_>],
    secret: &'p [u8],
) -> impl Iterator<Item = &'p [u8]> {
    pieces.iter().map(move |piece| match piece {
        Piece::Bytes(Cow::Borrowed(bytes)) => bytes,
        Piece::Bytes(Cow::Owned(bytes)) => bytes.as_slice(),
        Piece::Secret => secret,
    })
}

/// The number of the first of the `made` tags that is one of `tags`. The time does not depend on which one
/// matches, nor on whether one matches.
pub(super) fn find_match(
    made: impl IntoIterator<Item = (usize, Tag)>,
    tags: &[Vec<u8>],
) -> Option<usize> {
    let (mut is_found, mut found) = (Choice::from(0), 0_u64);
    for (number, made) in made {
        let mut matches = Choice::from(0);
        for tag in tags {
            matches |= made.as_bytes().ct_eq(tag);
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
