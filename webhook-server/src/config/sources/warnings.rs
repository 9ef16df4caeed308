//! Warnings about sources that work but are dangerous.

use std::time::Duration;

use webhook_sources::preset;
use webhook_sources::spec::{Guard, IdRule, Part, Place, Scheme, Template, Tolerance};

use super::super::forward;
use super::SourceConfig;

/// A longer tolerance for times leaves captured deliveries valid for long.
const LONG_TOLERANCE: Duration = Duration::from_secs(600);

/// How long keys should be kept if signatures do not expire.
const LONG_ENOUGH: Duration = Duration::from_secs(30 * 86_400);

impl SourceConfig {
    /// What is dangerous, and what to do about it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(format!("source {}: {text}", self.name));
        let spec = self.spec();
        let is_open = spec.scheme == Scheme::None;
        if is_open {
            warn(format!(
                "everybody who reaches the server may deliver to {}; set a scheme if the sender signs",
                self.path()
            ));
        }
        let mut times = 0;
        let mut is_long = false;
        spec.scheme.clone().each_time(&mut |time| {
            times += 1;
            is_long |= match time.tolerance {
                Tolerance::Within(tolerance) => tolerance > LONG_TOLERANCE,
                _ => true,
            };
        });
        // Some senders repeat a delivery with its first time: then the preset does not check it.
        let preset = self.preset.as_deref().and_then(preset::get);
        let is_of_preset = preset.is_some_and(|preset| preset.spec.scheme == spec.scheme);
        if is_long && !is_of_preset {
            warn(
                "the tolerance is off or more than 10m: a captured delivery can be repeated for that \
                 long, and is recognised only while its key is kept"
                    .to_owned(),
            );
        }
        let is_short = self.keep_keys.is_some_and(|keys| keys < LONG_ENOUGH);
        if times == 0 && !is_open && is_short {
            warn(
                "keep_keys is less than 30d, and signatures have no time: a captured delivery is then \
                 accepted as new"
                    .to_owned(),
            );
        }
        if !is_open && spec.guard == Guard::None && has_unsigned_id(&spec.id, &spec.scheme) {
            warn(
                "the id is in a header that is not signed: who has seen a delivery can send it again \
                 with another id; set guard = \"body\""
                    .to_owned(),
            );
        }
        if let Some(url) = &self.public_url {
            if !url.ends_with(&self.path()) {
                warn(format!(
                    "public_url does not end with {}: something in front of the server must send these \
                     requests there",
                    self.path()
                ));
            }
            if url.starts_with("http://") && !url.contains("//127.") && !url.contains("//localhost")
            {
                warn("public_url is not https: deliveries can be read on their way".to_owned());
            }
        }
        if let Some(forward) = &self.forward {
            for warning in forward::warnings(&forward.url, !forward.keys.is_empty()) {
                warn(warning);
            }
        }
        if !self.reads_need_token {
            warn("everybody who reaches the server may read its events".to_owned());
        }
        warnings
    }
}

/// Whether a part of the id is in a header that the scheme does not sign.
fn has_unsigned_id(id: &IdRule, scheme: &Scheme) -> bool {
    match id {
        IdRule::At(place @ Place::Header(_)) => !signs(scheme, place),
        IdRule::Joined(rules) | IdRule::FirstOf(rules) => {
            rules.iter().any(|rule| has_unsigned_id(rule, scheme))
        }
        _ => false,
    }
}

/// Whether `scheme` signs the value at `place`, which is not in the body.
fn signs(scheme: &Scheme, place: &Place) -> bool {
    let names = |signed: &Template| {
        let mut parts = signed.parts().iter();
        parts.any(|part| matches!(part, Part::At(at) if at == place))
    };
    match scheme {
        Scheme::Hmac(hmac) => hmac.message_id.as_ref() == Some(place) || names(&hmac.signed),
        Scheme::PublicKey(key) => key.message_id.as_ref() == Some(place) || names(&key.signed),
        Scheme::Digest(digest) => names(&digest.signed),
        Scheme::FetchedCertificate(certificate) => names(&certificate.signed),
        Scheme::AnyOf(schemes) => schemes.iter().all(|scheme| signs(scheme, place)),
        Scheme::AllOf(schemes) => schemes.iter().any(|scheme| signs(scheme, place)),
        _ => false,
    }
}
