//! The events of one kind, by key and in the orders in which they are wanted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use webhook_core::{EventId, Key};

use crate::event::Stage;

/// Later than any time there is.
const NEVER: Duration = Duration::MAX;

/// The indexes of one kind.
pub(crate) struct Queue {
    pub(crate) keys: HashMap<Key, EventId>,
    /// By due time: events that wait, are due, or whose lease ran out.
    pub(crate) pending: BTreeSet<(Duration, EventId)>,
    /// By expiry: events under a lease.
    pub(crate) leased: BTreeSet<(Duration, EventId)>,
    /// By settlement. Events leave at the front only, since processed ones never move again.
    pub(crate) processed: VecDeque<(Duration, EventId)>,
    /// As `processed`: those whose bodies are deleted. The oldest bodies go first.
    pub(crate) without_bodies: VecDeque<(Duration, EventId)>,
    /// By settlement.
    pub(crate) failed: BTreeSet<(Duration, EventId)>,
    wake: Arc<Notify>,
    /// When the last claim said that the next event falls due. Whoever waits was told this or
    /// an earlier time.
    promised: Duration,
    /// Whether something fell due earlier than promised since. Kept for those who ask later.
    broken: bool,
    paused: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            pending: BTreeSet::new(),
            leased: BTreeSet::new(),
            processed: VecDeque::new(),
            without_bodies: VecDeque::new(),
            failed: BTreeSet::new(),
            wake: Arc::new(Notify::new()),
            promised: NEVER,
            broken: false,
            paused: false,
        }
    }

    /// Puts an event that is in no index into that of its stage.
    pub(crate) fn enter(&mut self, id: EventId, due_at: Duration, stage: Stage) {
        match stage {
            Stage::Pending { .. } => {
                self.pending.insert((due_at, id));
                self.announce(due_at);
            }
            Stage::Leased { until } => {
                self.leased.insert((until, id));
                self.announce(until);
            }
            Stage::Processed { at, body_deleted } => {
                self.settled_well(body_deleted).push_back((at, id))
            }
            Stage::Failed { at } => {
                self.failed.insert((at, id));
            }
        }
    }

    /// Takes an event out of the index of its stage.
    pub(crate) fn leave(&mut self, id: EventId, due_at: Duration, stage: Stage) {
        match stage {
            Stage::Pending { .. } => self.pending.remove(&(due_at, id)),
            Stage::Leased { until } => self.leased.remove(&(until, id)),
            // Only pruning, eviction and the deletion of bodies take processed events, and they take the first.
            Stage::Processed { body_deleted, .. } => {
                self.settled_well(body_deleted).pop_front().is_some()
            }
            Stage::Failed { at } => self.failed.remove(&(at, id)),
        };
    }

    fn settled_well(&mut self, body_deleted: bool) -> &mut VecDeque<(Duration, EventId)> {
        if body_deleted {
            &mut self.without_bodies
        } else {
            &mut self.processed
        }
    }

    /// The processed event to forget first.
    pub(crate) fn oldest_processed(&self) -> Option<(Duration, EventId)> {
        self.without_bodies
            .front()
            .or(self.processed.front())
            .copied()
    }

    /// How many events are processed.
    pub(crate) fn processed_len(&self) -> usize {
        self.processed.len() + self.without_bodies.len()
    }

    /// When the next event falls due or its lease runs out.
    fn next_at(&self) -> Duration {
        let pending = self.pending.first().map_or(NEVER, |(due_at, _)| *due_at);
        let leased = self.leased.first().map_or(NEVER, |(until, _)| *until);
        pending.min(leased)
    }

    /// Says how long until the next event falls due, and remembers having said so.
    pub(crate) fn promise(&mut self, now: Duration) -> Option<Duration> {
        self.promised = self.next_at();
        self.broken = false;
        let any = !(self.pending.is_empty() && self.leased.is_empty());
        any.then(|| self.promised.saturating_sub(now))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Says whether it was not paused before. Nobody is woken until it is resumed, and then everybody
    /// where there is anything to come.
    pub(crate) fn pause(&mut self) -> bool {
        self.promised = NEVER;
        self.broken = false;
        !mem::replace(&mut self.paused, true)
    }

    /// Says whether it was paused.
    pub(crate) fn resume(&mut self) -> bool {
        let was_paused = mem::replace(&mut self.paused, false);
        if was_paused {
            self.announce(self.next_at());
        }
        was_paused
    }

    /// Wakes who waits where `at` is earlier than they were told.
    fn announce(&mut self, at: Duration) {
        if at < self.promised && !self.broken && !self.paused {
            self.broken = true;
            self.wake.notify_waiters();
        }
    }

    /// A future that ends with the next announcement, or `None` where there is news already.
    pub(crate) fn news(&self, now: Duration) -> Option<impl Future<Output = ()> + use<>> {
        let news = !self.paused && (self.broken || self.next_at() <= now);
        (!news).then(|| Arc::clone(&self.wake).notified_owned())
    }
}
