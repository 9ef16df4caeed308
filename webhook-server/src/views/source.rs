//! The rules of a source, in words.

use std::time::Duration;

use webhook_sources::spec::{
    FetchedCertificateScheme, Handshake, HashFunction, IdRule, Place, Scheme, SignatureSpec,
    Template, TimeSpec, Tolerance,
};

/// How a request shows who made it.
pub(crate) fn scheme_text(scheme: &Scheme) -> String {
    match scheme {
        Scheme::None => "none: everybody may deliver".to_owned(),
        Scheme::Hmac(hmac) => signed(
            &format!("HMAC-{}", hash_name(hmac.hash)),
            &hmac.signed,
            &hmac.signature,
            hmac.time.as_ref(),
        ),
        Scheme::PublicKey(key) => signed(
            &format!("{:?}", key.algorithm),
            &key.signed,
            &key.signature,
            key.time.as_ref(),
        ),
        Scheme::Digest(digest) => signed(
            hash_name(digest.hash),
            &digest.signed,
            &digest.signature,
            None,
        ),
        Scheme::Token(token) => format!("token in {}", place_text(&token.at)),
        Scheme::Basic(_) => "user and password (Basic)".to_owned(),
        Scheme::Jwt(jwt) => format!("JSON Web Token in {}", place_text(&jwt.at)),
        Scheme::FetchedCertificate(certificate) => {
            let by = format!("certificate at {}", place_text(&certificate.url));
            let FetchedCertificateScheme {
                signed: of,
                signature,
                time,
                ..
            } = certificate;
            signed(&by, of, signature, time.as_ref())
        }
        Scheme::AnyOf(schemes) => joined(schemes, "; or "),
        Scheme::AllOf(schemes) => joined(schemes, "; and "),
        _ => "a scheme that this command does not know".to_owned(),
    }
}

fn joined(schemes: &[Scheme], with: &str) -> String {
    let texts: Vec<_> = schemes.iter().map(scheme_text).collect();
    texts.join(with)
}

fn signed(
    by: &str,
    signed: &Template,
    signature: &SignatureSpec,
    time: Option<&TimeSpec>,
) -> String {
    let at = place_text(&signature.at);
    let time = match time.map(|time| time.tolerance) {
        Some(Tolerance::Within(tolerance)) => {
            format!(", signed within {} of now", duration(tolerance))
        }
        Some(_) => ", with a time that is not checked".to_owned(),
        None => String::new(),
    };
    format!("{by} of {signed} in {at}{time}")
}

const fn hash_name(hash: HashFunction) -> &'static str {
    match hash {
        HashFunction::Sha1 => "SHA1",
        HashFunction::Sha256 => "SHA256",
        HashFunction::Sha512 => "SHA512",
        _ => "unknown hash",
    }
}

/// A place in a request.
fn place_text(place: &Place) -> String {
    match place {
        Place::Header(name) => format!("header {name}"),
        Place::Json(pointer) => format!("JSON {pointer}"),
        Place::Form(name) => format!("form field {name}"),
        Place::Query(name) => format!("query parameter {name}"),
        other => other.to_string(),
    }
}

/// Where the id of an event is.
pub(crate) fn id_text(id: &IdRule) -> String {
    let list = |rules: &[IdRule], with: &str| {
        let texts: Vec<_> = rules.iter().map(id_text).collect();
        texts.join(with)
    };
    match id {
        IdRule::At(place) => place_text(place),
        IdRule::Signed => "the signed message id".to_owned(),
        IdRule::Sha256 => "SHA-256 of what is compared".to_owned(),
        IdRule::Generated => "a new one for each delivery".to_owned(),
        IdRule::Joined(rules) => list(rules, " with "),
        IdRule::FirstOf(rules) => format!("the first of {}", list(rules, ", ")),
        _ => "a rule that this command does not know".to_owned(),
    }
}

/// A request that the sender makes to check the address.
pub(crate) fn handshake_text(handshake: &Handshake) -> String {
    match handshake {
        Handshake::Query {
            method, parameter, ..
        } => format!("{method} with the query parameter {parameter}"),
        Handshake::Header { header, .. } => format!("GET with the header {header}"),
        Handshake::Json {
            pointer, equals, ..
        } => format!("POST whose JSON value at {pointer} is {equals}"),
        Handshake::CloudEvents { .. } => "OPTIONS of CloudEvents".to_owned(),
        Handshake::Probe { method, .. } => format!("{method}, as a probe"),
        Handshake::Confirm { url, .. } => {
            format!("a confirmation that you have to visit, with its URL at {url}")
        }
        _ => "a request that this command does not know".to_owned(),
    }
}

/// A duration in its largest unit: `90s`, `5m`, `30d`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return format!("{duration:?}");
    }
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// The key of a scheme in the configuration.
pub(crate) const fn scheme_name(scheme: &Scheme) -> &'static str {
    match scheme {
        Scheme::None => "none",
        Scheme::Hmac(_) => "hmac",
        Scheme::Token(_) => "token",
        Scheme::Basic(_) => "basic",
        Scheme::PublicKey(_) => "public_key",
        Scheme::Digest(_) => "digest",
        Scheme::Jwt(_) => "jwt",
        Scheme::FetchedCertificate(_) => "fetched_certificate",
        Scheme::AnyOf(_) => "any_of",
        Scheme::AllOf(_) => "all_of",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_largest_unit() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1_500, "1.5s"),
            (90_000, "90s"),
            (300_000, "5m"),
            (7_200_000, "2h"),
            (2_592_000_000, "30d"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn schemes_of_presets_have_names() {
        for preset in webhook_sources::preset::all() {
            let scheme = &preset.spec.scheme;
            assert_ne!(scheme_name(scheme), "other", "{scheme:?}");
        }
    }

    #[test]
    fn presets_are_described_in_words() {
        for (name, scheme, id) in [
            (
                "stripe",
                "HMAC-SHA256 of {timestamp}.{body} in header stripe-signature, signed within 5m of now",
                "JSON /id",
            ),
            (
                "github",
                "HMAC-SHA256 of {body} in header x-hub-signature-256",
                "header x-github-delivery",
            ),
            ("postmark", "user and password (Basic)", ""),
        ] {
            let spec = &webhook_sources::preset::get(name).unwrap().spec;
            assert_eq!(scheme_text(&spec.scheme), scheme, "{name}");
            assert!(id.is_empty() || id_text(&spec.id) == id, "{name}");
        }
    }
}
