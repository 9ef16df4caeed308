//! Which texts can be secrets.

use super::MAX_PUBLIC_KEYS;

/// The fewest bytes of a Standard Webhooks key, as its specification asks for.
pub const MIN_KEY_BYTES: usize = 24;

/// The fewest bytes of a secret that other schemes take as text.
pub const MIN_SECRET_BYTES: usize = 8;

/// Whether constructors refuse secrets that are too short to be safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretLength {
    /// They refuse keys of fewer than [`MIN_KEY_BYTES`] bytes for Standard Webhooks, and secrets of
    /// fewer than [`MIN_SECRET_BYTES`] bytes elsewhere.
    #[default]
    Checked,
    /// They take any secret that is not empty: for tests, and for senders whose secrets are short.
    /// A short secret can be found by trying, with one delivery to compare.
    Unchecked,
}

impl SecretLength {
    /// Refuses `secret` where it is empty, or checked and shorter than `min_bytes`.
    pub(super) const fn check(self, secret: &[u8], min_bytes: usize) -> Result<(), InvalidSecret> {
        match self {
            _ if secret.is_empty() => Err(InvalidSecret::Empty),
            Self::Checked if secret.len() < min_bytes => Err(InvalidSecret::TooShort { min_bytes }),
            Self::Checked | Self::Unchecked => Ok(()),
        }
    }
}

/// Why a text cannot be a secret. No part of the text is in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// There is none.
    #[error("no secret is given")]
    None,
    /// It has no characters, or stands for no bytes.
    #[error("a secret is empty")]
    Empty,
    /// It is too short to be safe.
    #[error("a secret is shorter than {min_bytes} bytes")]
    TooShort {
        /// The fewest bytes that it may have.
        min_bytes: usize,
    },
    /// It should be Base64, after its prefix, and is not.
    #[error("a secret is not Base64")]
    NotBase64,
    /// It should be an Ed25519 key of 32 bytes (or 64, where it is a private one), and is not.
    #[error("a key is not an Ed25519 key")]
    NotEd25519,
    /// There are more than [`MAX_PUBLIC_KEYS`] public and private keys.
    #[error("there are more than {MAX_PUBLIC_KEYS} public or private keys")]
    TooManyKeys,
}
