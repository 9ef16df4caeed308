//! How senders and readers prove who they are: signatures and their secrets, tokens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use webhook_core::signature::{
    BodyHmac, BodyHmacScheme, InvalidSecret, StandardWebhooks, Stripe, Verifier,
};

use super::{Config, Role, values};
use crate::http::{Rules, TokenDigest};

/// How senders sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// Not at all.
    None,
    /// By the Standard Webhooks specification, as Svix does.
    StandardWebhooks,
    /// As Stripe does.
    Stripe,
    /// With HMAC-SHA256 over the body.
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
                Some(("hmac-hex", header)) if is_name(header) => BodyHmacScheme::hex(header),
                Some(("hmac-base64", header)) if is_name(header) => BodyHmacScheme::base64(header),
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

/// A header's name (RFC 9110, section 5.6.2).
fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Secrets, one after the other; `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(String);

impl From<String> for Secrets {
    fn from(secrets: String) -> Self {
        Self(secrets)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Config {
    /// Refuses a scheme without secrets, and secrets without a scheme.
    pub(super) fn check_senders(&self) -> Result<(), &'static str> {
        let is_signed = self.webhook_signature_scheme != SignatureScheme::None;
        match (is_signed, &self.webhook_secrets, &self.webhook_secrets_file) {
            _ if self.api_tokens.is_some() && self.api_tokens_file.is_some() => {
                Err("API_TOKENS and API_TOKENS_FILE exclude each other")
            }
            (_, Some(_), Some(_)) => {
                Err("WEBHOOK_SECRETS and WEBHOOK_SECRETS_FILE exclude each other")
            }
            (true, None, None) => Err("WEBHOOK_SIGNATURE_SCHEME needs WEBHOOK_SECRETS \
                 (--webhook-secrets) or WEBHOOK_SECRETS_FILE (--webhook-secrets-file)"),
            (false, Some(_), _) | (false, _, Some(_)) => Err(
                "WEBHOOK_SECRETS (--webhook-secrets) and WEBHOOK_SECRETS_FILE \
                 (--webhook-secrets-file) need WEBHOOK_SIGNATURE_SCHEME \
                 (--webhook-signature-scheme): how do senders sign?",
            ),
            _ => Ok(()),
        }
    }

    /// Refuses to let everybody in by mistake.
    pub(super) fn check_openness(&self) -> Result<(), String> {
        let addr = self.bind_addr;
        if self.insecure || addr.ip().is_loopback() || self.role == Role::Worker {
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
            "on BIND_ADDR {addr} anybody who reaches it could {}. Where something in front of it \
             sees to that, say --insecure (INSECURE=true)",
            missing.join(" and ")
        ))
    }

    /// Who may deliver and who may read, by the secrets and tokens as they are now.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or what it or a variable holds are no secrets or tokens.
    pub fn rules(&self) -> Result<Rules, SecretsError> {
        Ok(Rules {
            senders: self.verifier()?,
            tokens: self.tokens()?,
        })
    }

    fn tokens(&self) -> Result<Option<Vec<TokenDigest>>, SecretsError> {
        let name = "API_TOKENS_FILE";
        let Some(words) = words(
            self.api_tokens.as_ref(),
            name,
            self.api_tokens_file.as_ref(),
        )?
        else {
            return Ok(None);
        };
        let tokens = words.iter().map(|word| {
            let token = word.parse();
            token.map_err(|expected| SecretsError::Token { expected })
        });
        tokens.collect::<Result<_, _>>().map(Some)
    }

    fn verifier(&self) -> Result<Option<Arc<dyn Verifier>>, SecretsError> {
        let tolerance = self.webhook_tolerance_seconds;
        let secrets = self.secrets()?;
        Ok(Some(match &self.webhook_signature_scheme {
            SignatureScheme::None => return Ok(None),
            SignatureScheme::StandardWebhooks => {
                Arc::new(StandardWebhooks::new(secrets)?.within(tolerance))
            }
            SignatureScheme::Stripe => Arc::new(Stripe::new(secrets)?.within(tolerance)),
            SignatureScheme::BodyHmac(scheme) => {
                Arc::new(BodyHmac::new(within(scheme.clone(), tolerance), secrets)?)
            }
        }))
    }

    fn secrets(&self) -> Result<Vec<String>, SecretsError> {
        let file = self.webhook_secrets_file.as_ref();
        let secrets = words(self.webhook_secrets.as_ref(), "WEBHOOK_SECRETS_FILE", file)?;
        Ok(secrets.unwrap_or_default())
    }
}

/// What a variable holds, separated by commas or white space, or a file, a line each.
fn words(
    variable: Option<&Secrets>,
    file_name: &'static str,
    file: Option<&PathBuf>,
) -> Result<Option<Vec<String>>, SecretsError> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|source| SecretsError::File {
            name: file_name,
            file: file.clone(),
            source,
        })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(Some(lines.map(str::to_owned).collect()));
    }
    Ok(variable.map(|Secrets(text)| values::words(text).map(str::to_owned).collect()))
}

fn within(mut scheme: BodyHmacScheme, tolerance: Duration) -> BodyHmacScheme {
    if let Some(timestamp) = &mut scheme.timestamp {
        timestamp.tolerance = tolerance;
    }
    scheme
}

/// Why senders or readers cannot be known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The file cannot be read.
    #[error("cannot read {name} {}", file.display())]
    File {
        /// Its variable.
        name: &'static str,
        /// Its path.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What it holds are no secrets.
    #[error("WEBHOOK_SECRETS or WEBHOOK_SECRETS_FILE cannot be used")]
    Invalid(#[from] InvalidSecret),
    /// A token is written otherwise.
    #[error("API_TOKENS or API_TOKENS_FILE cannot be used: {expected}")]
    Token {
        /// What would be right.
        expected: String,
    },
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
