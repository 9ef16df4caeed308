//! TLS: which certificate the server shows, and whose it asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::ring;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::files::{self, FileError, Guard};
use super::pem::{self, PemError};

/// The files, in PEM. Read again on SIGHUP.
#[derive(Clone, Debug, Default, Args)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Speak TLS 1.2 and 1.3, and nothing else, with the certificate in this file, and those
    /// between it and its root
    #[arg(long, env, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// The certificate's private key
    #[arg(long, env, value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Serve only clients that show a certificate signed by one of those in this file
    #[arg(long, env, value_name = "FILE")]
    pub tls_client_ca_file: Option<PathBuf>,
}

impl TlsFiles {
    /// Refuses what makes no sense together.
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

    /// The settings of TLS that the files describe; `None` where there is no TLS. Blocks while it
    /// reads.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds no key or certificate, or key and certificate do not
    /// belong together. No error quotes a file.
    pub fn read(&self) -> Result<Option<ServerConfig>, TlsError> {
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
        Ok(Some(builder.with_single_cert(chain, key)?))
    }
}

/// What `parse` finds in the file at `path`.
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

/// Why there can be no TLS.
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
    /// A file does not hold what its variable asks for.
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
    /// Key and certificate are no pair, or of a sort that is not supported.
    #[error("cannot use the certificates and the key")]
    Unusable(#[from] rustls::Error),
    /// The roots of clients' certificates are none.
    #[error("cannot use the certificates in TLS_CLIENT_CA_FILE")]
    Clients(#[from] VerifierBuilderError),
}
