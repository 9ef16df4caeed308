//! The receiving side: concurrent deliveries become few, large, durable batches.

mod flush;
mod unhandled;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::error::{Error, StoreError};
use crate::event::{Envelope, EventRecord, EventRef, Key};
use crate::headers::Headers;
use crate::payload::{self, IntoEnvelope, Payload};
use crate::setters::setters;
use crate::store::{Accepted, NewEvent, OnFailed, Store};
use flush::Waiting;
pub(crate) use unhandled::Unhandled;

/// How an [`Inbox`] behaves, and its limits.
///
/// ```
/// # use std::time::Duration;
/// # use webhook_core::InboxOptions;
/// let options = InboxOptions::default()
///     .with_delay(Duration::from_secs(30))
///     .with_max_queued(1_000);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InboxOptions {
    /// How long after acceptance an event falls due. Default: zero.
    pub delay: Duration,
    /// What a redelivery does to an event that failed. Default: nothing.
    pub on_failed: OnFailed,
    /// At most as many events in one batch. Default: 512.
    pub max_batch: usize,
    /// No event joins a batch whose bodies and headers have as many bytes already. Default: 4 MiB.
    pub max_batch_bytes: usize,
    /// At most as many deliveries waiting for their batch; one more is answered
    /// [`Error::Overloaded`] at once. Default: 8,192.
    pub max_queued: usize,
    /// At most as many bytes of bodies and headers not yet answered, at least one body however long.
    /// Default: 64 MiB.
    pub max_queued_bytes: usize,
    /// At most as many batches under way at a time; more of them are smaller ones. Default: 1.
    pub max_concurrent_flushes: usize,
    /// A delivery not durable after as long is answered [`Error::TimedOut`]. Default: 3 s.
    pub accept_timeout: Duration,
}

impl InboxOptions {
    setters! {
        with_delay delay: Duration;
        with_on_failed on_failed: OnFailed;
        with_max_batch max_batch: usize;
        with_max_batch_bytes max_batch_bytes: usize;
        with_max_queued max_queued: usize;
        with_max_queued_bytes max_queued_bytes: usize;
        with_max_concurrent_flushes max_concurrent_flushes: usize;
        with_accept_timeout accept_timeout: Duration;
    }
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            on_failed: OnFailed::default(),
            max_batch: 512,
            max_batch_bytes: 4 << 20,
            max_queued: 8_192,
            max_queued_bytes: 64 << 20,
            max_concurrent_flushes: 1,
            accept_timeout: Duration::from_secs(3),
        }
    }
}

/// Makes deliveries durable.
///
/// Concurrent calls coalesce into one [`Store::accept`]: alone, a call is flushed at once; while
/// the flushes allowed are under way, the next batch gathers. Each caller is answered after the
/// commit of its own batch. Cheap to clone; all clones share one queue.
///
/// It may be called from any runtime: it asks the store on the one that it was made on, which must
/// outlive it.
///
/// ```
/// use std::sync::Arc;
///
/// use webhook_core::{Accepted, Envelope, Fingerprint, Inbox, InboxOptions, Key, Kind};
/// use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = Inbox::new(Arc::new(MemoryStore::default()), InboxOptions::default());
/// let (kind, key) = (Kind::from_static("note"), Key::new("n-1")?);
/// let note = Envelope::new(kind, key, Fingerprint::of(["hello"]), "hello".into());
///
/// // Both calls share a batch. Their event is stored when they return.
/// let calls = tokio::join!(inbox.accept(note.clone()), inbox.accept(note));
/// assert_eq!(calls.0?, Accepted::New);
/// assert_eq!(calls.1?, Accepted::Duplicate);
/// inbox.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Inbox {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    /// Where the store is asked.
    runtime: Handle,
    options: InboxOptions,
    /// What is left of `max_queued_bytes`.
    queued_bytes: Arc<Semaphore>,
    closing: CancellationToken,
    tasks: TaskTracker,
    /// In a pipeline that has handlers.
    unhandled: Option<Unhandled>,
}

impl Shared {
    /// How many of `max_queued_bytes` an envelope takes: at least one, and at most all of them.
    fn bytes_of(&self, envelope: &Envelope) -> u32 {
        let limit = self.options.max_queued_bytes.max(1);
        let bytes = envelope.content_len().clamp(1, limit);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn waiting(
        &self,
        envelope: Envelope,
        delay: Duration,
        room: OwnedSemaphorePermit,
    ) -> (Waiting, Answered) {
        if let Some(unhandled) = &self.unhandled {
            unhandled.accepting(&envelope.kind);
        }
        let after = self.options.accept_timeout;
        let deadline = Instant::now() + after;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            event: NewEvent {
                envelope,
                delay,
                on_failed: self.options.on_failed,
            },
            deadline,
            answer,
            _room: room,
        };
        let answered = Answered {
            answered,
            deadline,
            after,
        };
        (waiting, answered)
    }
}

/// The answer to an event that is queued.
struct Answered {
    answered: oneshot::Receiver<Result<Accepted, Error>>,
    deadline: Instant,
    after: Duration,
}

impl Answered {
    async fn wait(self) -> Result<Accepted, Error> {
        match timeout_at(self.deadline, self.answered).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) => Err(StoreError::unavailable(flush::Unanswered).into()),
            Err(_) => Err(Error::TimedOut { after: self.after }),
        }
    }
}

/// A place in an inbox's queue, see [`Inbox::reserve`].
///
/// [`Inbox::close`] waits until it is used or dropped.
pub struct Reserved {
    slot: OwnedPermit<Waiting>,
    shared: Arc<Shared>,
}

impl Reserved {
    /// Makes an event durable, due after the delay of the inbox's options. Waits for room for its
    /// body; the deadline counts from then on.
    ///
    /// # Errors
    ///
    /// As [`Inbox::accept`], but for [`Error::Overloaded`] and [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Inbox::accept`].
    pub async fn accept(self, event: impl IntoEnvelope) -> Result<Accepted, Error> {
        let envelope = event.into_envelope()?;
        let room = Arc::clone(&self.shared.queued_bytes);
        let room = room.acquire_many_owned(self.shared.bytes_of(&envelope));
        let room = room.await.expect("the semaphore is never closed");
        let delay = self.shared.options.delay;
        let (waiting, answered) = self.shared.waiting(envelope, delay, room);
        self.slot.send(waiting);
        answered.wait().await
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

/// What became of a delivery, and under which key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
        Self::new_with(store, options, None)
    }

    pub(crate) fn new_with(
        store: Arc<dyn Store>,
        options: InboxOptions,
        unhandled: Option<Unhandled>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(options.max_queued.clamp(1, Semaphore::MAX_PERMITS));
        let byte_limit = options.max_queued_bytes.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            store,
            runtime: Handle::current(),
            queued_bytes: Arc::new(Semaphore::new(byte_limit)),
            options,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            unhandled,
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

    /// Identifies a delivered body as a `P` and makes it durable.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is not a `P`; otherwise as [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Self::accept).
    pub async fn receive<P: Payload>(&self, body: Bytes) -> Result<Receipt, Error> {
        self.receive_with::<P>(body, Headers::new()).await
    }

    /// As [`receive`](Self::receive), and keeps `headers` with the event.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Self::accept).
    pub async fn receive_with<P: Payload>(
        &self,
        body: Bytes,
        headers: Headers,
    ) -> Result<Receipt, Error> {
        let envelope = Envelope::of::<P>(body, headers)?;
        let key = envelope.key.clone();
        let accepted = self.accept(envelope).await?;
        Ok(Receipt { key, accepted })
    }

    /// Makes an event durable, due after the delay of the options: an [`Envelope`], or `&payload` of a
    /// payload that serde can write.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] when it cannot be put in an envelope.
    /// - [`Error::Overloaded`], at once, when the queue is full.
    /// - [`Error::TimedOut`] when it was not durable by the deadline.
    /// - [`Error::Closed`] after [`close`](Self::close).
    /// - [`Error::Store`] when the store failed. After [`StoreError::Unavailable`] and
    ///   [`Error::TimedOut`] the event may be durable all the same; a redelivery settles it.
    ///
    /// # Cancel safety
    ///
    /// A caller that goes away changes nothing: an event once queued is made durable, and so are
    /// its batch-mates.
    pub async fn accept(&self, event: impl IntoEnvelope) -> Result<Accepted, Error> {
        self.accept_after(event, self.shared.options.delay).await
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
        event: impl IntoEnvelope,
        delay: Duration,
    ) -> Result<Accepted, Error> {
        let envelope = event.into_envelope()?;
        let room = Arc::clone(&self.shared.queued_bytes);
        let bytes = self.shared.bytes_of(&envelope);
        let Ok(room) = room.try_acquire_many_owned(bytes) else {
            return Err(Error::Overloaded);
        };
        let (waiting, answered) = self.shared.waiting(envelope, delay, room);
        self.queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Closed(_) => Error::Closed,
        })?;
        answered.wait().await
    }

    /// Waits for a place in the queue, however long that takes: for consumers, who would rather wait
    /// than be answered [`Error::Overloaded`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; it loses its place among those that wait.
    pub async fn reserve(&self) -> Result<Reserved, Error> {
        let slot = self.queue.clone().reserve_owned();
        Ok(Reserved {
            slot: slot.await.map_err(|_| Error::Closed)?,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Makes many events durable, in as few batches as may be; answer *i* is that of event *i*.
    /// Waits for room in the queue.
    ///
    /// # Errors
    ///
    /// Each event has an answer of its own, as that of [`accept`](Self::accept), but for
    /// [`Error::Overloaded`]: one that the store refuses fails alone.
    ///
    /// # Cancel safety
    ///
    /// An event once queued is made durable; how many were queued is unknown.
    pub async fn accept_all(
        &self,
        events: impl IntoIterator<Item = impl IntoEnvelope>,
    ) -> Vec<Result<Accepted, Error>> {
        let accepts = events
            .into_iter()
            .map(async |event| self.reserve().await?.accept(event).await);
        join_all(accepts).await
    }

    /// The record of one event, within the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or [`Error::Store`] when the store failed.
    pub async fn find<P: Payload>(&self, key: &Key) -> Result<Option<EventRecord>, Error> {
        let event = EventRef {
            kind: payload::kind_of::<P>(),
            key: key.clone(),
        };
        let store = Arc::clone(&self.shared.store);
        let found = self.bounded(async move { store.find(&[event]).await });
        Ok(found.await?.into_iter().next().flatten())
    }

    /// Whether the store answers, within the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or [`Error::Store`] when the store failed.
    pub async fn ping(&self) -> Result<(), Error> {
        let store = Arc::clone(&self.shared.store);
        self.bounded(async move { store.ping().await }).await
    }

    /// Refuses new deliveries, makes durable those that are queued, and returns when all are
    /// answered. May be called more than once, from any clone.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.wait().await;
    }

    /// Waits for an answer of the store until the deadline. Asks it on the runtime that the inbox was made
    /// on: a connection that a backend opens belongs to the runtime that opens it, and the caller's
    /// may end before the inbox is closed, as those of actix-web's threads do.
    async fn bounded<T: Send + 'static>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Error> {
        let after = self.shared.options.accept_timeout;
        let asking = self.shared.runtime.spawn(timeout(after, answer));
        match AbortOnDropHandle::new(asking).await {
            Ok(Ok(answered)) => Ok(answered?),
            Ok(Err(_)) => Err(Error::TimedOut { after }),
            Err(ended) => Err(StoreError::unavailable(ended).into()),
        }
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
