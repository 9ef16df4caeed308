//! The slots of a kind, and how the engines of several partitions share them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::{Look, NEVER_CLOSED, Served};
use crate::measures::Running;

/// How often an engine that uses its share looks whether the share has grown.
const SHARE_POLL: Duration = Duration::from_millis(5);

/// The slot of an attempt, which is free again when it is dropped.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    used: Option<Arc<Used>>,
    /// Notified when the slot is free again.
    ended: Option<Arc<Notify>>,
    /// Counts the attempt.
    _running: Running,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The limit is asked after this, and must not count the slot any more.
        drop(self.permit.take());
        if let Some(used) = &self.used {
            used.count.fetch_sub(1, Ordering::Relaxed);
            used.ended.notify_one();
        }
        if let Some(ended) = &self.ended {
            ended.notify_one();
        }
    }
}

/// The slots of a kind that the attempts of one engine have.
#[derive(Default)]
pub(super) struct Used {
    count: AtomicUsize,
    /// Notified when one of them is free again.
    ended: Notify,
}

impl Used {
    /// Waits until there are fewer than `share`, which may change, and returns how many more there may be.
    async fn fewer_than(&self, share: impl Fn() -> usize) -> usize {
        loop {
            match share().saturating_sub(self.count.load(Ordering::Relaxed)) {
                0 => drop(timeout(SHARE_POLL, self.ended.notified()).await),
                left => return left,
            }
        }
    }
}

impl Served {
    /// Returns the slot of an attempt of the engine that has `used` slots.
    pub(super) fn slot(&self, permit: OwnedSemaphorePermit, used: Option<Arc<Used>>) -> Slot {
        if let Some(used) = &used {
            used.count.fetch_add(1, Ordering::Relaxed);
        }
        Slot {
            permit: Some(permit),
            used,
            ended: self.limit.as_ref().map(|limit| limit.ended()),
            _running: self.measures.run(),
        }
    }

    /// Waits for a free slot.
    pub(super) async fn free_slot(&self) -> OwnedSemaphorePermit {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.expect(NEVER_CLOSED)
    }

    /// Waits until the engine with this `look` has fewer slots than its share, and returns how many more it may have.
    ///
    /// The engines that are behind have equal shares, and one that is not behind has the same. Otherwise, of many slots
    /// that become free together, the first engine to ask would take all, again and again.
    pub(super) async fn share(&self, look: &Look, behind: bool) -> usize {
        let Some(used) = &look.used else {
            return usize::MAX;
        };
        let share = || {
            let engines = self.behind.load(Ordering::Relaxed) + usize::from(!behind);
            self.options.concurrency.div_ceil(engines.max(1))
        };
        used.fewer_than(share).await
    }

    /// The number of slots that attempts have, while the claim loop holds `held` slots.
    pub(super) fn running(&self, held: usize) -> usize {
        let free = self.slots.available_permits();
        self.options.concurrency.saturating_sub(free + held)
    }
}
