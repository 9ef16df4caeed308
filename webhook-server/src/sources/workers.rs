//! [`SourceWorkers`]: processes and deletes the events of the sources.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::info;
use webhook_core::{Admin, Drained, Kind, Retention, Scheduler, Worker, WorkerOptions};
use webhook_forward::Forwarder;

use super::Sources;
use crate::config::SourceConfig;
use crate::destinations::Destinations;
use crate::handler::LogEvent;
use crate::traces::{Traced, Traces};
use crate::views::transaction_kind;

/// The worker of all sources, and their retention. A reload replaces both where anything about them changes.
pub(crate) struct SourceWorkers {
    scheduler: Arc<dyn Scheduler>,
    /// Without it, nothing is deleted.
    admin: Option<Arc<dyn Admin>>,
    destinations: Arc<Destinations>,
    traces: Option<Arc<Traces>>,
    /// What applies to all sources.
    options: WorkerOptions,
    drain: Duration,
    running: Mutex<Running>,
    /// Workers that were replaced, and let their handlers finish.
    draining: TaskTracker,
}

/// What runs, and the plans that it was started by.
#[derive(Debug, Default)]
struct Running {
    plan: Vec<Plan>,
    worker: Option<Worker>,
    retentions: Vec<Retention>,
    sweeps: Vec<AbortOnDropHandle<()>>,
}

/// How the events of a source are processed.
#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    options: WorkerOptions,
    /// Without one, the log has a line for each event.
    forwarder: Option<Forwarder>,
}

impl SourceWorkers {
    /// Nothing runs yet. Workers have `options`, except for what each source sets, and `drain` to finish when
    /// they are replaced.
    pub(crate) fn new(
        scheduler: Arc<dyn Scheduler>,
        admin: Option<Arc<dyn Admin>>,
        destinations: Arc<Destinations>,
        traces: Option<Arc<Traces>>,
        options: WorkerOptions,
        drain: Duration,
    ) -> Self {
        Self {
            scheduler,
            admin,
            destinations,
            traces,
            options,
            drain,
            running: Mutex::default(),
            draining: TaskTracker::new(),
        }
    }

    /// Processes the events of `sources` from now on. A worker that this replaces claims nothing more, and lets
    /// its handlers finish; events whose handlers do not are claimed by the new one.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn follow(&self, sources: &Sources) {
        let sources = sources.all();
        let configs = || sources.iter().map(|source| &source.config);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let plan: Vec<_> = configs().filter_map(|config| self.plan(config)).collect();
        let is_forwarded = |kind: &Kind| {
            let mut forwarded = plan.iter().filter(|it| it.forwarder.is_some());
            *kind == transaction_kind() || forwarded.any(|it| it.kind == *kind)
        };
        self.destinations.retain(is_forwarded);
        if plan != running.plan {
            // Before the new one starts, so that what is accepted from now on is not processed as before.
            let former = running.worker.take().map(|it| it.shutdown(self.drain));
            running.worker = self.start(&plan);
            if let Some(former) = former {
                self.draining.spawn(async move {
                    let Drained {
                        released,
                        unsettled,
                        ..
                    } = former.await;
                    info!(
                        released,
                        unsettled, "the former worker of the sources has ended"
                    );
                });
            }
            running.plan = plan;
        }
        let retentions: Vec<_> = configs().filter_map(SourceConfig::retention).collect();
        if retentions != running.retentions {
            running.sweeps = retentions.iter().filter_map(|it| self.sweep(it)).collect();
            running.retentions = retentions;
        }
    }

    /// Lets all handlers finish for up to the drain time, and releases the events of the others.
    pub(crate) async fn shutdown(&self) -> Drained {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        drop(running.sweeps);
        self.draining.close();
        let worker = async {
            match running.worker {
                Some(worker) => worker.shutdown(self.drain).await,
                None => Drained::default(),
            }
        };
        let (drained, ()) = tokio::join!(worker, self.draining.wait());
        drained
    }

    /// How the events of this source are processed; `None` if they have to wait.
    fn plan(&self, config: &SourceConfig) -> Option<Plan> {
        let options = self.options.clone();
        let options = options
            .with_max_attempts(config.max_attempts)
            .with_concurrency(config.concurrency);
        let (options, forwarder) = match &config.forward {
            Some(forward) => {
                let forwarder = self.destinations.forwarder(&config.name, forward)?;
                (forwarder.worker_options(options), Some(forwarder))
            }
            None => (options, None),
        };
        Some(Plan {
            kind: config.name.clone(),
            options,
            forwarder,
        })
    }

    fn start(&self, plan: &[Plan]) -> Option<Worker> {
        if plan.is_empty() {
            return None;
        }
        let worker = plan.iter().cloned().fold(
            Worker::builder(),
            |worker,
             Plan {
                 kind,
                 options,
                 forwarder,
             }| {
                let traces = self.traces.clone();
                match forwarder {
                    Some(forwarder) => {
                        worker.handle_raw(kind, options, Traced::new(forwarder, traces))
                    }
                    None => worker.handle_raw(kind, options, Traced::new(LogEvent, traces)),
                }
            },
        );
        Some(worker.start(Arc::clone(&self.scheduler)))
    }

    fn sweep(&self, retention: &Retention) -> Option<AbortOnDropHandle<()>> {
        let (admin, retention) = (self.admin.clone()?, retention.clone());
        let sweeps = async move { retention.run(admin).await };
        Some(AbortOnDropHandle::new(tokio::spawn(sweeps)))
    }
}

impl fmt::Debug for SourceWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceWorkers")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// Whether a running worker does the same: a forwarder takes another destination while it runs.
impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        let compared = |plan: &Self| {
            let WorkerOptions {
                concurrency,
                max_attempts,
                handler_timeout,
                ..
            } = plan.options;
            (
                plan.forwarder.is_some(),
                concurrency,
                max_attempts,
                handler_timeout,
            )
        };
        self.kind == other.kind && compared(self) == compared(other)
    }
}
