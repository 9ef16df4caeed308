//! Signs requests by Standard Webhooks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The largest number of keys. Each adds a signature to every request.
pub const MAX_SIGNING_KEYS: usize = 8;

/// The lengths that keys for HMAC-SHA256 may have, in bytes.
const HMAC_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The length of keys that [`SigningKeys::generate`] makes, in bytes.
const GENERATED_BYTES: usize = 32;

/// The keys that sign the requests to a destination, by [Standard Webhooks] 1.0.
///
/// Every request is signed by all keys, so that a receiver can change from one key to another: add the new key
/// here, replace the key of the receiver, and remove the old key here.
///
/// A key is written as `whsec_` and 24 to 64 bytes in Base64 (HMAC-SHA256, signatures `v1`), or as `whsk_`
/// and an Ed25519 private key in Base64 (signatures `v1a`). Keys are separated by white space or commas.
/// They are wiped from memory when they are dropped, and `Debug` shows how many there are.
///
/// ```
/// use webhook_forward::SigningKeys;
///
/// let keys: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(keys.len(), 1);
/// // The signature that the libraries of Standard Webhooks have in their tests.
/// let signature = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
/// assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
/// # Ok::<(), webhook_forward::InvalidSigningKey>(())
/// ```
///
/// [Standard Webhooks]:
/// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
#[derive(Clone, Default)]
pub struct SigningKeys(Arc<[SigningKey]>);

enum SigningKey {
    /// The state of HMAC-SHA256 after its key.
    Hmac(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKeys {
    /// Creates a list without keys, with which nothing is signed.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads keys, one from each text.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey`] if a text is no key, or if there are more than [`MAX_SIGNING_KEYS`].
    pub fn parse<T: AsRef<str>>(
        keys: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidSigningKey> {
        let keys = keys.into_iter().map(|key| read(key.as_ref().trim()));
        let keys: Vec<_> = keys.take(MAX_SIGNING_KEYS + 1).collect::<Result<_, _>>()?;
        if keys.len() > MAX_SIGNING_KEYS {
            return Err(InvalidSigningKey::TooMany);
        }
        Ok(Self(keys.into()))
    }

    /// Makes a new key for HMAC-SHA256 from random bytes of the operating system: `whsec_…`.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the operating system has no random bytes.
    pub fn generate() -> Result<Zeroizing<String>, RandomError> {
        let mut key = Zeroizing::new([0; GENERATED_BYTES]);
        getrandom::fill(&mut *key).map_err(|_| RandomError)?;
        let encoded = Zeroizing::new(STANDARD.encode(*key));
        Ok(Zeroizing::new(format!("whsec_{}", *encoded)))
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no keys, so that nothing is signed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of the header `webhook-signature`: the signatures by all keys, separated by
    /// spaces. `None` if there are no keys.
    ///
    /// `id` is the value of the header `webhook-id`, which must not contain a full stop, and `timestamp`
    /// the value of `webhook-timestamp`, in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let begin = format!("{id}.{timestamp}.");
        // Ed25519 takes the message as one slice. Most lists have no such key.
        let mut message = None;
        let signatures = self.0.iter().map(|key| match key {
            SigningKey::Hmac(mac) => {
                let mut mac = Hmac::clone(mac);
                mac.update(begin.as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            SigningKey::Ed25519(key) => {
                let message = message.get_or_insert_with(|| [begin.as_bytes(), body].concat());
                format!("v1a,{}", STANDARD.encode(key.sign(message).to_bytes()))
            }
        });
        Some(signatures.collect::<Vec<_>>().join(" "))
    }
}

/// Reads keys that are separated by white space or commas.
impl FromStr for SigningKeys {
    type Err = InvalidSigningKey;

    fn from_str(text: &str) -> Result<Self, InvalidSigningKey> {
        let is_separator = |c: char| c.is_whitespace() || c == ',';
        let keys = text.split(is_separator).filter(|key| !key.is_empty());
        let keys = Self::parse(keys)?;
        if keys.is_empty() {
            return Err(InvalidSigningKey::Empty);
        }
        Ok(keys)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.len())
    }
}

fn read(text: &str) -> Result<SigningKey, InvalidSigningKey> {
    let decode = |encoded: &str| STANDARD.decode(encoded).ok().map(Zeroizing::new);
    if text.is_empty() {
        return Err(InvalidSigningKey::Empty);
    }
    if let Some(encoded) = text.strip_prefix("whsec_") {
        let key = decode(encoded).filter(|key| HMAC_KEY_BYTES.contains(&key.len()));
        let key = key.ok_or(InvalidSigningKey::Hmac)?;
        let mac = Hmac::new_from_slice(&key).map_err(|_| InvalidSigningKey::Hmac)?;
        return Ok(SigningKey::Hmac(Box::new(mac)));
    }
    if let Some(encoded) = text.strip_prefix("whsk_") {
        // Some libraries append the public key to the private key.
        let key = decode(encoded).filter(|key| [32, 64].contains(&key.len()));
        let key = key.ok_or(InvalidSigningKey::Ed25519)?;
        let (seed, public) = key.split_first_chunk().ok_or(InvalidSigningKey::Ed25519)?;
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        if !public.is_empty() && public != key.verifying_key().as_bytes() {
            return Err(InvalidSigningKey::Ed25519);
        }
        return Ok(SigningKey::Ed25519(Box::new(key)));
    }
    if text.starts_with("whpk_") {
        return Err(InvalidSigningKey::Public);
    }
    Err(InvalidSigningKey::Form)
}

/// The reason why a text is no signing key. It never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSigningKey {
    /// There is no key.
    #[error("no signing key: expected one that begins with \"whsec_\" or \"whsk_\"")]
    Empty,
    /// The text does not begin like a key.
    #[error(
        "not a signing key: expected \"whsec_\" (HMAC-SHA256) or \"whsk_\" (Ed25519), and then the key in Base64"
    )]
    Form,
    /// The key for HMAC-SHA256 is not Base64, too short or too long.
    #[error("not a signing key: expected 24 to 64 bytes in Base64 after \"whsec_\"")]
    Hmac,
    /// The key for Ed25519 is not Base64, or has another length.
    #[error(
        "not a signing key: expected an Ed25519 private key, 32 or 64 bytes in Base64, after \"whsk_\""
    )]
    Ed25519,
    /// The key is public.
    #[error("\"whpk_\" begins a public key, which cannot sign: expected a private key, \"whsk_\"")]
    Public,
    /// There are too many keys.
    #[error("more than {MAX_SIGNING_KEYS} signing keys")]
    TooMany,
}

/// The operating system has no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system has no random bytes")]
pub struct RandomError;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn whsk(seed: u8) -> String {
        format!("whsk_{}", STANDARD.encode([seed; 32]))
    }

    #[test]
    fn the_crate_standardwebhooks_agrees() {
        for bytes in [24, 32, 64] {
            let secret = format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
            let own: SigningKeys = secret.parse().unwrap();
            let theirs = standardwebhooks::Webhook::new(&secret).unwrap();
            for body in [&b"{}"[..], b"", "é\0.".as_bytes()] {
                let signature = theirs.sign("evt_1", 1_700_000_000, body).unwrap();
                assert_eq!(own.sign("evt_1", 1_700_000_000, body), Some(signature));
            }
        }
    }

    #[test]
    fn ed25519_signs_the_same_message() {
        let seed = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let pair = format!("whsk_{}", STANDARD.encode(seed.to_keypair_bytes()));
        for key in [whsk(7), pair] {
            let keys = SigningKeys::parse([key]).unwrap();
            let signature = keys.sign("evt_1", 1, b"{}").unwrap();
            let signature = signature.strip_prefix("v1a,").unwrap();
            let signature = STANDARD.decode(signature).unwrap();
            let signature = Signature::from_slice(&signature).unwrap();
            let public: VerifyingKey = seed.verifying_key();
            public.verify(b"evt_1.1.{}", &signature).unwrap();
        }
    }

    #[test]
    fn all_keys_sign_in_their_order() {
        let keys: SigningKeys = format!("{},\n {SECRET}", whsk(1)).parse().unwrap();
        assert_eq!((keys.len(), keys.is_empty()), (2, false));
        let both = keys.sign("evt_1", 1, b"{}").unwrap();
        let versions: Vec<_> = both
            .split(' ')
            .map(|it| it.split_once(',').unwrap().0)
            .collect();
        assert_eq!(versions, ["v1a", "v1"]);
        assert_eq!(SigningKeys::none().sign("evt_1", 1, b"{}"), None);
    }

    #[test]
    fn new_keys_are_random_and_valid() {
        let keys = [(); 2].map(|()| SigningKeys::generate().unwrap());
        assert_ne!(keys[0], keys[1]);
        for key in keys {
            assert_eq!(key.parse::<SigningKeys>().unwrap().len(), 1);
        }
    }

    #[test]
    fn other_texts_are_refused_and_never_shown() {
        let encoded = |prefix, bytes: usize| format!("{prefix}{}", STANDARD.encode(vec![7; bytes]));
        for (text, error) in [
            (String::new(), InvalidSigningKey::Empty),
            (" \n,".to_owned(), InvalidSigningKey::Empty),
            ("secret".to_owned(), InvalidSigningKey::Form),
            (encoded("", 32), InvalidSigningKey::Form),
            (encoded("whpk_", 32), InvalidSigningKey::Public),
            (encoded("whsec_", 23), InvalidSigningKey::Hmac),
            (encoded("whsec_", 65), InvalidSigningKey::Hmac),
            ("whsec_".to_owned(), InvalidSigningKey::Hmac),
            ("whsec_not-base64".to_owned(), InvalidSigningKey::Hmac),
            (encoded("whsk_", 31), InvalidSigningKey::Ed25519),
            // The public half belongs to another key.
            (encoded("whsk_", 64), InvalidSigningKey::Ed25519),
            ([SECRET; 9].join(" "), InvalidSigningKey::TooMany),
        ] {
            assert_eq!(text.parse::<SigningKeys>().unwrap_err(), error, "{text}");
        }
        let keys = SigningKeys::parse([SECRET]).unwrap();
        assert_eq!(format!("{keys:?}"), "SigningKeys(1)");
    }
}
