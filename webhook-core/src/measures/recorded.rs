//! Counts and times, for the recorder of the facade `metrics`. The handles of a kind are registered once and kept:
//! an increment is one atomic addition, without a look-up of its name.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use crate::error::{Error, StoreError};
use crate::event::Kind;
use crate::metrics::label;
use crate::scheduler::{Attempt, Outcome};
use crate::store::{Accepted, NewEvent};

/// When something began.
pub(crate) struct Timer(Instant);

impl Timer {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

/// The calls of one operation of a backend.
pub(crate) struct StoreCalls {
    duration: Histogram,
    unavailable: Counter,
    refused: Counter,
    full: Counter,
    timeout: Counter,
}

impl StoreCalls {
    pub(crate) fn of(operation: &'static str) -> Self {
        let error = |error: &'static str| counter!("webhook_store_errors_total", "operation" => operation, "error" => error);
        Self {
            duration: histogram!("webhook_store_duration_seconds", "operation" => operation),
            unavailable: error("unavailable"),
            refused: error("refused"),
            full: error("full"),
            timeout: error("timeout"),
        }
    }

    /// Counts a call that began at `timer`, and its error.
    pub(crate) fn ended<T>(&self, timer: &Timer, answer: &Result<T, StoreError>) {
        self.duration.record(timer.0.elapsed());
        match answer {
            Ok(_) => {}
            Err(StoreError::Unavailable { .. }) => self.unavailable.increment(1),
            Err(StoreError::Refused { .. }) => self.refused.increment(1),
            Err(StoreError::Full { .. }) => self.full.increment(1),
        }
    }

    /// Counts a call that was given up.
    pub(crate) fn timed_out(&self, timer: &Timer) {
        self.duration.record(timer.0.elapsed());
        self.timeout.increment(1);
    }
}

/// What an inbox measures.
pub(crate) struct InboxMeasures {
    pub(crate) accept: StoreCalls,
    pub(crate) find: StoreCalls,
    batch_events: Histogram,
    batch_duration: Histogram,
    kinds: RwLock<HashMap<Kind, Received>>,
}

impl InboxMeasures {
    pub(crate) fn new() -> Self {
        Self {
            accept: StoreCalls::of("accept"),
            find: StoreCalls::of("find"),
            batch_events: histogram!("webhook_flush_events"),
            batch_duration: histogram!("webhook_flush_duration_seconds"),
            kinds: RwLock::default(),
        }
    }

    /// What is measured of the events of `kind`.
    pub(crate) fn of_kind(&self, kind: &Kind) -> Received {
        let known = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(received) = known.get(kind) {
            return received.clone();
        }
        drop(known);
        let label = label(kind);
        let received = Received::new(label.clone());
        // The kinds that share a label are looked up each time, so that the map is bounded.
        if label == kind.as_str() {
            let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
            kinds.insert(kind.clone(), received.clone());
        }
        received
    }

    /// Records a batch whose flush began at `timer`.
    pub(crate) fn flushed(&self, events: usize, timer: &Timer) {
        self.batch_events.record(as_f64(events));
        self.batch_duration.record(timer.0.elapsed());
    }

    /// Counts events that the store has answered for.
    pub(crate) fn stored(&self, events: &[NewEvent], accepted: &[Accepted]) {
        let mut of_kind: Option<(&Kind, Received)> = None;
        for (event, accepted) in events.iter().zip(accepted) {
            let kind = &event.envelope.kind;
            let received = match &of_kind {
                Some((last, received)) if *last == kind => received,
                _ => &of_kind.insert((kind, self.of_kind(kind))).1,
            };
            received.stored(accepted);
        }
        if let Some((_, received)) = of_kind {
            received.0.last_received.set(now());
        }
    }
}

/// The gauges of a queue of an inbox. Its limits are the same until it is dropped, and then zero.
pub(crate) struct QueueMeasures {
    waiting: Arc<QueueGauges>,
    deliveries_limit: Gauge,
    bytes_limit: Gauge,
}

struct QueueGauges {
    deliveries: Gauge,
    bytes: Gauge,
}

impl QueueMeasures {
    /// Measures the queue of a partition of the inbox with this name, or its only queue.
    pub(crate) fn new(
        inbox: &'static str,
        partition: Option<usize>,
        max_deliveries: usize,
        max_bytes: usize,
    ) -> Self {
        let partition = partition.map_or_else(String::new, |index| index.to_string());
        let gauge =
            |name: &'static str| gauge!(name, "inbox" => inbox, "partition" => partition.clone());
        let measures = Self {
            waiting: Arc::new(QueueGauges {
                deliveries: gauge("webhook_flush_queue_events"),
                bytes: gauge("webhook_flush_queue_bytes"),
            }),
            deliveries_limit: gauge("webhook_flush_queue_events_limit"),
            bytes_limit: gauge("webhook_flush_queue_bytes_limit"),
        };
        measures.deliveries_limit.set(as_f64(max_deliveries));
        measures.bytes_limit.set(as_f64(max_bytes));
        measures
    }

    /// Counts a delivery in the queue until the result is dropped.
    pub(crate) fn queued(&self, bytes: u32) -> Queued {
        self.waiting.deliveries.increment(1.0);
        self.waiting.bytes.increment(f64::from(bytes));
        Queued {
            queue: Arc::clone(&self.waiting),
            bytes: f64::from(bytes),
        }
    }
}

impl Drop for QueueMeasures {
    fn drop(&mut self) {
        self.deliveries_limit.set(0.0);
        self.bytes_limit.set(0.0);
    }
}

/// The deliveries of one kind.
#[derive(Clone)]
pub(crate) struct Received(Arc<ReceivedHandles>);

struct ReceivedHandles {
    accepted: Counter,
    duplicate: Counter,
    conflict: Counter,
    requeued: Counter,
    overloaded: Counter,
    unavailable: Counter,
    last_received: Gauge,
}

impl Received {
    fn new(source: String) -> Self {
        let outcome = |outcome: &'static str| counter!("webhook_received_total", "source" => source.clone(), "outcome" => outcome);
        Self(Arc::new(ReceivedHandles {
            accepted: outcome("accepted"),
            duplicate: outcome("duplicate"),
            conflict: outcome("conflict"),
            requeued: outcome("requeued"),
            overloaded: outcome("overloaded"),
            unavailable: outcome("unavailable"),
            last_received: gauge!("webhook_last_received_timestamp_seconds", "source" => source),
        }))
    }

    fn stored(&self, accepted: &Accepted) {
        match accepted {
            Accepted::New => &self.0.accepted,
            Accepted::Duplicate => &self.0.duplicate,
            Accepted::Conflict => &self.0.conflict,
            Accepted::Requeued => &self.0.requeued,
        }
        .increment(1);
    }

    /// Counts a delivery that its caller must repeat.
    pub(crate) fn refused(&self, error: &Error) {
        match error {
            Error::Overloaded => self.0.overloaded.increment(1),
            Error::Store(_) | Error::TimedOut { .. } | Error::Closed => {
                self.0.unavailable.increment(1);
            }
            Error::Invalid(_) | Error::TooManyEvents { .. } => {}
        }
    }
}

/// A delivery in the queue.
pub(crate) struct Queued {
    queue: Arc<QueueGauges>,
    bytes: f64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.deliveries.decrement(1.0);
        self.queue.bytes.decrement(self.bytes);
    }
}

/// The calls of a worker.
pub(crate) struct WorkerCalls {
    pub(crate) claim: StoreCalls,
    pub(crate) extend: StoreCalls,
    pub(crate) settle: StoreCalls,
}

impl WorkerCalls {
    pub(crate) fn new() -> Self {
        Self {
            claim: StoreCalls::of("claim"),
            extend: StoreCalls::of("extend"),
            settle: StoreCalls::of("settle"),
        }
    }
}

/// What a worker measures for one kind.
pub(crate) struct WorkerMeasures {
    processed: Counter,
    retried: Counter,
    failed: Counter,
    rejected: Counter,
    postponed: Counter,
    released: Counter,
    lost: Counter,
    duration: Histogram,
    start_delay: Histogram,
    end_to_end: Histogram,
    settled_processed: Counter,
    settled_failed: Counter,
    in_flight: Gauge,
    concurrency: Gauge,
    slots: f64,
}

impl WorkerMeasures {
    /// Counts `slots` for attempts at events of `kind` until it is dropped.
    pub(crate) fn new(kind: &Kind, slots: usize) -> Self {
        let source = label(kind);
        let outcome = |outcome: &'static str| counter!("webhook_attempts_total", "source" => source.clone(), "outcome" => outcome);
        let state = |state: &'static str| counter!("webhook_settled_total", "source" => source.clone(), "state" => state);
        let histogram = |name: &'static str| histogram!(name, "source" => source.clone());
        let gauge = |name: &'static str| gauge!(name, "source" => source.clone());
        let concurrency = gauge("webhook_concurrency_limit");
        let slots = as_f64(slots);
        concurrency.increment(slots);
        Self {
            slots,
            concurrency,
            processed: outcome("processed"),
            retried: outcome("retried"),
            failed: outcome("failed"),
            rejected: outcome("rejected"),
            postponed: outcome("postponed"),
            released: outcome("released"),
            lost: outcome("lost"),
            duration: histogram("webhook_attempt_duration_seconds"),
            start_delay: histogram("webhook_start_delay_seconds"),
            end_to_end: histogram("webhook_end_to_end_duration_seconds"),
            settled_processed: state("processed"),
            settled_failed: state("failed"),
            in_flight: gauge("webhook_in_flight"),
        }
    }

    /// Counts a running attempt until the result is dropped.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.in_flight.increment(1.0);
        Running(Arc::clone(self))
    }

    /// Records the start of an attempt, `lag` after its event was due.
    pub(crate) fn started(&self, lag: Duration) {
        self.start_delay.record(lag);
    }

    /// Records how long an attempt took.
    pub(crate) fn ended(&self, took: Duration) {
        self.duration.record(took);
    }

    /// Counts an attempt whose outcome is stored.
    pub(crate) fn settled(
        &self,
        outcome: &Outcome,
        attempt: Attempt,
        max_attempts: NonZeroU32,
        age: &Age,
    ) {
        let counter = match outcome {
            Outcome::Processed => {
                self.settled_processed.increment(1);
                self.end_to_end.record(age.now());
                &self.processed
            }
            Outcome::Failed { .. } => {
                self.settled_failed.increment(1);
                if attempt.get() < max_attempts {
                    &self.rejected
                } else {
                    &self.failed
                }
            }
            Outcome::Retry { .. } => &self.retried,
            Outcome::Postpone { .. } => &self.postponed,
            Outcome::Release => &self.released,
        };
        counter.increment(1);
    }

    /// Counts an attempt whose lease was lost.
    pub(crate) fn lost(&self) {
        self.lost.increment(1);
    }

    /// Counts events that failed without another attempt.
    pub(crate) fn exhausted(&self, events: usize) {
        self.settled_failed.increment(events as u64);
    }
}

impl Drop for WorkerMeasures {
    fn drop(&mut self) {
        self.concurrency.decrement(self.slots);
    }
}

/// A running attempt.
pub(crate) struct Running(Arc<WorkerMeasures>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.in_flight.decrement(1.0);
    }
}

/// The age of a claimed event.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    at_claim: Duration,
    claimed: Instant,
}

impl Age {
    pub(crate) fn at_claim(age: Duration) -> Self {
        Self {
            at_claim: age,
            claimed: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.at_claim + self.claimed.elapsed()
    }
}

/// What retention measures for one kind.
pub(crate) struct PruneMeasures {
    pub(crate) calls: StoreCalls,
    events: Counter,
    bodies: Counter,
}

impl PruneMeasures {
    pub(crate) fn new(kind: &Kind) -> Self {
        let source = label(kind);
        let what = |what: &'static str| counter!("webhook_pruned_total", "source" => source.clone(), "what" => what);
        Self {
            calls: StoreCalls::of("prune"),
            events: what("event"),
            bodies: what("body"),
        }
    }

    pub(crate) fn events(&self, deleted: usize) {
        self.events.increment(deleted as u64);
    }

    pub(crate) fn bodies(&self, deleted: usize) {
        self.bodies.increment(deleted as u64);
    }
}

/// The number as a gauge holds it: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "more is not counted exactly, which does no harm"
)]
const fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Now, in seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}
