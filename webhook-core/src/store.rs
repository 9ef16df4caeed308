//! [`Store`]: the interface of a backend for senders and readers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::event::{Envelope, EventRecord, EventRef};
use crate::placement::Placement;
use crate::setters::setters;

/// Makes events durable, once per (kind, key), and finds them again.
///
/// Accepting an event also schedules it: once its delay has passed, a new event can be claimed through the
/// backend's [`Scheduler`](crate::Scheduler). There is no second step that could be lost.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes `events` durable, each once per (kind, key). Answer *i* belongs to event *i*.
    ///
    /// # Guarantees
    ///
    /// - When the call returns `Ok`, every event with the answer [`Accepted::New`] is committed as durably as
    ///   the backend promises. It is due `delay` from now by the store's clock, and has no attempts yet.
    /// - The new events are committed together: all of them or none, also if the call fails or is dropped. If the
    ///   store is [partitioned](Self::placement), this applies to the events of each partition by themselves.
    /// - The call that stores an event decides that it is new, also among concurrent calls, whatever the order of
    ///   their keys: by a unique constraint, for example. Concurrent calls do not deadlock.
    /// - Whenever a key is taken, the fingerprint is compared with the stored one. If they are equal, the
    ///   answer is [`Accepted::Duplicate`] and nothing changes. If they differ, the answer is
    ///   [`Accepted::Conflict`]: the stored event stays as it is, and the conflict is counted and recorded with
    ///   its time and its body (within [`MAX_CONFLICT_BODIES`] and [`MAX_CONFLICT_BODY_BYTES`]).
    /// - If a key is free, and an earlier event of the kind has the [guard](field@Envelope::guard) of the delivery, the
    ///   answer is [`Accepted::Duplicate`], and nothing is stored: the key remains free. The call that stores an
    ///   event decides that its guard is new, like its key. If a key is taken, the guard does not matter, and is
    ///   not stored.
    /// - The headers of the first delivery are kept, byte for byte. They are not compared.
    /// - If a key occurs several times *within* `events`, the first occurrence may be new, and each later one
    ///   is a duplicate of it or a conflict with it. The same applies to guards: events are judged in their order.
    /// - [`OnFailed::Requeue`] moves a FAILED event with the same fingerprint back to PROCESSING; the answer is
    ///   [`Accepted::Requeued`].
    ///
    /// # Left to the backend
    ///
    /// - The delays of requeued events may begin later within the call than the delays of new events. If the
    ///   delays hardly differ, either event may fall due first.
    /// - If a stored event is deleted while a delivery with its key is being accepted, that delivery may be
    ///   committed after the others of its call.
    /// - The ids of new events need not be in the order of `events`, and events that are due at the same
    ///   instant may be claimed in any order.
    /// - In a partitioned store, events of different partitions are committed at different times, and the order of
    ///   their ids says nothing about the order in which they were accepted.
    ///
    /// # Errors
    ///
    /// An error applies to the whole call: no caller may be told that its event is durable. The call may be
    /// repeated, since keys make it idempotent. After [`StoreError::Refused`] and [`StoreError::Full`], nothing
    /// was stored, so that the caller can find the event that causes the error by accepting each event alone. In a
    /// partitioned store, nothing was stored in the partition with the error; events of the other partitions may
    /// be, and are duplicates when the call is repeated.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, either all events are accepted or none, in a partitioned store all or none of each
    /// partition; which is unknown. No lock or connection remains in use.
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError>;

    /// Returns the records of `events`. Answer *i* is `None` if there is no event *i*.
    ///
    /// # Guarantees
    ///
    /// The call reads one snapshot, which has every event whose `accept` returned before the call began. A
    /// partitioned store reads one snapshot of each partition.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the store cannot answer.
    ///
    /// # Cancel safety
    ///
    /// The call only reads, and may be dropped at any time.
    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError>;

    /// Checks that the store can answer, in the cheapest way.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if it cannot.
    ///
    /// # Cancel safety
    ///
    /// The call only reads, and may be dropped at any time.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Which partition each event is in, if the store is [partitioned](crate::Partitioned). Default: `None`.
    ///
    /// An [`Inbox`](crate::Inbox) has a queue for each partition, so that one that is slow or down does not delay
    /// the deliveries of the others.
    fn placement(&self) -> Option<Arc<Placement>> {
        None
    }
}

// Without the provided methods: a mock has their defaults, and needs no expectations for them.
#[cfg(any(test, feature = "mocks"))]
mockall::mock! {
    /// A mock of [`Store`].
    pub Store {}

    #[async_trait]
    impl Store for Store {
        async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError>;
        async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError>;
        async fn ping(&self) -> Result<(), StoreError>;
    }
}

/// How many conflicting bodies of one event a store keeps: the latest ones.
pub const MAX_CONFLICT_BODIES: usize = 8;

/// How many bytes of a conflicting body a store keeps: the first ones.
pub const MAX_CONFLICT_BODY_BYTES: usize = 64 * 1024;

/// An event to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEvent {
    /// The names, the headers and the body.
    pub envelope: Envelope,
    /// How long after acceptance it falls due.
    pub delay: Duration,
    /// What a later delivery of the same content does if the event has failed.
    pub on_failed: OnFailed,
}

impl NewEvent {
    /// An event that falls due `delay` after acceptance, with [`OnFailed::Keep`].
    pub const fn new(envelope: Envelope, delay: Duration) -> Self {
        Self {
            envelope,
            delay,
            on_failed: OnFailed::Keep,
        }
    }

    setters! {
        with_delay delay: Duration;
        with_on_failed on_failed: OnFailed;
    }
}

/// What a delivery of the same content does to a FAILED event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailed {
    /// Nothing: the delivery is a duplicate.
    #[default]
    Keep,
    /// Requeues the event, with its full number of attempts and the delay of the delivery.
    Requeue,
}

/// The result of a delivery. Each of these is durable, and a success for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The key was free: the event is stored and scheduled.
    New,
    /// The key has the same content already, or another key has the same guard. Nothing changed.
    Duplicate,
    /// The key has other content already, which is kept. The conflict is recorded.
    Conflict,
    /// The key has the same content, and its event had failed. It is requeued.
    Requeued,
}
