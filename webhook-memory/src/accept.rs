//! Accepts events within the limits of the store.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use webhook_core::{Accepted, EventId, NewEvent, OnFailed, StoreError};

use crate::event::{Event, Stage, conflict_bytes, new_bytes};
use crate::options::WhenFull;
use crate::queue::Queue;
use crate::state::State;

/// What a delivery needs room for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Conflict,
    Event,
}

impl State {
    pub(crate) fn accept(
        &mut self,
        events: &[NewEvent],
        now: Duration,
    ) -> Result<Vec<Accepted>, StoreError> {
        let room = self.options.capacity.saturating_sub(self.len());
        let is_full = events.len() > room && self.new_events(events) > room + self.evictable();
        if is_full || !self.has_bytes_for(events) {
            return Err(StoreError::Full {
                capacity: self.options.capacity,
            });
        }
        let answers = events.iter().map(|event| self.accept_one(event, now));
        let answers = answers.collect();
        // After the batch, so that no event of the batch itself is evicted.
        self.evict();
        Ok(answers)
    }

    fn accept_one(&mut self, new: &NewEvent, now: Duration) -> Accepted {
        let number = self.number_or_new(&new.envelope.kind);
        let queue = &mut self.queues[number];
        // Most keys are new: this needs one look-up, and one needless clone for the other keys.
        let id = match queue.keys.entry(new.envelope.key.clone()) {
            Entry::Occupied(taken) => *taken.get(),
            Entry::Vacant(free) => {
                if let Some(guard) = new.envelope.guard
                    && !queue.guards.insert(guard)
                {
                    return Accepted::Duplicate;
                }
                self.last_id += 1;
                let id = EventId::new(self.last_id);
                let event = Event::new(new, number, now);
                free.insert(id);
                queue.enter(id, event.due_at, event.stage);
                self.held.add(&event);
                self.events.insert(id, event);
                return Accepted::New;
            }
        };
        let event = self
            .events
            .get_mut(&id)
            .expect("a key leaves its queue with its event");
        if event.fingerprint != new.envelope.fingerprint {
            self.held.remove(event);
            let conflicts = event.conflicts.get_or_insert_default();
            conflicts.record(&new.envelope, now);
            self.held.add(event);
            return Accepted::Conflict;
        }
        match (event.stage, new.on_failed) {
            (
                Stage::Failed {
                    body_deleted: false,
                    ..
                },
                OnFailed::Requeue,
            ) => {
                self.requeue_failed(id, now.saturating_add(new.delay));
                Accepted::Requeued
            }
            _ => Accepted::Duplicate,
        }
    }

    /// Makes a failed event pending again, with its full number of attempts.
    pub(crate) fn requeue_failed(&mut self, id: EventId, due_at: Duration) {
        self.shift(id, |event| {
            event.due_at = due_at;
            event.attempts = 0;
            event.reason = None;
            Stage::Pending { expired_at: None }
        });
    }

    /// The number of events that would be stored.
    fn new_events(&self, events: &[NewEvent]) -> usize {
        let needs = self.needs(events).into_iter();
        needs.filter(|needs| *needs == Needs::Event).count()
    }

    /// What each of `events` would need room for.
    fn needs(&self, events: &[NewEvent]) -> Vec<Needs> {
        let (mut firsts, mut guards) = (HashMap::new(), HashSet::new());
        let needs = events.iter().map(|NewEvent { envelope, .. }| {
            let queue = self.number(&envelope.kind).map(|it| &self.queues[it]);
            let stored = || {
                let event = self.events.get(queue?.keys.get(&envelope.key)?)?;
                Some(event.fingerprint)
            };
            let name = (&envelope.kind, &envelope.key);
            let first = firsts.get(&name).copied().or_else(stored);
            if let Some(first) = first {
                return match first == envelope.fingerprint {
                    true => Needs::Nothing,
                    false => Needs::Conflict,
                };
            }
            if let Some(guard) = &envelope.guard
                && (queue.is_some_and(|queue| queue.guards.contains(guard))
                    || !guards.insert((&envelope.kind, guard)))
            {
                return Needs::Nothing;
            }
            firsts.insert(name, envelope.fingerprint);
            Needs::Event
        });
        needs.collect()
    }

    /// Whether the byte limit has room for `events`.
    fn has_bytes_for(&self, events: &[NewEvent]) -> bool {
        let room = self.options.max_bytes.saturating_sub(self.held.total);
        let most = events.iter().map(|event| new_bytes(&event.envelope));
        if most.sum::<usize>() <= room {
            return true;
        }
        let evictable = match self.options.when_full {
            WhenFull::Refuse => 0,
            WhenFull::EvictProcessed => self.held.processed,
        };
        // If reasons exceed the limit already, eviction must free that excess first.
        let excess = self.held.total.saturating_sub(self.options.max_bytes);
        let added = self.added_bytes(events);
        added == 0 || added + excess <= room + evictable
    }

    /// The most bytes that `events` can add: new events and conflicts.
    fn added_bytes(&self, events: &[NewEvent]) -> usize {
        let needs = self.needs(events).into_iter().zip(events);
        let added = needs.map(|(needs, event)| match needs {
            Needs::Nothing => 0,
            Needs::Conflict => conflict_bytes(&event.envelope),
            Needs::Event => new_bytes(&event.envelope),
        });
        added.sum()
    }

    /// The number of events that may be evicted.
    fn evictable(&self) -> usize {
        match self.options.when_full {
            WhenFull::Refuse => 0,
            WhenFull::EvictProcessed => {
                let processed = self.queues.iter().map(Queue::processed_len);
                processed.sum()
            }
        }
    }

    /// Evicts processed events until the store is within its limits.
    fn evict(&mut self) {
        if self.options.when_full == WhenFull::Refuse {
            return;
        }
        while self.len() > self.options.capacity || self.held.total > self.options.max_bytes {
            let first = self.queues.iter().filter_map(Queue::oldest_processed);
            let Some((_, id)) = first.min() else { return };
            self.forget(id);
        }
    }
}
