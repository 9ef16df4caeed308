//! Warnings about settings that work but are dangerous.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, Role, SignatureScheme, forward, text};
use crate::http::AnonymousAccess;

/// A longer tolerance for timestamps leaves captured deliveries valid for long.
const LONG_TOLERANCE: Duration = Duration::from_secs(600);

impl Config {
    /// What is dangerous in this configuration, and what to do about it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.role != Role::Worker {
            self.warn_of_anonymous_access(&mut warnings);
        }
        let tolerance = self.webhook_tolerance_seconds;
        if self.has_timestamps() && tolerance > LONG_TOLERANCE {
            warnings.push(format!(
                "WEBHOOK_TOLERANCE_SECONDS is {}: a captured delivery can be replayed for that long; \
                 set at most {}",
                tolerance.as_secs_f64(),
                LONG_TOLERANCE.as_secs()
            ));
        }
        warnings.extend(self.key_retention_warning());
        if self.tls.tls_cert_file.is_none() {
            self.warn_of_plain_text(&mut warnings);
        }
        if let Some(url) = &self.forward_url {
            let is_signed = self.forward_secrets.is_some() || self.forward_secrets_file.is_some();
            warnings.extend(forward::warnings(url, is_signed));
        }
        if self.may_hold_list() {
            warnings.push(
                "WEBHOOK_SECRETS contains a comma or the characters \\n, which are taken as part \
                 of one secret: write several secrets one per line, or into a file"
                    .to_owned(),
            );
        }
        warnings
    }

    fn warn_of_anonymous_access(&self, warnings: &mut Vec<String>) {
        let addr = self.bind_addr;
        let clients = if self.tls.tls_client_ca_file.is_some() {
            "every client with a certificate"
        } else if self.insecure {
            "anyone who can reach the server"
        } else {
            "every program on this machine"
        };
        let changes = match self.anonymous_access() {
            AnonymousAccess::LocalPrograms => "read and change all events",
            AnonymousAccess::Everyone => "read events",
        };
        let sign = "set WEBHOOK_SIGNATURE_SCHEME and WEBHOOK_SECRETS";
        let token = "set API_TOKENS to the digest that `webhook-server token operate` prints";
        let anyone_delivers = self.webhook_signature_scheme == SignatureScheme::None;
        warnings.extend(match (anyone_delivers, self.has_tokens()) {
            (true, false) => Some(format!(
                "{clients} may deliver transactions to {addr}, and {changes}: to accept signed \
                 transactions only, {sign}; to require tokens, {token}"
            )),
            (true, true) => Some(format!(
                "{clients} may deliver transactions to {addr}: to accept signed ones only, {sign}"
            )),
            (false, false) => Some(format!("{clients} may {changes} on {addr}: {token}")),
            (false, true) => None,
        });
    }

    fn warn_of_plain_text(&self, warnings: &mut Vec<String>) {
        let is_public = |addr: SocketAddr| !addr.ip().is_loopback();
        let advice = "set TLS_CERT_FILE and TLS_KEY_FILE, or have a proxy on this machine encrypt";
        if let Some(addr) = self.operator_addr.filter(|addr| is_public(*addr)) {
            warnings.push(format!(
                "OPERATOR_ADDR {addr} is reached without TLS: operators send their tokens in plain \
                 text; {advice}"
            ));
        }
        if let Some(addr) = self.metrics_addr.filter(|addr| is_public(*addr)) {
            warnings.push(format!(
                "METRICS_ADDR {addr} is reached without TLS: the token is sent in plain text; {advice}"
            ));
        }
        if self.role != Role::Worker && self.has_tokens() && is_public(self.bind_addr) {
            warnings.push(format!(
                "BIND_ADDR {} is reached without TLS: readers send their tokens in plain text; \
                 {advice}",
                self.bind_addr
            ));
        }
    }

    const fn has_tokens(&self) -> bool {
        self.api_tokens.is_some() || self.api_tokens_file.is_some()
    }

    /// Whether signatures contain a timestamp.
    pub(super) fn has_timestamps(&self) -> bool {
        let scheme = self.webhook_signature_scheme.scheme();
        scheme.is_some_and(|mut scheme| {
            let mut times = 0;
            scheme.each_time(&mut |_| times += 1);
            times > 0
        })
    }

    /// Whether the variable looks like a list of secrets in one line, which is taken as one secret.
    fn may_hold_list(&self) -> bool {
        let is_standard = self.webhook_signature_scheme.is_standard();
        let is_list = |secret: &str| secret.contains(',') || secret.contains("\\n");
        let secrets = self.webhook_secrets.as_ref();
        !is_standard && secrets.is_some_and(|secrets| is_list(text::value(secrets.expose())))
    }
}
