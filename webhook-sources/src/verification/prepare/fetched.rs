//! Makes the schemes ready whose keys are fetched: tokens and certificates.

use std::collections::BTreeMap;

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor};

use super::{Preparation, copy_text, is_covered};
use crate::error::{InvalidSource, SecretProblem};
use crate::keys::{KeyRequest, split_url};
use crate::spec::{
    Algorithm, ClaimValue, EachKey, FetchedCertificateScheme, JwtScheme, KeySet, LineForm, Part,
    Place, Template,
};
use crate::verification::certificate::{FetchedCertificate, Trust};
use crate::verification::jwk;
use crate::verification::jwt::{Expected, Jwt, PublicKeys};

impl Preparation<'_> {
    pub(super) fn jwt(&mut self, scheme: &JwtScheme) -> Jwt {
        if scheme.algorithms.is_empty() {
            self.nothing("the list of algorithms");
        }
        if let Place::Item(_) = scheme.at {
            self.wrong_place(&scheme.at, "a token");
        }
        let keys = match &scheme.keys {
            KeySet::Url(url) => PublicKeys::Fetched {
                request: KeyRequest::get(&self.key_url(url)),
                known: self.options.keys.clone(),
            },
            KeySet::Each(each) => self.each_key(each),
            KeySet::Given(name) => PublicKeys::Given(self.secrets(name, |document| {
                let keys = jwk::read(document.as_bytes()).filter(|keys| !keys.is_empty());
                keys.ok_or(SecretProblem::Not(
                    "a JSON Web Key or a set of them with a key of RSA or of P-256",
                ))
            })),
        };
        let issuers = scheme.issuers.iter().map(|it| self.text(it)).collect();
        let audience = scheme.audience.as_ref().map(|it| self.text(it));
        let claims = scheme.claims.iter().map(|(name, value)| {
            let expected = match value {
                ClaimValue::Flag(flag) => Expected::Flag(*flag),
                ClaimValue::Text(texts) => {
                    Expected::OneOf(texts.iter().map(|it| self.text(it)).collect())
                }
            };
            (name.clone(), expected)
        });
        let claims = claims.collect();
        Jwt {
            at: scheme.at.clone(),
            prefix: scheme.prefix.clone(),
            algorithms: scheme.algorithms.clone(),
            keys,
            issuers,
            audience,
            claims,
            body_hash: scheme.body_hash.clone(),
            max_age: scheme.max_age,
            tolerance: scheme.tolerance,
        }
    }

    fn each_key(&mut self, each: &EachKey) -> PublicKeys {
        let mut secrets = BTreeMap::new();
        for (member, name) in &each.secrets {
            let all = self.secrets(name, |secret| {
                if secret.is_empty() {
                    return Err(SecretProblem::Empty);
                }
                Ok(copy_text(secret))
            });
            // Others would be asked for only if this one were refused, which would show it to nobody new.
            let first = all.into_iter().next();
            secrets.extend(first.map(|(_, secret)| (member.clone(), secret)));
        }
        PublicKeys::Each {
            url: self.key_url(&each.url),
            key_id: each.key_id.clone(),
            secrets,
            known: self.options.keys.clone(),
        }
    }

    pub(super) fn certificate(&mut self, scheme: &FetchedCertificateScheme) -> FetchedCertificate {
        if scheme.hosts.is_empty() {
            self.nothing("the list of hosts");
        }
        if scheme.algorithm.allowed.is_empty() {
            self.nothing("the list of allowed algorithms");
        }
        let algorithms = scheme.algorithm.allowed.iter();
        let algorithms: Vec<_> = algorithms.map(|(name, it)| (name.clone(), *it)).collect();
        let is_rsa =
            |it: &Algorithm| matches!(it, Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPkcs1Sha1);
        if !algorithms.iter().all(|(_, algorithm)| is_rsa(algorithm)) {
            self.problem(InvalidSource::CertificateAlgorithm);
        }
        for place in [&scheme.url, &scheme.algorithm.at] {
            if let Place::Item(_) = place {
                self.wrong_place(
                    place,
                    "the URL of a certificate or the name of an algorithm",
                );
            }
        }
        let mut required = Vec::with_capacity(scheme.required.len());
        for value in &scheme.required {
            if !signs(&scheme.signed, &value.at) {
                self.not_signed(&value.at, "its placeholder");
            }
            required.push((value.at.clone(), self.text(&value.equals)));
        }
        let time = scheme.time.as_ref();
        FetchedCertificate {
            form: self.form(&scheme.signed, &scheme.signature, time, None),
            url: scheme.url.clone(),
            hosts: scheme.hosts.clone(),
            path_prefix: scheme.path_prefix.clone(),
            path_suffix: scheme.path_suffix.clone(),
            algorithm_at: scheme.algorithm.at.clone(),
            algorithms,
            required,
            trust: self.trust(&scheme.issued_to),
            known: self.options.keys.clone(),
        }
    }

    fn trust(&mut self, names: &[String]) -> Option<Trust> {
        if names.is_empty() {
            return None;
        }
        let read = |name: &String| {
            let read = ServerName::try_from(name.clone()).ok();
            read.filter(|read| matches!(read, ServerName::DnsName(_)))
        };
        for name in names.iter().filter(|name| read(name).is_none()) {
            self.problem(InvalidSource::DnsName { name: name.clone() });
        }
        let known = self.options.keys.as_ref();
        let authorities = known.map(|known| known.authorities()).unwrap_or_default();
        Some(Trust {
            names: names.iter().filter_map(read).collect(),
            authorities: authorities.into_iter().filter_map(anchor).collect(),
        })
    }

    /// A template with the settings of the source in it.
    pub(super) fn with_settings(&mut self, template: &Template) -> Template {
        let settings = &self.options.settings;
        for name in template.setting_names() {
            if settings.get(name).is_none_or(String::is_empty) {
                self.problem(InvalidSource::NoSetting {
                    name: name.to_owned(),
                });
            }
        }
        template.with_settings(|name| settings.get(name).cloned().unwrap_or_default())
    }

    /// The text that a template is, in which only settings may stand.
    fn text(&mut self, template: &Template) -> String {
        let text = self.with_settings(template).text();
        text.unwrap_or_else(|| {
            self.problem(InvalidSource::OnlySettings {
                text: template.to_string(),
            });
            String::new()
        })
    }

    fn key_url(&mut self, template: &Template) -> String {
        let before = self.problems.len();
        let url = self.text(template);
        if self.problems.len() == before && split_url(&url).is_none() {
            self.problem(InvalidSource::KeyUrl { url: url.clone() });
        }
        url
    }

    fn nothing(&mut self, what: &'static str) {
        self.problem(InvalidSource::Nothing { what });
    }

    /// Refuses lines whose ends are ambiguous.
    pub(super) fn check_lines(&mut self, signed: &Template) {
        let lines = signed.parts().iter();
        let several = lines.filter(|part| matches!(part, Part::Line(_, LineForm::Several)));
        if several.count() > 1 {
            self.problem(InvalidSource::AmbiguousLines);
        }
    }
}

/// Whether the value at `place` is a part of what is signed.
fn signs(signed: &Template, place: &Place) -> bool {
    let is_part = |part: &Part| match (part, place) {
        (Part::At(at), place) => at == place,
        (Part::Line(pointer, _), Place::Json(at)) => pointer == at,
        _ => false,
    };
    is_covered(signed, place) || signed.parts().iter().any(is_part)
}

/// The name and the key of an authority, unless this is no certificate.
fn anchor(der: Vec<u8>) -> Option<TrustAnchor<'static>> {
    let certificate = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&certificate).ok()?;
    Some(anchor.to_owned())
}
