//! The state of a store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use webhook_core::{EventId, EventRecord, EventRef, Kind, StoredAction};

use crate::clock::Clock;
use crate::event::{Event, Stage};
use crate::options::MemoryOptions;
use crate::queue::Queue;

/// The size of all events, as the byte limit counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldBytes {
    pub(crate) total: usize,
    /// The share of processed events, which may be evicted.
    pub(crate) processed: usize,
}

impl HeldBytes {
    /// Adds an event in its present state.
    pub(crate) fn add(&mut self, event: &Event) {
        let bytes = event.bytes();
        self.total += bytes;
        if matches!(event.stage, Stage::Processed { .. }) {
            self.processed += bytes;
        }
    }

    /// Subtracts an event, before it changes or is removed.
    pub(crate) fn remove(&mut self, event: &Event) {
        let bytes = event.bytes();
        self.total -= bytes;
        if matches!(event.stage, Stage::Processed { .. }) {
            self.processed -= bytes;
        }
    }
}

/// The events and their queues. The operations are in the modules [`accept`](crate::accept),
/// [`scheduler`](crate::scheduler) and [`admin`](crate::admin).
pub(crate) struct State {
    pub(crate) options: MemoryOptions,
    pub(crate) last_id: i64,
    pub(crate) held: HeldBytes,
    pub(crate) events: BTreeMap<EventId, Event>,
    /// One for each kind ever used. There are few kinds: each is a type of the app.
    pub(crate) queues: Vec<Queue>,
    numbers: HashMap<Kind, usize>,
    /// The kinds by the numbers of their queues.
    kinds: Vec<Kind>,
    /// The latest audit records, in the order of their ids.
    pub(crate) actions: VecDeque<StoredAction>,
    pub(crate) partition_mark: Option<String>,
}

impl State {
    pub(crate) fn new(options: MemoryOptions) -> Self {
        Self {
            options,
            last_id: 0,
            held: HeldBytes::default(),
            events: BTreeMap::new(),
            queues: Vec::new(),
            numbers: HashMap::new(),
            kinds: Vec::new(),
            actions: VecDeque::new(),
            partition_mark: None,
        }
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn options(&self) -> &MemoryOptions {
        &self.options
    }

    /// The number of the queue of `kind`, if there is one.
    pub(crate) fn number(&self, kind: &Kind) -> Option<usize> {
        self.numbers.get(kind).copied()
    }

    /// The number of the queue of `kind`, which is created if it does not exist.
    pub(crate) fn number_or_new(&mut self, kind: &Kind) -> usize {
        self.number(kind).unwrap_or_else(|| {
            let number = self.queues.len();
            self.queues.push(Queue::new());
            self.numbers.insert(kind.clone(), number);
            self.kinds.push(kind.clone());
            number
        })
    }

    /// The kind of the queue with this number.
    pub(crate) fn kind(&self, number: usize) -> Option<&Kind> {
        self.kinds.get(number)
    }

    /// The kinds that have events, in ascending order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.kinds_where(|queue| !queue.keys.is_empty())
    }

    /// The kinds that are paused, in ascending order.
    pub(crate) fn paused(&self) -> Vec<Kind> {
        self.kinds_where(Queue::is_paused)
    }

    fn kinds_where(&self, holds: impl Fn(&Queue) -> bool) -> Vec<Kind> {
        let numbers = self.numbers.iter();
        let matching = numbers.filter(|(_, number)| holds(&self.queues[**number]));
        let mut kinds: Vec<_> = matching.map(|(kind, _)| kind.clone()).collect();
        kinds.sort_unstable();
        kinds
    }

    pub(crate) fn id(&self, event: &EventRef) -> Option<EventId> {
        let queue = &self.queues[self.number(&event.kind)?];
        queue.keys.get(&event.key).copied()
    }

    pub(crate) fn find(
        &self,
        events: &[EventRef],
        clock: &Clock,
        now: Duration,
    ) -> Vec<Option<EventRecord>> {
        let records = events.iter().map(|event| {
            let id = self.id(event)?;
            Some(self.events.get(&id)?.record(id, &event.kind, clock, now))
        });
        records.collect()
    }

    /// Moves an event to another stage, and so to another index.
    pub(crate) fn shift(&mut self, id: EventId, change: impl FnOnce(&mut Event) -> Stage) {
        if let Some(event) = self.events.get_mut(&id) {
            let queue = &mut self.queues[event.queue];
            queue.leave(id, event.due_at, event.stage);
            self.held.remove(event);
            event.stage = change(event);
            self.held.add(event);
            queue.enter(id, event.due_at, event.stage);
        }
    }

    /// Deletes an event and its key.
    pub(crate) fn forget(&mut self, id: EventId) {
        if let Some(event) = self.events.remove(&id) {
            self.held.remove(&event);
            let queue = &mut self.queues[event.queue];
            queue.leave(id, event.due_at, event.stage);
            queue.keys.remove(&event.key);
            if let Some(guard) = &event.guard {
                queue.guards.remove(&**guard);
            }
        }
    }

    /// Makes events with expired leases claimable again; they keep their due times.
    pub(crate) fn expire(&mut self, number: usize, now: Duration) {
        let queue = &mut self.queues[number];
        while let Some(&(until, id)) = queue.leased.first()
            && until <= now
        {
            queue.leased.pop_first();
            if let Some(event) = self.events.get_mut(&id) {
                event.stage = Stage::Pending {
                    expired_at: Some(until),
                };
                queue.enter(id, event.due_at, event.stage);
            }
        }
    }
}
