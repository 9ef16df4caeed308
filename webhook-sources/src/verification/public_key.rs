//! Signatures by private keys, which are verified by public keys.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use spki::der::Decode;
use spki::der::asn1::{AnyRef, UintRef};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use super::content::{Attempt, Form, Piece};
use super::{Encoding, Unsigned, Unverified, Verified, mac};
use crate::error::SecretProblem;
use crate::spec::{Algorithm, PublicKeyForm};

/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 8017.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The lengths of moduli that ring verifies with, in bytes.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// What stands before the seed in a PKCS#8 document of Ed25519 (RFC 8410, section 7), in the first version and in the
/// second one, which has the public key behind the seed.
const ED25519_PKCS8: [&[u8]; 2] = [
    b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
    b"\x30\x51\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
];

/// A scheme of signatures by private keys, with its keys.
#[derive(Clone, Debug)]
pub(super) struct PublicKeys {
    pub(super) form: Form,
    pub(super) algorithm: Algorithm,
    /// The keys, with the indexes of their secrets.
    pub(super) keys: Vec<(usize, Key)>,
}

/// A public key, and its private key if that is known.
#[derive(Clone)]
pub(super) struct Key {
    public: PublicKey,
    private: Option<PrivateKey>,
}

#[derive(Clone)]
pub(super) enum PublicKey {
    Ed25519(VerifyingKey),
    /// What ring reads: a point that is not compressed, or an `RSAPublicKey`.
    Other(Vec<u8>),
}

/// It is wiped when it is dropped.
#[derive(Clone)]
enum PrivateKey {
    Ed25519(SigningKey),
    /// PKCS#8 (RFC 5208). What ring makes of it would not be wiped, and lives only while a request is signed.
    Other(Zeroizing<Vec<u8>>),
}

impl PublicKeys {
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        self.form
            .claim(attempt, is_length(self.algorithm))
            .map(drop)
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let claim = self.form.claim(attempt, is_length(self.algorithm))?;
        let pieces = self.form.pieces(attempt, &claim)?;
        let content = joined(&pieces);
        let pairs = claim
            .signatures
            .iter()
            .flat_map(|signature| self.keys.iter().map(move |key| (signature, key)));
        let mut tried = pairs.take_while(|_| attempt.may_check_public_key());
        let found = tried.find(|(signature, (_, key))| {
            key.public.has_signed(self.algorithm, &content, signature)
        });
        let (_, (index, _)) = found.ok_or(Unverified::NoMatch)?;
        Ok(Verified {
            secret_index: *index,
            message_id: claim.message_id.map(Into::into),
        })
    }

    /// Whether there is a private key.
    pub(super) fn can_sign(&self) -> bool {
        self.keys.iter().any(|(_, key)| key.private.is_some())
    }

    /// Signs with each private key.
    pub(super) fn sign(&self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<u8>>, Unsigned> {
        let content = joined(pieces);
        let privates = self.keys.iter().filter_map(|(_, key)| key.private.as_ref());
        let made: Vec<_> = privates
            .map(|key| key.sign(self.algorithm, &content))
            .collect::<Option<_>>()
            .ok_or(Unsigned::NoKey)?;
        if made.is_empty() {
            return Err(Unsigned::NoKey);
        }
        Ok(made)
    }
}

pub(super) fn joined(pieces: &[Piece<'_>]) -> Vec<u8> {
    mac::parts(pieces, b"").collect::<Vec<_>>().concat()
}

/// Which lengths a signature may have.
pub(super) fn is_length(algorithm: Algorithm) -> impl Fn(usize) -> bool {
    move |length| match algorithm {
        Algorithm::Ed25519 => length == Signature::BYTE_SIZE,
        // Two numbers of at most 33 bytes in DER.
        Algorithm::EcdsaP256Sha256 => (8..=72).contains(&length),
        Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPkcs1Sha1 => RSA_MODULUS_BYTES.contains(&length),
    }
}

impl PublicKey {
    pub(super) fn has_signed(
        &self,
        algorithm: Algorithm,
        content: &[u8],
        signature: &[u8],
    ) -> bool {
        let verified_by: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Ed25519 => {
                let (Self::Ed25519(key), Ok(signature)) = (self, Signature::from_slice(signature))
                else {
                    return false;
                };
                return key.verify_strict(content, &signature).is_ok();
            }
            Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RsaPkcs1Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        };
        match self {
            Self::Ed25519(_) => false,
            Self::Other(key) => {
                let key = UnparsedPublicKey::new(verified_by, key);
                key.verify(content, signature).is_ok()
            }
        }
    }
}

impl PrivateKey {
    /// None if ring does not sign with this algorithm.
    fn sign(&self, algorithm: Algorithm, content: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (self, algorithm) {
            (Self::Ed25519(key), Algorithm::Ed25519) => Some(key.sign(content).to_bytes().to_vec()),
            (Self::Other(key), Algorithm::EcdsaP256Sha256) => {
                let key = ecdsa_key(key, &random)?;
                let signature = key.sign(&random, content).ok()?;
                Some(signature.as_ref().to_vec())
            }
            (Self::Other(key), Algorithm::RsaPkcs1Sha256) => {
                let key = RsaKeyPair::from_pkcs8(key).ok()?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, content, &mut signature)
                    .ok()?;
                Some(signature)
            }
            _ => None,
        }
    }
}

fn ecdsa_key(pkcs8: &[u8], random: &SystemRandom) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, random).ok()
}

/// Reads a public key, or a private key, which can sign too: PKCS#8 as PEM, or for Ed25519 `whsk_…` as in Standard
/// Webhooks. `text` has no prefix of public keys.
pub(super) fn read(
    text: &str,
    algorithm: Algorithm,
    form: PublicKeyForm,
) -> Result<Key, SecretProblem> {
    if text.is_empty() {
        return Err(SecretProblem::Empty);
    }
    if let Some(key) = private_key(text, algorithm)? {
        return Ok(key);
    }
    let public = match (algorithm, form) {
        (Algorithm::Ed25519, PublicKeyForm::Hex) => {
            const WRONG: &str = "an Ed25519 key: 32 bytes in hexadecimal";
            let key = Encoding::Hex.decode_secret(text);
            ed25519(&key.ok_or(SecretProblem::Not(WRONG))?, WRONG)?
        }
        (Algorithm::Ed25519, PublicKeyForm::Base64) => {
            const WRONG: &str = "an Ed25519 key: 32 bytes in Base64";
            let key = Encoding::Base64.decode_secret(text);
            ed25519(&key.ok_or(SecretProblem::Not(WRONG))?, WRONG)?
        }
        _ => spki_key(text, algorithm)?,
    };
    Ok(Key {
        public,
        private: None,
    })
}

fn ed25519(key: &[u8], wrong: &'static str) -> Result<PublicKey, SecretProblem> {
    let key = VerifyingKey::try_from(key).map_err(|_| SecretProblem::Not(wrong))?;
    Ok(PublicKey::Ed25519(key))
}

/// Reads a `SubjectPublicKeyInfo`.
fn spki_key(text: &str, algorithm: Algorithm) -> Result<PublicKey, SecretProblem> {
    const WRONG: &str =
        "a public key: a SubjectPublicKeyInfo, as PEM (BEGIN PUBLIC KEY) or as its DER in Base64";
    let der = match pem(text, "PUBLIC KEY") {
        Some(der) => der,
        None => base64_lines(text).ok_or(SecretProblem::Not(WRONG))?,
    };
    of_info(&der, algorithm)
}

/// Reads a `SubjectPublicKeyInfo` in DER.
pub(super) fn of_info(der: &[u8], algorithm: Algorithm) -> Result<PublicKey, SecretProblem> {
    const WRONG: &str = "a public key: a SubjectPublicKeyInfo";
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| SecretProblem::Not(WRONG))?;
    let key = info.subject_public_key.as_bytes();
    let key = key.ok_or(SecretProblem::Not(WRONG))?;
    let curve = || info.algorithm.parameters_oid().ok();
    match algorithm {
        Algorithm::Ed25519 => {
            const WRONG: &str = "an Ed25519 key";
            let is_right = info.algorithm.oid == ED25519;
            ed25519(if is_right { key } else { b"" }, WRONG)
        }
        Algorithm::EcdsaP256Sha256 => {
            let is_point = key.len() == 65 && key.first() == Some(&4);
            if info.algorithm.oid != EC || curve() != Some(P256) || !is_point {
                return Err(SecretProblem::Not("a key of the curve P-256"));
            }
            Ok(PublicKey::Other(key.to_vec()))
        }
        Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPkcs1Sha1 => {
            if info.algorithm.oid != RSA || !is_rsa_key(key) {
                return Err(SecretProblem::Not("an RSA key of 2,048 to 8,192 bits"));
            }
            Ok(PublicKey::Other(key.to_vec()))
        }
    }
}

/// Whether `key` is an `RSAPublicKey` (RFC 8017, appendix A.1.1) that ring verifies with.
fn is_rsa_key(key: &[u8]) -> bool {
    let lengths = AnyRef::from_der(key).and_then(|key| {
        key.sequence(|numbers| {
            let modulus = UintRef::decode(numbers)?.as_bytes().len();
            let exponent = UintRef::decode(numbers)?.as_bytes().len();
            Ok::<_, spki::der::Error>((modulus, exponent))
        })
    });
    lengths.is_ok_and(|(modulus, exponent)| {
        RSA_MODULUS_BYTES.contains(&modulus) && (1..=4).contains(&exponent)
    })
}

/// Reads a private key, if `text` is one.
fn private_key(text: &str, algorithm: Algorithm) -> Result<Option<Key>, SecretProblem> {
    if algorithm == Algorithm::Ed25519 {
        let unversioned = text.strip_prefix("v1a,").unwrap_or(text);
        if let Some(encoded) = unversioned.strip_prefix("whsk_") {
            const WRONG: SecretProblem =
                SecretProblem::Not("an Ed25519 private key: 32 or 64 bytes in Base64 after whsk_");
            // Some senders append the public key to the private key.
            let bytes = Encoding::Base64.decode_secret(encoded).ok_or(WRONG)?;
            let seed = bytes.get(..32).filter(|_| [32, 64].contains(&bytes.len()));
            return signing(seed.ok_or(WRONG)?).map(Some);
        }
    }
    let Some(pkcs8) = pem(text, "PRIVATE KEY") else {
        return Ok(None);
    };
    let public = match algorithm {
        Algorithm::Ed25519 => {
            let mut rests = ED25519_PKCS8
                .iter()
                .filter_map(|begin| pkcs8.strip_prefix(*begin));
            let seed = rests.next().and_then(|rest| rest.get(..32));
            let wrong = SecretProblem::Not("an Ed25519 private key in PKCS#8");
            return signing(seed.ok_or(wrong)?).map(Some);
        }
        Algorithm::EcdsaP256Sha256 => {
            let key = ecdsa_key(&pkcs8, &SystemRandom::new());
            key.map(|key| key.public_key().as_ref().to_vec())
        }
        Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPkcs1Sha1 => {
            let key = RsaKeyPair::from_pkcs8(&pkcs8).ok();
            key.map(|key| key.public_key().as_ref().to_vec())
        }
    };
    let wrong = SecretProblem::Not("a private key of this algorithm in PKCS#8");
    Ok(Some(Key {
        public: PublicKey::Other(public.ok_or(wrong)?),
        private: Some(PrivateKey::Other(pkcs8)),
    }))
}

fn signing(seed: &[u8]) -> Result<Key, SecretProblem> {
    let key =
        SigningKey::try_from(seed).map_err(|_| SecretProblem::Not("an Ed25519 private key"))?;
    Ok(Key {
        public: PublicKey::Ed25519(key.verifying_key()),
        private: Some(PrivateKey::Ed25519(key)),
    })
}

/// The document in `text` with this label in PEM (RFC 7468).
fn pem(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (document, _) = rest.split_once(&format!("-----END {label}-----"))?;
    base64_lines(document)
}

/// Decodes Base64 with white space in it.
fn base64_lines(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut joined = Zeroizing::new(String::with_capacity(text.len()));
    joined.extend(text.split_ascii_whitespace());
    Encoding::Base64.decode_secret(&joined)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.private.is_some() {
            "***"
        } else {
            "public key"
        })
    }
}
