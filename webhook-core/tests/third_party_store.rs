//! A backend that nobody here wrote: the three traits over one locked map, proved by the
//! conformance suite, every case of which is a test.
//!
//! `cargo test -p webhook-core --all-features --test third_party_store` runs them. The store looks at
//! every event for every claim, so it is for reading, not for use.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use webhook_core::bytes::Bytes;
use webhook_core::conformance::{Backend, Subject};
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Attempt, Claim, Claimed, ClaimedEvent,
    ConflictRecord, Counts, DeleteBodies, Deleted, Envelope, Erased, EventId, EventRecord,
    EventRef, EventSummary, Extended, FailedAttempt, FailureReason, Fence, Headers, Kind,
    KindSample, Lease, MAX_ACTIONS, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES,
    MAX_FAILED_ATTEMPTS, MadeDue, NewEvent, NodeId, NodeRecord, NodeReport, NodeTable, OnFailed,
    Outcome, Page, Placement, Prune, Requeued, RunningLeases, Scheduler, Search, SearchPage,
    SearchScan, Settled, SettledCounts, Settlement, State, Store, StoreError, StoredAction,
    TerminalState, async_trait,
};

/// How many events a [`MapStore`] holds at most, those settled included.
const CAPACITY: usize = 100_000;

/// The latest time that a record shows, counted from the store's creation: a thousand years.
const LATEST_SHOWN: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);

/// A backend over one locked map. Clones share their events.
#[derive(Clone)]
struct MapStore(Arc<Shared>);

struct Shared {
    started: Instant,
    started_at: SystemTime,
    events: Mutex<Events>,
    wake: Notify,
    nodes: NodeTable,
}

#[derive(Default)]
struct Events {
    by_id: BTreeMap<EventId, Row>,
    ids: HashMap<EventRef, EventId>,
    last_id: i64,
    paused: BTreeSet<Kind>,
    /// The latest first.
    actions: VecDeque<StoredAction>,
    last_action: i64,
}

/// One event. Times are counted from the store's creation: durations never overflow.
struct Row {
    envelope: Envelope,
    accepted_at: Duration,
    /// Its place in the order, which claims do not change.
    due_at: Duration,
    /// `Some` while somebody may settle it: until a lease that ran out is claimed, too.
    leased_until: Option<Duration>,
    /// The state it ended in, and when.
    ended: Option<(State, Duration)>,
    attempts: u32,
    fence: i64,
    reason: Option<FailureReason>,
    conflict_count: u64,
    last_conflict_at: Option<SystemTime>,
    conflicts: VecDeque<ConflictRecord>,
    failed_attempts: VecDeque<FailedAttempt>,
    body_deleted: bool,
}

impl MapStore {
    fn new() -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            started_at: SystemTime::now(),
            events: Mutex::default(),
            wake: Notify::new(),
            nodes: NodeTable::default(),
        }))
    }

    /// The events, and the time.
    fn lock(&self) -> (MutexGuard<'_, Events>, Duration) {
        let events = self.0.events.lock();
        let events = events.expect("nothing panics while it holds the lock");
        (events, self.0.started.elapsed())
    }

    fn system_time(&self, at: Duration) -> SystemTime {
        self.0.started_at + at.min(LATEST_SHOWN)
    }

    fn record(&self, id: EventId, row: &Row, now: Duration) -> EventRecord {
        let accepted_at = self.system_time(row.accepted_at);
        let envelope = row.envelope.clone().with_guard(None);
        let mut record = EventRecord::new(id, envelope, row.state(), accepted_at);
        record.body_deleted = row.body_deleted;
        record.attempts = row.attempts;
        record.due_at = row.ended.is_none().then(|| self.system_time(row.due_at));
        record.leased_until = row.held_until(now).map(|at| self.system_time(at));
        record.settled_at = row.ended.map(|(_, at)| self.system_time(at));
        record.reason.clone_from(&row.reason);
        record.conflict_count = row.conflict_count;
        record.last_conflict_at = row.last_conflict_at;
        record
    }

    /// Leases events of one kind.
    fn claim_one(&self, state: &mut Events, claim: &Claim, now: Duration) -> Claimed {
        let mut claimed = Claimed::default();
        if state.paused.contains(&claim.kind) {
            return claimed;
        }
        for id in state.due(&claim.kind, now).take(claim.limit.get()) {
            let Some(row) = state.by_id.get_mut(&id) else {
                continue;
            };
            let ran_out = row.leased_until;
            if let Some(ran_out) = ran_out {
                row.fail(self.system_time(ran_out), FailureReason::Lost);
            }
            if row.attempts >= claim.max_attempts.get() {
                let reason = match ran_out {
                    Some(_) => FailureReason::Exhausted,
                    None => FailureReason::no_attempts_left(row.attempts, claim.max_attempts),
                };
                row.end(State::Failed, now, Some(reason));
                claimed.exhausted.push(row.envelope.key.clone());
            } else {
                claimed.events.push(row.lease(
                    id,
                    claim.lease,
                    self.system_time(row.accepted_at),
                    now,
                ));
            }
        }
        let pending = state.of(&claim.kind).filter(|(_, row)| row.ended.is_none());
        let next = pending.map(|(_, row)| row.leased_until.unwrap_or(row.due_at));
        claimed.next_due = next.min().map(|next| next.saturating_sub(now));
        claimed
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for MapStore {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let (mut state, now) = self.lock();
        let is_new = |event: &&NewEvent| !state.ids.contains_key(&name(&event.envelope));
        if state.by_id.len() + events.iter().filter(is_new).count() > CAPACITY {
            return Err(StoreError::Full { capacity: CAPACITY });
        }
        let accepted = events.iter().map(|event| {
            let due_at = now.saturating_add(event.delay);
            let has_guard = |row: &Row| {
                let (row, new) = (&row.envelope, &event.envelope);
                new.guard.is_some() && row.guard == new.guard && row.kind == new.kind
            };
            let is_known = state.by_id.values().any(has_guard);
            let Some(row) = state.find(&name(&event.envelope)) else {
                if is_known {
                    return Accepted::Duplicate;
                }
                state.insert(event.envelope.clone(), now, due_at);
                return Accepted::New;
            };
            if row.envelope.fingerprint != event.envelope.fingerprint {
                row.conflict(&event.envelope, self.system_time(now));
                Accepted::Conflict
            } else if row.state() == State::Failed
                && event.on_failed == OnFailed::Requeue
                && !row.body_deleted
            {
                row.requeue(due_at);
                Accepted::Requeued
            } else {
                Accepted::Duplicate
            }
        });
        let accepted = accepted.collect();
        self.0.wake.notify_one();
        Ok(accepted)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let (state, now) = self.lock();
        let records = events.iter().map(|event| {
            let id = state.ids.get(event)?;
            Some(self.record(*id, state.by_id.get(id)?, now))
        });
        Ok(records.collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn placement(&self) -> Option<Arc<Placement>> {
        None
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Scheduler for MapStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let (mut state, now) = self.lock();
        let claimed = claims
            .iter()
            .map(|claim| self.claim_one(&mut state, claim, now));
        Ok(claimed.collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let (mut state, now) = self.lock();
        let extended = leases.iter().map(|held| match state.held(held) {
            Some(row) => {
                row.leased_until = Some(now.saturating_add(lease));
                Extended::Renewed
            }
            None => Extended::LeaseLost,
        });
        Ok(extended.collect())
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let (mut state, now) = self.lock();
        let settled = settlements.iter().map(|settlement| {
            let Some(row) = state.held(&settlement.lease) else {
                return Settled::LeaseLost;
            };
            row.leased_until = None;
            match &settlement.outcome {
                Outcome::Processed => row.end(State::Processed, now, None),
                Outcome::Failed { reason } => {
                    row.fail(self.system_time(now), reason.clone().into());
                    let reason = reason.clone().without_details();
                    row.end(State::Failed, now, Some(reason.into()));
                }
                Outcome::Retry { after, reason } => {
                    row.fail(self.system_time(now), reason.clone().into());
                    row.due_at = now.saturating_add(*after);
                    row.reason = Some(reason.clone().without_details().into());
                }
                Outcome::Release => row.attempts -= 1,
                Outcome::Postpone { after } => {
                    row.attempts -= 1;
                    row.due_at = now.saturating_add(*after);
                }
            }
            Settled::Applied
        });
        let settled = settled.collect();
        self.0.wake.notify_one();
        Ok(settled)
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        // Wakes one worker of any kind: a hint may be wrong, and may be lost.
        self.0.wake.notified().await;
        (0..kinds.len()).collect()
    }

    fn pause_before_claim(&self, _kind: &Kind, _accepted_per_claimed: Option<f64>) -> Duration {
        Duration::ZERO
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        Vec::new()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Admin for MapStore {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        let kinds = state.by_id.values().map(|row| row.envelope.kind.clone());
        Ok(BTreeSet::from_iter(kinds).into_iter().collect())
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        let (state, now) = self.lock();
        let mut counts = Counts::default();
        for (_, row) in state.of(kind) {
            *match row.state() {
                State::Processed => &mut counts.processed,
                State::Failed => &mut counts.failed,
                State::Processing if row.is_due(now) => &mut counts.due,
                State::Processing if row.leased_until.is_some() => &mut counts.leased,
                State::Processing => &mut counts.waiting,
            } += 1;
        }
        Ok(counts)
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        let (state, now) = self.lock();
        let due = state.of(kind).filter(|(_, row)| row.is_due(now));
        Ok(due.map(|(_, row)| now - row.due_at).max())
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        let (state, now) = self.lock();
        let mut settled = SettledCounts::default();
        for (_, row) in state.of(kind) {
            match row.ended {
                Some((_, at)) if now - at > within => {}
                Some((State::Failed, _)) => settled.failed += 1,
                Some(_) => settled.processed += 1,
                None => {}
            }
        }
        Ok(settled)
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let (state, now) = self.lock();
        let rows = state.of(&page.kind).filter(|(id, row)| {
            page.after.is_none_or(|last| *id > last)
                && row.state() == page.state
                && (page.event_type.is_none() || row.envelope.event_type == page.event_type)
                && page
                    .held_for_over
                    .is_none_or(|over| row.is_held_for_over(over, now))
        });
        let rows = rows.take(page.limit.get());
        let records = rows.map(|(id, row)| self.record(id, row, now));
        Ok(records.map(|record| record.summary()).collect())
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        let mut scan = SearchScan::new(search);
        while let Some(step) = scan.next_step() {
            let (state, now) = self.lock();
            let rows = state.by_id.iter().rev().map(|(id, row)| (*id, row));
            let rows = rows.filter(|(id, _)| step.before.is_none_or(|before| *id < before));
            let rows = rows.take(step.examine.get());
            let examined: Vec<_> = rows
                .map(|(id, row)| self.record(id, row, now).summary())
                .collect();
            let last = examined.last().map(|it| it.id);
            let count = examined.len();
            let matching = examined.into_iter().filter(|it| search.matches(it));
            scan.add(step, count, last, matching.take(step.limit.get()).collect());
        }
        Ok(scan.page())
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        let most = cap.get() as u64;
        let mut samples = Vec::new();
        for kind in kinds {
            let counts = self.counts(kind).await?;
            let leased = counts.leased.min(most);
            samples.push(
                KindSample::new(kind.clone())
                    .with_waiting(counts.waiting.min(most))
                    .with_due(counts.due.min(most - leased))
                    .with_leased(leased)
                    .with_failed(counts.failed.min(most))
                    .capped_at(cap)
                    .with_oldest_due(self.lag(kind).await?)
                    .with_paused(self.paused().await?.contains(kind)),
            );
        }
        Ok(samples)
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        let (mut state, _) = self.lock();
        let row = state.find(event);
        Ok(row.map_or_else(Vec::new, |row| row.conflicts.iter().cloned().collect()))
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        let (mut state, _) = self.lock();
        let row = state.find(event);
        Ok(row.map_or_else(Vec::new, |row| {
            row.failed_attempts.iter().cloned().collect()
        }))
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        let (mut state, now) = self.lock();
        let requeued = events.iter().map(|event| match state.find(event) {
            None => Requeued::NotFound,
            Some(row) if row.state() != State::Failed => Requeued::NotFailed,
            Some(row) if row.body_deleted => Requeued::Erased,
            Some(row) => {
                row.requeue(now);
                Requeued::Applied
            }
        });
        let requeued = requeued.collect();
        self.0.wake.notify_one();
        Ok(requeued)
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        let (mut state, now) = self.lock();
        let answers = events.iter().map(|event| match state.find(event) {
            None => MadeDue::NotFound,
            Some(row) => row.make_due(leases, now),
        });
        let answers = answers.collect();
        self.0.wake.notify_one();
        Ok(answers)
    }

    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        let (mut state, now) = self.lock();
        let answers = events.iter().map(|event| match state.find(event) {
            None => Deleted::NotFound,
            Some(row) if row.held_until(now).is_some() => Deleted::Leased,
            Some(_) => {
                if let Some(id) = state.ids.remove(event) {
                    state.by_id.remove(&id);
                }
                Deleted::Applied
            }
        });
        Ok(answers.collect())
    }

    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        let (mut state, _) = self.lock();
        let answers = events.iter().map(|event| match state.find(event) {
            None => Erased::NotFound,
            Some(row) if row.ended.is_none() => Erased::Unsettled,
            Some(row) if row.body_deleted => Erased::AlreadyErased,
            Some(row) => {
                row.erase();
                Erased::Applied
            }
        });
        Ok(answers.collect())
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        let terminal = match prune.state {
            TerminalState::Processed => State::Processed,
            TerminalState::Failed => State::Failed,
        };
        let mut ended = state.ended(&prune.kind, terminal, prune.older_than, now);
        ended.truncate(prune.limit.get());
        for id in &ended {
            if let Some(row) = state.by_id.remove(id) {
                state.ids.remove(&name(&row.envelope));
            }
        }
        Ok(ended.len())
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        let mut ended = state.ended(&delete.kind, State::Processed, delete.older_than, now);
        ended.retain(|id| !state.by_id[id].body_deleted);
        ended.truncate(delete.limit.get());
        for id in &ended {
            if let Some(row) = state.by_id.get_mut(id) {
                row.erase();
            }
        }
        Ok(ended.len())
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.paused.insert(kind.clone()))
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        let was_paused = state.paused.remove(kind);
        self.0.wake.notify_one();
        Ok(was_paused)
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.paused.iter().cloned().collect())
    }

    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self
            .0
            .nodes
            .heartbeat(report, self.system_time(self.0.started.elapsed())))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self
            .0
            .nodes
            .nodes(self.system_time(self.0.started.elapsed())))
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        Ok(self
            .0
            .nodes
            .retire(node, self.system_time(self.0.started.elapsed())))
    }

    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        let (mut state, now) = self.lock();
        state.last_action += 1;
        let id = ActionId::new(state.last_action);
        let stored = StoredAction::new(id, self.system_time(now), action.clone());
        state.actions.truncate(MAX_ACTIONS - 1);
        state.actions.push_front(stored);
        Ok(id)
    }

    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        let (state, _) = self.lock();
        let listed = state.actions.iter();
        let listed = listed.filter(|it| page.before.is_none_or(|before| it.id < before));
        Ok(listed.take(page.records()).cloned().collect())
    }

    fn partitions(&self) -> Vec<Arc<dyn Admin>> {
        Vec::new()
    }
}

impl Events {
    fn insert(&mut self, envelope: Envelope, now: Duration, due_at: Duration) {
        self.last_id += 1;
        let id = EventId::new(self.last_id);
        self.ids.insert(name(&envelope), id);
        let row = Row {
            envelope,
            accepted_at: now,
            due_at,
            leased_until: None,
            ended: None,
            attempts: 0,
            fence: 0,
            reason: None,
            conflict_count: 0,
            last_conflict_at: None,
            conflicts: VecDeque::new(),
            failed_attempts: VecDeque::new(),
            body_deleted: false,
        };
        self.by_id.insert(id, row);
    }

    fn find(&mut self, event: &EventRef) -> Option<&mut Row> {
        self.by_id.get_mut(self.ids.get(event)?)
    }

    /// The row that `lease` may extend and settle.
    fn held(&mut self, lease: &Lease) -> Option<&mut Row> {
        let row = self.by_id.get_mut(&lease.event)?;
        (row.leased_until.is_some() && row.fence == lease.fence.get()).then_some(row)
    }

    /// The rows of a kind, in the order of their ids.
    fn of(&self, kind: &Kind) -> impl Iterator<Item = (EventId, &Row)> {
        let rows = self.by_id.iter().map(|(id, row)| (*id, row));
        rows.filter(move |(_, row)| row.envelope.kind == *kind)
    }

    /// What has been in a terminal state for `age`, events without bodies first, the oldest first.
    fn ended(&self, kind: &Kind, state: State, age: Duration, now: Duration) -> Vec<EventId> {
        let ended = self.of(kind).filter_map(|(id, row)| {
            let (ended, at) = row.ended?;
            (ended == state && now - at >= age).then_some((!row.body_deleted, at, id))
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        ended.into_iter().map(|(.., id)| id).collect()
    }

    /// What may be claimed of a kind, the longest due first.
    fn due(&self, kind: &Kind, now: Duration) -> impl Iterator<Item = EventId> + use<> {
        let due = self.of(kind).filter(|(_, row)| row.is_due(now));
        let mut due: Vec<_> = due.map(|(id, row)| (row.due_at, id)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id)
    }
}

impl Row {
    fn state(&self) -> State {
        self.ended.map_or(State::Processing, |(state, _)| state)
    }

    /// Whether it is due and held by nobody.
    fn is_due(&self, now: Duration) -> bool {
        self.ended.is_none() && self.due_at <= now && self.held_until(now).is_none()
    }

    /// Until when somebody holds it.
    fn held_until(&self, now: Duration) -> Option<Duration> {
        self.leased_until.filter(|until| *until > now)
    }

    /// Whether nobody can claim it for longer than `over`.
    fn is_held_for_over(&self, over: Duration, now: Duration) -> bool {
        let from = self.due_at.max(self.held_until(now).unwrap_or_default());
        self.ended.is_none() && from.saturating_sub(now) > over
    }

    fn make_due(&mut self, leases: RunningLeases, now: Duration) -> MadeDue {
        if self.ended.is_some() {
            return MadeDue::Settled;
        }
        if self.is_due(now) {
            return MadeDue::AlreadyDue;
        }
        if self.held_until(now).is_some() {
            if leases == RunningLeases::Keep {
                return MadeDue::Leased;
            }
            self.leased_until = Some(now);
        }
        self.due_at = self.due_at.min(now);
        MadeDue::Applied
    }

    fn lease(
        &mut self,
        id: EventId,
        lease: Duration,
        accepted_at: SystemTime,
        now: Duration,
    ) -> ClaimedEvent {
        let attempt = Attempt::FIRST.get().saturating_add(self.attempts);
        self.attempts = attempt.get();
        self.fence += 1;
        self.leased_until = Some(now.saturating_add(lease));
        let lease = Lease::new(id, Attempt::new(attempt), Fence::new(self.fence));
        let Envelope {
            key,
            event_type,
            headers,
            body,
            ..
        } = self.envelope.clone();
        ClaimedEvent::new(lease, key, body, accepted_at)
            .with_event_type(event_type)
            .with_headers(headers)
            .with_lag(now - self.due_at)
            .with_age(now - self.accepted_at)
    }

    fn end(&mut self, state: State, now: Duration, reason: Option<FailureReason>) {
        self.leased_until = None;
        self.ended = Some((state, now));
        self.reason = reason;
    }

    fn requeue(&mut self, due_at: Duration) {
        self.ended = None;
        self.attempts = 0;
        self.reason = None;
        self.due_at = due_at;
    }

    /// Keeps how the attempt that was begun last ended badly.
    fn fail(&mut self, ended_at: SystemTime, reason: FailureReason) {
        let number = self.attempts.saturating_sub(1);
        self.failed_attempts.truncate(MAX_FAILED_ATTEMPTS - 1);
        self.failed_attempts.push_front(FailedAttempt::new(
            Attempt::new(Attempt::FIRST.get().saturating_add(number)),
            ended_at,
            reason,
        ));
    }

    /// Deletes its body, and what may quote it.
    fn erase(&mut self) {
        self.body_deleted = true;
        self.envelope.headers = Headers::new();
        self.envelope.body = Bytes::new();
        self.conflicts.clear();
        for failed in &mut self.failed_attempts {
            failed.reason = FailureReason::from_stored(failed.reason.as_str());
        }
    }

    fn conflict(&mut self, delivery: &Envelope, received_at: SystemTime) {
        let kept = delivery.body.len().min(MAX_CONFLICT_BODY_BYTES);
        self.conflict_count += 1;
        self.last_conflict_at = Some(received_at);
        self.conflicts.truncate(MAX_CONFLICT_BODIES - 1);
        self.conflicts.push_front(ConflictRecord::new(
            received_at,
            delivery.fingerprint,
            Bytes::copy_from_slice(&delivery.body[..kept]),
            delivery.body.len() as u64,
        ));
    }
}

fn name(envelope: &Envelope) -> EventRef {
    EventRef {
        kind: envelope.kind.clone(),
        key: envelope.key.clone(),
    }
}

impl Subject for MapStore {
    async fn set_up() -> Self {
        Self::new()
    }

    fn backend(&self) -> Backend {
        Backend::new(Arc::new(self.clone()))
    }

    async fn clean_up(self) {}
}

webhook_core::conformance!(MapStore, flavor = "multi_thread", worker_threads = 4);
