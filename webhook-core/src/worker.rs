//! The processing side: claims due events, runs their handler, settles them.
//!
//! ```text
//! claim loop ──▶ one task per attempt ──▶ settler
//!      ╰──────▶ leases held ◀── heartbeat ──╯
//! ```

mod attempt;
mod claim;
mod heartbeat;
mod leases;
mod outage;
mod settler;
mod span;

use std::collections::HashSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::event::Kind;
use crate::handler::Handler;
use crate::headers::Headers;
use crate::inbox::Inbox;
use crate::observer::Observer;
use crate::panics::logging;
use crate::payload::{self, Payload};
use crate::scheduler::{Claim, Scheduler};
use crate::setters::setters;
use attempt::{Handling, StartAttempt};
use claim::Claiming;
use leases::Leases;

/// How a [`Worker`] behaves, and its limits.
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
    /// At most as many handlers running at a time, hence as many events leased. Default: 256.
    pub concurrency: usize,
    /// At most as many events in one claim or one settle. Default: 512.
    pub max_batch: usize,
    /// How long a lease runs. It is renewed four times in that time, for as long as the handler
    /// takes; a dead worker is noticed within one lease. Default: 120 s.
    pub lease: Duration,
    /// How many attempts an event has before it fails. A crash spends one. Default: 25, which last
    /// 44 to 89 hours with the default backoff: nobody repeats what was acknowledged.
    pub max_attempts: NonZeroU32,
    /// How long until a failed attempt is followed by the next. Default: 2 s, doubling, at most
    /// 8 h; each wait is between half and all of that.
    pub backoff: Backoff,
    /// A handler that takes longer is stopped at its next await point, and its attempt has
    /// failed. Default: 10 min.
    pub handler_timeout: Duration,
    /// At most as long between two looks at the store, when nothing is known to fall due.
    /// Default: 5 s.
    pub poll_interval: Duration,
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
        }
    }
}

/// How often a worker that is to become idle is looked at, while it has something to do.
const IDLE_POLL: Duration = Duration::from_millis(10);

/// How often it is looked at while nothing is due. Another worker may hold what is not.
const IDLE_POLL_MAX: Duration = Duration::from_secs(1);

/// How long a drain waits, once its time is over, for the last settlements to be stored.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// A running worker for the events of one or more kinds.
///
/// It claims the events of all its kinds together, so that a process of many kinds asks its store no
/// more often than a process of one. Each kind has its own options, and no kind keeps another one
/// waiting.
///
/// Dropped without a [`shutdown`](Self::shutdown), it stops as if the drain time were zero, but
/// nobody waits for it.
pub struct Worker {
    context: Arc<Context>,
    claiming: JoinHandle<()>,
    settling: JoinHandle<()>,
    beating: JoinHandle<()>,
}

/// What the parts of one worker share.
struct Context {
    scheduler: Arc<dyn Scheduler>,
    /// What handlers find in their events.
    inbox: Option<Inbox>,
    kinds: Vec<Arc<Served>>,
    observers: Vec<Arc<dyn Observer>>,
    leases: Leases,
    attempts: TaskTracker,
    /// No more claims.
    stop: CancellationToken,
    /// Handlers still running are dropped and their events handed back.
    abandon: CancellationToken,
    /// Nothing is left to renew.
    settled: CancellationToken,
}

/// A kind whose events are processed.
struct Served {
    kind: Kind,
    options: WorkerOptions,
    slots: Arc<Semaphore>,
    attempts: Arc<dyn StartAttempt>,
    /// There may be something to claim earlier than was known.
    hint: Notify,
    claims: watch::Sender<Claims>,
}

/// What the claims of a kind have found.
#[derive(Clone, Copy, Debug, Default)]
struct Claims {
    /// How many were answered.
    answered: u64,
    /// Whether the last one found nothing, neither now nor to come.
    is_empty: bool,
    /// How long it was until the next event, as the last one says.
    next_due: Option<Duration>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Attempts cut short and handed back, not counted against their events.
    pub released: usize,
    /// Attempts whose end could not be stored in time; their events come back when the lease
    /// runs out.
    pub unsettled: usize,
}

/// Puts a [`Worker`] together: which kinds it processes, and how.
pub struct WorkerBuilder {
    kinds: Vec<Served>,
    observers: Vec<Arc<dyn Observer>>,
}

impl WorkerBuilder {
    /// Processes the events of kind `P::KIND` with `handler`.
    #[must_use]
    pub fn handle<P: Payload>(self, options: WorkerOptions, handler: impl Handler<P>) -> Self {
        let decode = P::decode;
        self.serve(
            payload::kind_of::<P>(),
            options,
            Handling { decode, handler },
        )
    }

    /// Processes the events of `kind` with `handler`, as they were accepted. For kinds that are known
    /// only when the program runs.
    #[must_use]
    pub fn handle_raw(self, kind: Kind, options: WorkerOptions, handler: impl Handler<()>) -> Self {
        let decode = |_: &[u8], _: &Headers| Ok(());
        self.serve(kind, options, Handling { decode, handler })
    }

    /// Tells `observer` of attempts and failures, beside those that were named before.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    fn serve(
        mut self,
        kind: Kind,
        options: WorkerOptions,
        attempts: impl StartAttempt + 'static,
    ) -> Self {
        let concurrency = options.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        self.kinds.push(Served {
            kind,
            slots: Arc::new(Semaphore::new(concurrency)),
            options: WorkerOptions {
                concurrency,
                max_batch: options.max_batch.max(1),
                ..options
            },
            attempts: Arc::new(attempts),
            hint: Notify::new(),
            claims: watch::Sender::new(Claims::default()),
        });
        self
    }

    /// The kinds that have a handler.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter().map(|served| &served.kind)
    }

    /// Starts to process.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, or when a kind has two handlers, which would share its events at
    /// random.
    pub fn start(self, scheduler: Arc<dyn Scheduler>) -> Worker {
        self.start_with(scheduler, None)
    }

    /// Panics where a kind has two handlers.
    pub(crate) fn assert_distinct(&self) {
        let mut kinds = HashSet::new();
        for kind in self.kinds() {
            assert!(kinds.insert(kind), "kind {kind} has two handlers");
        }
    }

    pub(crate) fn start_with(self, scheduler: Arc<dyn Scheduler>, inbox: Option<Inbox>) -> Worker {
        self.assert_distinct();
        let slots: usize = self.kinds.iter().map(|it| it.options.concurrency).sum();
        let (finished, to_settle) = mpsc::channel(slots.clamp(1, Semaphore::MAX_PERMITS));
        let context = Arc::new(Context {
            scheduler,
            inbox,
            kinds: self.kinds.into_iter().map(Arc::new).collect(),
            observers: self.observers,
            leases: Leases::default(),
            attempts: TaskTracker::new(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            settled: CancellationToken::new(),
        });
        let claiming = Claiming::new(Arc::clone(&context), finished);
        Worker {
            claiming: tokio::spawn(claiming.run()),
            settling: tokio::spawn(settler::run(Arc::clone(&context), to_settle)),
            beating: tokio::spawn(heartbeat::run(Arc::clone(&context))),
            context,
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
    /// Starts to put a worker together.
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
    /// Outside a Tokio runtime.
    pub fn start<P: Payload>(
        scheduler: Arc<dyn Scheduler>,
        options: WorkerOptions,
        handler: impl Handler<P>,
    ) -> Self {
        Self::builder().handle(options, handler).start(scheduler)
    }

    /// Waits until there is nothing left to do: no event of its kinds waits, is due, or is under a
    /// lease, also of other workers. For tests and for jobs that end.
    ///
    /// Events that are accepted meanwhile are waited for, too; so are retries, however late they
    /// are.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn idle(&self) {
        let mut claims: Vec<_> = self
            .context
            .kinds
            .iter()
            .map(|it| it.claims.subscribe())
            .collect();
        loop {
            let mut is_idle = true;
            let mut pause = IDLE_POLL_MAX;
            for (served, claims) in self.context.kinds.iter().zip(&mut claims) {
                // A claim that began before is answered first, so two of them.
                for _ in 0..2 {
                    let answered = claims.borrow_and_update().answered;
                    served.hint.notify_one();
                    let next = claims.wait_for(|claims| claims.answered > answered);
                    next.await.expect("the worker holds the sender");
                }
                let Claims {
                    is_empty, next_due, ..
                } = *claims.borrow();
                is_idle &= is_empty;
                pause = pause.min(next_due.unwrap_or(pause));
            }
            if self.context.leases.held() > 0 {
                pause = IDLE_POLL;
            } else if is_idle {
                return;
            }
            sleep(pause.max(IDLE_POLL)).await;
        }
    }

    /// Stops claiming, lets handlers finish for up to `drain`, stores how they ended, and hands
    /// the rest back at once without spending their attempts.
    ///
    /// Returns after at most `drain` and a few seconds more, whatever the store does.
    pub async fn shutdown(mut self, drain: Duration) -> Drained {
        let context = Arc::clone(&self.context);
        let deadline = Instant::now() + drain;
        context.stop.cancel();
        let finish = async {
            // The claim under way brings leases, which must be handed back.
            let _ = (&mut self.claiming).await;
            context.attempts.close();
            context.attempts.wait().await;
        };
        let mut drained = Drained::default();
        if timeout_at(deadline, finish).await.is_err() {
            drained.released = context.leases.running();
            logging(|| {
                info!(
                    released = drained.released,
                    "drain time is over, handing back"
                )
            });
            context.abandon.cancel();
        }
        // The settler ends when the claim loop and every attempt have dropped their sender.
        if timeout(SETTLE_GRACE, &mut self.settling).await.is_err() {
            drained.unsettled = context.leases.held();
            logging(|| {
                warn!(
                    unsettled = drained.unsettled,
                    "could not store how the last attempts ended"
                )
            });
            self.settling.abort();
        }
        self.claiming.abort();
        // The settler does it itself, unless it was cut short.
        context.settled.cancel();
        let _ = (&mut self.beating).await;
        drained
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.context.stop.cancel();
        self.context.abandon.cancel();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("kinds", &self.context.kinds)
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

impl Context {
    /// Tells the observers. One that panics changes nothing else.
    fn observe(&self, tell: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            logging(|| tell(&**observer));
        }
    }
}

impl Served {
    /// Asks for at most `limit` events.
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
