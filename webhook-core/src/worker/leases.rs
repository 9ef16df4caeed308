//! The leases that a worker holds, and that the heartbeat renews.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::event::EventId;
use crate::scheduler::Lease;

/// The leases that are not settled yet.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<EventId, Held>>);

struct Held {
    lease: Lease,
    /// How long it lasts after each renewal.
    length: Duration,
    /// When it was renewed, or earlier: the time before the request to the store.
    renewed_at: Instant,
    /// Whether the handler is still running.
    running: bool,
    /// Aborts the handler.
    handler: Option<AbortHandle>,
}

impl Held {
    /// Stops the handler if it is running.
    fn stop(self) {
        if let Some(handler) = self.handler.filter(|_| self.running) {
            handler.abort();
        }
    }
}

impl Leases {
    /// Adds leases whose handlers are about to start. If an event has a lease already, that lease has expired
    /// and the event was claimed again: its earlier handler is stopped.
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

    /// Adds the handles to abort the handlers, some of which may have ended already.
    pub(super) fn started(&self, handlers: impl IntoIterator<Item = (Lease, AbortHandle)>) {
        let mut held = self.lock();
        for (lease, handler) in handlers {
            if let Some(it) = find(&mut held, lease) {
                it.handler = Some(handler);
            }
        }
    }

    /// Records that the handler has ended, and that the lease waits for its settlement.
    pub(super) fn ended(&self, lease: Lease) {
        if let Some(it) = find(&mut self.lock(), lease) {
            it.running = false;
        }
    }

    /// Removes leases that are settled or lost.
    pub(super) fn forget(&self, leases: impl IntoIterator<Item = Lease>) {
        let mut held = self.lock();
        for lease in leases {
            if find(&mut held, lease).is_some() {
                held.remove(&lease.event);
            }
        }
    }

    /// Removes a lost lease and stops its handler. Returns whether the handler was running. If it has ended
    /// already, the lease stays, and its settlement will find that it is lost.
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

    /// Records that `lease` was renewed at `now`.
    pub(super) fn renewed(&self, lease: Lease, now: Instant) {
        if let Some(it) = find(&mut self.lock(), lease) {
            it.renewed_at = now;
        }
    }

    /// Returns the leases whose last renewal is at least `age(duration)` ago, grouped by their duration.
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

    /// Whether `lease` has certainly expired, by the worker's own clock.
    pub(super) fn has_expired(&self, lease: Lease) -> bool {
        find(&mut self.lock(), lease).is_none_or(|it| it.renewed_at.elapsed() >= it.length)
    }

    /// Whether `lease` is held: not settled, lost or replaced by a later one.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        find(&mut self.lock(), lease).is_some()
    }

    /// The number of leases that are held.
    pub(super) fn held(&self) -> usize {
        self.lock().len()
    }

    /// The number of running handlers.
    pub(super) fn running(&self) -> usize {
        self.lock().values().filter(|it| it.running).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Held>> {
        // Each change is one insert or remove, so a panic cannot leave the map incomplete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(held: &mut HashMap<EventId, Held>, lease: Lease) -> Option<&mut Held> {
    held.get_mut(&lease.event).filter(|it| it.lease == lease)
}
