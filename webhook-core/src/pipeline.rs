//! From a backend and a handler to a running inbox.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Kind;
use crate::handler::Handler;
use crate::inbox::{Inbox, InboxOptions};
use crate::payload::{self, Payload};
use crate::scheduler::Scheduler;
use crate::store::Store;
use crate::worker::{Decode, Drained, Worker, WorkerOptions};

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
        Self::builder_of(Arc::clone(&backend) as Arc<dyn Store>, backend)
    }

    /// As [`builder`](Self::builder), with the two faces of a backend apart.
    pub fn builder_of(store: Arc<dyn Store>, scheduler: Arc<dyn Scheduler>) -> PipelineBuilder {
        PipelineBuilder {
            store,
            scheduler,
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
    workers: Vec<(Kind, StartWorker)>,
}

type StartWorker = Box<dyn FnOnce(Arc<dyn Scheduler>, Inbox) -> Worker + Send>;

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
        self.add(payload::kind_of::<P>(), options, P::decode, handler);
        self
    }

    /// Processes the events of `kind` with `handler`, as they were accepted. For kinds that are known
    /// only when the program runs.
    #[must_use]
    pub fn handle_raw(
        mut self,
        kind: Kind,
        options: WorkerOptions,
        handler: impl Handler<()>,
    ) -> Self {
        self.add(kind, options, |_, _| Ok(()), handler);
        self
    }

    fn add<P: Send + 'static>(
        &mut self,
        kind: Kind,
        options: WorkerOptions,
        decode: Decode<P>,
        handler: impl Handler<P>,
    ) {
        let of_kind = kind.clone();
        let start = move |scheduler, inbox| {
            Worker::start_with(scheduler, kind, options, Some(inbox), decode, handler)
        };
        self.workers.push((of_kind, Box::new(start)));
    }

    /// Starts to accept and to process.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, or when a kind has two handlers, which would share its events at
    /// random.
    pub fn start(self) -> Pipeline {
        let mut kinds = HashSet::new();
        for (kind, _) in &self.workers {
            assert!(kinds.insert(kind), "kind {kind} has two handlers");
        }
        let scheduler = self.scheduler;
        let inbox = Inbox::new(self.store, self.inbox);
        let start = |(_, start): (Kind, StartWorker)| start(Arc::clone(&scheduler), inbox.clone());
        Pipeline {
            workers: self.workers.into_iter().map(start).collect(),
            inbox,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::MockScheduler;
    use crate::store::MockStore;
    use crate::{Event, HandlerError, Transaction};

    #[test]
    #[should_panic(expected = "kind transaction has two handlers")]
    fn two_handlers_of_one_kind_are_refused() {
        async fn ignore(_: Event<Transaction>) -> Result<(), HandlerError> {
            Ok(())
        }
        Pipeline::builder_of(Arc::new(MockStore::new()), Arc::new(MockScheduler::new()))
            .handle::<Transaction>(ignore)
            .handle::<Transaction>(ignore)
            .start();
    }
}
