//! [`Pipeline`]: an inbox and a worker in one process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::admin::Admin;
use crate::event::Kind;
use crate::handler::Handler;
use crate::inbox::{Inbox, InboxOptions, Unhandled};
use crate::observer::Observer;
use crate::payload::Payload;
use crate::retention::Retention;
use crate::scheduler::Scheduler;
use crate::store::Store;
use crate::worker::{Drained, Worker, WorkerBuilder, WorkerOptions};

/// An [`Inbox`], and a [`Worker`] for all kinds that have a handler, in one process.
///
/// A process that only accepts events uses an [`Inbox`] alone; a process that only processes them uses a
/// [`Worker`].
///
/// ```
/// use std::time::Duration;
///
/// use webhook_core::{Envelope, Fingerprint, Key, Kind, Pipeline, RawEvent, WorkerOptions};
/// use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kind = Kind::from_static("note");
/// let pipeline = Pipeline::builder(MemoryStore::default())
///     .handle_raw(kind.clone(), WorkerOptions::default(), async |note: RawEvent| {
///         println!("{} has {} bytes", note.key, note.body.len());
///         Ok(())
///     })
///     .start();
///
/// let note = Envelope::new(kind, Key::new("n-1")?, Fingerprint::of(["hello"]), "hello".into());
/// pipeline.inbox().accept(note).await?;
///
/// // On SIGTERM: handlers get ten seconds to end; the events of those that do not are released.
/// let drained = pipeline.shutdown(Duration::from_secs(10)).await;
/// assert_eq!(drained.unsettled, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline {
    inbox: Inbox,
    worker: Option<Worker>,
    /// The sweeps of retention, which stop when they are dropped. That is safe at any time.
    retention: Vec<AbortOnDropHandle<()>>,
}

impl Pipeline {
    /// Returns a builder of a pipeline that uses `backend`.
    pub fn builder(backend: impl Store + Scheduler) -> PipelineBuilder {
        let backend = Arc::new(backend);
        Self::builder_of(Arc::clone(&backend) as Arc<dyn Store>, backend)
    }

    /// Like [`builder`](Self::builder), with the two traits of the backend as separate objects.
    pub fn builder_of(store: Arc<dyn Store>, scheduler: Arc<dyn Scheduler>) -> PipelineBuilder {
        PipelineBuilder {
            store,
            scheduler,
            inbox: InboxOptions::default(),
            worker: Worker::builder(),
            retention: Vec::new(),
        }
    }

    /// Returns the inbox.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Waits until all events are processed, see [`Worker::idle`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn idle(&self) {
        if let Some(worker) = &self.worker {
            worker.idle().await;
        }
    }

    /// Shuts down: stops claiming and deleting old events, lets handlers finish for up to `drain`, and releases
    /// the events of the others. After that it refuses new deliveries and stores the queued ones, so that
    /// handlers can accept follow-up events until they end.
    pub async fn shutdown(self, drain: Duration) -> Drained {
        self.shutdown_with(drain, async {}).await.0
    }

    /// Like [`shutdown`](Self::shutdown), and also waits for `senders` before deliveries are refused: for a
    /// server that answers its last requests while handlers finish.
    pub async fn shutdown_with<T>(
        self,
        drain: Duration,
        senders: impl Future<Output = T>,
    ) -> (Drained, T) {
        drop(self.retention);
        let worker = async {
            match self.worker {
                Some(worker) => worker.shutdown(drain).await,
                None => Drained::default(),
            }
        };
        let ended = tokio::join!(worker, senders);
        self.inbox.close().await;
        ended
    }
}

/// A builder of a [`Pipeline`].
pub struct PipelineBuilder {
    store: Arc<dyn Store>,
    scheduler: Arc<dyn Scheduler>,
    inbox: InboxOptions,
    worker: WorkerBuilder,
    retention: Vec<(Arc<dyn Admin>, Retention)>,
}

impl PipelineBuilder {
    /// Sets the options of the inbox.
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
    pub fn handle_with<P: Payload>(self, options: WorkerOptions, handler: impl Handler<P>) -> Self {
        Self {
            worker: self.worker.handle(options, handler),
            ..self
        }
    }

    /// Processes the events of `kind` with `handler`, without decoding a payload: for kinds that are known only
    /// at run time.
    #[must_use]
    pub fn handle_raw(self, kind: Kind, options: WorkerOptions, handler: impl Handler<()>) -> Self {
        Self {
            worker: self.worker.handle_raw(kind, options, handler),
            ..self
        }
    }

    /// Adds an observer of attempts and failures.
    #[must_use]
    pub fn observer(self, observer: impl Observer) -> Self {
        Self {
            worker: self.worker.observer(observer),
            ..self
        }
    }

    /// Deletes old settled events regularly, as `retention` says.
    #[must_use]
    pub fn retain(mut self, admin: Arc<dyn Admin>, retention: Retention) -> Self {
        self.retention.push((admin, retention));
        self
    }

    /// Starts to accept and process events.
    ///
    /// If the pipeline has handlers and accepts an event of a kind without one, it logs a warning, once for
    /// each kind: the handler was forgotten, or another process has it.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, or if a kind has two handlers, which would share its events at
    /// random.
    pub fn start(self) -> Pipeline {
        self.worker.assert_distinct();
        let has_handlers = self.worker.kinds().next().is_some();
        let unhandled = has_handlers.then(|| Unhandled::except(self.worker.kinds()));
        let inbox = Inbox::new_with(self.store, self.inbox, unhandled);
        let worker =
            has_handlers.then(|| self.worker.start_with(self.scheduler, Some(inbox.clone())));
        let sweep = |(admin, retention): (_, Retention)| {
            let sweeps = async move { retention.run(admin).await };
            AbortOnDropHandle::new(tokio::spawn(sweeps))
        };
        Pipeline {
            inbox,
            worker,
            retention: self.retention.into_iter().map(sweep).collect(),
        }
    }
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("inbox", &self.inbox)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::subscriber::set_default;

    use super::*;
    use crate::event::{Envelope, Fingerprint, Key};
    use crate::scheduler::{Claimed, MockScheduler};
    use crate::store::{Accepted, MockStore};
    use crate::test_log::OnEvent;
    use crate::test_payload::Word;
    use crate::{Event, HandlerError};

    /// Records the kinds in log lines.
    #[derive(Clone, Default)]
    struct KindsLogged(Arc<Mutex<Vec<String>>>);

    impl Visit for KindsLogged {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "kind" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    #[tokio::test]
    async fn a_kind_without_a_handler_is_logged_once() {
        let mut store = MockStore::new();
        store
            .expect_accept()
            .returning(|events| Ok(vec![Accepted::New; events.len()]));
        let mut scheduler = MockScheduler::new();
        scheduler
            .expect_claim()
            .returning(|claims| Ok(vec![Claimed::default(); claims.len()]));
        scheduler.expect_wait_for_work().returning(|_| Vec::new());
        let logged = KindsLogged::default();
        let kinds = logged.clone();
        let log = OnEvent(move |event: &tracing::Event<'_>| {
            if *event.metadata().level() == tracing::Level::WARN {
                event.record(&mut kinds.clone());
            }
        });
        let _log = set_default(log);
        let pipeline = Pipeline::builder_of(Arc::new(store), Arc::new(scheduler))
            .handle::<Word>(async |_: Event<Word>| Ok::<_, HandlerError>(()))
            .start();
        for (number, kind) in ["word", "orders", "bills", "orders"]
            .into_iter()
            .enumerate()
        {
            let key = Key::new(number.to_string()).unwrap();
            let fingerprint = Fingerprint::of(["content"]);
            let kind = Kind::new(kind).unwrap();
            let envelope = Envelope::new(kind, key, fingerprint, "body".into());
            let accepted = pipeline.inbox().accept(envelope).await.unwrap();
            assert_eq!(accepted, Accepted::New);
        }
        assert_eq!(*logged.0.lock().unwrap(), ["orders", "bills"]);
        pipeline.shutdown(Duration::ZERO).await;
    }

    #[test]
    #[should_panic(expected = "kind word has two handlers")]
    fn two_handlers_of_one_kind_are_refused() {
        async fn ignore(_: Event<Word>) -> Result<(), HandlerError> {
            Ok(())
        }
        Pipeline::builder_of(Arc::new(MockStore::new()), Arc::new(MockScheduler::new()))
            .handle::<Word>(ignore)
            .handle::<Word>(ignore)
            .start();
    }
}
