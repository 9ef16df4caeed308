//! Checks secrets.

use super::MAX_PUBLIC_KEYS;

/// The smallest length of a Standard Webhooks key in bytes, from its specification.
pub const MIN_KEY_BYTES: usize = 24;

/// The smallest length of a secret of other schemes, in bytes.
pub const MIN_SECRET_BYTES: usize = 8;

/// Whether constructors refuse secrets that are too short to be safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretLength {
    /// Refuse keys with fewer than [`MIN_KEY_BYTES`] bytes for Standard Webhooks, and secrets with fewer than
    /// [`MIN_SECRET_BYTES`] bytes for other schemes.
    #[default]
    Checked,
    /// Accept every secret that is not empty: for tests, and for senders with short secrets. Somebody who has
    /// one delivery can find a short secret by trying.
    Unchecked,
}

impl SecretLength {
    /// Refuses an empty `secret` and, if lengths are checked, one that is shorter than `min_bytes`.
    pub(super) const fn check(self, secret: &[u8], min_bytes: usize) -> Result<(), InvalidSecret> {
        match self {
            _ if secret.is_empty() => Err(InvalidSecret::Empty),
            Self::Checked if secret.len() < min_bytes => Err(InvalidSecret::TooShort { min_bytes }),
            Self::Checked | Self::Unchecked => Ok(()),
        }
    }
}

/// The reason why a secret is invalid. The error contains no part of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// There is no secret.
    #[error("no secret is given")]
    None,
    /// The secret is empty.
    #[error("a secret is empty")]
    Empty,
    /// The secret is too short to be safe.
    #[error("a secret is shorter than {min_bytes} bytes")]
    TooShort {
        /// The smallest allowed length in bytes.
        min_bytes: usize,
    },
    /// The secret is not Base64 after its prefix.
    #[error("a secret is not Base64")]
    NotBase64,
    /// The key is not an Ed25519 key of 32 bytes (a private key may have 64).
    #[error("a key is not an Ed25519 key")]
    NotEd25519,
    /// There are more than [`MAX_PUBLIC_KEYS`] public and private keys.
    #[error("there are more than {MAX_PUBLIC_KEYS} public or private keys")]
    TooManyKeys,
}
