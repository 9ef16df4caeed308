//! What senders and readers see of a backend.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::event::{Envelope, EventRecord, EventRef};
use crate::setters::setters;

/// Makes events durable, once per (kind, key), and finds them again.
///
/// The accepted row is the schedule: an event that [`accept`](Store::accept) calls new will be
/// claimable through the backend's [`Scheduler`](crate::Scheduler) once its delay has passed,
/// with no second step that could be lost.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes `events` durable, each once per (kind, key); outcome *i* answers event *i*.
    ///
    /// # Guarantees
    ///
    /// - When it returns `Ok`, every event it calls [`Accepted::New`] is committed as durably as
    ///   the backend promises, due `delay` after now by the store's clock, with attempts 0.
    /// - A unique constraint decides who is new, also among concurrent calls, whatever the order
    ///   of their keys; they do not deadlock.
    /// - The fingerprint is compared with the stored one on every path that finds a key taken.
    ///   The same: [`Accepted::Duplicate`], nothing changes. Another: [`Accepted::Conflict`], the
    ///   stored event is untouched, and its conflict count, last time and body are recorded
    ///   (bodies within [`MAX_CONFLICT_BODIES`] and [`MAX_CONFLICT_BODY_BYTES`]).
    /// - The headers of the first delivery are kept, byte for byte. They are not compared.
    /// - Repeats of one key *within* `events` are judged in their order: the first may be new, a
    ///   later one is its duplicate or its conflict.
    /// - [`OnFailed::Requeue`] on an event whose stored state is failed and whose
    ///   fingerprint is the same moves it back to processing: [`Accepted::Requeued`].
    ///
    /// # Left to the backend
    ///
    /// - The delays of requeued events may be counted from a later instant within the call than
    ///   those of new ones, so either may fall due first where their delays hardly differ.
    /// - The ids of new events need not follow their order in `events`, nor does the order in
    ///   which those due at the same instant are claimed.
    ///
    /// # Errors
    ///
    /// An error answers the whole call: no caller may be told that its event is durable. The call
    /// may be repeated, since keys make it idempotent. [`StoreError::Refused`] and [`StoreError::Full`]
    /// promise that nothing was stored, so that the caller can find the culprit by asking for
    /// each event alone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves every event either wholly accepted or not at all; which is
    /// unknown. No lock or connection stays behind.
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError>;

    /// The records of `events`; answer *i* is `None` where the store knows no event *i*.
    ///
    /// # Guarantees
    ///
    /// Sees every event whose `accept` returned before this call began, in one snapshot.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the store cannot answer.
    ///
    /// # Cancel safety
    ///
    /// Reads only; may be dropped at any time.
    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError>;

    /// Asks the store for a sign of life, in the cheapest way that proves it can answer.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it cannot.
    ///
    /// # Cancel safety
    ///
    /// Reads only; may be dropped at any time.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// How many conflicting bodies of one event a store keeps: the latest ones.
pub const MAX_CONFLICT_BODIES: usize = 8;

/// How many bytes of a conflicting body a store keeps: the first ones.
pub const MAX_CONFLICT_BODY_BYTES: usize = 64 * 1024;

/// An event to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEvent {
    /// What is delivered.
    pub envelope: Envelope,
    /// How long after acceptance it falls due.
    pub delay: Duration,
    /// What a redelivery does to an event that failed.
    pub on_failed: OnFailed,
}

impl NewEvent {
    /// An event that falls due `delay` after acceptance, and whose redeliveries change nothing.
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

/// What a delivery of the same content does to an event that is FAILED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailed {
    /// Nothing: it is a duplicate like any other.
    #[default]
    Keep,
    /// Schedules it afresh, with all its attempts and the delivery's delay.
    Requeue,
}

/// What became of a delivery. Each of these is durable, and a success for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The key was free: the event is durable and scheduled.
    New,
    /// The key holds the same content. Nothing changed.
    Duplicate,
    /// The key holds other content, which is kept; the conflict is recorded.
    Conflict,
    /// The key holds the same content, had failed, and is scheduled afresh.
    Requeued,
}
