//! Authentication and TLS, as the configuration and its files are now.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::timeout;
use tracing::warn;
use webhook_sources::Keys;
use webhook_ui::Scope;

use super::error::StartError;
use super::sockets::Bound;
use crate::config::{Config, Forwarding, ReadTls, Role, SourcesFile};
use crate::http::{App, Auth, AuthConfig, HttpServer, Tls};
use crate::key_fetcher::KeyFetcher;
use crate::metrics::CERTIFICATE_EXPIRY;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long it may take to read all files of secrets, tokens and certificates. A file system on a
/// network may never answer.
pub(super) const FILES_TIMEOUT: Duration = Duration::from_secs(30);

/// How clients are authenticated, and how connections are encrypted.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) auth: Arc<Auth>,
    tls: Option<Arc<Tls>>,
    /// The sources as they were at the start.
    pub(super) sources: SourcesFile,
    /// Where transactions were to be forwarded to at the start.
    pub(super) forwarding: Option<Forwarding>,
    /// Fetches the keys of their senders.
    pub(super) keys: Arc<KeyFetcher>,
}

impl Access {
    /// Reads the files of `config`, and logs warnings about dangerous settings. Blocks.
    pub(super) fn read(config: &Config) -> Result<Self, StartError> {
        let auth = config.auth_config().map_err(StartError::Secrets)?;
        let keys = Arc::new(KeyFetcher::new());
        let known = Some(Arc::<KeyFetcher>::clone(&keys) as Arc<dyn Keys>);
        let sources = SourcesFile::read_with(config, known).map_err(StartError::Sources)?;
        for warning in config.warnings().iter().chain(&sources.warnings) {
            warn!("{warning}");
        }
        check_tokens(config, &auth)?;
        let tls = config.tls.read_all().map_err(StartError::Tls)?;
        measure_expiry(tls.as_ref());
        Ok(Self {
            forwarding: forwarding(config)?,
            auth: Arc::new(Auth::new(auth)),
            tls: tls.map(|tls| Arc::new(Tls::new(tls.config))),
            sources,
            keys,
        })
    }

    /// Reads the files of `config` again. From then on, authenticates new requests and encrypts new
    /// connections by what they hold.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it changes nothing.
    pub(super) async fn reload(&self, config: &Config) -> Result<(), StartError> {
        let read = blocking(config, |config| {
            let auth = config.auth_config().map_err(StartError::Secrets)?;
            Ok((auth, config.tls.read_all().map_err(StartError::Tls)?))
        });
        let (auth, tls): (AuthConfig, Option<ReadTls>) = read.await?;
        self.auth.replace(auth);
        if let (Some(current), Some(new)) = (&self.tls, tls) {
            measure_expiry(Some(&new));
            current.replace(new.config);
        }
        Ok(())
    }

    pub(super) const fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves `app` on the socket `bound`.
    pub(super) fn serve(&self, bound: Bound, app: App) -> Result<HttpServer, StartError> {
        let app = app.with_auth(Arc::clone(&self.auth));
        let Bound { name, addr, socket } = bound;
        let serve = || {
            let listener = socket.listen(BACKLOG)?;
            match &self.tls {
                None => HttpServer::start(listener, app),
                Some(tls) => HttpServer::start_tls(listener, Arc::clone(tls), app),
            }
        };
        serve().map_err(|source| StartError::Bind { name, addr, source })
    }
}

/// Refuses addresses that nobody could use, for want of a token.
pub(crate) fn check_tokens(config: &Config, auth: &AuthConfig) -> Result<(), StartError> {
    if let (Some(addr), false) = (config.operator_addr, auth.has_token_for(Scope::Operate)) {
        return Err(StartError::NoOperator { addr });
    }
    let metrics_addr = config.metrics_addr.filter(|addr| !addr.ip().is_loopback());
    if let (Some(addr), false) = (metrics_addr, auth.has_token_for(Scope::Metrics)) {
        return Err(StartError::NoMetricsToken { addr });
    }
    Ok(())
}

/// Tells in the metrics when the certificate expires.
fn measure_expiry(tls: Option<&ReadTls>) {
    let expires = tls.and_then(|tls| tls.expires?.duration_since(UNIX_EPOCH).ok());
    if let Some(expires) = expires {
        metrics::gauge!(CERTIFICATE_EXPIRY).set(expires.as_secs_f64());
    }
}

/// Where transactions are forwarded to; `None` if they are not, or in a process that does not process. Blocks.
pub(super) fn forwarding(config: &Config) -> Result<Option<Forwarding>, StartError> {
    if config.role == Role::Api {
        return Ok(None);
    }
    config.forwarding().map_err(StartError::Forward)
}

/// Runs `read`, which reads files, on a blocking thread: a file may be a pipe without a writer, or on
/// a network that does not answer.
pub(super) async fn blocking<T: Send + 'static>(
    config: &Config,
    read: impl FnOnce(&Config) -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let config = config.clone();
    let reading = tokio::task::spawn_blocking(move || read(&config));
    match timeout(FILES_TIMEOUT, reading).await {
        Ok(read) => read?,
        Err(_) => Err(StartError::FilesTimedOut),
    }
}
