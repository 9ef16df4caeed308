//! The options of authentication: signatures and their secrets, tokens, anonymous access.

use std::str::FromStr;

use hyper::header::HeaderName;
use webhook_sources::signature::BodyHmacScheme;

use super::{Config, Role};
use crate::http::AnonymousAccess;

/// A signature scheme of senders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// Deliveries are not signed.
    None,
    /// The Standard Webhooks specification, which Svix uses.
    StandardWebhooks,
    /// Stripe's scheme.
    Stripe,
    /// HMAC-SHA256 over the body.
    BodyHmac(BodyHmacScheme),
}

impl FromStr for SignatureScheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let body_hmac = match text.as_str() {
            "none" => return Ok(Self::None),
            "standard-webhooks" | "svix" => return Ok(Self::StandardWebhooks),
            "stripe" => return Ok(Self::Stripe),
            "github" => BodyHmacScheme::github(),
            "razorpay" => BodyHmacScheme::razorpay(),
            "shopify" => BodyHmacScheme::shopify(),
            "cashfree" => BodyHmacScheme::cashfree(),
            other => match other.split_once(':') {
                Some(("hmac-hex", header)) if is_header_name(header) => BodyHmacScheme::hex(header),
                Some(("hmac-base64", header)) if is_header_name(header) => {
                    BodyHmacScheme::base64(header)
                }
                _ => {
                    return Err(
                        "expected none, standard-webhooks, stripe, github, razorpay, shopify, \
                         cashfree, hmac-hex:HEADER or hmac-base64:HEADER"
                            .to_owned(),
                    );
                }
            },
        };
        Ok(Self::BodyHmac(body_hmac))
    }
}

fn is_header_name(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
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
            missing.push("read (set API_TOKENS to what `webhook-server token read` writes)");
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
            "none",
            "Standard-Webhooks",
            "svix",
            "stripe",
            "github",
            "razorpay",
            "shopify",
            "cashfree",
        ] {
            assert!(name.parse::<SignatureScheme>().is_ok(), "{name}");
        }
        let own = "hmac-hex:X-My-Signature".parse::<SignatureScheme>();
        let expected = BodyHmacScheme::hex("x-my-signature");
        assert_eq!(own, Ok(SignatureScheme::BodyHmac(expected)));
        for wrong in [
            "",
            "paypal",
            "hmac-hex",
            "hmac-hex:",
            "hmac-hex:a b",
            "hmac-md5:x",
        ] {
            assert!(wrong.parse::<SignatureScheme>().is_err(), "{wrong}");
        }
    }
}
