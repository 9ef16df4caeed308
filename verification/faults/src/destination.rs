//! Destinations of forwarded events, which the harness serves itself: each does well, or as badly
//! as it is told.

mod conduct;
mod received;
mod request;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use testkit::port::Port;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

pub(crate) use conduct::Conduct;
pub(crate) use received::Received;

/// The key that signs what is forwarded.
pub(crate) const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The pause before an address that is in use is tried again: connections of the killed listener
/// may still be there.
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// A destination.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The name of the source whose events it gets.
    pub(crate) name: &'static str,
    port: Port,
    is_encrypted: bool,
    shared: Arc<Shared>,
    /// Its listener, and the connections. Aborted, it leaves what a killed process leaves.
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    conduct: watch::Sender<Conduct>,
    received: Mutex<Received>,
    /// How many events it has answered with a success.
    answered: watch::Sender<u64>,
    certificates: Option<Certificates>,
}

impl Destination {
    /// Starts a destination. Its certificates are signed by `authority` if it has one; without, it
    /// speaks plain HTTP.
    pub(crate) fn start(name: &'static str, authority: Option<&Authority>) -> anyhow::Result<Self> {
        let port = Port::reserve()?;
        let shared = Arc::new(Shared {
            name,
            conduct: watch::Sender::new(Conduct::Well),
            received: Mutex::default(),
            answered: watch::Sender::default(),
            certificates: authority.map(Authority::certificates).transpose()?,
        });
        Ok(Self {
            name,
            is_encrypted: authority.is_some(),
            server: tokio::spawn(Arc::clone(&shared).serve(port.addr())),
            port,
            shared,
        })
    }

    /// Its URL, which differs with each `version`.
    pub(crate) fn url(&self, version: u32) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}/hooks?version={version}", self.port.addr())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Does so from the next request on. A conduct without a listener ends all connections.
    pub(crate) fn behave(&self, conduct: Conduct) {
        self.shared.conduct.send_replace(conduct);
    }

    /// Moves to another address. Nothing listens at the former one any more.
    pub(crate) fn move_away(&mut self) -> anyhow::Result<()> {
        self.server.abort();
        self.port = Port::reserve()?;
        self.server = tokio::spawn(Arc::clone(&self.shared).serve(self.port.addr()));
        Ok(())
    }

    /// Changes with each event that it has answered with a success.
    pub(crate) fn answered(&self) -> watch::Receiver<u64> {
        self.shared.answered.subscribe()
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        // The records are valid even if another thread panicked.
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, addr: SocketAddr) {
        let mut conduct = self.conduct.subscribe();
        while conduct.wait_for(|it| it.listens()).await.is_ok() {
            let Ok(listener) = TcpListener::bind(addr).await else {
                sleep(BIND_PAUSE).await;
                continue;
            };
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((tcp, _)) = accepted {
                            connections.spawn(Arc::clone(&self).connection(tcp));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                    _ = conduct.wait_for(|it| !it.listens()) => break,
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream) {
        // Dropped, it is reset, as when its process is killed. What was sent before may be lost
        // then.
        if tcp.set_zero_linger().is_err() {
            return;
        }
        let Some(certificates) = &self.certificates else {
            return self.requests(tcp).await;
        };
        let conduct = *self.conduct.borrow();
        match certificates.of(conduct).accept(tcp).await {
            Ok(tls) => self.requests(tls).await,
            Err(_) => self.received().refused_handshakes += 1,
        }
    }

    async fn requests(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = request::read(&mut stream).await {
            let conduct = *self.conduct.borrow();
            self.received().note(self.name, &request, conduct);
            let mut changed = self.conduct.subscribe();
            let until_changed = async {
                let _ = changed.wait_for(|it| *it != conduct).await;
            };
            let keeps_open = conduct.answer(&mut stream, until_changed).await;
            if conduct.takes() {
                self.answered.send_modify(|answered| *answered += 1);
            }
            if !keeps_open {
                return;
            }
        }
    }
}

/// Signs certificates of destinations.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new([])?;
        let name = "authority of the fault runs";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn certificates(&self) -> anyhow::Result<Certificates> {
        let acceptor = |last_year| {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(last_year, 1, 1);
            let chain = vec![params.signed_by(&key, &self.0)?.der().clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .context("the certificate does not suit its key")?;
            anyhow::Ok(TlsAcceptor::from(Arc::new(config)))
        };
        Ok(Certificates {
            expired: acceptor(2021)?,
            valid: acceptor(4000)?,
        })
    }
}

/// What a destination with `https://` shows.
struct Certificates {
    expired: TlsAcceptor,
    valid: TlsAcceptor,
}

impl Certificates {
    fn of(&self, conduct: Conduct) -> &TlsAcceptor {
        match conduct {
            Conduct::Expired => &self.expired,
            _ => &self.valid,
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}
