//! libpq's connection parameters: each is honoured, refused, or ignored because it is harmless.
//!
//! The names are those of PostgreSQL's documentation, "Parameter Key Words", versions 13 to 18.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::wrong;
use crate::error::PgError;
use crate::tls_files::TlsFile;

/// Parameters that are passed to sqlx, which honours them.
pub(super) const HONOURED: [&str; 8] = [
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
];

/// Parameters that affect neither security nor the choice of the server: network time-outs, names for GSSAPI
/// (which is never used), and pool options of other clients.
const IGNORED: [&str; 18] = [
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "fallback_application_name",
    "sslcompression",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "load_balance_hosts",
    "schema",
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "prepared_statement_cache_size",
    "supa",
];

/// Parameters with the values that match what sqlx does anyway; other values are refused.
const ALLOWED_VALUES: [(&str, &[&str]); 14] = [
    ("gssencmode", &["disable", "prefer"]),
    ("sslnegotiation", &["postgres"]),
    ("sslsni", &["1"]),
    ("sslcertmode", &["allow"]),
    ("ssl_min_protocol_version", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("ssl_max_protocol_version", &["TLSv1.3"]),
    // The statements write, so a read-only server returns an error.
    ("target_session_attrs", &["any", "read-write", "primary"]),
    (
        "client_encoding",
        &["UTF8", "utf8", "UTF-8", "utf-8", "auto"],
    ),
    ("replication", &["false", "off", "no", "0"]),
    ("min_protocol_version", &["3.0"]),
    ("max_protocol_version", &["3.0", "3.2", "latest"]),
    ("channel_binding", &["disable", "prefer", "require"]),
    ("sslmode", &MODES),
    (
        "ssl",
        &[
            "true",
            "True",
            "1",
            "false",
            "False",
            "0",
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ],
    ),
];

/// Parameters that must not be empty, as in libpq: probably a variable that should contain the value is not
/// set. Other empty parameters count as missing.
const NEVER_EMPTY: [&str; 7] = [
    "sslmode",
    "ssl",
    "channel_binding",
    "gssencmode",
    "sslnegotiation",
    "sslcertmode",
    "target_session_attrs",
];

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Parameters that cannot be honoured, so that every value is refused.
const REFUSED: [&str; 14] = [
    "require_auth",
    "requirepeer",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslkeylogfile",
    "passfile",
    "service",
    "servicefile",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
];

/// The environment variables for parameters that the URL does not set. sqlx itself reads the variables for the
/// host, the user, the database and the password.
const ENVIRONMENT: [(&str, &str); 20] = [
    ("PGHOSTADDR", "hostaddr"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLSNI", "sslsni"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGCLIENTENCODING", "client_encoding"),
];

/// The parameters of a connection, by name. If a name occurs several times, the last value counts.
#[derive(Default)]
pub(super) struct Parameters {
    values: BTreeMap<String, String>,
}

impl Parameters {
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.values.insert(name.to_owned(), value);
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Adds a parameter of the query. `may_name` says whether an error may show its name.
    pub(super) fn take(
        &mut self,
        name: &str,
        value: String,
        may_name: bool,
    ) -> Result<(), PgError> {
        let is_known = |known: &str| {
            HONOURED.contains(&known)
                || IGNORED.contains(&known)
                || REFUSED.contains(&known)
                || ALLOWED_VALUES.iter().any(|(name, _)| *name == known)
                || matches!(known, "host" | "hostaddr" | "port" | "options")
        };
        if is_known(name) {
            check(name, &value, name)?;
            self.set(name, value);
            return Ok(());
        }
        let lower = name.to_ascii_lowercase();
        Err(wrong(if is_known(&lower) {
            format!("its parameter `{lower}` must be written in lower case")
        } else if may_name {
            format!("its parameter `{name}` is unknown")
        } else {
            "one of its parameters is unknown".to_owned()
        }))
    }

    /// Adds the parameters of the environment that the URL does not set.
    pub(super) fn add_environment(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), PgError> {
        for (variable_name, name) in ENVIRONMENT {
            let is_set = self.values.contains_key(name);
            // sqlx accepts the certificate or key itself instead of a file.
            let is_pem = |it: &str| {
                matches!(name, "sslcert" | "sslkey") && it.trim_start().starts_with("-----BEGIN")
            };
            if let Some(value) =
                variable(variable_name).filter(|it| !is_set && !it.is_empty() && !is_pem(it))
            {
                check(name, &value, variable_name)?;
                self.set(name, value);
            }
        }
        Ok(())
    }

    /// Returns the files with certificates and keys.
    pub(super) fn tls_files(&self) -> Vec<TlsFile> {
        let named = ["sslrootcert", "sslcert", "sslkey"]
            .into_iter()
            .filter_map(|name| Some((name, self.value(name)?)))
            // `system` is not a file: it means the authorities of the system.
            .filter(|named| *named != ("sslrootcert", "system"));
        named.map(|(name, path)| TlsFile::new(name, path)).collect()
    }

    /// Raises `sslmode` to the level that the other parameters need.
    pub(super) fn settle_security(&mut self, home: Option<PathBuf>) -> Result<(), PgError> {
        let mode = self.value("sslmode").map(str::to_owned);
        let is_off = matches!(mode.as_deref(), Some("disable" | "allow"));
        if self.value("sslrootcert") == Some("system") {
            if !matches!(mode.as_deref(), None | Some("verify-full")) {
                return Err(wrong("`sslrootcert=system` needs `sslmode=verify-full`"));
            }
            self.set("sslmode", "verify-full".to_owned());
        }
        // libpq reads this file as well.
        let root = home.map(|home| home.join(".postgresql/root.crt"));
        let verifies = matches!(
            mode.as_deref(),
            Some("require" | "verify-ca" | "verify-full")
        );
        if let Some(root) = root.filter(|root| root.exists())
            && verifies
            && self.value("sslrootcert").is_none()
        {
            self.set("sslrootcert", root.to_string_lossy().into_owned());
        }
        match (mode.as_deref(), self.value("sslrootcert")) {
            // To libpq, both mean `verify-ca`. sqlx trusts the system's authorities in addition to the given
            // one, so without a check of the host name, a certificate from any public authority would be
            // accepted.
            (Some("require" | "verify-ca"), Some(_)) => {
                self.set("sslmode", "verify-full".to_owned());
            }
            (Some("verify-ca"), None) => {
                return Err(wrong(
                    "`sslmode=verify-ca` needs `sslrootcert`: without it, a certificate from any public \
                     authority would be accepted; or use `sslmode=verify-full`",
                ));
            }
            _ => {}
        }
        if self.value("channel_binding") == Some("require") {
            let is_socket = self.value("hostaddr").is_none()
                && self.value("host").is_some_and(|host| host.starts_with('/'));
            if is_off || is_socket {
                return Err(wrong(
                    "`channel_binding=require` needs TLS: `sslmode=verify-full`",
                ));
            }
            // sqlx does not support SCRAM-SHA-256-PLUS. Verifying the server's certificate and name protects
            // from a man in the middle as well.
            self.set("sslmode", "verify-full".to_owned());
        }
        let names_both = self.value("host").is_some() && self.value("hostaddr").is_some();
        if names_both && self.value("sslmode") == Some("verify-full") {
            return Err(wrong(
                "`sslmode=verify-full` cannot verify `hostaddr` (or PGHOSTADDR) together with a host: \
                 remove `hostaddr`",
            ));
        }
        Ok(())
    }
}

/// Refuses a parameter that cannot be honoured. `shown` is its name in the error.
fn check(name: &str, value: &str, shown: &str) -> Result<(), PgError> {
    if value.is_empty() && !NEVER_EMPTY.contains(&name) {
        return Ok(());
    }
    if REFUSED.contains(&name) {
        return Err(wrong(format!("`{shown}` is not supported: remove it")));
    }
    match ALLOWED_VALUES.iter().find(|(known, _)| *known == name) {
        Some((_, values)) if !values.contains(&value) => Err(wrong(format!(
            "`{shown}` has a value that is not supported: use `{}`",
            values.join("`, `")
        ))),
        _ => Ok(()),
    }
}
