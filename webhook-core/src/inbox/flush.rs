//! Group commit: deliveries that arrive during a flush form the next batch.

use std::sync::Arc;

use tokio::pin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::InboxOptions;
use super::turns::QueueTurns;
use crate::error::{Error, StoreError};
use crate::measures::{InboxMeasures, Queued, Timer};
use crate::panics::{caught, logging};
use crate::store::{Accepted, NewEvent, Store};

/// A queued delivery, which waits for its batch.
pub(super) struct Waiting {
    pub(super) first: NewEvent,
    /// Further events, which are stored with the first one or not at all.
    pub(super) rest: Vec<NewEvent>,
    pub(super) caller: Caller,
}

impl Waiting {
    fn len(&self) -> usize {
        1 + self.rest.len()
    }
}

/// The caller that waits for the answer.
pub(super) struct Caller {
    /// When it stops waiting.
    pub(super) deadline: Instant,
    pub(super) answer: Answer,
    /// Its share of `max_queued_bytes`.
    pub(super) _room: OwnedSemaphorePermit,
    /// Counts it in the queue.
    pub(super) _queued: Queued,
}

/// Where the answer goes.
pub(super) enum Answer {
    /// To the caller of one event.
    One(oneshot::Sender<Result<Accepted, Error>>),
    /// To the caller of events that are stored together.
    Together(oneshot::Sender<Result<Vec<Accepted>, Error>>),
}

impl Answer {
    /// Sends the answers of the caller's events. If there are too few, the caller gets [`Unanswered`].
    fn accepted(self, mut accepted: impl ExactSizeIterator<Item = Accepted>, events: usize) {
        if accepted.len() < events {
            return;
        }
        match self {
            Self::One(caller) => {
                if let Some(accepted) = accepted.next() {
                    let _ = caller.send(Ok(accepted));
                }
            }
            Self::Together(caller) => {
                let _ = caller.send(Ok(accepted.take(events).collect()));
            }
        }
    }

    fn failed(self, error: StoreError) {
        match self {
            Self::One(caller) => drop(caller.send(Err(error.into()))),
            Self::Together(caller) => drop(caller.send(Err(error.into()))),
        }
    }
}

/// The error when a flush ended without an answer, since its runtime is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("batch ended without an answer")]
pub(super) struct Unanswered;

/// Takes deliveries from `waiting` in batches and flushes them, until it is empty and `closed` has completed.
pub(super) async fn dispatch(
    mut waiting: mpsc::Receiver<Waiting>,
    store: Arc<dyn Store>,
    options: InboxOptions,
    closed: impl Future<Output = ()>,
    measures: Arc<InboxMeasures>,
    turns: QueueTurns,
) {
    pin!(closed);
    let max_concurrent_flushes =
        u32::try_from(options.max_concurrent_flushes.max(1)).unwrap_or(u32::MAX);
    let flushes = Arc::new(Semaphore::new(max_concurrent_flushes as usize));
    // A delivery that did not fit into a batch begins the next one.
    let mut left_over = None;
    loop {
        let first = tokio::select! {
            biased;
            () = &mut closed, if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
            first = next(&mut left_over, &mut waiting) => first,
        };
        let Some(first) = first else { break };
        // The batch gathers while this waits.
        let flush = Arc::clone(&flushes)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let turn = turns.next().await;
        let mut batch = Batch::new(first);
        while batch.events.len() < options.max_batch && batch.bytes < options.max_batch_bytes {
            match waiting.try_recv() {
                Ok(next) if batch.events.len() + next.len() <= options.max_batch => {
                    batch.push(next);
                }
                Ok(next) => {
                    left_over = Some(next);
                    break;
                }
                Err(_) => break,
            }
        }
        let (store, measures) = (Arc::clone(&store), Arc::clone(&measures));
        tokio::spawn(async move {
            turn.complete(batch.flush(&*store, &measures)).await;
            drop(flush);
        });
    }
    // All permits are free once the last flush has answered.
    let _ = flushes.acquire_many(max_concurrent_flushes).await;
}

/// Returns `left_over`, or else the next delivery of the queue.
async fn next(
    left_over: &mut Option<Waiting>,
    waiting: &mut mpsc::Receiver<Waiting>,
) -> Option<Waiting> {
    match left_over.take() {
        Some(left_over) => Some(left_over),
        None => waiting.recv().await,
    }
}

/// Deliveries that are stored in one call.
pub(super) struct Batch {
    events: Vec<NewEvent>,
    /// Who waits, and for how many events: those of the first caller come first.
    callers: Vec<(Caller, usize)>,
    bytes: usize,
}

impl Batch {
    fn new(first: Waiting) -> Self {
        let mut batch = Self {
            events: Vec::new(),
            callers: Vec::new(),
            bytes: 0,
        };
        batch.push(first);
        batch
    }

    /// Adds a delivery, unless its deadline has passed and its caller has got the time-out already. A delivery
    /// whose caller went away is kept, so that its events are not lost.
    fn push(&mut self, waiting: Waiting) {
        if waiting.caller.deadline <= Instant::now() {
            return;
        }
        let events = waiting.len();
        let first = self.events.len();
        self.events.push(waiting.first);
        self.events.extend(waiting.rest);
        let added = self.events[first..].iter();
        self.bytes += added.map(|it| it.envelope.content_len()).sum::<usize>();
        self.callers.push((waiting.caller, events));
    }

    async fn flush(self, store: &dyn Store, measures: &InboxMeasures) {
        let deadlines = self.callers.iter().map(|(caller, _)| caller.deadline);
        let Some(last_deadline) = deadlines.max() else {
            return;
        };
        logging(|| debug!(events = self.events.len(), bytes = self.bytes, "flushing"));
        let mut events = self.events.as_slice();
        let mut callers = self.callers.into_iter();
        // Parts of the batch by their numbers of callers, the next one last. A part is split only if the store
        // refuses it, and never within the events of one caller.
        let mut parts = vec![callers.len()];
        while let Some(part) = parts.pop() {
            let waiting = callers.as_slice()[..part].iter();
            let (stored, later) = events.split_at(waiting.map(|(_, events)| events).sum());
            let timer = Timer::start();
            let accepted = match timeout_at(last_deadline, caught(store.accept(stored))).await {
                Ok(accepted) => accepted,
                // Each caller has got the time-out at its own deadline.
                Err(_) => return measures.accept.timed_out(&timer),
            };
            measures.accept.ended(&timer, &accepted);
            match accepted {
                Err(StoreError::Refused { .. } | StoreError::Full { .. }) if part > 1 => {
                    parts.push(part - part / 2);
                    parts.push(part / 2);
                    continue;
                }
                Ok(accepted) => {
                    debug_assert_eq!(accepted.len(), stored.len());
                    measures.flushed(stored.len(), &timer);
                    measures.stored(stored, &accepted);
                    let mut accepted = accepted.into_iter();
                    for (caller, events) in callers.by_ref().take(part) {
                        caller.answer.accepted(accepted.by_ref(), events);
                    }
                }
                Err(error) => {
                    for (caller, _) in callers.by_ref().take(part) {
                        caller.answer.failed(error.clone());
                    }
                    logging(|| {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            events = stored.len(),
                            "failed to make a batch durable"
                        );
                    });
                }
            }
            events = later;
        }
    }
}
