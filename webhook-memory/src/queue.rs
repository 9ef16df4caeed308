//! The events of one kind: the index of keys, and an index for each stage.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use webhook_core::{EventId, Fingerprint, Key};

use crate::event::Stage;

/// Later than every due time.
const NEVER: Duration = Duration::MAX;

/// The indexes of one kind.
pub(crate) struct Queue {
    pub(crate) keys: HashMap<Key, EventId>,
    pub(crate) guards: HashSet<Fingerprint>,
    /// By due time: events that wait, that are due, or whose lease has expired.
    pub(crate) pending: BTreeSet<(Duration, EventId)>,
    /// By expiry: leased events.
    pub(crate) leased: BTreeSet<(Duration, EventId)>,
    /// By settlement time. Nearly all events enter at the back and leave at the front.
    pub(crate) processed: VecDeque<(Duration, EventId)>,
    /// The same for processed events without bodies.
    pub(crate) without_bodies: VecDeque<(Duration, EventId)>,
    /// By settlement time.
    pub(crate) failed: BTreeSet<(Duration, EventId)>,
    /// The same for failed events without bodies.
    pub(crate) failed_without_bodies: BTreeSet<(Duration, EventId)>,
    wake: Arc<Notify>,
    /// When workers expect the next event to fall due, according to the last claim.
    expected: Duration,
    /// Whether an event falls due earlier than expected. Kept until the next claim, for workers that begin to
    /// wait later.
    is_earlier: bool,
    paused: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            guards: HashSet::new(),
            pending: BTreeSet::new(),
            leased: BTreeSet::new(),
            processed: VecDeque::new(),
            without_bodies: VecDeque::new(),
            failed: BTreeSet::new(),
            failed_without_bodies: BTreeSet::new(),
            wake: Arc::new(Notify::new()),
            expected: NEVER,
            is_earlier: false,
            paused: false,
        }
    }

    /// Adds an event to the index of its stage.
    pub(crate) fn enter(&mut self, id: EventId, due_at: Duration, stage: Stage) {
        match stage {
            Stage::Pending { .. } => {
                self.pending.insert((due_at, id));
                self.wake_if_earlier(due_at);
            }
            Stage::Leased { until } => {
                self.leased.insert((until, id));
                self.wake_if_earlier(until);
            }
            Stage::Processed { at, body_deleted } => {
                insert(self.processed_of(body_deleted), (at, id));
            }
            Stage::Failed { at, body_deleted } => {
                self.failed_of(body_deleted).insert((at, id));
            }
        }
    }

    /// Removes an event from the index of its stage.
    pub(crate) fn leave(&mut self, id: EventId, due_at: Duration, stage: Stage) {
        match stage {
            Stage::Pending { .. } => self.pending.remove(&(due_at, id)),
            Stage::Leased { until } => self.leased.remove(&(until, id)),
            Stage::Processed { at, body_deleted } => {
                remove(self.processed_of(body_deleted), (at, id))
            }
            Stage::Failed { at, body_deleted } => self.failed_of(body_deleted).remove(&(at, id)),
        };
    }

    fn processed_of(&mut self, body_deleted: bool) -> &mut VecDeque<(Duration, EventId)> {
        if body_deleted {
            &mut self.without_bodies
        } else {
            &mut self.processed
        }
    }

    fn failed_of(&mut self, body_deleted: bool) -> &mut BTreeSet<(Duration, EventId)> {
        if body_deleted {
            &mut self.failed_without_bodies
        } else {
            &mut self.failed
        }
    }

    /// The failed event that is pruned first.
    pub(crate) fn oldest_failed(&self) -> Option<(Duration, EventId)> {
        let oldest = self.failed_without_bodies.first();
        oldest.or(self.failed.first()).copied()
    }

    /// The number of failed events.
    pub(crate) fn failed_len(&self) -> usize {
        self.failed.len() + self.failed_without_bodies.len()
    }

    /// The processed event that is pruned or evicted first.
    pub(crate) fn oldest_processed(&self) -> Option<(Duration, EventId)> {
        self.without_bodies
            .front()
            .or(self.processed.front())
            .copied()
    }

    /// The number of processed events.
    pub(crate) fn processed_len(&self) -> usize {
        self.processed.len() + self.without_bodies.len()
    }

    /// When the next event falls due or the next lease expires.
    fn next_at(&self) -> Duration {
        let pending = self.pending.first().map_or(NEVER, |(due_at, _)| *due_at);
        let leased = self.leased.first().map_or(NEVER, |(until, _)| *until);
        pending.min(leased)
    }

    /// Returns how long until the next event falls due, which is what workers expect from now on.
    pub(crate) fn next_due(&mut self, now: Duration) -> Option<Duration> {
        self.expected = self.next_at();
        self.is_earlier = false;
        let any = !(self.pending.is_empty() && self.leased.is_empty());
        any.then(|| self.expected.saturating_sub(now))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns whether the kind was running before. While it is paused, no worker is woken. The resume wakes
    /// all workers if there is an event.
    pub(crate) fn pause(&mut self) -> bool {
        self.expected = NEVER;
        self.is_earlier = false;
        !mem::replace(&mut self.paused, true)
    }

    /// Returns whether the kind was paused before.
    pub(crate) fn resume(&mut self) -> bool {
        let was_paused = mem::replace(&mut self.paused, false);
        if was_paused {
            self.wake_if_earlier(self.next_at());
        }
        was_paused
    }

    /// Wakes all waiting workers if `at` is earlier than they expect.
    fn wake_if_earlier(&mut self, at: Duration) {
        if at < self.expected && !self.is_earlier && !self.paused {
            self.is_earlier = true;
            self.wake.notify_waiters();
        }
    }

    /// A future that completes when workers are woken next; `None` if a worker should claim now.
    pub(crate) fn wakeup(&self, now: Duration) -> Option<impl Future<Output = ()> + use<>> {
        let claim_now = !self.paused && (self.is_earlier || self.next_at() <= now);
        (!claim_now).then(|| Arc::clone(&self.wake).notified_owned())
    }
}

/// Inserts an event by its time.
fn insert(settled: &mut VecDeque<(Duration, EventId)>, event: (Duration, EventId)) {
    if settled.back().is_none_or(|(last, _)| *last <= event.0) {
        settled.push_back(event);
    } else {
        let place = settled.partition_point(|(at, _)| *at <= event.0);
        settled.insert(place, event);
    }
}

/// Removes an event, and returns whether it was there.
fn remove(settled: &mut VecDeque<(Duration, EventId)>, event: (Duration, EventId)) -> bool {
    if settled.front() == Some(&event) {
        return settled.pop_front().is_some();
    }
    let first = settled.partition_point(|(at, _)| *at < event.0);
    let mut same = settled.range(first..).take_while(|(at, _)| *at == event.0);
    let place = same.position(|other| *other == event);
    place.is_some_and(|place| settled.remove(first + place).is_some())
}
