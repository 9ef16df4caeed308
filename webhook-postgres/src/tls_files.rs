//! Checks the files with certificates and keys before a connection needs them.
//!
//! sqlx reads them during the handshake, where a missing file looks like a network error. It also accepts a
//! file of authorities that contains no certificate.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sqlx::postgres::PgSslMode;

use crate::error::PgError;

/// Only this many bytes of a file are searched.
const MAX_BYTES: u64 = 1 << 20;

const CERTIFICATE: &[&str] = &["-----BEGIN CERTIFICATE-----"];

/// The key formats that rustls reads. None of them is encrypted.
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

    /// Whether a connection with this `mode` reads the file.
    pub(crate) fn is_used(&self, mode: PgSslMode) -> bool {
        match mode {
            PgSslMode::Disable | PgSslMode::Allow => false,
            PgSslMode::Prefer | PgSslMode::Require => self.parameter != "sslrootcert",
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
        }
    }

    /// Checks that the file can be read, and contains a certificate or a key.
    pub(crate) fn check(&self) -> Result<(), PgError> {
        let io = |source| self.wrong("it cannot be read", Some(source));
        let metadata = std::fs::metadata(&self.path).map_err(io)?;
        // A pipe would be empty for the second connection, or would block.
        if !metadata.is_file() {
            return Err(self.wrong("it is not a regular file", None));
        }
        let mut content = Vec::new();
        let file = File::open(&self.path).map_err(io)?;
        file.take(MAX_BYTES).read_to_end(&mut content).map_err(io)?;
        let (markers, problem) = if self.parameter == "sslkey" {
            (KEY, "it contains no unencrypted private key in PEM format")
        } else {
            (CERTIFICATE, "it contains no certificate in PEM format")
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

    /// The path of the file, unless it may be the key itself, given by mistake: then not even one of its
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
