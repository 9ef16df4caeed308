//! The halves put together, as the role says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpSocket;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tracing::{error, field, info, warn};
use webhook_core::{Drained, Pipeline};

use crate::backend::{Backend, OpenError};
use crate::config::{Config, Role, SecretsError, TlsError};
use crate::file_limit;
use crate::handler::LogTransaction;
use crate::http::{App, Auth, AuthConfig, HttpServer, Tls};
use crate::transaction::Transaction;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How many connections operators may have on an address of their own.
const OPERATORS_CONNECTIONS: usize = 64;

/// How long all files of secrets, tokens and certificates may take to be read. A file system on a
/// network may never answer.
const FILES_TIMEOUT: Duration = Duration::from_secs(30);

/// How often refusals are summed up in the log.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// A running server.
///
/// Dropped without a [`shutdown`](Self::shutdown), its HTTP side goes on.
#[derive(Debug)]
pub struct Server {
    listening: HttpServer,
    for_operators: Option<HttpServer>,
    pipeline: Pipeline,
    summaries: Summaries,
    access: Access,
    backend: Backend,
    drain: Duration,
}

impl Server {
    /// Opens the backend that `config` names, and starts.
    ///
    /// # Errors
    ///
    /// When an address is taken, secrets or certificates cannot be used, or the database does not
    /// answer in time.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        // The addresses first: who has taken one is known at once, the database is waited for.
        // Nobody is kept waiting in the backlog meanwhile, since no socket listens yet.
        let sockets = Sockets::bind(config)?;
        let access = blocking(config, Access::read).await?;
        let backend = Backend::open(config).await.map_err(StartError::Backend)?;
        Self::on(sockets, access, backend, config)
    }

    /// Starts on a backend that is open.
    ///
    /// # Errors
    ///
    /// When an address is taken, or secrets or certificates cannot be used.
    pub fn start_on(backend: Backend, config: &Config) -> Result<Self, StartError> {
        Self::on(
            Sockets::bind(config)?,
            Access::read(config)?,
            backend,
            config,
        )
    }

    fn on(
        sockets: Sockets,
        access: Access,
        backend: Backend,
        config: &Config,
    ) -> Result<Self, StartError> {
        let pipeline = pipeline(&backend, config);
        let inbox = (config.role != Role::Worker).then(|| pipeline.inbox().clone());
        let store = Arc::clone(&backend.store);
        let mut options = config.http_options();
        options.max_connections = file_limit::raise(options.max_connections);
        let mut app = match &inbox {
            Some(inbox) => App::new(inbox.clone(), store, options),
            None => App::without_inbox(store, options),
        };
        let mut for_operators = None;
        if let Some(operator) = backend.admin.clone() {
            match sockets.for_operators {
                Some(socket) => {
                    let mut options = config.http_options();
                    options.max_connections = OPERATORS_CONNECTIONS;
                    let app = App::without_inbox(Arc::clone(&backend.store), options);
                    let app = app.with_admin(operator);
                    for_operators = Some(access.serve(socket, app)?);
                }
                None if inbox.is_some() => app = app.with_admin(operator),
                None => {}
            }
        }
        let listening = access.serve(sockets.for_all, app)?;
        info!(
            addr = %listening.addr(),
            operator_addr = for_operators.as_ref().map(|it| field::display(it.addr())),
            tls = access.tls.is_some(),
            role = %config.role,
            processing_delay_seconds = config.processing_delay_seconds.as_secs_f64(),
            lease_seconds = config.processing_stale_timeout_seconds.as_secs_f64(),
            "listening"
        );
        Ok(Self {
            listening,
            for_operators,
            pipeline,
            summaries: Summaries::start(Arc::clone(&access.auth)),
            access,
            backend,
            drain: config.drain_seconds,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub const fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// Reads secrets, tokens and certificates of `config` again. Where that fails, all those from
    /// before stay, and the log says so.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it changes nothing.
    pub async fn reload(&self, config: &Config) {
        let read = blocking(config, |config| {
            let auth = config.auth_config().map_err(StartError::Secrets)?;
            Ok((auth, config.tls.read().map_err(StartError::Tls)?))
        });
        match read.await {
            Ok((auth, tls)) => {
                self.access.replace(auth, tls);
                info!("secrets, tokens and certificates read again");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                error!(
                    error,
                    "failed to read secrets, tokens and certificates again, those from before stay"
                );
            }
        }
    }

    /// Takes no more connections and claims no more events, lets requests and handlers finish for
    /// up to the drain time, hands back what is left, and closes the inbox and the backend.
    pub async fn shutdown(self) {
        let drain = self.drain;
        let for_operators = async {
            match self.for_operators {
                Some(listening) => listening.shutdown(drain).await,
                None => 0,
            }
        };
        let listening = async { tokio::join!(self.listening.shutdown(drain), for_operators) };
        let (drained, (cut_off, operators_cut_off)) =
            self.pipeline.shutdown_with(drain, listening).await;
        let cut_off = cut_off + operators_cut_off;
        drop(self.summaries);
        self.access.auth.log_rejections();
        self.backend.close().await;
        if cut_off > 0 || drained != Drained::default() {
            warn!(
                connections = cut_off,
                handed_back = drained.released,
                unsettled = drained.unsettled,
                "drain time was too short for all"
            );
        }
    }
}

/// What the role of this process accepts, processes and deletes.
fn pipeline(backend: &Backend, config: &Config) -> Pipeline {
    let (store, scheduler) = (&backend.store, &backend.scheduler);
    let pipeline = Pipeline::builder_of(Arc::clone(store), Arc::clone(scheduler))
        .inbox(config.inbox_options());
    if config.role == Role::Api {
        return pipeline.start();
    }
    let mut pipeline = pipeline.handle_with::<Transaction>(config.worker_options(), LogTransaction);
    if let (Some(retention), Some(operator)) = (config.retention(), &backend.admin) {
        pipeline = pipeline.retain(Arc::clone(operator), retention);
    }
    pipeline.start()
}

/// A task that sums up refusals in the log each minute, until it is dropped.
#[derive(Debug)]
struct Summaries(JoinHandle<()>);

impl Summaries {
    fn start(auth: Arc<Auth>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SUMMARY_INTERVAL).await;
                auth.log_rejections();
            }
        }))
    }
}

impl Drop for Summaries {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `read`, which reads files, where it holds up no task: a file may be a pipe that nobody
/// writes to, or on a network that does not answer.
async fn blocking<T: Send + 'static>(
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

/// Who may come, and how they are listened to.
#[derive(Debug)]
struct Access {
    auth: Arc<Auth>,
    tls: Option<Arc<Tls>>,
}

impl Access {
    fn read(config: &Config) -> Result<Self, StartError> {
        let auth = config.auth_config().map_err(StartError::Secrets)?;
        for warning in config.warnings() {
            warn!("{warning}");
        }
        if let (Some(addr), false) = (config.operator_addr, auth.has_operator_token()) {
            return Err(StartError::NoOperator { addr });
        }
        let tls = config.tls.read().map_err(StartError::Tls)?;
        Ok(Self {
            auth: Arc::new(Auth::new(auth)),
            tls: tls.map(|tls| Arc::new(Tls::new(tls))),
        })
    }

    /// Judges new requests by `auth`, and meets new connections with `tls`.
    fn replace(&self, auth: AuthConfig, tls: Option<ServerConfig>) {
        self.auth.replace(auth);
        if let (Some(held), Some(fresh)) = (&self.tls, tls) {
            held.replace(fresh);
        }
    }

    /// Listens to those who may come.
    fn serve(&self, bound: Bound, app: App) -> Result<HttpServer, StartError> {
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

/// The addresses, taken.
struct Sockets {
    for_all: Bound,
    for_operators: Option<Bound>,
}

/// A socket that does not listen yet.
struct Bound {
    name: &'static str,
    addr: SocketAddr,
    socket: TcpSocket,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let for_operators = config.operator_addr;
        Ok(Self {
            for_all: Bound::to("BIND_ADDR", config.bind_addr)?,
            for_operators: for_operators
                .map(|addr| Bound::to("OPERATOR_ADDR", addr))
                .transpose()?,
        })
    }
}

impl Bound {
    fn to(name: &'static str, addr: SocketAddr) -> Result<Self, StartError> {
        let bind = || {
            let socket = if addr.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A restart must not wait for the connections of the process before. Elsewhere than on
            // Unix the option would let two servers take one port.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(Self { name, addr, socket })
        };
        bind().map_err(|source| StartError::Bind { name, addr, source })
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {name} {addr}")]
    Bind {
        /// Its variable.
        name: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is to prove who senders and readers are cannot be used.
    #[error("invalid webhook secrets or API tokens")]
    Secrets(#[source] SecretsError),
    /// Operators have an address, and nobody is one.
    #[error(
        "OPERATOR_ADDR {addr} is of no use without a token in API_TOKENS or API_TOKENS_FILE that \
         `webhook-server token operate` made"
    )]
    NoOperator {
        /// Their address.
        addr: SocketAddr,
    },
    /// Certificates or keys cannot be used.
    #[error("cannot speak TLS")]
    Tls(#[source] TlsError),
    /// The backend cannot be opened.
    #[error("cannot open the database")]
    Backend(#[source] OpenError),
    /// The task that reads files panicked.
    #[error("failed to read files")]
    Files(#[from] JoinError),
    /// A file of secrets, tokens or certificates cannot be read in time.
    #[error(
        "the files of secrets, tokens and certificates were not read within {FILES_TIMEOUT:?}: is \
         their file system reachable?"
    )]
    FilesTimedOut,
}
