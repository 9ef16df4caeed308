//! Whom a client trusts, and how it identifies itself.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tracing::warn;

use crate::connector::words;
use crate::error_class::ErrorClass;

/// Whom a client trusts, and the certificate that it shows, for URLs with `https://`.
///
/// TLS 1.2 and 1.3 are spoken. Clones are cheap and share sessions.
#[derive(Clone)]
pub struct Tls {
    /// The authorities that are trusted; without any, those of the system.
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<CertifiedKey>>,
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Tls {
    /// Trusts the authorities that the system trusts, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of these
    /// variables is set. The files are read when the first connection is made, and not again: for new ones, make
    /// another value.
    pub fn system() -> Self {
        Self::new(None, None)
    }

    /// Trusts these authorities alone: certificates in PEM (RFC 7468), one or more.
    ///
    /// # Errors
    ///
    /// Fails where `pem` holds no certificate, or one that cannot be read.
    pub fn with_authorities(self, pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(TlsError::Authority)?;
        }
        Ok(Self::new(Some(Arc::new(roots)), self.identity))
    }

    /// Shows this certificate to destinations that ask for one: a chain in PEM, the client's own certificate first, and
    /// its private key in PEM.
    ///
    /// # Errors
    ///
    /// Fails where one of the two cannot be read, or where the key is not that of the certificate.
    pub fn with_identity(self, certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(certificate_pem)?;
        // The error of the parser may quote the key.
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| TlsError::NoKey)?;
        let identity =
            CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Identity)?;
        Ok(Self::new(self.authorities, Some(Arc::new(identity))))
    }

    fn new(authorities: Option<Arc<RootCertStore>>, identity: Option<Arc<CertifiedKey>>) -> Self {
        Self {
            authorities,
            identity,
            config: Arc::default(),
        }
    }

    /// The configuration of rustls, which is made once. Reads files off the runtime's threads.
    pub(crate) async fn client_config(&self) -> Arc<ClientConfig> {
        if let Some(config) = self.config.get() {
            return Arc::clone(config);
        }
        let this = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            Arc::clone(this.config.get_or_init(|| Arc::new(this.new_config())))
        });
        match made.await {
            Ok(config) => config,
            // The runtime shuts down: nobody will use what is returned.
            Err(_) => Arc::new(self.clone().new_config()),
        }
    }

    fn new_config(&self) -> ClientConfig {
        let roots = match &self.authorities {
            Some(roots) => Arc::clone(roots),
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(system_authorities());
                Arc::new(roots)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let identity = SingleCertAndKey::from(Arc::clone(identity));
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(identity);
                builder.with_client_cert_resolver(resolver)
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Why certificates or a key cannot be used. No message quotes them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no certificate in PEM that can be read.
    #[error("it contains no certificate in PEM that can be read")]
    NoCertificate,
    /// There is no private key in PEM that can be read.
    #[error("it contains no private key in PEM that can be read")]
    NoKey,
    /// A certificate of an authority cannot be used.
    #[error("the certificate of the authority cannot be used")]
    Authority(#[source] rustls::Error),
    /// The client's certificate and key cannot be used together.
    #[error("the client's certificate and key cannot be used together")]
    Identity(#[source] rustls::Error),
}

/// Reads the certificates of the authorities that the system trusts: those in `SSL_CERT_FILE` and `SSL_CERT_DIR` if one
/// of these variables is set. What cannot be read is logged and left out.
///
/// Blocks while it reads files.
pub fn system_authorities() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        let error: &(dyn std::error::Error + 'static) = error;
        warn!(error, "failed to read certificates of authorities");
    }
    if found.certs.is_empty() {
        warn!(
            "no certificates of authorities found, so that no HTTPS request can be made; install them, or set \
             SSL_CERT_FILE"
        );
    }
    found.certs
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NoCertificate),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why a handshake with `host` at `peer` failed, as a class and one line.
pub(crate) fn failure(error: &io::Error, host: &str, peer: &str) -> (ErrorClass, String) {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(error) => failure_of_rustls(error, host, peer),
        None => {
            let words = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
                _ => words(error),
            };
            let message = format!("the TLS handshake with {peer} failed: {words}");
            (ErrorClass::TlsHandshake, message)
        }
    }
}

/// See [`failure`].
pub(crate) fn failure_of_rustls(
    error: &rustls::Error,
    host: &str,
    peer: &str,
) -> (ErrorClass, String) {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            let message = format!("the certificate of {host} ({peer}) {}", flaw(reason));
            (ErrorClass::TlsVerify, message)
        }
        rustls::Error::NoCertificatesPresented => {
            let message = format!("{host} ({peer}) shows no certificate");
            (ErrorClass::TlsVerify, message)
        }
        rustls::Error::InvalidMessage(_) => {
            let message = format!("{peer} does not speak TLS");
            (ErrorClass::TlsHandshake, message)
        }
        rustls::Error::AlertReceived(alert) => {
            let message = format!("{peer} refuses the TLS connection: {}", refusal(*alert));
            (ErrorClass::TlsHandshake, message)
        }
        error => {
            let message = format!("the TLS handshake with {peer} failed: {error}");
            (ErrorClass::TlsHandshake, message)
        }
    }
}

/// What is wrong with a certificate: the end of a sentence that begins with it.
fn flaw(error: &CertificateError) -> String {
    let day = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "a day far away".to_owned(), |time| time.to_string())
    };
    match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired at {}", day(*not_after))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", day(*not_before))
        }
        // The signature is bad where an authority was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by an authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForName => "is not valid for this name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => match presented.as_slice() {
            [] => "is valid for no name".to_owned(),
            names => format!("is not valid for this name, but for {}", listed(names)),
        },
        CertificateError::Revoked => "is revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not meant for servers".to_owned()
        }
        // By webpki, whose errors rustls passes on. `openssl req -x509` makes such certificates.
        CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
            "is marked as that of an authority (CA:TRUE), which a server cannot use".to_owned()
        }
        other => format!("cannot be verified: {other}"),
    }
}

/// At most this many names of a certificate are put into a message.
const MAX_NAMES: usize = 3;

fn listed(names: &[String]) -> String {
    // rustls has `DnsName("example.com")` and `IpAddress(127.0.0.1)` here.
    let name = |text: &String| {
        let name = text.split_once('(').map_or(text.as_str(), |(_, name)| name);
        name.trim_end_matches(')').trim_matches('"').to_owned()
    };
    let mut text = names
        .iter()
        .take(MAX_NAMES)
        .map(name)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MAX_NAMES {
        text.push_str(", …");
    }
    text
}

/// What an alert of the peer means.
fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a client certificate".to_owned(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!("it does not accept the client certificate, or wants one ({alert:?})")
        }
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3".to_owned(),
        AlertDescription::UnrecognisedName => "it does not know the host name".to_owned(),
        alert => format!("{alert:?}"),
    }
}
