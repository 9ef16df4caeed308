//! The halves put together, as the role says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info, warn};
use webhook_core::{Drained, Inbox, Transaction, Worker};

use crate::backend::{Backend, OpenError};
use crate::config::{Config, Role, SecretsError};
use crate::file_limit;
use crate::handler::LogTransaction;
use crate::http::{Gate, Listening, Site};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How often what is old enough is forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// A running server.
///
/// Dropped without a [`shutdown`](Self::shutdown), its HTTP side goes on.
#[derive(Debug)]
pub struct Server {
    listening: Listening,
    inbox: Option<Inbox>,
    worker: Option<Worker>,
    forgetting: Option<Forgetting>,
    gate: Arc<Gate>,
    backend: Backend,
    drain: Duration,
}

impl Server {
    /// Opens the backend that `config` names, and starts.
    ///
    /// # Errors
    ///
    /// When the address is taken, the secrets cannot be used or the database does not answer in
    /// time.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        // The address first: who has taken it is known at once, the database is waited for. Nobody
        // is kept waiting in the backlog meanwhile, since the socket does not listen yet.
        let socket = bind(config.bind_addr)?;
        let gate = gate(config)?;
        let backend = Backend::open(config).await.map_err(StartError::Backend)?;
        Self::on(socket, gate, backend, config)
    }

    /// Starts on a backend that is open.
    ///
    /// # Errors
    ///
    /// When the address is taken, or the secrets cannot be used.
    pub fn start_on(backend: Backend, config: &Config) -> Result<Self, StartError> {
        Self::on(bind(config.bind_addr)?, gate(config)?, backend, config)
    }

    fn on(
        socket: TcpSocket,
        gate: Arc<Gate>,
        backend: Backend,
        config: &Config,
    ) -> Result<Self, StartError> {
        let listener = listen(socket, config)?;
        let inbox = (config.role != Role::Worker)
            .then(|| Inbox::new(Arc::clone(&backend.store), config.inbox_options()));
        let worker = (config.role != Role::Api).then(|| {
            Worker::start::<Transaction>(
                Arc::clone(&backend.scheduler),
                LogTransaction,
                config.worker_options(),
            )
        });
        let forgetting = (config.role != Role::Api)
            .then(|| Forgetting::start(config, &backend))
            .flatten();
        let store = Arc::clone(&backend.store);
        let mut options = config.http_options();
        options.max_connections = file_limit::raise(options.max_connections);
        let site = match &inbox {
            Some(inbox) => Site::of_inbox(inbox.clone(), store, options).behind(Arc::clone(&gate)),
            None => Site::of_worker(store, options),
        };
        let listening = Listening::start(listener, site).map_err(|source| StartError::Bind {
            addr: config.bind_addr,
            source,
        })?;
        info!(
            addr = %listening.addr(),
            role = %config.role,
            processing_delay_seconds = config.processing_delay_seconds.as_secs_f64(),
            lease_seconds = config.processing_stale_timeout_seconds.as_secs_f64(),
            "listening"
        );
        Ok(Self {
            listening,
            inbox,
            worker,
            forgetting,
            gate,
            backend,
            drain: config.drain_seconds,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub const fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// Reads the secrets and tokens of `config` again. Where that fails, those from before stay, and the log
    /// says so.
    pub fn reload(&self, config: &Config) {
        match config.rules() {
            Ok(rules) => {
                self.gate.replace(rules);
                info!("secrets and tokens read again");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                error!(
                    error,
                    "failed to read secrets and tokens again, those from before stay"
                );
            }
        }
    }

    /// Takes no more connections and claims no more events, lets requests and handlers finish for
    /// up to the drain time, hands back what is left, and closes the inbox and the backend.
    pub async fn shutdown(self) {
        let drain = self.drain;
        let worker = async {
            match self.worker {
                Some(worker) => worker.shutdown(drain).await,
                None => Drained::default(),
            }
        };
        let (cut_off, drained) = tokio::join!(self.listening.shutdown(drain), worker);
        if let Some(inbox) = self.inbox {
            inbox.close().await;
        }
        if let Some(forgetting) = self.forgetting {
            forgetting.stop().await;
        }
        self.backend.close().await;
        if cut_off > 0 || drained != Drained::default() {
            warn!(
                connections = cut_off,
                handed_back = drained.released,
                unsettled = drained.left,
                "drain time was too short for all"
            );
        }
    }
}

/// Retention at work, until it is stopped or dropped.
#[derive(Debug)]
struct Forgetting {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Forgetting {
    fn start(config: &Config, backend: &Backend) -> Option<Self> {
        let retention = config.retention()?;
        let operator = Arc::clone(backend.operator.as_ref()?);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task =
            tokio::spawn(async move { retention.run(operator, SWEEP_INTERVAL, stopped).await });
        Some(Self {
            stop: stop.drop_guard(),
            task,
        })
    }

    async fn stop(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

fn gate(config: &Config) -> Result<Arc<Gate>, StartError> {
    let rules = config.rules().map_err(StartError::Secrets)?;
    if config.role != Role::Worker && (rules.senders.is_none() || rules.tokens.is_none()) {
        warn!(
            addr = %config.bind_addr,
            anybody_may_deliver = rules.senders.is_none(),
            anybody_may_read = rules.tokens.is_none(),
            "open to everybody who reaches it"
        );
    }
    Ok(Arc::new(Gate::new(rules)))
}

fn bind(addr: SocketAddr) -> Result<TcpSocket, StartError> {
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
        Ok(socket)
    };
    bind().map_err(|source| StartError::Bind { addr, source })
}

fn listen(socket: TcpSocket, config: &Config) -> Result<TcpListener, StartError> {
    socket.listen(BACKLOG).map_err(|source| StartError::Bind {
        addr: config.bind_addr,
        source,
    })
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on BIND_ADDR {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is to prove who senders and readers are cannot be used.
    #[error("cannot know who is who")]
    Secrets(#[source] SecretsError),
    /// The backend cannot be opened.
    #[error("cannot open the database")]
    Backend(#[source] OpenError),
}
