//! Signatures by HMAC.

use super::content::{Attempt, Form};
use super::mac::{self, MacKey};
use super::{Unverified, Verified};
use crate::spec::{HashFunction, KeyForm};

/// A scheme of signatures by HMAC, with its keys.
#[derive(Clone, Debug)]
pub(super) struct Hmac {
    pub(super) form: Form,
    pub(super) hash: HashFunction,
    /// The keys, with the indexes of their secrets.
    pub(super) keys: Vec<(usize, MacKey)>,
    /// The keys that the secrets would be in other forms, with which nothing is verified.
    pub(super) other_keys: Vec<OtherKey>,
}

/// A key that a secret would be in another form.
#[derive(Clone, Debug)]
pub(super) struct OtherKey {
    pub(super) secret_index: usize,
    pub(super) form: KeyForm,
    pub(super) key: MacKey,
}

impl Hmac {
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        self.form.claim_tags(attempt, self.hash).map(drop)
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let claim = self.form.claim_tags(attempt, self.hash)?;
        let pieces = self.form.pieces(attempt, &claim)?;
        let made = self
            .keys
            .iter()
            .map(|(index, key)| (*index, key.tag(mac::parts(&pieces, b""))));
        let found = mac::find_match(made, &claim.signatures).ok_or(Unverified::NoMatch)?;
        Ok(Verified {
            secret_index: found,
            message_id: claim.message_id.map(Into::into),
        })
    }
}
