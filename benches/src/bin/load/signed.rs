//! Signed deliveries to sources, and the configuration of those sources.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How many sources take signed deliveries.
pub(crate) const SOURCES: usize = 20;

/// The length of a signature in hexadecimal digits.
pub(crate) const SIGNATURE_DIGITS: usize = 64;

/// The header of the signature, in the form of a line of a request.
pub(crate) const SIGNATURE_HEADER: &str = "X-Signature: ";

/// The variable of the secret.
pub(crate) const SECRET_VARIABLE: &str = "LOAD_SECRET";

/// The secret of all sources.
pub(crate) const SECRET: &str = "a-secret-of-the-load-bench";

/// The path of a source.
pub(crate) fn path(source: usize) -> String {
    format!("/v1/webhooks/load-{source}")
}

/// How each source verifies and identifies deliveries.
pub(crate) const SPECIFICATION: &str = r#"id = "json:/transaction_id"
scheme.hmac = { signed = "{body}", signature = { at = "header:x-signature" } }
"#;

/// The `webhook.toml` of the sources, whose events are due after `delay`.
pub(crate) fn configuration(delay: Duration) -> String {
    let mut text = String::new();
    for source in 0..SOURCES {
        write!(
            text,
            "[sources.load-{source}]\n\
             secrets = [\"env:{SECRET_VARIABLE}\"]\n\
             delay = \"{} ms\"\n\
             {SPECIFICATION}\n",
            delay.as_millis()
        )
        .expect("a string has room");
    }
    text
}

/// Signs bodies.
#[derive(Clone, Debug)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    pub(crate) fn new() -> Self {
        Self(Hmac::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length"))
    }

    pub(crate) fn sign(&self, body: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}
