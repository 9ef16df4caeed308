//! The options of TLS: the certificate of the server, and the authorities of client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::files::{self, FileError, Guard};
use super::pem::{self, PemError};

/// The PEM files of TLS. Reloaded on SIGHUP.
#[derive(Clone, Debug, Default, Args)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Serve TLS 1.2 and 1.3 only, with the certificate chain in this file: the certificate first, then
    /// the intermediates
    #[arg(long, env, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key of the certificate
    #[arg(long, env, value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Serve only clients with a certificate that is signed by one of those in this file
    #[arg(long, env, value_name = "FILE")]
    pub tls_client_ca_file: Option<PathBuf>,
}

impl TlsFiles {
    /// Refuses options that contradict each other.
    pub(super) const fn check(&self) -> Result<(), &'static str> {
        match (
            &self.tls_cert_file,
            &self.tls_key_file,
            &self.tls_client_ca_file,
        ) {
            (Some(_), Some(_), _) | (None, None, None) => Ok(()),
            (Some(_), None, _) => {
                Err("TLS_CERT_FILE (--tls-cert-file) needs TLS_KEY_FILE (--tls-key-file)")
            }
            (None, Some(_), _) => {
                Err("TLS_KEY_FILE (--tls-key-file) needs TLS_CERT_FILE (--tls-cert-file)")
            }
            (None, None, Some(_)) => Err(
                "TLS_CLIENT_CA_FILE (--tls-client-ca-file) needs TLS_CERT_FILE and TLS_KEY_FILE",
            ),
        }
    }

    /// Whether TLS is served.
    #[cfg(feature = "otel")]
    pub(crate) const fn is_set(&self) -> bool {
        self.tls_cert_file.is_some()
    }

    /// Reads the files. `None` without TLS. Blocks while it reads.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, contains no key or certificate, or the key is not that of the
    /// certificate. No error quotes a file.
    pub fn read(&self) -> Result<Option<ServerConfig>, TlsError> {
        Ok(self.read_all()?.map(|read| read.config))
    }

    pub(crate) fn read_all(&self) -> Result<Option<ReadTls>, TlsError> {
        let (Some(cert_file), Some(key_file)) = (&self.tls_cert_file, &self.tls_key_file) else {
            return Ok(None);
        };
        let chain = read("TLS_CERT_FILE", cert_file, Guard::Trust, pem::certificates)?;
        let key = read("TLS_KEY_FILE", key_file, Guard::Secret, pem::private_key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match &self.tls_client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in read("TLS_CLIENT_CA_FILE", file, Guard::Trust, pem::certificates)? {
                    roots.add(root)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let expires = expiry(&chain);
        Ok(Some(ReadTls {
            config: builder.with_single_cert(chain, key)?,
            expires,
        }))
    }
}

impl TlsFiles {
    /// Until when the certificate of the server is valid, if its file can be read. Blocks while it reads.
    pub(crate) fn not_after(&self) -> Option<SystemTime> {
        let file = self.tls_cert_file.as_ref()?;
        expiry(&read("TLS_CERT_FILE", file, Guard::Trust, pem::certificates).ok()?)
    }
}

/// What the files hold.
pub(crate) struct ReadTls {
    pub(crate) config: ServerConfig,
    /// When the certificate expires.
    pub(crate) expires: Option<SystemTime>,
}

/// When the certificate expires that a server shows, the first of its `chain`; `None` if it cannot be parsed, as
/// rustls finds as well.
fn expiry(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let validity = certificate.tbs_certificate().validity();
    UNIX_EPOCH.checked_add(validity.not_after.to_unix_duration())
}

/// Reads and parses the file at `path`.
fn read<T>(
    name: &'static str,
    path: &Path,
    guard: Guard,
    parse: impl Fn(&str) -> Result<T, PemError>,
) -> Result<T, TlsError> {
    let file = || path.to_owned();
    let text = files::read(name, path, guard).map_err(|source| TlsError::File {
        name,
        file: file(),
        source,
    })?;
    parse(&text).map_err(|source| TlsError::Pem {
        name,
        file: file(),
        source,
    })
}

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot use {name}{}", files::shown(file))]
    File {
        /// Its variable.
        name: &'static str,
        /// Its path.
        file: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: FileError,
    },
    /// A file does not contain what its variable needs.
    #[error("cannot use {name}{}", files::shown(file))]
    Pem {
        /// Its variable.
        name: &'static str,
        /// Its path.
        file: PathBuf,
        /// What is wrong with its content.
        #[source]
        source: PemError,
    },
    /// The key is not that of the certificate, or one of them is not supported.
    #[error("invalid certificates or private key")]
    Unusable(#[from] rustls::Error),
    /// The authorities of client certificates are invalid.
    #[error("invalid certificates in TLS_CLIENT_CA_FILE")]
    Clients(#[from] VerifierBuilderError),
}
