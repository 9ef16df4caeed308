//! How a request shows who made it.

use serde::Deserialize;

use super::{
    ClaimValue, FetchedCertificateScheme, JwtScheme, KeySet, Part, Place, Template, Tolerance,
};
use crate::verification::Encoding;

/// How a request shows that the sender made it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scheme {
    /// It does not: everybody may deliver.
    None,
    /// A signature by HMAC (RFC 2104) with a secret that sender and receiver share.
    Hmac(HmacScheme),
    /// A secret text in the request.
    Token(TokenScheme),
    /// A user and a password (RFC 7617).
    Basic(BasicScheme),
    /// A signature by a private key of the sender.
    PublicKey(PublicKeyScheme),
    /// A hash of parts of the request and of a secret.
    Digest(DigestScheme),
    /// A JSON Web Token that the sender has signed.
    Jwt(JwtScheme),
    /// A signature by the private key of a certificate, whose URL is in the request.
    FetchedCertificate(FetchedCertificateScheme),
    /// One of these schemes, for senders that change from one to another. Those without secrets are not used.
    AnyOf(Vec<Scheme>),
    /// Every one of these schemes.
    AllOf(Vec<Scheme>),
}

impl Scheme {
    /// The names of the secrets and the public keys that the scheme takes, some of them more than once.
    pub fn secret_names(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Hmac(scheme) => vec![&scheme.secrets],
            Self::Token(scheme) => vec![&scheme.secrets],
            Self::Basic(scheme) => vec![&scheme.secrets],
            Self::PublicKey(scheme) => vec![&scheme.secrets],
            Self::Digest(scheme) if scheme.signs_secret() => vec![&scheme.secrets],
            Self::Digest(_) | Self::FetchedCertificate(_) => Vec::new(),
            Self::Jwt(scheme) => match &scheme.keys {
                KeySet::Url(_) => Vec::new(),
                KeySet::Each(each) => each.secrets.values().map(String::as_str).collect(),
                KeySet::Given(name) => vec![name],
            },
            Self::AnyOf(schemes) | Self::AllOf(schemes) => {
                schemes.iter().flat_map(Self::secret_names).collect()
            }
        }
    }

    /// The names of the [settings](super::SourceSpec::settings) that the scheme takes, some of them more than once.
    pub fn setting_names(&self) -> Vec<&str> {
        let templates: Vec<&Template> = match self {
            Self::None | Self::Token(_) | Self::Basic(_) => Vec::new(),
            Self::Hmac(scheme) => vec![&scheme.signed],
            Self::PublicKey(scheme) => vec![&scheme.signed],
            Self::Digest(scheme) => vec![&scheme.signed],
            Self::Jwt(scheme) => {
                let url = match &scheme.keys {
                    KeySet::Url(url) => Some(url),
                    KeySet::Each(each) => Some(&each.url),
                    KeySet::Given(_) => None,
                };
                let claims = scheme.claims.values().flat_map(|value| match value {
                    ClaimValue::Flag(_) => [].as_slice(),
                    ClaimValue::Text(texts) => texts,
                });
                let named = url
                    .into_iter()
                    .chain(&scheme.issuers)
                    .chain(&scheme.audience);
                named.chain(claims).collect()
            }
            Self::FetchedCertificate(scheme) => {
                let required = scheme.required.iter().map(|required| &required.equals);
                required.chain([&scheme.signed]).collect()
            }
            Self::AnyOf(schemes) | Self::AllOf(schemes) => {
                return schemes.iter().flat_map(Self::setting_names).collect();
            }
        };
        let names = templates.into_iter().flat_map(Template::setting_names);
        names.collect()
    }
}

/// A signature by HMAC.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HmacScheme {
    /// The hash function. Default: SHA-256.
    #[serde(default)]
    pub hash: HashFunction,
    /// How a secret becomes the key. Default: its text.
    #[serde(default)]
    pub key: KeyForm,
    /// Texts that may stand before the key in a secret, such as `whsec_`; the first that matches is removed.
    #[serde(default)]
    pub key_prefixes: Vec<String>,
    /// What is signed.
    pub signed: Template,
    /// Where the signature is, and how it is written.
    pub signature: SignatureSpec,
    /// Where the time of the signature is. Default: no time is checked.
    #[serde(default)]
    pub time: Option<TimeSpec>,
    /// Where the id is that `{id}` in [`signed`](Self::signed) stands for. An id with a full stop is refused, since
    /// its end would be ambiguous.
    #[serde(default)]
    pub message_id: Option<Place>,
    /// The name of the secrets, for sources with several schemes. Default: `secret`.
    #[serde(default = "secret")]
    pub secrets: String,
}

impl HmacScheme {
    /// HMAC-SHA256 over `signed`, with the texts of the secrets as keys, and without a time.
    pub fn new(signed: Template, signature: SignatureSpec) -> Self {
        Self {
            hash: HashFunction::default(),
            key: KeyForm::default(),
            key_prefixes: Vec::new(),
            signed,
            signature,
            time: None,
            message_id: None,
            secrets: secret(),
        }
    }
}

/// A hash function of FIPS 180-4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HashFunction {
    /// SHA-1, which some senders still use. It is safe in an HMAC, and nowhere else.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a secret becomes the key of an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyForm {
    /// The bytes of its text.
    #[default]
    Text,
    /// It is Base64.
    Base64,
    /// It is hexadecimal.
    Hex,
    /// The SHA-1 of its text.
    Sha1OfText,
    /// The bytes of its text, after entities of HTML such as `&amp;` are decoded.
    HtmlText,
}

/// Where signatures are, and how they are written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SignatureSpec {
    /// The place. All values of a header count. `{n}` in a header's name stands for the numbers from 1 to
    /// [`MAX_NUMBERED_HEADERS`](crate::MAX_NUMBERED_HEADERS).
    pub at: Place,
    /// What separates the items, if there may be several. At most
    /// [`MAX_SIGNATURES`](crate::MAX_SIGNATURES) are read.
    #[serde(default)]
    pub split: Option<String>,
    /// How an item with a signature begins, such as `v1=`; other items are ignored. `*` before the last character
    /// stands for any text: `*|`.
    #[serde(default)]
    pub item: Option<String>,
    /// The text before a signature, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// Whether the prefix may be missing.
    #[serde(default)]
    pub prefix_optional: bool,
    /// The encoding of a signature. Default: hexadecimal.
    #[serde(default)]
    pub encoding: Encoding,
}

impl SignatureSpec {
    /// One signature in hexadecimal at `at`.
    pub const fn new(at: Place) -> Self {
        Self {
            at,
            split: None,
            item: None,
            prefix: String::new(),
            prefix_optional: false,
            encoding: Encoding::Hex,
        }
    }
}

/// Where the time of a signature is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TimeSpec {
    /// The place: also `item:t` for an item `t=…` beside the signatures.
    pub at: Place,
    /// How the time is written. Default: in seconds.
    #[serde(default)]
    pub format: TimeFormat,
    /// How far the time may be from now, in both directions. Default: 5 minutes.
    #[serde(default)]
    pub tolerance: Tolerance,
}

impl Scheme {
    /// Calls `change` with the place of each time that the scheme checks.
    pub fn each_time(&mut self, change: &mut dyn FnMut(&mut TimeSpec)) {
        match self {
            Self::Hmac(scheme) => scheme.time.iter_mut().for_each(change),
            Self::PublicKey(scheme) => scheme.time.iter_mut().for_each(change),
            Self::FetchedCertificate(scheme) => scheme.time.iter_mut().for_each(change),
            Self::None | Self::Token(_) | Self::Basic(_) | Self::Digest(_) | Self::Jwt(_) => {}
            Self::AnyOf(schemes) | Self::AllOf(schemes) => {
                schemes.iter_mut().for_each(|it| it.each_time(change));
            }
        }
    }
}

impl TimeSpec {
    /// A time in seconds at `at`, with the default tolerance.
    pub fn new(at: Place) -> Self {
        Self {
            at,
            format: TimeFormat::default(),
            tolerance: Tolerance::default(),
        }
    }
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeFormat {
    /// Whole seconds since 1970.
    #[default]
    Seconds,
    /// Whole milliseconds since 1970.
    Milliseconds,
    /// A date and a time (RFC 3339).
    Rfc3339,
}

/// A secret text in the request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenScheme {
    /// The place. A JSON pointer may have `*` for the elements of an array: then each must have the token.
    pub at: Place,
    /// The text before the token, such as `Bearer `, compared without regard to case.
    #[serde(default)]
    pub prefix: String,
    /// How the secret is written in the request. Default: as it is.
    #[serde(default)]
    pub form: TokenForm,
    /// The name of the secrets, for sources with several schemes. Default: `secret`.
    #[serde(default = "secret")]
    pub secrets: String,
}

/// How a token is written in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenForm {
    /// As it is.
    #[default]
    Plain,
    /// As the SHA-256 of its text, in hexadecimal.
    Sha256,
}

/// A user and a password in the header `Authorization` (RFC 7617). A secret is `user:password`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BasicScheme {
    /// The name of the secrets, for sources with several schemes. Default: `secret`.
    #[serde(default = "secret")]
    pub secrets: String,
}

/// A signature by a private key of the sender.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PublicKeyScheme {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How a public key is written.
    pub key: PublicKeyForm,
    /// Texts that may stand before the key, such as `whpk_`; the first that matches is removed.
    #[serde(default)]
    pub key_prefixes: Vec<String>,
    /// What is signed.
    pub signed: Template,
    /// Where the signature is, and how it is written.
    pub signature: SignatureSpec,
    /// Where the time of the signature is. Default: no time is checked.
    #[serde(default)]
    pub time: Option<TimeSpec>,
    /// Where the id is that `{id}` in [`signed`](Self::signed) stands for. An id with a full stop is refused.
    #[serde(default)]
    pub message_id: Option<Place>,
    /// The name of the public keys, for sources with several schemes. Default: `public_key`.
    #[serde(default = "public_key")]
    pub secrets: String,
}

/// The algorithm of a signature by a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on the curve P-256 with SHA-256 (FIPS 186-5); the signature is ASN.1 in DER.
    EcdsaP256Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017), for old senders only: forgeries of SHA-1 are affordable.
    RsaPkcs1Sha1,
}

/// How a public key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PublicKeyForm {
    /// The bytes of the key in hexadecimal (Ed25519).
    Hex,
    /// The bytes of the key in Base64 (Ed25519).
    Base64,
    /// A `SubjectPublicKeyInfo` (RFC 5280), as DER in Base64 or as PEM.
    Spki,
}

/// A hash of parts of the request and of a secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DigestScheme {
    /// The hash function: SHA-256 or SHA-512.
    pub hash: HashFunction,
    /// What is hashed; `{secret}` stands for the secret.
    pub signed: Template,
    /// Where the hash is, and how it is written.
    pub signature: SignatureSpec,
    /// The name of the secrets, for sources with several schemes. Default: `secret`.
    #[serde(default = "secret")]
    pub secrets: String,
}

impl DigestScheme {
    /// Whether a secret is hashed. Without one, the hash only binds a part of the request to another one, which
    /// another scheme of [`Scheme::AllOf`] signs.
    pub fn signs_secret(&self) -> bool {
        self.signed.parts().contains(&Part::Secret)
    }
}

fn secret() -> String {
    "secret".to_owned()
}

fn public_key() -> String {
    "public_key".to_owned()
}
