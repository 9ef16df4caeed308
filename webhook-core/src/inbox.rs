//! The receiving side: concurrent deliveries become few, large, durable batches.

mod flush;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::event::{Envelope, EventRecord, EventRef, Key};
use crate::payload::{self, Payload};
use crate::store::{Accepted, NewEvent, Redelivery, Store};
use flush::Waiting;

/// How an [`Inbox`] behaves, and its limits.
#[derive(Clone, Debug)]
pub struct InboxOptions {
    /// How long after acceptance an event falls due. Default: zero.
    pub delay: Duration,
    /// What a redelivery does to an event that failed. Default: nothing.
    pub redelivery: Redelivery,
    /// At most as many events in one batch. Default: 512.
    pub max_batch: usize,
    /// No event joins a batch whose bodies have as many bytes already. Default: 4 MiB.
    pub max_batch_bytes: usize,
    /// At most as many deliveries waiting for their batch; one more is answered
    /// [`Error::Overloaded`] at once. Default: 8,192.
    pub max_queued: usize,
    /// At most as many bytes of bodies not yet answered, at least one body however long.
    /// Default: 64 MiB.
    pub max_queued_bytes: usize,
    /// At most as many batches under way at a time; more of them are smaller ones. Default: 1.
    pub max_flushes: usize,
    /// A delivery not durable after as long is answered [`Error::TimedOut`]. Default: 3 s.
    pub deadline: Duration,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            redelivery: Redelivery::default(),
            max_batch: 512,
            max_batch_bytes: 4 << 20,
            max_queued: 8_192,
            max_queued_bytes: 64 << 20,
            max_flushes: 1,
            deadline: Duration::from_secs(3),
        }
    }
}

/// Makes deliveries durable.
///
/// Concurrent calls coalesce into one [`Store::accept`]: alone, a call is flushed at once; while
/// the flushes allowed are under way, the next batch gathers. Each caller is answered after the
/// commit of its own batch. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Inbox {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    options: InboxOptions,
    /// What is left of `max_queued_bytes`.
    queued_bytes: Arc<Semaphore>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What became of a delivery, and under which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The delivery's idempotency key.
    pub key: Key,
    /// What became of it; durable in every case.
    pub accepted: Accepted,
}

impl Inbox {
    /// An inbox in front of `store`. Zeroes in `options` count as one.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn new(store: Arc<dyn Store>, options: InboxOptions) -> Self {
        let (queue, waiting) = mpsc::channel(options.max_queued.clamp(1, Semaphore::MAX_PERMITS));
        let byte_limit = options.max_queued_bytes.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            store,
            queued_bytes: Arc::new(Semaphore::new(byte_limit)),
            options,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(flush::dispatch(
            waiting,
            Arc::clone(&shared.store),
            shared.options.clone(),
            shared.closing.clone(),
        ));
        shared.tasks.close();
        Self { queue, shared }
    }

    /// Reads a delivered body as a `P` and makes it durable.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is not a `P`; otherwise as [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Self::accept).
    pub async fn receive<P: Payload>(&self, body: Bytes) -> Result<Receipt, Error> {
        let envelope = payload::seal::<P>(body)?;
        let key = envelope.key.clone();
        let accepted = self.accept(envelope).await?;
        Ok(Receipt { key, accepted })
    }

    /// Makes an event durable, due after the delay of the options.
    ///
    /// # Errors
    ///
    /// - [`Error::Overloaded`], at once, when the queue is full.
    /// - [`Error::TimedOut`] when it was not durable by the deadline.
    /// - [`Error::Closed`] after [`close`](Self::close).
    /// - The store's own error. After `Unavailable` and `TimedOut` the event may be durable all
    ///   the same; a redelivery settles it.
    ///
    /// # Cancel safety
    ///
    /// A caller that goes away changes nothing: an event once queued is made durable, and so are
    /// its batch-mates.
    pub async fn accept(&self, envelope: Envelope) -> Result<Accepted, Error> {
        self.accept_after(envelope, self.shared.options.delay).await
    }

    /// Makes an event durable, due after `delay`; otherwise as [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_after(
        &self,
        envelope: Envelope,
        delay: Duration,
    ) -> Result<Accepted, Error> {
        let options = &self.shared.options;
        let deadline = Instant::now() + options.deadline;
        let bytes = envelope
            .body
            .len()
            .clamp(1, options.max_queued_bytes.max(1));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.shared.queued_bytes).try_acquire_many_owned(bytes) else {
            return Err(Error::Overloaded);
        };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            event: NewEvent {
                envelope,
                delay,
                redelivery: options.redelivery,
            },
            deadline,
            answer,
            _room: room,
        };
        self.queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Closed(_) => Error::Closed,
        })?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) => Err(Error::unavailable(flush::Unanswered)),
            Err(_) => Err(Error::TimedOut {
                after: options.deadline,
            }),
        }
    }

    /// The record of one event, within the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or the store's own.
    pub async fn find<P: Payload>(&self, key: &Key) -> Result<Option<EventRecord>, Error> {
        let event = EventRef {
            kind: payload::kind_of::<P>(),
            key: key.clone(),
        };
        let found = self.bounded(self.shared.store.find(&[event])).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Whether the store answers, within the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or the store's own.
    pub async fn ping(&self) -> Result<(), Error> {
        self.bounded(self.shared.store.ping()).await
    }

    /// Refuses new deliveries, makes durable those that are queued, and returns when all are
    /// answered. May be called more than once, from any clone.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.wait().await;
    }

    async fn bounded<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let after = self.shared.options.deadline;
        timeout(after, answer)
            .await
            .unwrap_or(Err(Error::TimedOut { after }))
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
