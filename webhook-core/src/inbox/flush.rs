//! Group commit: deliveries that arrive during a flush form the next batch.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::InboxOptions;
use crate::error::{Error, StoreError};
use crate::panics::{caught, logging};
use crate::store::{Accepted, NewEvent, Store};

/// A queued delivery, which waits for its batch.
pub(super) struct Waiting {
    pub(super) event: NewEvent,
    pub(super) caller: Caller,
}

/// The caller that waits for the answer.
pub(super) struct Caller {
    /// When it stops waiting.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Accepted, Error>>,
    /// Its share of `max_queued_bytes`.
    pub(super) _room: OwnedSemaphorePermit,
}

/// The error when a flush ended without an answer, since its runtime is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("batch ended without an answer")]
pub(super) struct Unanswered;

/// Takes deliveries from `waiting` in batches and flushes them, until it is closed and empty.
pub(super) async fn dispatch(
    mut waiting: mpsc::Receiver<Waiting>,
    store: Arc<dyn Store>,
    options: InboxOptions,
    closing: CancellationToken,
) {
    let max_concurrent_flushes =
        u32::try_from(options.max_concurrent_flushes.max(1)).unwrap_or(u32::MAX);
    let flushes = Arc::new(Semaphore::new(max_concurrent_flushes as usize));
    loop {
        let first = tokio::select! {
            biased;
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
            first = waiting.recv() => first,
        };
        let Some(first) = first else { break };
        // The batch gathers while this waits.
        let flush = Arc::clone(&flushes)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let mut batch = Batch::new(first);
        while batch.events.len() < options.max_batch && batch.bytes < options.max_batch_bytes {
            match waiting.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            batch.flush(&*store).await;
            drop(flush);
        });
    }
    // All permits are free once the last flush has answered.
    let _ = flushes.acquire_many(max_concurrent_flushes).await;
}

/// Deliveries that are stored together.
pub(super) struct Batch {
    events: Vec<NewEvent>,
    callers: Vec<Caller>,
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
    /// whose caller went away is kept, so that its event is not lost.
    fn push(&mut self, waiting: Waiting) {
        if waiting.caller.deadline <= Instant::now() {
            return;
        }
        self.bytes += waiting.event.envelope.content_len();
        self.events.push(waiting.event);
        self.callers.push(waiting.caller);
    }

    async fn flush(self, store: &dyn Store) {
        let Some(last_deadline) = self.callers.iter().map(|caller| caller.deadline).max() else {
            return;
        };
        logging(|| debug!(events = self.events.len(), bytes = self.bytes, "flushing"));
        let mut callers = self.callers.into_iter();
        // Parts of the batch, the next one last. A part is split only if the store refuses it.
        let mut parts = vec![self.events.as_slice()];
        while let Some(part) = parts.pop() {
            let accepted = match timeout_at(last_deadline, caught(store.accept(part))).await {
                Ok(accepted) => accepted,
                // Each caller has got the time-out at its own deadline.
                Err(_) => return,
            };
            match accepted {
                Err(StoreError::Refused { .. } | StoreError::Full { .. }) if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push(right);
                    parts.push(left);
                }
                Ok(accepted) => {
                    debug_assert_eq!(accepted.len(), part.len());
                    for (accepted, caller) in accepted.into_iter().zip(&mut callers) {
                        let _ = caller.answer.send(Ok(accepted));
                    }
                }
                Err(error) => {
                    for caller in callers.by_ref().take(part.len()) {
                        let _ = caller.answer.send(Err(error.clone().into()));
                    }
                    logging(|| {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            events = part.len(),
                            "failed to make a batch durable"
                        );
                    });
                }
            }
        }
    }
}
