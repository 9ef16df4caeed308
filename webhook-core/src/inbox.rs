//! [`Inbox`]: accepts deliveries, and stores concurrent ones in batches.

mod flush;
mod parts;
mod queue;
mod turns;
mod unhandled;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{OwnedPermit, Permit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::error::{Error, StoreError};
use crate::event::{Envelope, EventRecord, EventRef, Key};
use crate::headers::Headers;
use crate::measures::{InboxMeasures, Received, Timer};
use crate::payload::{self, IntoEnvelope, Payload};
use crate::placement::Placement;
use crate::setters::setters;
use crate::store::{Accepted, NewEvent, OnFailed, Store};
use flush::{Answer, Caller, Waiting};
use queue::Queue;
use turns::Turns;
pub(crate) use unhandled::Unhandled;

/// The largest number of events that [`Inbox::accept_together`] takes.
pub const MAX_TOGETHER: usize = 5_000;

/// What each further event of [`Inbox::accept_together`] counts towards [`InboxOptions::max_queued_bytes`] beside
/// its content: without it, events with empty bodies would take memory without limit.
const TOGETHER_EVENT_BYTES: usize = 256;

/// The options and limits of an [`Inbox`].
///
/// If the store is [partitioned](Store::placement), the deliveries for each partition have a queue and batches of
/// their own, so that a partition that is slow or down neither delays nor refuses those for another. `max_batch`,
/// `max_batch_bytes`, `max_queued` and `max_concurrent_flushes` then apply to each partition by itself. If there are
/// more partitions than two for each processor, and more than four, they flush in turn, so that their batches are
/// larger. A turn ends with the flush, or after 10 ms.
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
    /// What a redelivery does to a FAILED event. Default: [`OnFailed::Keep`].
    pub on_failed: OnFailed,
    /// The largest number of events in a batch. The events of one [`Inbox::accept_together`] always share a
    /// batch, which may exceed this number if nothing else is in it. Default: 512.
    pub max_batch: usize,
    /// The size of bodies and headers, in bytes, from which on a batch takes no further event. Default: 4 MiB.
    pub max_batch_bytes: usize,
    /// The largest number of deliveries that wait for a batch. A further one gets [`Error::Overloaded`] at
    /// once. The events of one [`Inbox::accept_together`] are one delivery. Default: 8,192.
    pub max_queued: usize,
    /// The largest total size, in bytes, of the bodies and headers that are not stored yet. One delivery of any
    /// size is always accepted. Each event of [`Inbox::accept_together`] after the first counts 256 bytes more.
    /// The partitions of a partitioned store have an equal part each: however many of them are down, what waits
    /// for them takes no room of the others. Default: 64 MiB.
    pub max_queued_bytes: usize,
    /// The largest number of batches that are stored at the same time. More of them are smaller. Default: 1.
    pub max_concurrent_flushes: usize,
    /// How long a delivery may take. After that it gets [`Error::TimedOut`]. Default: 3 s.
    pub accept_timeout: Duration,
    /// The name of the inbox in metrics. Default: `inbox`.
    pub name: &'static str,
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
        with_name name: &'static str;
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
            name: "inbox",
        }
    }
}

/// Accepts deliveries and makes them durable.
///
/// Concurrent calls share one [`Store::accept`] (group commit): a single call is stored at once; while batches
/// are being stored, further calls gather in the next batch. Each call returns after its own batch is
/// committed. An inbox is cheap to clone; all clones share one queue.
///
/// If the store is [partitioned](Store::placement), there is a queue for each partition. While a partition is down,
/// the deliveries for it fail, and all others are stored as usual.
///
/// An inbox may be called from any runtime. It calls the store on the runtime on which it was created, which
/// must outlive it.
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
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    /// The runtime on which the store is called.
    runtime: Handle,
    options: InboxOptions,
    /// One, or one for each partition of the store.
    queues: Box<[Queue]>,
    /// Set if the store has several partitions.
    partitions: Option<Partitions>,
    closing: CancellationToken,
    /// The [`Reserved`] that have no place in a queue yet. The queues stay open for them.
    reserved: TaskTracker,
    tasks: TaskTracker,
    measures: Arc<InboxMeasures>,
    /// Set in a pipeline that has handlers.
    unhandled: Option<Unhandled>,
}

struct Partitions {
    placement: Arc<Placement>,
    /// The free places of [`Inbox::reserve`], which does not know the partition: as many as all queues have.
    places: Arc<Semaphore>,
}

impl Shared {
    /// The queue of an event. Hashes only if there are several.
    fn queue_of(&self, event: &Envelope) -> &Queue {
        match &self.partitions {
            None => &self.queues[0],
            Some(Partitions { placement, .. }) => {
                &self.queues[placement.partition_of(&event.kind, &event.key)]
            }
        }
    }

    /// Returns [`Error::Closed`] for new deliveries while the queues of a closed inbox are open for reserved places.
    fn check_open(&self) -> Result<(), Error> {
        match self.partitions.is_some() && self.closing.is_cancelled() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Takes a place in a queue and room for the content of a delivery, if there are any.
    fn place<'q>(
        &self,
        queue: &'q Queue,
        first: &Envelope,
        rest: &[Envelope],
    ) -> Result<(Permit<'q, Waiting>, OwnedSemaphorePermit), Error> {
        self.check_open()?;
        let room = queue.try_room(bytes_of(first, rest))?;
        Ok((queue.try_place()?, room))
    }

    /// Accepts an event that has a place in the queue. Waits until there is room for its content.
    async fn accept_at(
        &self,
        queue: &Queue,
        place: OwnedPermit<Waiting>,
        event: Envelope,
    ) -> Result<Accepted, Error> {
        let room = queue.room(bytes_of(&event, &[])).await;
        let delay = self.options.delay;
        let (waiting, answered) = self.waiting(queue, event, Vec::new(), delay, room, Answer::One);
        place.send(waiting);
        answered.wait().await
    }

    /// Counts a delivery that is refused before it is queued.
    fn refuse(&self, event: &Envelope, error: Error) -> Error {
        self.measures.of_kind(&event.kind).refused(&error);
        error
    }

    /// `answer` makes the variant of [`Answer`] that suits the number of events.
    fn waiting<T>(
        &self,
        queue: &Queue,
        first: Envelope,
        rest: Vec<Envelope>,
        delay: Duration,
        room: OwnedSemaphorePermit,
        answer: fn(oneshot::Sender<Result<T, Error>>) -> Answer,
    ) -> (Waiting, Answered<T>) {
        let new = |envelope: Envelope| {
            if let Some(unhandled) = &self.unhandled {
                unhandled.accepting(&envelope.kind);
            }
            NewEvent {
                envelope,
                delay,
                on_failed: self.options.on_failed,
            }
        };
        let after = self.options.accept_timeout;
        let deadline = Instant::now() + after;
        let received = self.measures.of_kind(&first.kind);
        let queued = queue.count(&room);
        let (sender, answered) = oneshot::channel();
        let waiting = Waiting {
            first: new(first),
            rest: rest.into_iter().map(new).collect(),
            caller: Caller {
                deadline,
                answer: answer(sender),
                _room: room,
                _queued: queued,
            },
        };
        let answered = Answered {
            answered,
            deadline,
            after,
            received,
        };
        (waiting, answered)
    }
}

/// How many bytes a delivery counts towards `max_queued_bytes`.
fn bytes_of(first: &Envelope, rest: &[Envelope]) -> usize {
    let rest = rest
        .iter()
        .map(|it| it.content_len() + TOGETHER_EVENT_BYTES);
    first.content_len() + rest.sum::<usize>()
}

/// The pending answer to a queued delivery.
struct Answered<T> {
    answered: oneshot::Receiver<Result<T, Error>>,
    deadline: Instant,
    after: Duration,
    received: Received,
}

impl<T> Answered<T> {
    async fn wait(mut self) -> Result<T, Error> {
        let answer = self.uncounted().await;
        answer.inspect_err(|error| self.received.refused(error))
    }

    /// Waits for the answer, and does not count an error.
    async fn uncounted(&mut self) -> Result<T, Error> {
        match timeout_at(self.deadline, &mut self.answered).await {
            Ok(Ok(accepted)) => accepted,
            // A flush gives up at the last deadline of its callers, and the caller with that deadline may learn of it
            // before its own timer has ended.
            Ok(Err(_)) if Instant::now() < self.deadline => {
                Err(StoreError::unavailable(flush::Unanswered).into())
            }
            Ok(Err(_)) | Err(_) => Err(Error::TimedOut { after: self.after }),
        }
    }
}

/// A reserved place in the queue of an inbox, from [`Inbox::reserve`].
///
/// [`Inbox::close`] waits until it is used or dropped.
pub struct Reserved {
    place: Place,
    shared: Arc<Shared>,
}

enum Place {
    /// In the only queue.
    Queue(OwnedPermit<Waiting>),
    /// In the queue of the event's partition, when there is room.
    Any {
        _place: OwnedSemaphorePermit,
        _open: TaskTrackerToken,
    },
}

impl Reserved {
    /// Accepts an event, which is due after [`InboxOptions::delay`].
    ///
    /// Waits until there is room for the body, and in a partitioned inbox also until there is a place in the queue of
    /// the event's partition. [`InboxOptions::accept_timeout`] begins after that.
    ///
    /// # Errors
    ///
    /// The same as for [`Inbox::accept`], except [`Error::Overloaded`] and [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// The same as for [`Inbox::accept`].
    pub async fn accept(self, event: impl IntoEnvelope) -> Result<Accepted, Error> {
        let envelope = event.into_envelope()?;
        let queue = self.shared.queue_of(&envelope);
        let place = match self.place {
            Place::Queue(place) => place,
            any @ Place::Any { .. } => {
                let place = queue.owned_place().await?;
                drop(any);
                place
            }
        };
        self.shared.accept_at(queue, place, envelope).await
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

/// The result of a delivery: its key, and what the inbox did with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The idempotency key of the delivery.
    pub key: Key,
    /// What the inbox did with the delivery. It is durable in every case.
    pub accepted: Accepted,
}

impl Inbox {
    /// Creates an inbox for `store`. Zeroes in `options` count as one.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub fn new(store: Arc<dyn Store>, options: InboxOptions) -> Self {
        Self::new_with(store, options, None)
    }

    pub(crate) fn new_with(
        store: Arc<dyn Store>,
        options: InboxOptions,
        unhandled: Option<Unhandled>,
    ) -> Self {
        let placement = store.placement().filter(|placement| placement.count() > 1);
        let count = placement.as_ref().map_or(1, |placement| placement.count());
        let (queues, waiting): (Vec<_>, Vec<_>) = (0..count)
            .map(|index| Queue::new(&options, index, count))
            .unzip();
        let partitions = placement.map(|placement| Partitions {
            placement,
            places: Arc::new(Semaphore::new(queue::all_places(&options, count))),
        });
        let shared = Arc::new(Shared {
            store,
            runtime: Handle::current(),
            queues: queues.into(),
            partitions,
            measures: Arc::new(InboxMeasures::new()),
            options,
            closing: CancellationToken::new(),
            reserved: TaskTracker::new(),
            tasks: TaskTracker::new(),
            unhandled,
        });
        let turns = Turns::new(count);
        for waiting in waiting {
            let (closing, reserved) = (shared.closing.clone(), shared.reserved.clone());
            let closed = async move {
                closing.cancelled().await;
                reserved.wait().await;
            };
            shared.tasks.spawn(flush::dispatch(
                waiting,
                Arc::clone(&shared.store),
                shared.options.clone(),
                closed,
                Arc::clone(&shared.measures),
                turns.of_queue(),
            ));
        }
        shared.tasks.close();
        Self { shared }
    }

    /// Accepts a delivery: identifies its body as a `P`, and makes the event durable.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the body is not a valid `P`; otherwise the same as for [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`accept`](Self::accept).
    pub async fn receive<P: Payload>(&self, body: Bytes) -> Result<Receipt, Error> {
        self.receive_with::<P>(body, Headers::new()).await
    }

    /// Like [`receive`](Self::receive), and stores `headers` with the event.
    ///
    /// # Errors
    ///
    /// The same as for [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`accept`](Self::accept).
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

    /// Makes an event durable: an [`Envelope`], or a reference to a payload that serde can serialize. It is due
    /// after [`InboxOptions::delay`].
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the payload cannot be serialized or identified.
    /// - [`Error::Overloaded`], at once, if the queue is full.
    /// - [`Error::TimedOut`] if the event was not stored within [`InboxOptions::accept_timeout`].
    /// - [`Error::Closed`] after [`close`](Self::close).
    /// - [`Error::Store`] if the store failed.
    ///
    /// After [`StoreError::Unavailable`] and [`Error::TimedOut`] the event may have been stored nevertheless.
    /// It is safe to repeat the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel anything: a queued event is stored with its batch.
    pub async fn accept(&self, event: impl IntoEnvelope) -> Result<Accepted, Error> {
        self.accept_after(event, self.shared.options.delay).await
    }

    /// Like [`accept`](Self::accept), with a delay of its own.
    ///
    /// # Errors
    ///
    /// The same as for [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`accept`](Self::accept).
    pub async fn accept_after(
        &self,
        event: impl IntoEnvelope,
        delay: Duration,
    ) -> Result<Accepted, Error> {
        let envelope = event.into_envelope()?;
        self.enqueue(envelope, Vec::new(), delay, Answer::One).await
    }

    /// Makes all events of one delivery durable in one transaction, or none of them. Answer *i* belongs to event
    /// *i*. They are due after [`InboxOptions::delay`].
    ///
    /// If the store is [partitioned](Store::placement), this applies to the events of each partition by themselves:
    /// they are stored all or none, and beside those of the other partitions. The call returns when all partitions
    /// have answered, with an error if one of them failed; the events of the others may be stored then. It is safe
    /// to repeat the call, since they are duplicates the next time.
    ///
    /// Other deliveries may share the transaction. If the store refuses one event, all events of this call are
    /// refused, and no other delivery is. A key may occur several times: its first event may be new, and each
    /// later one is a duplicate of it or a conflict with it.
    ///
    /// # Errors
    ///
    /// The same as for [`accept`](Self::accept), for all events. [`Error::TooManyEvents`] if there are more than
    /// [`MAX_TOGETHER`].
    ///
    /// # Cancel safety
    ///
    /// The same as for [`accept`](Self::accept).
    pub async fn accept_together(&self, events: Vec<Envelope>) -> Result<Vec<Accepted>, Error> {
        let delay = self.shared.options.delay;
        self.accept_together_after(events, delay).await
    }

    /// Like [`accept_together`](Self::accept_together), with a delay of its own.
    ///
    /// # Errors
    ///
    /// The same as for [`accept_together`](Self::accept_together).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`accept`](Self::accept).
    pub async fn accept_together_after(
        &self,
        events: Vec<Envelope>,
        delay: Duration,
    ) -> Result<Vec<Accepted>, Error> {
        if events.len() > MAX_TOGETHER {
            return Err(Error::TooManyEvents {
                events: events.len(),
                limit: MAX_TOGETHER,
            });
        }
        if let Some(partitions) = &self.shared.partitions {
            return self
                .accept_parts(&partitions.placement, events, delay)
                .await;
        }
        let mut events = events.into_iter();
        let Some(first) = events.next() else {
            return Ok(Vec::new());
        };
        self.enqueue(first, events.collect(), delay, Answer::Together)
            .await
    }

    /// Queues a delivery whose events are all in one partition, and waits for the answer.
    async fn enqueue<T>(
        &self,
        first: Envelope,
        rest: Vec<Envelope>,
        delay: Duration,
        answer: fn(oneshot::Sender<Result<T, Error>>) -> Answer,
    ) -> Result<T, Error> {
        let shared = &*self.shared;
        let queue = shared.queue_of(&first);
        let (place, room) = shared
            .place(queue, &first, &rest)
            .map_err(|error| shared.refuse(&first, error))?;
        let (waiting, answered) = shared.waiting(queue, first, rest, delay, room, answer);
        place.send(waiting);
        answered.wait().await
    }

    /// Waits for a place in the queue, without a time limit: for consumers of another queue, which should wait
    /// instead of getting [`Error::Overloaded`].
    ///
    /// If the store is [partitioned](Store::placement), the queue depends on the event, which is not known yet. This
    /// then waits only while as many places are reserved as all queues have, and [`Reserved::accept`] waits for the
    /// place in the queue.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time, and then loses its turn among the waiting callers.
    pub async fn reserve(&self) -> Result<Reserved, Error> {
        let place = match &self.shared.partitions {
            None => Place::Queue(self.shared.queues[0].owned_place().await?),
            Some(Partitions { places, .. }) => {
                // Keeps the queues open from before the place is taken.
                let open = self.shared.reserved.token();
                let place = Arc::clone(places).acquire_owned().await;
                Place::Any {
                    _place: place.map_err(|_| Error::Closed)?,
                    _open: open,
                }
            }
        };
        let shared = Arc::clone(&self.shared);
        Ok(Reserved { place, shared })
    }

    /// Makes many events durable, in as few batches as possible. Answer *i* belongs to event *i*. Waits for
    /// room in the queue.
    ///
    /// # Errors
    ///
    /// Each event has an answer of its own, with the errors of [`accept`](Self::accept) except
    /// [`Error::Overloaded`]. If the store refuses an event, the others are not affected.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the events that are queued already are stored; how many is unknown.
    pub async fn accept_all(
        &self,
        events: impl IntoIterator<Item = impl IntoEnvelope>,
    ) -> Vec<Result<Accepted, Error>> {
        let accepts = events.into_iter().map(async |event| {
            if self.shared.partitions.is_none() {
                return self.reserve().await?.accept(event).await;
            }
            // Events for a partition that is down must not have the places of others.
            self.shared.check_open()?;
            let envelope = event.into_envelope()?;
            let queue = self.shared.queue_of(&envelope);
            let place = queue.owned_place().await?;
            self.shared.accept_at(queue, place, envelope).await
        });
        join_all(accepts).await
    }

    /// Returns the record of one event, within [`InboxOptions::accept_timeout`].
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or [`Error::Store`] if the store failed.
    pub async fn find<P: Payload>(&self, key: &Key) -> Result<Option<EventRecord>, Error> {
        let event = EventRef {
            kind: payload::kind_of::<P>(),
            key: key.clone(),
        };
        let store = Arc::clone(&self.shared.store);
        let timer = Timer::start();
        let measures = Arc::clone(&self.shared.measures);
        let found = self.bounded(async move {
            let found = store.find(&[event]).await;
            measures.find.ended(&timer, &found);
            found
        });
        Ok(found.await?.into_iter().next().flatten())
    }

    /// Checks that the store answers within [`InboxOptions::accept_timeout`].
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], or [`Error::Store`] if the store failed.
    pub async fn ping(&self) -> Result<(), Error> {
        let store = Arc::clone(&self.shared.store);
        self.bounded(async move { store.ping().await }).await
    }

    /// Closes the inbox: refuses new deliveries, stores the queued ones, and returns when all are answered. May
    /// be called several times, and from any clone.
    pub async fn close(&self) {
        if let Some(Partitions { places, .. }) = &self.shared.partitions {
            places.close();
        }
        self.shared.reserved.close();
        self.shared.closing.cancel();
        self.shared.tasks.wait().await;
    }

    /// Waits for an answer of the store, with the time limit. Calls it on the runtime on which the inbox was
    /// created: a connection belongs to the runtime that opens it, and the caller's runtime may end before the
    /// inbox is closed, as those of actix-web's threads do.
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
