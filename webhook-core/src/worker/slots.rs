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
            used.free();
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
    /// The number of them at which the claim loop is notified: not at each that is free again.
    awaited: AtomicUsize,
    reached: Notify,
}

impl Used {
    fn free(&self) {
        let before = self.count.fetch_sub(1, Ordering::SeqCst);
        if before <= self.awaited.load(Ordering::SeqCst) + 1 {
            self.reached.notify_one();
        }
    }

    /// Waits until there are at most as many as `most` says, which may change.
    async fn at_most(&self, most: impl Fn() -> usize) {
        loop {
            let awaited = most();
            self.awaited.store(awaited, Ordering::SeqCst);
            if self.count.load(Ordering::SeqCst) <= awaited {
                break;
            }
            let _ = timeout(SHARE_POLL, self.reached.notified()).await;
        }
        self.awaited.store(0, Ordering::SeqCst);
    }
}

impl Served {
    /// Returns the slot of an attempt of the engine that has `used` slots.
    pub(super) fn slot(&self, permit: OwnedSemaphorePermit, used: Option<Arc<Used>>) -> Slot {
        if let Some(used) = &used {
            used.count.fetch_add(1, Ordering::SeqCst);
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

    /// The share of an engine in the slots; all of them if it has no `look.used`.
    ///
    /// The engines that are behind have equal shares, and one that is not behind has the same. Otherwise, of many slots
    /// that become free together, the first engine to ask would take all, again and again.
    pub(super) fn share(&self, look: &Look, behind: bool) -> usize {
        if look.used.is_none() {
            return self.options.concurrency;
        }
        let engines = self.behind.load(Ordering::Relaxed) + usize::from(!behind);
        self.options.concurrency.div_ceil(engines.max(1))
    }

    /// How many more slots an engine may have.
    pub(super) fn share_left(&self, look: &Look, behind: bool) -> usize {
        let used = look.used.as_ref();
        let used = used.map_or(0, |used| used.count.load(Ordering::SeqCst));
        self.share(look, behind).saturating_sub(used)
    }

    /// Waits until an engine may have so many more slots, or as many as its share is.
    pub(super) async fn has_share_left(&self, look: &Look, behind: bool, slots: usize) {
        if let Some(used) = &look.used {
            let most = || self.share(look, behind).saturating_sub(slots);
            used.at_most(most).await;
        }
    }

    /// The number of slots that attempts have, while the claim loop holds `held` slots.
    pub(super) fn running(&self, held: usize) -> usize {
        let free = self.slots.available_permits();
        self.options.concurrency.saturating_sub(free + held)
    }
}
