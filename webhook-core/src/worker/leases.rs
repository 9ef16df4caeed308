//! The leases a worker holds: what a heartbeat renews.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::event::EventId;
use crate::scheduler::Lease;

/// The leases not yet settled.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<EventId, Held>>);

struct Held {
    lease: Lease,
    /// How long it runs after each renewal.
    length: Duration,
    /// Not later than when the store counted the lease from.
    renewed_at: Instant,
    /// Whether the handler has not ended yet.
    running: bool,
    /// Stops the handler.
    handler: Option<AbortHandle>,
}

impl Held {
    /// Stops the handler, if one runs.
    fn stop(self) {
        if let Some(handler) = self.handler.filter(|_| self.running) {
            handler.abort();
        }
    }
}

impl Leases {
    /// Notes leases whose handlers are about to start. An event that is held already was claimed
    /// again after its lease ran out: the handler of before is stopped.
    pub(super) fn hold(
        &self,
        leases: impl IntoIterator<Item = Lease>,
        length: Duration,
        renewed_at: Instant,
    ) {
        let mut held = self.lock();
        for lease in leases {
            let it = Held {
                lease,
                length,
                renewed_at,
                running: true,
                handler: None,
            };
            if let Some(before) = held.insert(lease.event, it) {
                before.stop();
            }
        }
    }

    /// Notes how to stop the handlers of leases, some of which may have ended already.
    pub(super) fn started(&self, handlers: impl IntoIterator<Item = (Lease, AbortHandle)>) {
        let mut held = self.lock();
        for (lease, handler) in handlers {
            if let Some(it) = find(&mut held, lease) {
                it.handler = Some(handler);
            }
        }
    }

    /// Notes that the handler has ended and that the lease waits for its settlement.
    pub(super) fn ended(&self, lease: Lease) {
        if let Some(it) = find(&mut self.lock(), lease) {
            it.running = false;
        }
    }

    /// Forgets leases that are settled, or lost.
    pub(super) fn forget(&self, leases: impl IntoIterator<Item = Lease>) {
        let mut held = self.lock();
        for lease in leases {
            if find(&mut held, lease).is_some() {
                held.remove(&lease.event);
            }
        }
    }

    /// Forgets a lease that somebody else holds by now, and stops its handler: whether one ran.
    /// A lease whose handler has ended learns its loss from its settlement.
    pub(super) fn lose(&self, lease: Lease) -> bool {
        let mut held = self.lock();
        if !find(&mut held, lease).is_some_and(|it| it.running) {
            return false;
        }
        if let Some(it) = held.remove(&lease.event) {
            it.stop();
        }
        true
    }

    /// Notes that `lease` runs on from `now`.
    pub(super) fn renewed(&self, lease: Lease, now: Instant) {
        if let Some(it) = find(&mut self.lock(), lease) {
            it.renewed_at = now;
        }
    }

    /// The leases last renewed at least as long ago as `age` says for their length, by length.
    pub(super) fn older_than(
        &self,
        age: impl Fn(Duration) -> Duration,
    ) -> BTreeMap<Duration, Vec<Lease>> {
        let now = Instant::now();
        let mut old = BTreeMap::<_, Vec<_>>::new();
        for it in self.lock().values() {
            if now.duration_since(it.renewed_at) >= age(it.length) {
                old.entry(it.length).or_default().push(it.lease);
            }
        }
        old
    }

    /// Whether `lease` has surely run out by the worker's own clock.
    pub(super) fn has_expired(&self, lease: Lease) -> bool {
        find(&mut self.lock(), lease).is_none_or(|it| it.renewed_at.elapsed() >= it.length)
    }

    /// Whether `lease` is held, and not lost, forgotten or replaced by a later one.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        find(&mut self.lock(), lease).is_some()
    }

    /// How many leases are held.
    pub(super) fn held(&self) -> usize {
        self.lock().len()
    }

    /// How many handlers are running.
    pub(super) fn running(&self) -> usize {
        self.lock().values().filter(|it| it.running).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Held>> {
        // Every change is one insert or remove: a panic cannot leave the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(held: &mut HashMap<EventId, Held>, lease: Lease) -> Option<&mut Held> {
    held.get_mut(&lease.event).filter(|it| it.lease == lease)
}
