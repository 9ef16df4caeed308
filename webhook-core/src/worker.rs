//! [`Worker`]: claims due events, runs their handlers, and settles them.
//!
//! ```text
//! claim loop ──▶ one task per attempt ──▶ settler
//!      ╰──────▶ leases held ◀── heartbeat ──╯
//! ```
//!
//! Each partition of a partitioned backend has these tasks for itself: an [`Engine`].

mod attempt;
mod claim;
mod engine;
mod heartbeat;
mod leases;
mod limit;
mod outage;
mod settler;
mod slots;
mod span;

use std::collections::HashSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::claim_limit::ClaimLimit;
use crate::event::Kind;
use crate::handler::Handler;
use crate::headers::Headers;
use crate::inbox::Inbox;
use crate::measures::{WorkerCalls, WorkerMeasures};
use crate::observer::Observer;
use crate::panics::logging;
use crate::payload::{self, Payload};
use crate::scheduler::{Claim, Scheduler};
use crate::setters::setters;
use attempt::{Handling, StartAttempt};
use engine::Engine;
use leases::Leases;
use limit::Limit;
use slots::{Parts, Used};

/// The options and limits of a [`Worker`], for one kind of events.
///
/// ```
/// # use std::time::Duration;
/// # use webhook_core::WorkerOptions;
/// let options = WorkerOptions::default()
///     .with_concurrency(8)
///     .with_handler_timeout(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// The largest number of handlers that run at the same time, and so of leased events. All partitions of a
    /// partitioned backend share it. Default: 256.
    pub concurrency: usize,
    /// The largest number of events in one claim or one settle. Default: 512.
    pub max_batch: usize,
    /// How long a lease lasts. It is renewed four times in this time, as long as the handler runs. The events
    /// of a dead worker are taken over after this time. Default: 120 s.
    pub lease: Duration,
    /// How many attempts an event has before it fails. A crash spends one. Default: 25, which take 44 to 89
    /// hours with the default backoff, since the sender does not redeliver an acknowledged event.
    pub max_attempts: NonZeroU32,
    /// The delays between a failed attempt and the next one. Default: 2 s, doubling up to 8 h; each delay is
    /// between half and all of that.
    pub backoff: Backoff,
    /// How long a handler may take. After that it is dropped at its next await point, and its attempt has
    /// failed. Default: 10 min.
    pub handler_timeout: Duration,
    /// The longest time between two claims, even if no event is known to fall due. Each partition of a partitioned
    /// backend is claimed that often. Default: 5 s.
    pub poll_interval: Duration,
    /// How many events should be accepted for each that is claimed, while senders wait and more events are due than a
    /// claim can take: [claims pause](crate::throttle) until then, or for two to four times as long as the last claim and
    /// its handlers took. A handler that needs more processor time than an accept leaves senders less of it, and so needs a
    /// higher number. Default: `None`, which is the number of the backend.
    pub accepted_per_claimed: Option<f64>,
}

impl WorkerOptions {
    setters! {
        with_concurrency concurrency: usize;
        with_max_batch max_batch: usize;
        with_lease lease: Duration;
        with_max_attempts max_attempts: NonZeroU32;
        with_backoff backoff: Backoff;
        with_handler_timeout handler_timeout: Duration;
        with_poll_interval poll_interval: Duration;
        with_accepted_per_claimed accepted_per_claimed: Option<f64>;
    }
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 256,
            max_batch: 512,
            lease: Duration::from_secs(120),
            max_attempts: NonZeroU32::new(25).expect("25 is not zero"),
            backoff: Backoff {
                base: Duration::from_secs(2),
                cap: Duration::from_secs(8 * 3600),
            },
            handler_timeout: Duration::from_secs(600),
            poll_interval: Duration::from_secs(5),
            accepted_per_claimed: None,
        }
    }
}

const NEVER_CLOSED: &str = "the semaphore is never closed";

/// How often [`Worker::idle`] checks a worker that has running attempts.
const IDLE_POLL: Duration = Duration::from_millis(10);

/// How often [`Worker::idle`] checks a worker without due events. Other workers may have leased the remaining
/// ones.
const IDLE_POLL_MAX: Duration = Duration::from_secs(1);

/// A running worker for the events of one or more kinds.
///
/// It claims the events of all its kinds together, so that a process with many kinds claims no more often than
/// a process with one kind. Each kind has its own options, and no kind delays another.
///
/// If the backend is [partitioned](Scheduler::partitions), the worker claims, settles and renews the leases of each
/// partition by themselves. All partitions share the handlers, the slots and the limits of a kind. They get slots in
/// turn, so that one with a backlog does not starve the others, and one that is down or does not answer has no slots
/// meanwhile. A claim that is answered late may therefore lease events before there are slots for them; they wait for
/// slots, and their leases are renewed. *n* partitions without events cost *n* times as many polls as one.
///
/// If a worker is dropped without a [`shutdown`](Self::shutdown), it stops in the background, with a drain time
/// of zero.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use webhook_core::{Kind, RawEvent, Worker, WorkerOptions};
/// use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() {
/// let store = Arc::new(MemoryStore::default());
/// let one_at_a_time = WorkerOptions::default().with_concurrency(1);
/// let worker = Worker::builder()
///     .handle_raw(Kind::from_static("email"), WorkerOptions::default(), async |_: RawEvent| Ok(()))
///     .handle_raw(Kind::from_static("report"), one_at_a_time, async |_: RawEvent| Ok(()))
///     .start(store);
///
/// let drained = worker.shutdown(Duration::from_secs(10)).await;
/// assert_eq!((drained.released, drained.unsettled), (0, 0));
/// # }
/// ```
pub struct Worker {
    kinds: Vec<Arc<Served>>,
    /// One for each partition, or one for a backend without partitions.
    engines: Vec<Engine>,
}

/// The state that the tasks of one [`Engine`] share.
struct Context {
    scheduler: Arc<dyn Scheduler>,
    /// The inbox that handlers find in their events.
    inbox: Option<Inbox>,
    /// All engines of a worker have the same.
    kinds: Vec<Arc<Served>>,
    /// One for each kind.
    looks: Vec<Look>,
    /// Whether other engines use slots of the same kinds.
    shares_slots: bool,
    observers: Vec<Arc<dyn Observer>>,
    leases: Leases,
    calls: Arc<WorkerCalls>,
    attempts: TaskTracker,
    /// Stops claiming.
    stop: CancellationToken,
    /// Drops the running handlers and releases their events.
    abandon: CancellationToken,
    /// Stops the heartbeat, since there are no more leases to renew.
    settled: CancellationToken,
}

/// A kind with a handler.
struct Served {
    kind: Kind,
    options: WorkerOptions,
    slots: Arc<Semaphore>,
    /// The number of engines that had more due events than slots at their last claim.
    behind: AtomicUsize,
    parts: Parts,
    limit: Option<Limit>,
    measures: Arc<WorkerMeasures>,
    attempts: Arc<dyn StartAttempt>,
}

/// What an engine knows of the events of a kind.
struct Look {
    /// Notified when there may be events to claim earlier than was known.
    hint: Notify,
    claims: watch::Sender<Claims>,
    /// The slots that its attempts have, if other engines use slots of the kind.
    used: Option<Arc<Used>>,
}

/// The results of the claims of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Claims {
    /// The number of successful claims.
    answered: u64,
    /// The number of events that they leased.
    leased: u64,
    /// Whether the last claim found no event, neither due nor waiting.
    is_empty: bool,
    /// How long until the next event falls due, according to the last claim.
    next_due: Option<Duration>,
}

/// The result of a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// The number of attempts that were interrupted and released. They do not count.
    pub released: usize,
    /// The number of attempts whose results could not be stored in time. Their events are due again when the
    /// leases expire.
    pub unsettled: usize,
}

/// A builder of a [`Worker`]: the kinds with their handlers, and observers.
pub struct WorkerBuilder {
    kinds: Vec<Served>,
    observers: Vec<Arc<dyn Observer>>,
}

impl WorkerBuilder {
    /// Processes the events of kind `P::KIND` with `handler`.
    #[must_use]
    pub fn handle<P: Payload>(self, options: WorkerOptions, handler: impl Handler<P>) -> Self {
        let decode = P::decode;
        let limit = handler.claim_limit();
        self.serve(
            payload::kind_of::<P>(),
            options,
            limit,
            Handling { decode, handler },
        )
    }

    /// Processes the events of `kind` with `handler`, without decoding a payload: for kinds that are known only
    /// at run time.
    #[must_use]
    pub fn handle_raw(self, kind: Kind, options: WorkerOptions, handler: impl Handler<()>) -> Self {
        let decode = |_: &[u8], _: &Headers| Ok(());
        let limit = handler.claim_limit();
        self.serve(kind, options, limit, Handling { decode, handler })
    }

    /// Adds an observer of attempts and failures.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    fn serve(
        mut self,
        kind: Kind,
        options: WorkerOptions,
        limit: Option<Arc<dyn ClaimLimit>>,
        attempts: impl StartAttempt + 'static,
    ) -> Self {
        let concurrency = options.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        self.kinds.push(Served {
            measures: Arc::new(WorkerMeasures::new(&kind, concurrency)),
            kind,
            slots: Arc::new(Semaphore::new(concurrency)),
            behind: AtomicUsize::new(0),
            parts: Parts::new(),
            options: WorkerOptions {
                concurrency,
                max_batch: options.max_batch.max(1),
                ..options
            },
            limit: limit.map(Limit::new),
            attempts: Arc::new(attempts),
        });
        self
    }

    /// Returns the kinds that have a handler.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter().map(|served| &served.kind)
    }

    /// Starts to process events.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, or if a kind has two handlers, which would share its events at
    /// random.
    pub fn start(self, scheduler: Arc<dyn Scheduler>) -> Worker {
        self.start_with(scheduler, None)
    }

    /// Panics if a kind has two handlers.
    pub(crate) fn assert_distinct(&self) {
        let mut kinds = HashSet::new();
        for kind in self.kinds() {
            assert!(kinds.insert(kind), "kind {kind} has two handlers");
        }
    }

    pub(crate) fn start_with(self, scheduler: Arc<dyn Scheduler>, inbox: Option<Inbox>) -> Worker {
        self.assert_distinct();
        let partitions = scheduler.partitions();
        let schedulers = if partitions.is_empty() {
            vec![scheduler]
        } else {
            partitions
        };
        let kinds: Vec<_> = self.kinds.into_iter().map(Arc::new).collect();
        let calls = Arc::new(WorkerCalls::new());
        let shares_slots = schedulers.len() > 1;
        let engine = |scheduler| {
            Engine::start(Context {
                scheduler,
                inbox: inbox.clone(),
                kinds: kinds.clone(),
                looks: kinds.iter().map(|_| Look::new(shares_slots)).collect(),
                shares_slots,
                observers: self.observers.clone(),
                leases: Leases::default(),
                calls: Arc::clone(&calls),
                attempts: TaskTracker::new(),
                stop: CancellationToken::new(),
                abandon: CancellationToken::new(),
                settled: CancellationToken::new(),
            })
        };
        Worker {
            engines: schedulers.into_iter().map(engine).collect(),
            kinds,
        }
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Returns a builder of a worker.
    pub const fn builder() -> WorkerBuilder {
        WorkerBuilder {
            kinds: Vec::new(),
            observers: Vec::new(),
        }
    }

    /// Starts to process the events of kind `P::KIND` with `handler`.
    ///
    /// Zeroes in `options` count as one.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub fn start<P: Payload>(
        scheduler: Arc<dyn Scheduler>,
        options: WorkerOptions,
        handler: impl Handler<P>,
    ) -> Self {
        Self::builder().handle(options, handler).start(scheduler)
    }

    /// Waits until all events of its kinds are settled: none of them waits, is due, or is leased, by this or
    /// another worker. For tests and for jobs that end.
    ///
    /// This includes events that are accepted meanwhile, and retries, however late they are due. While a
    /// [`ClaimLimit`] allows no events of a kind, the worker does not ask the store for them, so this waits until
    /// the limit allows some. It also waits for a partition that is down.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn idle(&self) {
        let looks = self.engines.iter().flat_map(|it| &it.context.looks);
        let mut looks: Vec<_> = looks
            .map(|look| (&look.hint, look.claims.subscribe()))
            .collect();
        loop {
            let began = (self.held(), self.leased());
            let mut is_empty = true;
            let mut pause = IDLE_POLL_MAX;
            for (hint, claims) in &mut looks {
                // The first of two claims may have begun earlier.
                for _ in 0..2 {
                    let answered = claims.borrow_and_update().answered;
                    hint.notify_one();
                    let next = claims.wait_for(|claims| claims.answered > answered);
                    next.await.expect("the worker holds the sender");
                }
                let claims = claims.borrow();
                is_empty &= claims.is_empty;
                pause = pause.min(claims.next_due.unwrap_or(pause));
            }
            // A handler that ran meanwhile may have made an event of a kind, or in a partition, that was looked at
            // before.
            let none_ran = began == (0, self.leased()) && self.held() == 0;
            if is_empty && none_ran {
                return;
            }
            if !none_ran {
                pause = IDLE_POLL;
            }
            sleep(pause.max(IDLE_POLL)).await;
        }
    }

    /// The number of leases that are held.
    fn held(&self) -> usize {
        let held = self.engines.iter().map(|it| it.context.leases.held());
        held.sum()
    }

    /// The number of events that were leased.
    fn leased(&self) -> u64 {
        let looks = self.engines.iter().flat_map(|it| &it.context.looks);
        looks.map(|look| look.claims.borrow().leased).sum()
    }

    /// Shuts down: stops claiming, lets handlers finish for up to `drain`, stores their results, and releases
    /// the events of the other handlers without spending their attempts.
    ///
    /// The worker stops claiming when this is called, and the rest happens while the future is polled. It is ready
    /// after `drain` and a few more seconds at the latest, even if the store does not answer.
    pub fn shutdown(self, drain: Duration) -> impl Future<Output = Drained> + Send + use<> {
        let deadline = Instant::now() + drain;
        for engine in &self.engines {
            engine.stop();
        }
        async move {
            let engines = self.engines.into_iter();
            let drained = join_all(engines.map(|engine| engine.shutdown(deadline))).await;
            Drained {
                released: drained.iter().map(|it| it.released).sum(),
                unsettled: drained.iter().map(|it| it.unsettled).sum(),
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("kind", &self.kind)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Look {
    fn new(shares_slots: bool) -> Self {
        Self {
            hint: Notify::new(),
            claims: watch::Sender::default(),
            used: shares_slots.then(|| Arc::new(Used::new())),
        }
    }
}

impl Context {
    /// Calls `call` with each observer. A panic of an observer is caught.
    fn observe(&self, call: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            logging(|| call(&**observer));
        }
    }
}

impl Served {
    /// The parameters of a claim of at most `limit` events.
    fn claim(&self, limit: usize) -> Claim {
        Claim {
            kind: self.kind.clone(),
            limit: NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN),
            lease: self.options.lease,
            max_attempts: self.options.max_attempts,
        }
    }
}

#[cfg(test)]
mod tests;
