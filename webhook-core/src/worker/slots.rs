//! The slots of a kind, and how the engines of several partitions share them.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::claim::{GATHER_TIMEOUT, permits};
use super::{Look, NEVER_CLOSED, Served};
use crate::measures::Running;

/// How often an engine that uses its share looks whether the share has grown.
const SHARE_POLL: Duration = Duration::from_millis(5);

/// The attempts of an engine are quick if all of them have ended this soon after the first of them began.
const QUICK: Duration = Duration::from_millis(10);

/// The parts of the slots that engines take for their claims while their attempts are quick: so that some engines claim
/// large batches, in turn, instead of all of them small ones.
const PARTS: usize = 2;

/// The slots of all parts, of each eight slots. If the attempts become slow, the rest is left to other engines.
const IN_PARTS: usize = 7;

/// How long an engine whose attempts are quick waits for its turn, unless enough others have theirs meanwhile.
const PART_TIMEOUT: Duration = Duration::from_millis(250);

/// How many engines must have had their turns in that time, so that others go on waiting for theirs: of many engines,
/// each waits for long although all attempts are quick.
const LEAST_TURNS: u64 = 25;

/// How long no engine waits for a part after one has waited in vain: slow attempts of others have the slots.
const CROWDED: Duration = Duration::from_secs(5);

/// The turn to use a part of the slots, which ends with the last attempt that uses one of them; `None` if an engine has
/// no more than its share.
pub(super) type Part = Option<Arc<OwnedSemaphorePermit>>;

/// The parts of the slots.
pub(super) struct Parts {
    turns: Arc<Semaphore>,
    /// How many engines have had a turn.
    taken: AtomicU64,
    /// Until when no engine waits for one.
    crowded_until: Mutex<Option<Instant>>,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(PARTS)),
            taken: AtomicU64::new(0),
            crowded_until: Mutex::default(),
        }
    }

    /// Waits for a turn; `None` if that takes too long.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let mut turn = pin!(Arc::clone(&self.turns).acquire_owned());
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            if let Ok(turn) = timeout(PART_TIMEOUT, &mut turn).await {
                self.taken.fetch_add(1, Ordering::Relaxed);
                return Some(turn.expect(NEVER_CLOSED));
            }
            if self.taken.load(Ordering::Relaxed) - taken < LEAST_TURNS {
                return None;
            }
        }
    }

    fn crowded_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.crowded_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of an attempt, which is free again when it is dropped.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    used: Option<Arc<Used>>,
    /// Notified when the slot is free again.
    ended: Option<Arc<Notify>>,
    /// Counts the attempt.
    _running: Running,
    /// Dropped after the permit.
    _part: Part,
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
pub(super) struct Used {
    count: AtomicUsize,
    /// The number of them at which the claim loop is notified: not at each that is free again.
    awaited: AtomicUsize,
    reached: Notify,
    created_at: Instant,
    /// When the first of them was taken, in microseconds after the creation.
    taken_at: AtomicU64,
    /// Whether the attempts were quick when all of them ended.
    were_quick: AtomicBool,
}

impl Used {
    pub(super) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            reached: Notify::new(),
            created_at: Instant::now(),
            taken_at: AtomicU64::new(0),
            were_quick: AtomicBool::new(false),
        }
    }

    fn take(&self) {
        if self.count.fetch_add(1, Ordering::SeqCst) == 0 {
            self.taken_at.store(self.now(), Ordering::Relaxed);
        }
    }

    fn free(&self) {
        let before = self.count.fetch_sub(1, Ordering::SeqCst);
        if before == 1 {
            self.were_quick.store(self.is_recent(), Ordering::Relaxed);
        }
        if before <= self.awaited.load(Ordering::SeqCst) + 1 {
            self.reached.notify_one();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created_at.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether the first of the slots was taken a short time ago.
    fn is_recent(&self) -> bool {
        let taken = self
            .now()
            .saturating_sub(self.taken_at.load(Ordering::Relaxed));
        Duration::from_micros(taken) < QUICK
    }

    /// Whether attempts end so soon that the slots of a claim are free again at once.
    fn is_quick(&self) -> bool {
        self.were_quick.load(Ordering::Relaxed)
            && (self.count.load(Ordering::SeqCst) == 0 || self.is_recent())
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
    pub(super) fn slot(
        &self,
        permit: OwnedSemaphorePermit,
        used: Option<Arc<Used>>,
        part: Part,
    ) -> Slot {
        if let Some(used) = &used {
            used.take();
        }
        Slot {
            permit: Some(permit),
            used,
            ended: self.limit.as_ref().map(|limit| limit.ended()),
            _running: self.measures.run(),
            _part: part,
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

    /// Waits for a part of the slots, if the attempts of the engine are quick and the part is larger than its share.
    /// `None` also if slow attempts have the slots.
    pub(super) async fn part(&self, look: &Look) -> Option<(OwnedSemaphorePermit, Part)> {
        let used = look.used.as_ref().filter(|used| used.is_quick())?;
        if self.limit.is_some() || *self.parts.crowded_until() > Some(Instant::now()) {
            return None;
        }
        let slots = self.options.concurrency.saturating_mul(IN_PARTS) / (8 * PARTS);
        let slots = slots.clamp(1, self.options.max_batch);
        if slots <= self.share(look, true) {
            return None;
        }
        let part = async {
            timeout(PART_TIMEOUT, used.at_most(|| 0)).await.ok()?;
            let turn = self.parts.turn().await?;
            // Engines that need fewer slots wait behind this.
            let slots = Arc::clone(&self.slots).acquire_many_owned(permits(slots));
            let slots = timeout(GATHER_TIMEOUT, slots).await.ok()?;
            Some((slots.expect(NEVER_CLOSED), Some(Arc::new(turn))))
        };
        let part = part.await;
        if part.is_none() {
            *self.parts.crowded_until() = Some(Instant::now() + CROWDED);
        }
        part
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
