//! [`SourceWorkers`]: processes and deletes the events of the sources.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::info;
use webhook_core::{Admin, Drained, Kind, Retention, Scheduler, Worker, WorkerOptions};

use super::Sources;
use crate::config::SourceConfig;
use crate::handler::LogEvent;

/// The worker of all sources, and their retention. A reload replaces both where anything about them changes.
pub(crate) struct SourceWorkers {
    scheduler: Arc<dyn Scheduler>,
    /// Without it, nothing is deleted.
    admin: Option<Arc<dyn Admin>>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    kind: Kind,
    max_attempts: NonZeroU32,
    concurrency: usize,
}

impl SourceWorkers {
    /// Nothing runs yet. Workers have `options`, except for what each source sets, and `drain` to finish when
    /// they are replaced.
    pub(crate) fn new(
        scheduler: Arc<dyn Scheduler>,
        admin: Option<Arc<dyn Admin>>,
        options: WorkerOptions,
        drain: Duration,
    ) -> Self {
        Self {
            scheduler,
            admin,
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
        let plan: Vec<_> = configs().map(Plan::of).collect();
        if plan != running.plan {
            let worker = self.start(&plan);
            if let Some(former) = std::mem::replace(&mut running.worker, worker) {
                let drain = self.drain;
                self.draining.spawn(async move {
                    let Drained {
                        released,
                        unsettled,
                        ..
                    } = former.shutdown(drain).await;
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

    fn start(&self, plan: &[Plan]) -> Option<Worker> {
        if plan.is_empty() {
            return None;
        }
        let worker = plan.iter().fold(Worker::builder(), |worker, plan| {
            let options = self.options.clone();
            let options = options
                .with_max_attempts(plan.max_attempts)
                .with_concurrency(plan.concurrency);
            worker.handle_raw(plan.kind.clone(), options, LogEvent)
        });
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

impl Plan {
    fn of(config: &SourceConfig) -> Self {
        Self {
            kind: config.name.clone(),
            max_attempts: config.max_attempts,
            concurrency: config.concurrency,
        }
    }
}
