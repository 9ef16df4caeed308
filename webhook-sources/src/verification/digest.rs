//! Hashes of parts of the request.

use std::fmt;

use zeroize::Zeroizing;

use super::content::{Attempt, Form};
use super::{Unverified, Verified, mac};
use crate::spec::HashFunction;

/// A scheme of hashes, with its secrets.
#[derive(Clone)]
pub(super) struct Digest {
    pub(super) form: Form,
    pub(super) hash: HashFunction,
    /// The secrets, with their indexes.
    pub(super) secrets: Vec<(usize, Zeroizing<Vec<u8>>)>,
    /// Whether a secret is hashed. Without one, the hash only binds a part of the request to another one that is
    /// signed by another scheme.
    pub(super) signs_secret: bool,
}

impl Digest {
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        self.form.claim_tags(attempt, self.hash).map(drop)
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let claim = self.form.claim_tags(attempt, self.hash)?;
        let pieces = self.form.pieces(attempt, &claim)?;
        let hash = |secret: &[u8]| mac::hash(self.hash, mac::parts(&pieces, secret));
        let found = if self.signs_secret {
            let made = self.secrets.iter();
            let made = made.map(|(index, secret)| (*index, hash(secret)));
            mac::find_match(made, &claim.signatures)
        } else {
            mac::find_match([(0, hash(b""))], &claim.signatures)
        };
        Ok(Verified {
            secret_index: found.ok_or(Unverified::NoMatch)?,
            message_id: None,
        })
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest")
            .field("form", &self.form)
            .field("hash", &self.hash)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
    }
}
