//! A queue of an inbox, and its part of the limits.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{OwnedPermit, Permit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::InboxOptions;
use super::flush::Waiting;
use crate::error::Error;
use crate::measures::{QueueMeasures, Queued};

/// A queue: the only one of an inbox, or that of one partition.
pub(super) struct Queue {
    places: mpsc::Sender<Waiting>,
    /// The free part of `byte_limit`.
    bytes: Arc<Semaphore>,
    byte_limit: usize,
    measures: QueueMeasures,
}

impl Queue {
    /// Makes the queue number `index` of `count`, each with an equal part of `max_queued_bytes`.
    pub(super) fn new(
        options: &InboxOptions,
        index: usize,
        count: usize,
    ) -> (Self, mpsc::Receiver<Waiting>) {
        let place_limit = places(options);
        let (places, waiting) = mpsc::channel(place_limit);
        let byte_limit = (options.max_queued_bytes / count).clamp(1, Semaphore::MAX_PERMITS);
        let partition = (count > 1).then_some(index);
        let queue = Self {
            places,
            bytes: Arc::new(Semaphore::new(byte_limit)),
            byte_limit,
            measures: QueueMeasures::new(options.name, partition, place_limit, byte_limit),
        };
        (queue, waiting)
    }

    /// Takes a place, or returns [`Error::Overloaded`] or [`Error::Closed`].
    pub(super) fn try_place(&self) -> Result<Permit<'_, Waiting>, Error> {
        self.places.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Error::Overloaded,
            TrySendError::Closed(()) => Error::Closed,
        })
    }

    /// Waits for a place, or returns [`Error::Closed`].
    pub(super) async fn owned_place(&self) -> Result<OwnedPermit<Waiting>, Error> {
        let place = self.places.clone().reserve_owned().await;
        place.map_err(|_| Error::Closed)
    }

    /// Takes room for a delivery, or returns [`Error::Overloaded`].
    pub(super) fn try_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let room = Arc::clone(&self.bytes).try_acquire_many_owned(self.share(bytes));
        room.map_err(|_| Error::Overloaded)
    }

    /// Waits for room for a delivery.
    pub(super) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.bytes).acquire_many_owned(self.share(bytes));
        room.await.expect("the semaphore is never closed")
    }

    /// Counts a delivery with this room in the queue until the result is dropped.
    pub(super) fn count(&self, room: &OwnedSemaphorePermit) -> Queued {
        let bytes = u32::try_from(room.num_permits()).unwrap_or(u32::MAX);
        self.measures.queued(bytes)
    }

    /// What a delivery takes of the limit: at least one byte, at most all of them.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.byte_limit)).unwrap_or(u32::MAX)
    }
}

/// How many places `count` queues have together.
pub(super) fn all_places(options: &InboxOptions, count: usize) -> usize {
    let all = places(options).saturating_mul(count);
    all.min(Semaphore::MAX_PERMITS)
}

fn places(options: &InboxOptions) -> usize {
    options.max_queued.clamp(1, Semaphore::MAX_PERMITS)
}
