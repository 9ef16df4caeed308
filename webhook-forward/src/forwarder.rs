//! A handler that forwards events.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use jiff::SignedDuration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;
use webhook_core::{
    Admin, Backoff, ClaimLimit, Handled, Handler, HandlerError, Key, Kind, RawEvent, WorkerOptions,
};

use crate::client::{Client, ClientOptions, Exchange};
use crate::destination::{Destination, InvalidDestination};
use crate::details;
use crate::error_class::ErrorClass;
use crate::limit::{HELD_DELAY, Held, Limit, NotNow, Running, claimed_ahead};
use crate::measures::Measures;
use crate::request::{self, Trigger};
use crate::status::DestinationStatus;
use crate::trace::RequestTracer;
use crate::verdict::{Fate, Verdict, judge};

/// How much longer than an exchange a handler may take. The client ends an exchange in time; this is only for a
/// process that has too little time.
const HANDLER_MARGIN: Duration = Duration::from_secs(10);

/// How many events should be accepted for each that is forwarded, while a backlog is forwarded and senders wait. A request
/// takes much more processor time than an accept. With three, forwarding keeps a quarter of its speed, and senders keep
/// half of theirs.
const ACCEPTED_PER_CLAIMED: f64 = 3.0;

/// The delays between attempts to store a pause.
const PAUSE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// A handler that forwards the events of a kind to a [`Destination`]. Clones share the limits and counts.
///
/// The worker claims no more events than the destination takes now: its circuit breaker, its rate,
/// `Retry-After`, a pause and the slow start are the handler's [`ClaimLimit`].
///
/// # Cancel safety
///
/// An attempt whose future is dropped counts as aborted. The destination may have got the request.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    target: RwLock<Arc<Target>>,
    limit: Arc<Limit>,
    /// Held by the attempt that waits for room, before others do.
    turn: Mutex<()>,
    admin: OnceLock<Arc<dyn Admin>>,
    tracer: OnceLock<Arc<dyn RequestTracer>>,
}

/// A destination, and the client for it.
struct Target {
    destination: Destination,
    client: Client,
    /// As many as the concurrency. Events that are claimed ahead wait for one.
    slots: Arc<Semaphore>,
}

impl Forwarder {
    /// Creates a forwarder.
    ///
    /// # Errors
    ///
    /// [`InvalidDestination`], as [`Destination::check`] returns it.
    pub fn new(destination: Destination) -> Result<Self, InvalidDestination> {
        destination.check()?;
        Ok(Self(Arc::new(Inner {
            limit: Arc::new(Limit::new(&destination)),
            turn: Mutex::new(()),
            target: RwLock::new(Arc::new(Target::new(destination, None))),
            admin: OnceLock::new(),
            tracer: OnceLock::new(),
        })))
    }

    /// Gives the forwarder and its clones the store, in which a kind is paused when its destination answers
    /// 410. A later call changes nothing.
    ///
    /// Without it, such a destination gets no events for 10 minutes.
    #[must_use]
    pub fn with_admin(self, admin: Arc<dyn Admin>) -> Self {
        let _ = self.0.admin.set(admin);
        self
    }

    /// Gives the forwarder and its clones what traces the requests of attempts. A later call changes nothing.
    #[must_use]
    pub fn with_tracer(self, tracer: Arc<dyn RequestTracer>) -> Self {
        let _ = self.0.tracer.set(tracer);
        self
    }

    /// Names the destination in metrics, which it has only with the feature `metrics` and with a name. The name is
    /// that of its events' kind, if they are of one kind.
    #[must_use]
    pub fn with_name(self, name: &Kind) -> Self {
        self.0.limit.measure_with(Measures::new(name));
        self
    }

    /// Replaces the destination, for all clones. Running requests end as they began.
    ///
    /// The counts remain. The circuit breaker and what the destination asked for remain if the URL is the
    /// same. A change of the concurrency or of the schedule reaches a worker with its next start, by
    /// [`worker_options`](Self::worker_options).
    ///
    /// # Errors
    ///
    /// [`InvalidDestination`], as [`Destination::check`] returns it. Nothing changes then.
    pub fn replace(&self, destination: Destination) -> Result<(), InvalidDestination> {
        destination.check()?;
        let mut target = self
            .0
            .target
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_elsewhere = target.destination.url != destination.url;
        self.0.limit.replace(&destination, is_elsewhere);
        let former = Arc::clone(&target);
        *target = Arc::new(Target::new(destination, Some(&former)));
        Ok(())
    }

    /// Returns `options` with the concurrency, the number of attempts and the time limit that the destination
    /// needs. If they do not say [how many events should be accepted](WorkerOptions::accepted_per_claimed) for each that
    /// is claimed, it becomes three, so that senders keep half of their rate beside a backlog that is forwarded.
    ///
    /// The concurrency is twice that of the destination: while it does well, events are claimed ahead, so that a
    /// request begins as soon as another one has ended. No more requests run at the same time for that.
    pub fn worker_options(&self, options: WorkerOptions) -> WorkerOptions {
        let destination = &self.target().destination;
        let concurrency = destination.concurrency.get();
        let ratio = options.accepted_per_claimed.unwrap_or(ACCEPTED_PER_CLAIMED);
        options
            .with_concurrency(concurrency.saturating_add(claimed_ahead(concurrency)))
            .with_max_attempts(destination.schedule.attempts())
            // An event may wait for as long as the requests before it run.
            .with_handler_timeout(2 * destination.timeout + HANDLER_MARGIN)
            .with_accepted_per_claimed(Some(ratio))
    }

    /// Returns how the destination does.
    pub fn status(&self) -> DestinationStatus {
        self.0.limit.status()
    }

    /// Builds the request of an event, signed at this time.
    pub fn request(&self, event: &RawEvent, trigger: Trigger) -> Request<Bytes> {
        request::build(
            &self.target().destination,
            event,
            trigger,
            SystemTime::now(),
        )
    }

    /// Sends an event once, whether or not the destination is held. It counts nowhere, and whatever the
    /// answer is, the event and the destination stay as they are.
    pub async fn send_once(&self, event: &RawEvent, trigger: Trigger) -> Exchange {
        let request = self.request(event, trigger);
        self.target().client.send(request).await
    }

    /// Sends an event once, if the destination takes one now: its rate, its circuit breaker, `Retry-After`, a pause and
    /// the slow start allow it. The request counts as one of an attempt does, and what the destination answers holds it
    /// or opens its breaker as the answer to an attempt does; after 410, `kind` is paused, which is that of the
    /// destination's own events. The event stays as it is.
    ///
    /// It may wait for running requests, as an attempt does.
    ///
    /// # Errors
    ///
    /// [`NotNow`] if nothing was sent.
    ///
    /// # Cancel safety
    ///
    /// As of an attempt.
    pub async fn send_if_allowed(
        &self,
        event: &RawEvent,
        trigger: Trigger,
        kind: &Kind,
    ) -> Result<Exchange, NotNow> {
        self.0.limit.admit()?;
        let (target, _slot, running) = self.begin(&event.key).await.map_err(NotNow::of)?;
        let destination = &target.destination;
        let request = request::build(destination, event, trigger, SystemTime::now());
        let exchange = target.client.send(request).await;
        self.end(running, destination, &exchange, kind);
        Ok(exchange)
    }

    /// Ends the attempt of an exchange. The destination may pause `kind`.
    fn end(
        &self,
        running: Running,
        destination: &Destination,
        exchange: &Exchange,
        kind: &Kind,
    ) -> Verdict {
        let verdict = judge(&exchange.result, &destination.fail_on, SystemTime::now());
        let status = exchange.result.as_ref().ok().map(|answer| answer.status);
        let took = exchange.timings.total;
        let limit = &self.0.limit;
        limit.measure(|measures| measures.ended(status, verdict.class, took));
        if running.end(&verdict, status.map(|status| status.as_u16())) {
            self.pause(kind.clone());
        }
        verdict
    }

    fn target(&self) -> Arc<Target> {
        let target = self.0.target.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&target)
    }

    /// Begins an attempt once the destination has a slot. If it is replaced meanwhile, waits for one of the new one.
    ///
    /// It waits for room within the window, too, in the order of those that have a slot. After as long as a request may
    /// take, the event is given back instead, so that it has its time limit for the request.
    async fn begin(&self, key: &Key) -> Result<(Arc<Target>, OwnedSemaphorePermit, Running), Held> {
        let limit = &self.0.limit;
        let deadline = Instant::now() + self.target().destination.timeout;
        loop {
            let target = self.target();
            let slot = Arc::clone(&target.slots).acquire_owned().await;
            let slot = slot.expect("the semaphore is never closed");
            let Ok(_turn) = timeout_at(deadline, self.0.turn.lock()).await else {
                return Err(limit.gave_up_waiting());
            };
            loop {
                match self.start_at(&target, key) {
                    None => break,
                    Some(Ok(running)) => return Ok((target, slot, running)),
                    Some(Err(Held::Full)) => {}
                    Some(Err(held)) => return Err(held),
                }
                if timeout_at(deadline, limit.room()).await.is_err() {
                    return Err(limit.gave_up_waiting());
                }
            }
        }
    }

    /// Begins an attempt at `target`; `None` if it was replaced.
    fn start_at(&self, target: &Arc<Target>, key: &Key) -> Option<Result<Running, Held>> {
        // It is locked, so that no attempt at the former destination counts for the new one.
        let current = self.0.target.read().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(target, &current).then(|| self.0.limit.start(key))
    }

    /// Stores the pause of `kind`, however long that takes, unless the destination is replaced.
    fn pause(&self, kind: Kind) {
        let Some(admin) = self.0.admin.get().cloned() else {
            return;
        };
        let limit = Arc::downgrade(&self.0.limit);
        tokio::spawn(async move {
            let mut failures = 0;
            while let Some(limit) = limit.upgrade()
                && limit.waits_for_pause()
            {
                match admin.pause(&kind).await {
                    Ok(_) => return limit.pause_is_stored(),
                    Err(error) => {
                        // The forwarder may be dropped meanwhile.
                        drop(limit);
                        failures += 1;
                        let pause = PAUSE_BACKOFF.delay(failures);
                        warn!(
                            %kind,
                            error = &error as &dyn std::error::Error,
                            ?pause,
                            "failed to pause a kind whose destination answered 410"
                        );
                        sleep(pause).await;
                    }
                }
            }
        });
    }
}

impl Handler<()> for Forwarder {
    async fn handle(&self, event: RawEvent) -> Result<Handled, HandlerError> {
        let (target, _slot, running) = match self.begin(&event.key).await {
            Ok(begun) => begun,
            Err(held) => return Err(HandlerError::postpone(HELD_DELAY, held.to_string())),
        };
        let destination = &target.destination;
        let trigger = Trigger::of_attempt(&event);
        let mut request = request::build(destination, &event, trigger, SystemTime::now());
        let tracer = self.0.tracer.get();
        let span = tracer.and_then(|tracer| tracer.start(&event, &mut request));
        let exchange = target.client.send(request).await;
        if let Some(span) = span {
            span.end(&exchange);
        }

        let verdict = self.end(running, destination, &exchange, &event.kind);
        outcome(destination, &event, &verdict, &exchange)
    }

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        Some(Arc::clone(&self.0.limit) as Arc<dyn ClaimLimit>)
    }
}

/// What the worker is to do with the event.
fn outcome(
    destination: &Destination,
    event: &RawEvent,
    verdict: &Verdict,
    exchange: &Exchange,
) -> Result<Handled, HandlerError> {
    let reason = &verdict.reason;
    let error = match verdict.event {
        Fate::Delivered => return Ok(Handled::Done),
        Fate::Hold => return Err(HandlerError::postpone(HELD_DELAY, reason)),
        Fate::Fail => HandlerError::reject(reason),
        Fate::Retry(at_least) => {
            let delay = destination.schedule.delay(event.attempt().number());
            let delay = delay.max(at_least);
            match destination.give_up_after {
                Some(limit) if event.age.saturating_add(delay) > limit => {
                    let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
                    HandlerError::reject(format!("gave up after {limit:#}: {reason}"))
                }
                _ => HandlerError::retry_after(delay, reason),
            }
        }
    };
    let class = verdict.class.unwrap_or(ErrorClass::Protocol);
    let details = details::of(exchange, class, destination);
    Err(error.with_details(details))
}

impl Target {
    /// A target that takes the place of `former`, and shares its slots if there are as many.
    fn new(destination: Destination, former: Option<&Self>) -> Self {
        let concurrency = destination.concurrency;
        let shared = former.filter(|former| former.destination.concurrency == concurrency);
        let slots = shared.map(|former| Arc::clone(&former.slots));
        let permits = concurrency.get().min(Semaphore::MAX_PERMITS);
        let client = Client::new(ClientOptions {
            timeout: destination.timeout,
            connect_timeout: destination.connect_timeout,
            reach: destination.reach,
            tls: destination.tls.clone(),
            max_idle: destination.concurrency.get(),
            ..ClientOptions::default()
        });
        Self {
            destination,
            client,
            slots: slots.unwrap_or_else(|| Arc::new(Semaphore::new(permits))),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
