//! JSON Web Keys (RFC 7517), as far as they verify signatures.

use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256};
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::Encoding;
use crate::spec::JwtAlgorithm;

/// The most keys of a set that are read.
const MAX_KEYS: usize = 100;

/// The length of a coordinate of P-256, in bytes.
const COORDINATE_BYTES: usize = 32;

/// A key.
#[derive(Clone, Debug)]
pub(super) struct Jwk {
    pub(super) id: Option<String>,
    /// The algorithm that it is made for, if it says so.
    algorithm: Option<String>,
    /// When it expires or expired, in seconds since 1970, if it says so.
    expired_at: Option<i64>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point that is not compressed.
    P256(Vec<u8>),
}

/// The members of a key that count.
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Of Plaid's keys.
    expired_at: Option<i64>,
}

/// A document with keys: a set of them, one as Plaid answers it, or one alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Set { keys: Vec<serde_json::Value> },
    One { key: serde_json::Value },
    Alone(serde_json::Value),
}

/// The keys of a document that verify signatures of the known algorithms; none if it is no document with keys. Other
/// keys of a set are left out, since a set may have keys of sorts that are yet to be invented (RFC 7517, section 5).
pub(super) fn read(document: &[u8]) -> Option<Vec<Jwk>> {
    let keys = match serde_json::from_slice(document).ok()? {
        Document::Set { keys } => keys,
        Document::One { key } | Document::Alone(key) => vec![key],
    };
    let keys = keys.into_iter().take(MAX_KEYS);
    Some(keys.filter_map(read_key).collect())
}

fn read_key(key: serde_json::Value) -> Option<Jwk> {
    let key: Written = serde_json::from_value(key).ok()?;
    if key.r#use.is_some_and(|it| it != "sig") {
        return None;
    }
    let bytes = |text: Option<String>| Encoding::Base64Url.decode(&text?);
    let material = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => Material::Rsa {
            modulus: without_zeroes(bytes(key.n)?),
            exponent: without_zeroes(bytes(key.e)?),
        },
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(key.x)?, bytes(key.y)?);
            if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
                return None;
            }
            Material::P256([&[4], x.as_slice(), &y].concat())
        }
        _ => return None,
    };
    Some(Jwk {
        id: key.kid,
        algorithm: key.alg,
        expired_at: key.expired_at,
        material,
    })
}

/// A number without the zero bytes at its beginning, which some senders write and ring refuses.
fn without_zeroes(number: Vec<u8>) -> Vec<u8> {
    let zeroes = number.iter().take_while(|it| **it == 0).count();
    number[zeroes..].to_vec()
}

impl Jwk {
    /// Whether it may verify signatures of `algorithm` at this time, in seconds since 1970.
    pub(super) fn fits(&self, algorithm: JwtAlgorithm, now: i64) -> bool {
        let is_sort = matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, JwtAlgorithm::Rs256) | (Material::P256(_), JwtAlgorithm::Es256)
        );
        let named = self.algorithm.as_deref();
        is_sort
            && named.is_none_or(|named| named == name(algorithm))
            && self.expired_at.is_none_or(|at| at > now)
    }

    /// Whether `signature` is one of `content`; the key [fits](Self::fits) the algorithm.
    pub(super) fn has_signed(&self, content: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, content, signature)
            }
            Material::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(content, signature)
            }
        };
        verified.is_ok()
    }
}

/// The name of an algorithm in a token and in a key.
pub(super) const fn name(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::Rs256 => "RS256",
        JwtAlgorithm::Es256 => "ES256",
    }
}
