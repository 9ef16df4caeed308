//! Which secrets are long enough.

use crate::error::SecretProblem;

/// The smallest length of a key that is written in Base64 or in hexadecimal, in bytes: that of the specification
/// of Standard Webhooks.
pub const MIN_KEY_BYTES: usize = 24;

/// The smallest length of other secrets, in bytes.
pub const MIN_SECRET_BYTES: usize = 8;

/// Whether secrets that are too short to be safe are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretLength {
    /// Refuse encoded keys with fewer than [`MIN_KEY_BYTES`] bytes, and other secrets with fewer than
    /// [`MIN_SECRET_BYTES`] bytes.
    #[default]
    Checked,
    /// Accept every secret that is not empty: for tests, and for senders with short secrets. Somebody who has
    /// one delivery can find a short secret by trying.
    Unchecked,
}

impl SecretLength {
    /// Refuses an empty `secret` and, if lengths are checked, one that is shorter than `min_bytes`.
    pub(crate) const fn check(self, secret: &[u8], min_bytes: usize) -> Result<(), SecretProblem> {
        match self {
            _ if secret.is_empty() => Err(SecretProblem::Empty),
            Self::Checked if secret.len() < min_bytes => Err(SecretProblem::TooShort { min_bytes }),
            Self::Checked | Self::Unchecked => Ok(()),
        }
    }
}
