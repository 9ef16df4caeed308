//! Standard Webhooks (and Svix) signatures.

use std::time::{Duration, SystemTime};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::mac::{self, MacKey};
use super::timestamp;
use super::{
    DEFAULT_TOLERANCE, Delivery, Encoding, HeaderLookup, InvalidSecret, MAX_PUBLIC_KEY_CHECKS,
    MAX_SIGNATURES, MIN_KEY_BYTES, SecretLength, Signer, Unsigned, Unverified, Verified, Verifier,
    optional_header, required_header,
};

/// The largest number of public and private keys of one verifier: a single signature is tried with each of
/// them.
pub const MAX_PUBLIC_KEYS: usize = MAX_PUBLIC_KEY_CHECKS;

/// The names of the headers.
struct Names {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

/// The names in the specification.
const NAMES: Names = Names {
    id: "webhook-id",
    timestamp: "webhook-timestamp",
    signature: "webhook-signature",
};

/// The names of Svix, from before the specification.
const OLDER_NAMES: Names = Names {
    id: "svix-id",
    timestamp: "svix-timestamp",
    signature: "svix-signature",
};

/// The scheme of the Standard Webhooks specification.
///
/// The headers are `webhook-id`, `webhook-timestamp` and `webhook-signature` (or `svix-…`). The last one is a
/// list of signatures over id, time and body with full stops between them. `v1` is HMAC-SHA256, `v1a` is
/// Ed25519; other versions are ignored.
///
/// `svix-…` headers are used if there is no `webhook-signature`. If a header occurs in both spellings, both
/// must have the same value: otherwise a proxy or a handler could use another value than the verified one.
///
/// An id with a full stop is refused, since its end would be ambiguous.
#[derive(Clone, Debug)]
pub struct StandardWebhooks {
    /// The keys, each with the index of its secret, as for the other keys.
    macs: Vec<(usize, MacKey)>,
    publics: Vec<(usize, VerifyingKey)>,
    privates: Vec<SigningKey>,
    secret_count: usize,
    tolerance: Duration,
}

impl StandardWebhooks {
    /// Creates a verifier that accepts signatures of any of the `secrets`, within [`DEFAULT_TOLERANCE`].
    ///
    /// A secret is `whsec_…` or the same without the prefix, a public key `whpk_…`, or a private key `whsk_…`,
    /// which can also sign. A version before it, such as `v1,whsec_…`, is accepted, since Supabase writes it.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] if there is no secret; if the text after the prefix is not Base64, not a key, or shorter than
    /// [`MIN_KEY_BYTES`]; or if there are more than [`MAX_PUBLIC_KEYS`] public and private keys.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::with_length(SecretLength::Checked, secrets)
    }

    /// Like [`new`](Self::new), and accepts secrets of any length with [`SecretLength::Unchecked`].
    ///
    /// # Errors
    ///
    /// The same as for [`new`](Self::new), except for the length if it is not checked.
    pub fn with_length<S: AsRef<str>>(
        length: SecretLength,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidSecret> {
        let mut scheme = Self {
            macs: Vec::new(),
            publics: Vec::new(),
            privates: Vec::new(),
            secret_count: 0,
            tolerance: DEFAULT_TOLERANCE,
        };
        for secret in secrets {
            scheme.add(secret.as_ref(), length)?;
            scheme.secret_count += 1;
        }
        match scheme.secret_count {
            0 => Err(InvalidSecret::None),
            _ if scheme.publics.len() > MAX_PUBLIC_KEYS => Err(InvalidSecret::TooManyKeys),
            _ => Ok(scheme),
        }
    }

    /// Sets how far the time of a signature may be from now, in both directions. Default:
    /// [`DEFAULT_TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }

    fn add(&mut self, secret: &str, length: SecretLength) -> Result<(), InvalidSecret> {
        let decode = |text| {
            let bytes = Encoding::Base64.decode_secret(text);
            bytes.ok_or(InvalidSecret::NotBase64)
        };
        let position = self.secret_count;
        let unversioned = |version, prefix| {
            let secret = secret.strip_prefix(version).unwrap_or(secret);
            secret.strip_prefix(prefix)
        };
        if let Some(key) = unversioned("v1a,", "whpk_") {
            let key = key_bytes(&decode(key)?)?;
            let key = VerifyingKey::from_bytes(&key).map_err(|_| InvalidSecret::NotEd25519)?;
            self.publics.push((position, key));
        } else if let Some(key) = unversioned("v1a,", "whsk_") {
            // Some senders append the public key to the private key.
            let bytes = decode(key)?;
            let seed = bytes.get(..32).filter(|_| [32, 64].contains(&bytes.len()));
            let seed = key_bytes(seed.ok_or(InvalidSecret::NotEd25519)?)?;
            let key = SigningKey::from_bytes(&seed);
            self.publics.push((position, key.verifying_key()));
            self.privates.push(key);
        } else {
            let key = decode(unversioned("v1,", "whsec_").unwrap_or(secret))?;
            length.check(&key, MIN_KEY_BYTES)?;
            self.macs.push((position, MacKey::new(&key)));
        }
        Ok(())
    }
}

fn key_bytes(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, InvalidSecret> {
    let bytes = bytes.try_into().map_err(|_| InvalidSecret::NotEd25519)?;
    Ok(Zeroizing::new(bytes))
}

/// The parsed headers of a delivery.
struct Signed<'a> {
    id: &'a str,
    time: &'a str,
    /// Tags of HMACs, of the version `v1`.
    tags: Vec<Vec<u8>>,
    /// Signatures of the version `v1a`.
    signatures: Vec<Signature>,
}

impl StandardWebhooks {
    fn parse<'a>(
        &self,
        headers: &HeaderLookup<'a>,
        received_at: SystemTime,
    ) -> Result<Signed<'a>, Unverified> {
        let is_older = optional_header(headers, NAMES.signature)?.is_none()
            && optional_header(headers, OLDER_NAMES.signature)?.is_some();
        let (names, others) = if is_older {
            (OLDER_NAMES, NAMES)
        } else {
            (NAMES, OLDER_NAMES)
        };
        let read = |name: &str, other: &str| {
            let value = required_header(headers, name)?;
            match optional_header(headers, other)? {
                Some(second) if second != value => Err(Unverified::Repeated {
                    header: name.to_owned(),
                }),
                _ => Ok(value),
            }
        };
        let list = read(names.signature, others.signature)?;
        let id = read(names.id, others.id)?;
        let time = read(names.timestamp, others.timestamp)?;
        if id.is_empty() || id.contains('.') {
            return Err(Unverified::malformed(names.id));
        }
        let seconds = timestamp::parse(time);
        let seconds = seconds.ok_or_else(|| Unverified::malformed(names.timestamp))?;
        if list.split(' ').count() > MAX_SIGNATURES {
            return Err(Unverified::malformed(names.signature));
        }
        let at = Duration::from_secs(seconds);
        if !timestamp::is_near(at, received_at, self.tolerance) {
            return Err(Unverified::TooFar);
        }
        let of_version = |version| {
            list.split(' ').filter_map(move |signature| {
                let (name, value) = signature.split_once(',')?;
                (name == version).then_some(value)
            })
        };
        // Invalid signatures, and versions for which there is no key, do not match.
        let tags = if self.macs.is_empty() {
            Vec::new()
        } else {
            mac::decode_tags(Encoding::Base64, of_version("v1"))
        };
        let signatures = if self.publics.is_empty() {
            Vec::new()
        } else {
            let decoded = of_version("v1a").filter_map(|value| Encoding::Base64.decode(value));
            decoded
                .filter_map(|bytes| Signature::from_slice(&bytes).ok())
                .collect()
        };
        if tags.is_empty() && signatures.is_empty() {
            return Err(Unverified::NoMatch);
        }
        Ok(Signed {
            id,
            time,
            tags,
            signatures,
        })
    }

    /// Returns the index of the secret of the first pair that matches, among the pairs that are tried.
    fn find_signer(&self, parts: &[&[u8]], signatures: &[Signature]) -> Option<usize> {
        if signatures.is_empty() {
            return None;
        }
        let content = parts.concat();
        let pairs = signatures
            .iter()
            .flat_map(|signature| self.publics.iter().map(move |public| (signature, public)));
        pairs
            .take(MAX_PUBLIC_KEY_CHECKS)
            .find(|(signature, (_, key))| key.verify_strict(&content, signature).is_ok())
            .map(|(_, &(position, _))| position)
    }
}

impl Verifier for StandardWebhooks {
    fn check_headers(
        &self,
        headers: &HeaderLookup<'_>,
        received_at: SystemTime,
    ) -> Result<(), Unverified> {
        self.parse(headers, received_at).map(drop)
    }

    fn verify(&self, delivery: &Delivery<'_>) -> Result<Verified, Unverified> {
        let Signed {
            id,
            time,
            tags,
            signatures,
        } = self.parse(delivery.headers, delivery.received_at)?;
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", delivery.body];
        let macs = self.macs.iter().map(|(position, key)| (*position, key));
        let by_mac = if tags.is_empty() {
            None
        } else {
            mac::find_match(macs, &parts, &tags)
        };
        by_mac
            .or_else(|| self.find_signer(&parts, &signatures))
            .map(Verified::by)
            .ok_or(Unverified::NoMatch)
    }

    fn secret_count(&self) -> usize {
        self.secret_count
    }
}

impl Signer for StandardWebhooks {
    /// Signs with every secret and every private key, up to [`MAX_SIGNATURES`].
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
        let macs = self.macs.iter().map(|(_, key)| {
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
