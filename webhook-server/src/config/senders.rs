//! The options of authentication: signatures and their secrets, tokens, anonymous access.

use std::str::FromStr;

use webhook_sources::preset;
use webhook_sources::spec::{Encoding, HmacScheme, Scheme, SignatureSpec};

use super::{Config, Role};
use crate::http::AnonymousAccess;

/// The preset whose scheme `standard-webhooks` and `svix` name: senders of both write the names of the headers in
/// either spelling.
const STANDARD: &str = "svix";

/// A signature scheme of senders.
#[derive(Clone, Debug, PartialEq)]
pub enum SignatureScheme {
    /// Deliveries are not signed.
    None,
    /// The scheme of the preset with this name.
    Preset(&'static str),
    /// HMAC-SHA256 over the body, in a header.
    BodyHmac(Box<Scheme>),
}

impl FromStr for SignatureScheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let presets = ["stripe", "github", "razorpay", "shopify", "cashfree"];
        if let Some(name) = presets.into_iter().find(|name| *name == text) {
            return Ok(Self::Preset(name));
        }
        let own = match text.as_str() {
            "none" => return Ok(Self::None),
            "standard-webhooks" | "svix" => return Ok(Self::Preset(STANDARD)),
            other => match other.split_once(':') {
                Some(("hmac-hex", header)) => body_hmac(header, Encoding::Hex),
                Some(("hmac-base64", header)) => body_hmac(header, Encoding::Base64),
                _ => None,
            },
        };
        own.map(|scheme| Self::BodyHmac(Box::new(scheme)))
            .ok_or_else(|| {
                "expected none, standard-webhooks, stripe, github, razorpay, shopify, cashfree, \
                 hmac-hex:HEADER or hmac-base64:HEADER"
                    .to_owned()
            })
    }
}

/// HMAC-SHA256 over the body, in the header with this name; none if no header can have it.
fn body_hmac(header: &str, encoding: Encoding) -> Option<Scheme> {
    let place = format!("header:{header}").parse().ok();
    let mut signature = SignatureSpec::new(place.filter(|_| !header.contains('{'))?);
    signature.encoding = encoding;
    let signed = "{body}".parse().ok()?;
    Some(Scheme::Hmac(HmacScheme::new(signed, signature)))
}

impl SignatureScheme {
    /// The scheme, if deliveries are signed.
    pub fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::None => None,
            Self::Preset(name) => preset::get(name).map(|preset| preset.spec.scheme.clone()),
            Self::BodyHmac(scheme) => Some(scheme.as_ref().clone()),
        }
    }

    /// Whether it is the scheme of Standard Webhooks, whose secrets have no comma.
    pub(super) fn is_standard(&self) -> bool {
        *self == Self::Preset(STANDARD)
    }
}

impl Config {
    /// Refuses a scheme without secrets, and secrets without a scheme.
    pub(super) fn check_senders(&self) -> Result<(), &'static str> {
        let is_signed = self.webhook_signature_scheme != SignatureScheme::None;
        match (is_signed, &self.webhook_secrets, &self.webhook_secrets_file) {
            _ if self.api_tokens.is_some() && self.api_tokens_file.is_some() => {
                Err("API_TOKENS and API_TOKENS_FILE are both set: unset one of them")
            }
            (_, Some(_), Some(_)) => {
                Err("WEBHOOK_SECRETS and WEBHOOK_SECRETS_FILE are both set: unset one of them")
            }
            (true, None, None) => Err("WEBHOOK_SIGNATURE_SCHEME needs WEBHOOK_SECRETS \
                 (--webhook-secrets) or WEBHOOK_SECRETS_FILE (--webhook-secrets-file)"),
            (false, Some(_), _) | (false, _, Some(_)) => Err(
                "WEBHOOK_SECRETS (--webhook-secrets) and WEBHOOK_SECRETS_FILE \
                 (--webhook-secrets-file) need WEBHOOK_SIGNATURE_SCHEME \
                 (--webhook-signature-scheme), the scheme that senders sign with",
            ),
            _ => Ok(()),
        }
    }

    /// Who may make requests without authentication. Clients are authenticated already if they need a
    /// certificate.
    pub(super) const fn anonymous_access(&self) -> AnonymousAccess {
        if self.insecure || self.tls.tls_client_ca_file.is_some() {
            AnonymousAccess::Everyone
        } else {
            AnonymousAccess::LocalPrograms
        }
    }

    /// Refuses to serve everyone by mistake.
    pub(crate) fn check_anonymous_access(&self) -> Result<(), String> {
        let addr = self.bind_addr;
        let is_safe = self.anonymous_access() == AnonymousAccess::Everyone
            || addr.ip().is_loopback()
            || self.role == Role::Worker;
        if is_safe {
            return Ok(());
        }
        let mut missing = Vec::new();
        if self.webhook_signature_scheme == SignatureScheme::None {
            missing.push("deliver (set WEBHOOK_SIGNATURE_SCHEME and WEBHOOK_SECRETS)");
        }
        if self.api_tokens.is_none() && self.api_tokens_file.is_none() {
            missing.push(
                "read (set API_TOKENS to the digest that `webhook-server token read` prints)",
            );
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "anyone who can reach BIND_ADDR {addr} could {}. If something in front of the server \
             authenticates clients, set --insecure (INSECURE=true)",
            missing.join(" and ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_have_names() {
        for name in [
            "Standard-Webhooks",
            "svix",
            "stripe",
            "github",
            "razorpay",
            "shopify",
            "cashfree",
            "hmac-base64:x-signature",
        ] {
            let scheme = name.parse::<SignatureScheme>().unwrap();
            assert!(scheme.scheme().is_some(), "{name}");
        }
        assert_eq!("none".parse(), Ok(SignatureScheme::None));
        let own = "hmac-hex:X-My-Signature".parse::<SignatureScheme>();
        let Some(Scheme::Hmac(own)) = own.unwrap().scheme() else {
            panic!("another scheme");
        };
        assert_eq!(own.signature.at.to_string(), "header:x-my-signature");
        assert_eq!(own.signed.to_string(), "{body}");
        for wrong in [
            "",
            "paypal",
            "hmac-hex",
            "hmac-hex:",
            "hmac-hex:a b",
            "hmac-hex:x-{n}",
            "hmac-md5:x",
        ] {
            assert!(wrong.parse::<SignatureScheme>().is_err(), "{wrong}");
        }
    }
}
