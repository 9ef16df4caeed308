//! Standard Webhooks (and Svix) signatures.

use std::time::{Duration, SystemTime};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, InvalidSecret, MAX_SIGNATURES, Signer, Unsigned,
    Unverified, Verifier,
};

/// The names of the headers.
struct Names {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

/// As the specification has them.
const NAMES: Names = Names {
    id: "webhook-id",
    timestamp: "webhook-timestamp",
    signature: "webhook-signature",
};

/// As those have them who came before it.
const OLDER_NAMES: Names = Names {
    id: "svix-id",
    timestamp: "svix-timestamp",
    signature: "svix-signature",
};

/// The scheme of the Standard Webhooks specification: the headers `webhook-id`,
/// `webhook-timestamp` and `webhook-signature` (or `svix-…`), the last a list of signatures over
/// id, time and body with full stops between them. `v1` is HMAC-SHA256, `v1a` Ed25519; other versions
/// are ignored.
///
/// An id with a full stop is refused: where it ends could be disputed.
#[derive(Clone, Debug)]
pub struct StandardWebhooks {
    macs: Vec<MacKey>,
    publics: Vec<VerifyingKey>,
    privates: Vec<SigningKey>,
    tolerance: Duration,
}

impl StandardWebhooks {
    /// Verifies by any of `secrets`, within [`DEFAULT_TOLERANCE`]: `whsec_…`, the same without its
    /// prefix, public keys `whpk_…`, and private ones `whsk_…`, which can sign.
    ///
    /// # Errors
    ///
    /// When there is no secret, or what follows the prefix is not Base64, or not a key.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        let mut scheme = Self {
            macs: Vec::new(),
            publics: Vec::new(),
            privates: Vec::new(),
            tolerance: DEFAULT_TOLERANCE,
        };
        let mut is_empty = true;
        for secret in secrets {
            scheme.add(secret.as_ref())?;
            is_empty = false;
        }
        if is_empty {
            return Err(InvalidSecret::None);
        }
        Ok(scheme)
    }

    /// Takes signatures made at most as long ago, or as far in the future.
    #[must_use]
    pub fn within(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }

    fn add(&mut self, secret: &str) -> Result<(), InvalidSecret> {
        let decode = |text: &str| {
            let bytes = Encoding::Base64.decode(text);
            bytes.map(Zeroizing::new).ok_or(InvalidSecret::NotBase64)
        };
        if let Some(key) = secret.strip_prefix("whpk_") {
            let key = key_bytes(&decode(key)?)?;
            let key = VerifyingKey::from_bytes(&key).map_err(|_| InvalidSecret::NotEd25519)?;
            self.publics.push(key);
        } else if let Some(key) = secret.strip_prefix("whsk_") {
            // Some write the public half behind the private one.
            let bytes = decode(key)?;
            let seed = bytes.get(..32).filter(|_| [32, 64].contains(&bytes.len()));
            let seed = key_bytes(seed.ok_or(InvalidSecret::NotEd25519)?)?;
            let key = SigningKey::from_bytes(&seed);
            self.publics.push(key.verifying_key());
            self.privates.push(key);
        } else {
            let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
            self.macs.push(MacKey::new(&decode(secret)?)?);
        }
        Ok(())
    }
}

fn key_bytes(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, InvalidSecret> {
    let bytes = bytes.try_into().map_err(|_| InvalidSecret::NotEd25519)?;
    Ok(Zeroizing::new(bytes))
}

impl Verifier for StandardWebhooks {
    fn verify(&self, delivery: &Delivery<'_>) -> Result<(), Unverified> {
        let is_older = (delivery.header)(NAMES.signature).is_none()
            && (delivery.header)(OLDER_NAMES.signature).is_some();
        let names = if is_older { OLDER_NAMES } else { NAMES };
        let signatures = delivery.header(names.signature)?;
        let id = delivery.header(names.id)?;
        let time = delivery.header(names.timestamp)?;
        if id.is_empty() || id.contains('.') {
            return Err(Unverified::malformed(names.id));
        }
        let seconds = timestamp::parse(time);
        let seconds = seconds.ok_or_else(|| Unverified::malformed(names.timestamp))?;
        if signatures.split(' ').count() > MAX_SIGNATURES {
            return Err(Unverified::malformed(names.signature));
        }
        let at = Duration::from_secs(seconds);
        if !timestamp::is_near(at, delivery.received_at, self.tolerance) {
            return Err(Unverified::TooFar);
        }
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", delivery.body];
        let of_version = |version: &str| {
            let of_version = signatures.split(' ').filter_map(|signature| {
                let (name, value) = signature.split_once(',')?;
                (name == version).then_some(value)
            });
            // What is no signature matches nothing.
            let decoded = of_version.filter_map(|value| Encoding::Base64.decode(value));
            decoded.collect::<Vec<_>>()
        };
        let matches = mac::any_matches(&self.macs, &parts, &of_version("v1"))
            || self.any_signed(&parts, &of_version("v1a"));
        if matches {
            Ok(())
        } else {
            Err(Unverified::NoMatch)
        }
    }
}

impl StandardWebhooks {
    fn any_signed(&self, parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        if self.publics.is_empty() || signatures.is_empty() {
            return false;
        }
        let content = parts.concat();
        let signatures = signatures.iter().map(Vec::as_slice);
        let mut signatures = signatures.filter_map(|it| Signature::from_slice(it).ok());
        signatures.any(|signature| {
            let mut keys = self.publics.iter();
            keys.any(|key| key.verify_strict(&content, &signature).is_ok())
        })
    }
}

impl Signer for StandardWebhooks {
    /// With every secret and every private key, as far as a receiver looks at their signatures.
    fn sign(
        &self,
        id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned> {
        if id.is_empty()
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'.')
        {
            return Err(Unsigned::Id);
        }
        let since_epoch = timestamp::since_epoch(at).ok_or(Unsigned::Time)?;
        let time = since_epoch.as_secs().to_string();
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let macs = self.macs.iter().map(|key| {
            let tag = Encoding::Base64.encode(&key.tag(&parts));
            format!("v1,{tag}")
        });
        let content = parts.concat();
        let signed = self.privates.iter().map(|key| {
            let signature = Encoding::Base64.encode(&key.sign(&content).to_bytes());
            format!("v1a,{signature}")
        });
        let signatures: Vec<String> = macs.chain(signed).take(MAX_SIGNATURES).collect();
        if signatures.is_empty() {
            return Err(Unsigned::NoKey);
        }
        Ok(vec![
            (NAMES.id.to_owned(), id.to_owned()),
            (NAMES.timestamp.to_owned(), time),
            (NAMES.signature.to_owned(), signatures.join(" ")),
        ])
    }
}
