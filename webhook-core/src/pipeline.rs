//! From a backend and a handler to a running inbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::Handler;
use crate::inbox::{Inbox, InboxOptions};
use crate::payload::Payload;
use crate::scheduler::Scheduler;
use crate::store::Store;
use crate::worker::{Drained, Worker, WorkerOptions};

/// Both halves in one process: an [`Inbox`], and a [`Worker`] for each kind that has a handler.
///
/// A process that only accepts takes an [`Inbox`] alone; one that only processes, a [`Worker`].
#[derive(Debug)]
pub struct Pipeline {
    inbox: Inbox,
    workers: Vec<Worker>,
}

impl Pipeline {
    /// Starts to put a pipeline together on `backend`.
    pub fn builder(backend: impl Store + Scheduler) -> PipelineBuilder {
        let backend = Arc::new(backend);
        PipelineBuilder {
            store: Arc::clone(&backend) as Arc<dyn Store>,
            scheduler: backend,
            inbox: InboxOptions::default(),
            workers: Vec::new(),
        }
    }

    /// Where deliveries go in.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Refuses new deliveries, makes durable what is queued, stops claiming, lets handlers finish
    /// for up to `drain`, and hands the rest back.
    pub async fn shutdown(self, drain: Duration) -> Drained {
        self.inbox.close().await;
        let drains = self
            .workers
            .into_iter()
            .map(|worker| worker.shutdown(drain));
        let drained = futures_util::future::join_all(drains).await;
        drained
            .into_iter()
            .fold(Drained::default(), |sum, it| Drained {
                released: sum.released + it.released,
                left: sum.left + it.left,
            })
    }
}

/// Puts a [`Pipeline`] together.
pub struct PipelineBuilder {
    store: Arc<dyn Store>,
    scheduler: Arc<dyn Scheduler>,
    inbox: InboxOptions,
    workers: Vec<StartWorker>,
}

type StartWorker = Box<dyn FnOnce(Arc<dyn Scheduler>) -> Worker + Send>;

impl PipelineBuilder {
    /// Takes `options` for the inbox instead of the defaults.
    #[must_use]
    pub fn inbox(self, options: InboxOptions) -> Self {
        Self {
            inbox: options,
            ..self
        }
    }

    /// Processes the events of kind `P::KIND` with `handler`, with default options.
    #[must_use]
    pub fn handle<P: Payload>(self, handler: impl Handler<P>) -> Self {
        self.handle_with(WorkerOptions::default(), handler)
    }

    /// Processes the events of kind `P::KIND` with `handler`.
    #[must_use]
    pub fn handle_with<P: Payload>(
        mut self,
        options: WorkerOptions,
        handler: impl Handler<P>,
    ) -> Self {
        self.workers.push(Box::new(move |scheduler| {
            Worker::start::<P>(scheduler, handler, options)
        }));
        self
    }

    /// Starts to accept and to process.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, or when a payload's kind is not a valid one.
    pub fn start(self) -> Pipeline {
        let scheduler = self.scheduler;
        let start = |start: StartWorker| start(Arc::clone(&scheduler));
        Pipeline {
            inbox: Inbox::new(self.store, self.inbox),
            workers: self.workers.into_iter().map(start).collect(),
        }
    }
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("inbox", &self.inbox)
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}
