//! Makes a scheme and its secrets ready to verify requests.

mod fetched;

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::content::Form;
use super::digest::Digest;
use super::hmac::{Hmac, OtherKey};
use super::mac::MacKey;
use super::public_key::{self, PublicKeys};
use super::secret::{MIN_KEY_BYTES, MIN_SECRET_BYTES, SecretLength};
use super::token::{Basic, Token};
use super::{Encoding, MAX_PUBLIC_KEYS, Node, VerificationOptions, html, mac};
use crate::error::{InvalidSource, SecretProblem};
use crate::secrets::Secrets;
use crate::spec::{
    Algorithm, BasicScheme, DigestScheme, HashFunction, HmacScheme, KeyForm, Part, Place,
    PublicKeyForm, PublicKeyScheme, Scheme, SignatureSpec, Template, TimeSpec, TokenForm,
    TokenScheme,
};

/// The secrets that are found, and what is wrong.
pub(super) struct Preparation<'s> {
    secrets: &'s Secrets,
    options: &'s VerificationOptions,
    /// For each name, the index of its first secret among all.
    first_indexes: BTreeMap<String, usize>,
    /// The names of the secrets, each as often as it has secrets.
    pub(super) names: Vec<String>,
    pub(super) problems: Vec<InvalidSource>,
}

impl<'s> Preparation<'s> {
    pub(super) const fn new(secrets: &'s Secrets, options: &'s VerificationOptions) -> Self {
        Self {
            secrets,
            options,
            first_indexes: BTreeMap::new(),
            names: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Prepares a whole scheme. What is wrong with it is in [`problems`](Self::problems).
    pub(super) fn whole(&mut self, scheme: &Scheme) -> Node {
        if *scheme != Scheme::None && !proves(scheme) {
            self.problem(InvalidSource::ProvesNothing);
        }
        self.node(scheme)
    }

    fn node(&mut self, scheme: &Scheme) -> Node {
        match scheme {
            Scheme::None => Node::None,
            Scheme::Hmac(scheme) => Node::Hmac(self.hmac(scheme)),
            Scheme::Token(scheme) => Node::Token(self.token(scheme)),
            Scheme::Basic(scheme) => Node::Basic(self.basic(scheme)),
            Scheme::PublicKey(scheme) => Node::PublicKey(self.public_keys(scheme)),
            Scheme::Digest(scheme) => Node::Digest(self.digest(scheme)),
            Scheme::Jwt(scheme) => Node::Jwt(Box::new(self.jwt(scheme))),
            Scheme::FetchedCertificate(scheme) => {
                Node::Certificate(Box::new(self.certificate(scheme)))
            }
            Scheme::AllOf(schemes) => {
                Node::AllOf(schemes.iter().map(|scheme| self.node(scheme)).collect())
            }
            Scheme::AnyOf(schemes) => {
                let (usable, others): (Vec<_>, Vec<_>) =
                    schemes.iter().partition(|scheme| self.has_secrets(scheme));
                if usable.is_empty() {
                    let names = others.iter().flat_map(|scheme| scheme.secret_names());
                    let mut names: Vec<String> = names.map(str::to_owned).collect();
                    names.sort_unstable();
                    names.dedup();
                    self.problem(InvalidSource::NoSecret { names });
                }
                Node::AnyOf(usable.into_iter().map(|scheme| self.node(scheme)).collect())
            }
        }
    }

    /// Whether there is what `scheme` needs.
    fn has_secrets(&self, scheme: &Scheme) -> bool {
        match scheme {
            Scheme::AnyOf(schemes) => schemes.iter().any(|scheme| self.has_secrets(scheme)),
            Scheme::AllOf(schemes) => schemes.iter().all(|scheme| self.has_secrets(scheme)),
            one => {
                let mut names = one.secret_names().into_iter();
                let mut settings = one.setting_names().into_iter();
                names.all(|name| self.secrets.named(name).next().is_some())
                    && settings.all(|name| self.options.settings.contains_key(name))
            }
        }
    }

    pub(super) fn problem(&mut self, problem: InvalidSource) {
        // Schemes that share their secrets share what is wrong with them.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Reads each of the secrets with the name `name`, with its index among all.
    pub(super) fn secrets<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, SecretProblem>,
    ) -> Vec<(usize, T)> {
        let secrets = self.secrets;
        let count = secrets.named(name).count();
        if count == 0 {
            let names = vec![name.to_owned()];
            self.problem(InvalidSource::NoSecret { names });
        }
        let first = match self.first_indexes.get(name) {
            Some(first) => *first,
            None => {
                let first = self.names.len();
                self.first_indexes.insert(name.to_owned(), first);
                self.names.extend((0..count).map(|_| name.to_owned()));
                first
            }
        };
        let mut all = Vec::with_capacity(count);
        for (position, secret) in secrets.named(name).enumerate() {
            match read(secret) {
                Ok(secret) => all.push((first + position, secret)),
                Err(problem) => self.problem(InvalidSource::Secret {
                    name: name.to_owned(),
                    position,
                    problem,
                }),
            }
        }
        all
    }

    fn hmac(&mut self, scheme: &HmacScheme) -> Hmac {
        let length = self.options.secret_length;
        let keys = self.secrets(&scheme.secrets, |secret| {
            let key = secret_key(secret, scheme.key, &scheme.key_prefixes, length)?;
            let others = other_keys(secret, scheme, &key);
            Ok((MacKey::new(scheme.hash, &key), others))
        });
        let (mut with_keys, mut other_keys) = (Vec::with_capacity(keys.len()), Vec::new());
        for (secret_index, (key, others)) in keys {
            with_keys.push((secret_index, key));
            let others = others.into_iter().map(|(form, key)| OtherKey {
                secret_index,
                form,
                key,
            });
            other_keys.extend(others);
        }
        let (time, id) = (scheme.time.as_ref(), scheme.message_id.as_ref());
        Hmac {
            form: self.signature_form(&scheme.signed, &scheme.signature, time, id),
            hash: scheme.hash,
            keys: with_keys,
            other_keys,
        }
    }

    fn public_keys(&mut self, scheme: &PublicKeyScheme) -> PublicKeys {
        if scheme.algorithm != Algorithm::Ed25519 && scheme.key != PublicKeyForm::Spki {
            self.problem(InvalidSource::KeyForm);
        }
        let keys = self.secrets(&scheme.secrets, |secret| {
            let text = without_prefix(secret, &scheme.key_prefixes);
            public_key::read(text, scheme.algorithm, scheme.key)
        });
        if keys.len() > MAX_PUBLIC_KEYS {
            let name = scheme.secrets.clone();
            self.problem(InvalidSource::TooManyKeys { name });
        }
        let (time, id) = (scheme.time.as_ref(), scheme.message_id.as_ref());
        PublicKeys {
            form: self.signature_form(&scheme.signed, &scheme.signature, time, id),
            algorithm: scheme.algorithm,
            keys,
        }
    }

    fn digest(&mut self, scheme: &DigestScheme) -> Digest {
        if scheme.hash == HashFunction::Sha1 {
            self.problem(InvalidSource::WeakDigest);
        }
        let length = self.options.secret_length;
        let secrets = if scheme.signs_secret() {
            self.secrets(&scheme.secrets, |secret| {
                length.check(secret.as_bytes(), MIN_SECRET_BYTES)?;
                Ok(copy(secret))
            })
        } else {
            Vec::new()
        };
        Digest {
            form: self.form(&scheme.signed, &scheme.signature, None, None),
            hash: scheme.hash,
            secrets,
            signs_secret: scheme.signs_secret(),
        }
    }

    fn token(&mut self, scheme: &TokenScheme) -> Token {
        if let Place::Item(_) = scheme.at {
            self.wrong_place(&scheme.at, "a token");
        }
        let length = self.options.secret_length;
        let secrets = self.secrets(&scheme.secrets, |secret| {
            length.check(secret.as_bytes(), MIN_SECRET_BYTES)?;
            Ok(match scheme.form {
                TokenForm::Plain => copy(secret),
                TokenForm::Sha256 => {
                    let hash = mac::hash(HashFunction::Sha256, [secret.as_bytes()]);
                    Zeroizing::new(hash.as_bytes().to_vec())
                }
            })
        });
        Token {
            at: scheme.at.clone(),
            prefix: scheme.prefix.clone(),
            form: scheme.form,
            secrets,
        }
    }

    fn basic(&mut self, scheme: &BasicScheme) -> Basic {
        let length = self.options.secret_length;
        let secrets = self.secrets(&scheme.secrets, |secret| {
            length.check(secret.as_bytes(), MIN_SECRET_BYTES)?;
            match secret.split_once(':') {
                Some(_) => Ok(copy(secret)),
                None => Err(SecretProblem::Not(
                    "a user and a password: write user:password",
                )),
            }
        });
        Basic { secrets }
    }

    /// As [`form`](Self::form), of a signature that is made with a key, so that no secret is a part of what is signed.
    fn signature_form(
        &mut self,
        signed: &Template,
        signature: &SignatureSpec,
        time: Option<&TimeSpec>,
        message_id: Option<&Place>,
    ) -> Form {
        if signed.parts().contains(&Part::Secret) {
            self.problem(InvalidSource::NoPlace {
                placeholder: "{secret}",
                missing: "only a digest has it",
            });
        }
        self.form(signed, signature, time, message_id)
    }

    /// Checks what is signed, and where the parts of a signature are.
    pub(super) fn form(
        &mut self,
        signed: &Template,
        signature: &SignatureSpec,
        time: Option<&TimeSpec>,
        message_id: Option<&Place>,
    ) -> Form {
        let signed = &self.with_settings(signed);
        self.check_lines(signed);
        let has = |wanted: &Part| signed.parts().contains(wanted);
        if has(&Part::Url) && self.options.public_url.is_none() {
            self.problem(InvalidSource::NoPublicUrl);
        }
        self.check_signature(signed, signature);
        if let Some(time) = time {
            let is_signed = has(&Part::Timestamp)
                || has(&Part::At(time.at.clone()))
                || is_covered(signed, &time.at);
            if !is_signed {
                self.not_signed(&time.at, "{timestamp}");
            }
            match &time.at {
                Place::Item(_) if signature.split.is_none() => {
                    let missing = "a separator: write split = \",\"";
                    self.problem(InvalidSource::Items { missing });
                }
                Place::Header(name) if name.contains("{n}") => {
                    self.wrong_place(&time.at, "a time");
                }
                _ => {}
            }
        } else if has(&Part::Timestamp) {
            self.problem(InvalidSource::NoPlace {
                placeholder: "{timestamp}",
                missing: "the scheme has no time",
            });
        }
        match message_id {
            Some(place) => {
                if !has(&Part::Id) {
                    self.not_signed(place, "{id}");
                }
                match place {
                    Place::Item(_) => self.wrong_place(place, "a message id"),
                    Place::Header(name) if name.contains("{n}") => {
                        self.wrong_place(place, "a message id");
                    }
                    _ => {}
                }
            }
            None if has(&Part::Id) => self.problem(InvalidSource::NoPlace {
                placeholder: "{id}",
                missing: "the scheme has no message_id",
            }),
            None => {}
        }
        Form {
            signed: signed.clone(),
            signature: signature.clone(),
            time: time.cloned(),
            message_id: message_id.cloned(),
        }
    }

    fn check_signature(&mut self, signed: &Template, signature: &SignatureSpec) {
        let at = &signature.at;
        if let Place::Item(_) = at {
            self.wrong_place(at, "a signature");
        }
        if is_covered(signed, at) || signed.parts().contains(&Part::At(at.clone())) {
            self.problem(InvalidSource::Circular {
                place: at.clone(),
                signed: signed.to_string(),
            });
        }
        if signature.split.as_deref() == Some("") {
            let missing = "a separator that is not empty";
            self.problem(InvalidSource::Items { missing });
        }
        if signature.item.as_deref() == Some("") {
            let missing = "a text that they begin with";
            self.problem(InvalidSource::Items { missing });
        }
    }

    fn wrong_place(&mut self, place: &Place, role: &'static str) {
        self.problem(InvalidSource::WrongPlace {
            place: place.clone(),
            role,
        });
    }

    fn not_signed(&mut self, place: &Place, placeholder: &'static str) {
        self.problem(InvalidSource::NotSigned {
            place: place.clone(),
            placeholder,
        });
    }
}

/// Whether what is signed has all of the part of the request that `place` is in.
fn is_covered(signed: &Template, place: &Place) -> bool {
    signed.parts().iter().any(|part| {
        matches!(
            (part, place),
            (Part::Body, Place::Json(_) | Place::Form(_))
                | (Part::WholeForm, Place::Form(_))
                | (Part::Url, Place::Query(_))
        )
    })
}

/// Whether a request that satisfies `scheme` shows who made it.
fn proves(scheme: &Scheme) -> bool {
    match scheme {
        Scheme::None => false,
        Scheme::Digest(scheme) => scheme.signs_secret(),
        Scheme::AnyOf(schemes) => schemes.iter().all(proves),
        Scheme::AllOf(schemes) => schemes.iter().any(proves),
        Scheme::Hmac(_)
        | Scheme::Token(_)
        | Scheme::Basic(_)
        | Scheme::PublicKey(_)
        | Scheme::Jwt(_)
        | Scheme::FetchedCertificate(_) => true,
    }
}

/// `secret` without the first of `prefixes` that it begins with.
fn without_prefix<'s>(secret: &'s str, prefixes: &[String]) -> &'s str {
    let mut rests = prefixes
        .iter()
        .filter_map(|prefix| secret.strip_prefix(&**prefix));
    rests.next().unwrap_or(secret)
}

/// The key of an HMAC that a secret is.
pub(crate) fn secret_key(
    secret: &str,
    form: KeyForm,
    prefixes: &[String],
    length: SecretLength,
) -> Result<Zeroizing<Vec<u8>>, SecretProblem> {
    let text = without_prefix(secret, prefixes);
    let (key, min_bytes) = match form {
        KeyForm::Text => (copy(text), MIN_SECRET_BYTES),
        KeyForm::HtmlText => (copy(&html::decode(text)), MIN_SECRET_BYTES),
        KeyForm::Base64 => (decode(Encoding::Base64, text, "Base64")?, MIN_KEY_BYTES),
        KeyForm::Hex => (decode(Encoding::Hex, text, "hexadecimal")?, MIN_KEY_BYTES),
        KeyForm::Sha1OfText => {
            length.check(text.as_bytes(), MIN_SECRET_BYTES)?;
            let hash = mac::hash(HashFunction::Sha1, [text.as_bytes()]);
            return Ok(Zeroizing::new(hash.as_bytes().to_vec()));
        }
    };
    length.check(&key, min_bytes)?;
    Ok(key)
}

/// The keys that a secret would be in other forms than that of the scheme, unless they are equal to `key`.
fn other_keys(secret: &str, scheme: &HmacScheme, key: &[u8]) -> Vec<(KeyForm, MacKey)> {
    // The prefix of secrets in Base64, in Standard Webhooks and with Stripe.
    let bare = secret.strip_prefix("whsec_").unwrap_or(secret);
    let texts = [secret, bare].map(|text| (KeyForm::Text, Some(copy(text))));
    let encodings = [
        (KeyForm::Base64, Encoding::Base64.decode_secret(bare)),
        (KeyForm::Hex, Encoding::Hex.decode_secret(bare)),
    ];
    let forms = texts.into_iter().chain(encodings);
    forms
        .filter_map(|(form, other)| {
            let other = other.filter(|other| !other.is_empty() && other.as_slice() != key)?;
            Some((form, MacKey::new(scheme.hash, &other)))
        })
        .collect()
}

fn copy_text(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn copy(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn decode(
    encoding: Encoding,
    text: &str,
    name: &'static str,
) -> Result<Zeroizing<Vec<u8>>, SecretProblem> {
    encoding.decode_secret(text).ok_or(SecretProblem::Not(name))
}
