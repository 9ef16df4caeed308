//! [`MemoryStore`]: the backend, and the three traits that it implements.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Claimed, ConflictRecord, Counts,
    DeleteBodies, Deleted, Erased, EventRecord, EventRef, EventSummary, Extended, FailedAttempt,
    Kind, KindSample, Lease, MadeDue, NewEvent, NodeId, NodeRecord, NodeReport, NodeTable, Page,
    Partition, Prune, Requeued, RunningLeases, Scheduler, Search, SearchPage, SearchScan, Settled,
    SettledCounts, Settlement, Store, StoreError, StoredAction, wakeup,
};

use crate::clock::Clock;
use crate::options::MemoryOptions;
use crate::state::State;

/// A backend in memory. Clones share the same events.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    // Locked for one batch, never across an await.
    state: Mutex<State>,
    nodes: NodeTable,
}

impl MemoryStore {
    /// Creates an empty store, whose clock starts now.
    pub fn new(options: MemoryOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Clock::start(),
                state: Mutex::new(State::new(options)),
                nodes: NodeTable::default(),
            }),
        }
    }

    /// Locks the state and reads the clock under the lock, so that time never runs backwards from one caller
    /// to the next.
    fn lock(&self) -> (MutexGuard<'_, State>, Duration) {
        let state = self
            .shared
            .state
            .lock()
            .expect("nothing panics while it holds the lock");
        let now = self.shared.clock.now();
        (state, now)
    }

    fn now(&self) -> SystemTime {
        let clock = &self.shared.clock;
        clock.system_time(clock.now())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, _) = self.lock();
        f.debug_struct("MemoryStore")
            .field("events", &state.len())
            .field("bytes", &state.held.total)
            .field("options", state.options())
            .finish()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let (mut state, now) = self.lock();
        state.accept(events, now)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let (state, now) = self.lock();
        Ok(state.find(events, &self.shared.clock, now))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Scheduler for MemoryStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let (mut state, now) = self.lock();
        let claimed = claims
            .iter()
            .map(|claim| state.claim(claim, &self.shared.clock, now));
        Ok(claimed.collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.extend(leases, lease, now))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.settle(settlements, now))
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        let wakeups: Vec<_> = {
            let (mut state, now) = self.lock();
            let wakeups = kinds.iter().map(|kind| state.wakeup(kind, now));
            wakeups.collect()
        };
        wakeup::any(wakeups.into_iter().map(async |wakeup| {
            if let Some(wakeup) = wakeup {
                wakeup.await;
            }
        }))
        .await
    }
}

#[async_trait]
impl Admin for MemoryStore {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.kinds())
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.counts(kind, now))
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.lag(kind, now))
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        let (state, now) = self.lock();
        Ok(state.settled(kind, within, now))
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let (state, now) = self.lock();
        Ok(state.list(page, &self.shared.clock, now))
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        let mut scan = SearchScan::new(search);
        while let Some(step) = scan.next_step() {
            let (examined, last, found) = {
                let (state, now) = self.lock();
                state.search_step(search, &step, &self.shared.clock, now)
            };
            scan.add(step, examined, last, found);
            // Others use the lock and the thread between two steps.
            tokio::task::yield_now().await;
        }
        Ok(scan.page())
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        let (mut state, now) = self.lock();
        let samples = kinds.iter().map(|kind| state.sample(kind, cap, now));
        Ok(samples.collect())
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.conflicts(event, &self.shared.clock))
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.failed_attempts(event, &self.shared.clock))
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.requeue(events, now))
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.make_due(events, leases, now))
    }

    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.delete(events, now))
    }

    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.erase(events))
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.prune(prune, now))
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.delete_bodies(delete, now))
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.pause(kind))
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.resume(kind))
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.paused())
    }

    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self.shared.nodes.heartbeat(report, self.now()))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self.shared.nodes.nodes(self.now()))
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        Ok(self.shared.nodes.retire(node, self.now()))
    }

    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        let (mut state, now) = self.lock();
        let at = self.shared.clock.system_time(now);
        Ok(state.record_action(action, at))
    }

    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.actions(page))
    }
}

#[async_trait]
impl Partition for MemoryStore {
    async fn partition_mark(&self) -> Result<Option<String>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.partition_mark.clone())
    }

    async fn replace_partition_mark(
        &self,
        expected: Option<&str>,
        mark: &str,
    ) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        let is_expected = state.partition_mark.as_deref() == expected;
        if is_expected {
            state.partition_mark = Some(mark.to_owned());
        }
        Ok(is_expected)
    }
}
