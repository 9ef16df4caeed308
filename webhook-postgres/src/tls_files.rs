//! Checks the files of certificates and keys before a connection needs them.
//!
//! sqlx reads them during the handshake, where a missing one looks like an error of the network,
//! and takes an authority's file without a certificate for one that adds nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sqlx::postgres::PgSslMode;

use crate::error::PgError;

/// Longer files are not searched to their end.
const MAX_BYTES: u64 = 1 << 20;

const CERTIFICATE: &[&str] = &["-----BEGIN CERTIFICATE-----"];

/// The forms of keys that rustls reads; none of them is encrypted.
const KEY: &[&str] = &[
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----",
];

/// A file that a connection parameter names.
#[derive(Clone, Debug)]
pub(crate) struct TlsFile {
    parameter: &'static str,
    path: PathBuf,
}

impl TlsFile {
    /// The file of `parameter`: `sslrootcert`, `sslcert` or `sslkey`.
    pub(crate) fn new(parameter: &'static str, path: &str) -> Self {
        Self {
            parameter,
            path: path.into(),
        }
    }

    /// Whether a connection of `mode` reads it.
    pub(crate) fn is_used(&self, mode: PgSslMode) -> bool {
        match mode {
            PgSslMode::Disable | PgSslMode::Allow => false,
            PgSslMode::Prefer | PgSslMode::Require => self.parameter != "sslrootcert",
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
        }
    }

    /// Checks that it can be read and holds what it should.
    pub(crate) fn check(&self) -> Result<(), PgError> {
        let io = |source| self.wrong("it cannot be read", Some(source));
        let metadata = std::fs::metadata(&self.path).map_err(io)?;
        // A pipe would be empty for the second connection, or be waited for.
        if !metadata.is_file() {
            return Err(self.wrong("it is not a regular file", None));
        }
        let mut content = Vec::new();
        let file = File::open(&self.path).map_err(io)?;
        file.take(MAX_BYTES).read_to_end(&mut content).map_err(io)?;
        let (markers, problem) = if self.parameter == "sslkey" {
            (KEY, "it holds no unencrypted private key in PEM")
        } else {
            (CERTIFICATE, "it holds no certificate in PEM")
        };
        let holds = |marker: &&str| {
            let mut places = content.windows(marker.len());
            places.any(|place| place == marker.as_bytes())
        };
        if markers.iter().any(holds) {
            Ok(())
        } else {
            Err(self.wrong(problem, None))
        }
    }

    fn wrong(&self, problem: &'static str, source: Option<std::io::Error>) -> PgError {
        PgError::TlsFile {
            parameter: self.parameter,
            file: self.shown(),
            problem,
            source,
        }
    }

    /// Its path, unless it may be a key that somebody gave in place of its file: not even one of its
    /// folders exists.
    fn shown(&self) -> String {
        let text = self.path.to_string_lossy();
        let mut folders = self.path.ancestors().filter(|it| it.parent().is_some());
        let may_be_key = self.parameter == "sslkey" && !folders.any(Path::exists);
        if may_be_key || text.contains("-----") || text.contains(char::is_control) {
            "its file".to_owned()
        } else {
            format!("the file {text}")
        }
    }
}
