//! The server: HTTP, inbox, worker and retention, as far as the role of the process needs them.

mod access;
mod error;
mod sockets;
mod sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{error, field, info, warn};
use webhook_core::{Drained, Pipeline};
use webhook_forward::Forwarder;
use webhook_ui::Instance;

use crate::backend::{Backend, Health};
use crate::config::{Config, Role};
use crate::destinations::Destinations;
use crate::file_limit;
use crate::handler::LogTransaction;
use crate::http::{App, Auth, HttpServer};
use crate::instance::ServerInstance;
use crate::metrics::{BUILD_INFO, CONFIG_RELOADS, Exporter, Sampled, Sampler};
use crate::traces::{Traced, Traces};
use crate::transaction::Transaction;
use crate::views::transaction_kind;
pub(crate) use access::check_tokens;
use access::{Access, blocking};
pub use error::StartError;
use sockets::Sockets;
use sources::RunningSources;

/// How many connections `OPERATOR_ADDR` accepts.
const MAX_OPERATOR_CONNECTIONS: usize = 64;

/// How often the log sums up rejected requests.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// A running server.
///
/// Call [`shutdown`](Self::shutdown) to stop it: if it is dropped, its HTTP side keeps running.
#[derive(Debug)]
pub struct Server {
    http: HttpServer,
    operator_http: Option<HttpServer>,
    metrics_http: Option<HttpServer>,
    pipeline: Pipeline,
    sources: Option<RunningSources>,
    destinations: Arc<Destinations>,
    summaries: Summaries,
    sampler: Option<Sampler>,
    access: Access,
    backend: Backend,
    health: Option<Arc<Health>>,
    traces: Option<Arc<Traces>>,
    drain: Duration,
}

impl Server {
    /// Opens the backend that `config` names, and starts.
    ///
    /// # Errors
    ///
    /// When an address is in use, secrets, tokens or certificates cannot be used, or the database does
    /// not answer in time.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        // Bind first: an address in use is an error at once, while the database is waited for. The
        // sockets do not listen yet, so no client waits in a backlog meanwhile.
        let sockets = Sockets::bind(config)?;
        Exporter::of_process();
        let access = blocking(config, Access::read).await?;
        let backend = Backend::open(config, access.sources.guarded_kinds())
            .await
            .map_err(StartError::Backend)?;
        Self::start_with(sockets, access, backend, config)
    }

    /// Starts on a backend that is open. Blocks while it reads files.
    ///
    /// # Errors
    ///
    /// When an address is in use, or secrets, tokens or certificates cannot be used.
    pub fn start_on(backend: Backend, config: &Config) -> Result<Self, StartError> {
        Exporter::of_process();
        Self::start_with(
            Sockets::bind(config)?,
            Access::read(config)?,
            backend,
            config,
        )
    }

    fn start_with(
        sockets: Sockets,
        mut access: Access,
        backend: Backend,
        config: &Config,
    ) -> Result<Self, StartError> {
        // Everything registers its metrics when it is made, so the exporter was installed first.
        let exporter = Exporter::of_process();
        for result in ["ok", "failed"] {
            let _ = metrics::counter!(CONFIG_RELOADS, "result" => result);
        }
        metrics::gauge!(
            BUILD_INFO,
            "version" => env!("CARGO_PKG_VERSION"), "store" => backend.name()
        )
        .set(1.0);
        // Without routes for operators, nobody would see it.
        let health = (backend.admin.is_some()).then(|| Arc::new(Health::watch(&backend)));
        let traces = Traces::start(config);
        let destinations = Destinations::new(backend.admin.clone(), traces.clone());
        let destinations = Arc::new(destinations);
        let forwarding = access.forwarding.take();
        let forwarder = forwarding
            .and_then(|forwarding| destinations.forwarder(&transaction_kind(), &forwarding));
        let pipeline = pipeline(&backend, config, forwarder, traces.clone());
        let file = std::mem::take(&mut access.sources);
        let longest_body = file
            .sources
            .iter()
            .map(|source| source.max_body_bytes)
            .max();
        let keys = Arc::clone(&access.keys);
        let sources =
            RunningSources::start(file, keys, &backend, &destinations, traces.as_ref(), config);
        let inbox = (config.role != Role::Worker).then(|| pipeline.inbox().clone());
        let store = Arc::clone(&backend.store);
        let mut options = config.http_options();
        options.max_connections = file_limit::raise(options.max_connections);
        options.make_room_for(longest_body.unwrap_or_default());
        let public_app = |options| {
            let app = match &inbox {
                Some(inbox) => App::new(inbox.clone(), Arc::clone(&store), options),
                None => App::without_inbox(Arc::clone(&store), options),
            };
            let app = app.with_traces(traces.clone());
            match &sources {
                Some(sources) => sources.serve(app, &backend),
                None => app,
            }
        };
        let sampler = backend.admin.clone().map(|admin| {
            let sources = sources.as_ref().map(RunningSources::sources);
            let sampled = Sampled {
                admin,
                stores: backend.measured(),
                role: config.role.to_string(),
                kinds: Box::new(move || {
                    let sources = sources.iter().flat_map(|it| it.all());
                    let kinds = sources.map(|source| source.config.name.clone());
                    std::iter::once(transaction_kind()).chain(kinds).collect()
                }),
            };
            Sampler::start(sampled, exporter)
        });
        let draining = Arc::<AtomicBool>::default();
        let instance = ServerInstance::new(
            config,
            &backend,
            sockets.base_url(access.has_tls()),
            sources.as_ref().and_then(RunningSources::shown),
            Arc::clone(&destinations),
            inbox.is_some().then(|| {
                let app = public_app(config.http_options());
                Arc::new(app.with_auth(Arc::clone(&access.auth)))
            }),
            Arc::clone(&draining),
        );
        let samples = sampler.as_ref().map(|it| Arc::clone(it.samples()));
        let instance = instance.with_samples(samples).with_health(health.clone());
        let instance = Arc::new(instance);
        let operated = |app: App, admin| {
            app.with_admin(admin).with_instance(
                Arc::<ServerInstance>::clone(&instance) as Arc<dyn Instance>,
                Arc::clone(&draining),
            )
        };
        let metrics_elsewhere = sockets.metrics.is_some();
        let metrics_http = match sockets.metrics {
            Some(socket) => {
                let mut options = config.http_options();
                options.max_connections = MAX_OPERATOR_CONNECTIONS;
                let app = App::without_inbox(Arc::clone(&backend.store), options);
                Some(access.serve(socket, app.with_metrics(exporter))?)
            }
            None => None,
        };
        let with_metrics = |app: App| {
            if metrics_elsewhere {
                app
            } else {
                app.with_metrics(exporter)
            }
        };
        let mut app = public_app(options);
        let mut operator_http = None;
        if let Some(admin) = backend.admin.clone() {
            match sockets.operators {
                Some(socket) => {
                    let mut options = config.http_options();
                    options.max_connections = MAX_OPERATOR_CONNECTIONS;
                    let app = App::without_inbox(Arc::clone(&backend.store), options);
                    operator_http = Some(access.serve(socket, with_metrics(operated(app, admin)))?);
                }
                None if inbox.is_some() => {
                    app = with_metrics(operated(app, admin));
                }
                None => {}
            }
        }
        let http = access.serve(sockets.public, app)?;
        info!(
            addr = %http.addr(),
            operator_addr = operator_http.as_ref().map(|it| field::display(it.addr())),
            metrics_addr = metrics_http.as_ref().map(|it| field::display(it.addr())),
            tls = access.has_tls(),
            role = %config.role,
            processing_delay_seconds = config.processing_delay_seconds.as_secs_f64(),
            lease_seconds = config.processing_stale_timeout_seconds.as_secs_f64(),
            "listening"
        );
        Ok(Self {
            http,
            operator_http,
            metrics_http,
            pipeline,
            sources,
            destinations,
            summaries: Summaries::start(Arc::clone(&access.auth)),
            sampler,
            access,
            backend,
            health,
            traces,
            drain: config.drain_seconds,
        })
    }

    /// The address that the server listens on, with the port that the system chose for port 0.
    pub const fn addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// Reads the secrets, tokens and certificates of `config` again. If that fails, logs why, and keeps all
    /// of the current ones. Then reads the keys for `FORWARD_URL` and the sources again, and keeps those that cannot be
    /// used as they are.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it may have replaced the former and not the latter.
    pub async fn reload(&self, config: &Config) {
        let mut is_complete = true;
        match self.access.reload(config).await {
            Ok(()) => info!("secrets, tokens and certificates reloaded"),
            Err(error) => {
                is_complete = false;
                let error = &error as &dyn std::error::Error;
                error!(
                    error,
                    "failed to reload secrets, tokens and certificates; the current ones stay in use"
                );
            }
        }
        match blocking(config, access::forwarding).await {
            Ok(Some(forwarding)) => {
                self.destinations
                    .forwarder(&transaction_kind(), &forwarding);
                info!("keys for FORWARD_URL reloaded");
            }
            Ok(None) => {}
            Err(error) => {
                is_complete = false;
                let error = &error as &dyn std::error::Error;
                error!(
                    error,
                    "failed to reload the keys for FORWARD_URL; the current ones stay in use"
                );
            }
        }
        if let Some(sources) = &self.sources {
            is_complete &= sources.reload(config).await;
        }
        let result = if is_complete { "ok" } else { "failed" };
        metrics::counter!(CONFIG_RELOADS, "result" => result).increment(1);
    }

    /// Drains the server: accepts no more connections and claims no more events, lets requests and
    /// handlers finish for up to the drain time, releases the events that are left, and closes the
    /// inbox and the backend.
    pub async fn shutdown(self) {
        let drain = self.drain;
        let operator_http = async {
            match self.operator_http {
                Some(http) => http.shutdown(drain).await,
                None => 0,
            }
        };
        let metrics_http = async {
            match self.metrics_http {
                Some(http) => http.shutdown(drain).await,
                None => 0,
            }
        };
        let http = async { tokio::join!(self.http.shutdown(drain), operator_http, metrics_http) };
        let sources = async {
            match &self.sources {
                Some(sources) => sources.stop_workers().await,
                None => Drained::default(),
            }
        };
        let ((drained, (aborted, operators_aborted, readers_aborted)), of_sources) =
            tokio::join!(self.pipeline.shutdown_with(drain, http), sources);
        if let Some(sources) = &self.sources {
            sources.close().await;
        }
        let aborted = aborted + operators_aborted + readers_aborted;
        let released = drained.released + of_sources.released;
        let unsettled = drained.unsettled + of_sources.unsettled;
        drop(self.summaries);
        self.access.auth.log_rejections();
        if let Some(health) = &self.health {
            health.stop();
        }
        if let Some(sampler) = self.sampler {
            sampler.stop().await;
        }
        let traces = async {
            if let Some(traces) = &self.traces {
                traces.shutdown().await;
            }
        };
        tokio::join!(self.backend.close(), traces);
        if aborted > 0 || released > 0 || unsettled > 0 {
            warn!(
                connections = aborted,
                released, unsettled, "drain time ended before all requests and handlers did"
            );
        }
    }
}

/// Starts what the role of this process needs: inbox, worker, retention. `forwarder` forwards transactions.
fn pipeline(
    backend: &Backend,
    config: &Config,
    forwarder: Option<Forwarder>,
    traces: Option<Arc<Traces>>,
) -> Pipeline {
    let (store, scheduler) = (&backend.store, &backend.scheduler);
    let pipeline = Pipeline::builder_of(Arc::clone(store), Arc::clone(scheduler))
        .inbox(config.inbox_options());
    if config.role == Role::Api {
        return pipeline.start();
    }
    let options = config.worker_options();
    let mut pipeline = match forwarder {
        Some(forwarder) => {
            let options = forwarder.worker_options(options);
            pipeline.handle_raw(transaction_kind(), options, Traced::new(forwarder, traces))
        }
        // They wait until the server is started with a destination that can be used.
        None if config.forward_url.is_some() => pipeline,
        None => pipeline.handle_with::<Transaction>(options, Traced::new(LogTransaction, traces)),
    };
    if let (Some(retention), Some(admin)) = (config.retention(), &backend.admin) {
        pipeline = pipeline.retain(Arc::clone(admin), retention);
    }
    pipeline.start()
}

/// A task that sums up rejected requests in the log, until it is dropped.
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
