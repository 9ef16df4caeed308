//! [`Admin`]: the interface of a backend for operators.

mod actions;
mod nodes;
mod sample;
mod search;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::event::{EventId, EventRef, EventSummary, EventType, Fingerprint, Kind, State};
use crate::scheduler::{Attempt, FailureReason};
use crate::setters::setters;

pub use actions::{
    ActionId, ActionPage, ActionRecord, MAX_ACTION_DETAILS_BYTES, MAX_ACTION_PAGE, MAX_ACTIONS,
    MAX_ACTOR_BYTES, MAX_TARGET_BYTES, StoredAction,
};
pub use nodes::{
    MAX_NODE_EXPIRY, MAX_NODE_ID_BYTES, MAX_NODE_TEXT_BYTES, MAX_NODES, NodeId, NodeRecord,
    NodeReport, NodeTable,
};
pub use sample::KindSample;
pub use search::{
    DEFAULT_MAX_EXAMINED, DEFAULT_MAX_TIME, InvalidPattern, Pattern, Search, SearchPage,
    SearchScan, SearchStep, StoppedEarly,
};

/// Inspects and changes stored events, for operators. Senders and workers do not need it.
///
/// The only error of each method is [`StoreError::Unavailable`]. Each future may be dropped at any time; a
/// change is then made completely or not at all.
///
/// # Partitioned stores
///
/// A [partitioned](Admin::partitions) store reads and changes each partition by itself. There is no snapshot of all
/// partitions, and a call that fails or is dropped may have changed some of them. Pages are in the order of the ids,
/// which is the order of acceptance only for the events of one partition. [`prune`](Admin::prune) and
/// [`delete_bodies`](Admin::delete_bodies) take the oldest events of one partition after another.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Returns the kinds of all events in the store, in ascending order and without duplicates, from one
    /// snapshot.
    ///
    /// A kind is listed until its last event is [pruned](Admin::prune), even if all its events are settled and
    /// their bodies deleted. The call costs a few index look-ups per kind, however many events there are.
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;

    /// Counts the events of `kind` by their state, in one snapshot. The call scans all of them.
    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError>;

    /// Returns how long ago the oldest event of `kind` fell due that is not leased (an expired lease does not
    /// count); `None` if there is none. The call costs an index look-up, however many events wait.
    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError>;

    /// Counts the events of `kind` that were settled in the last `within`, by the store's clock. The call scans
    /// those events.
    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError>;

    /// Returns a page of the events of `page.kind` in `page.state`, in ascending order of their ids, without
    /// bodies, which [`Store::find`](crate::Store::find) returns. For the next page, set `page.after` to the
    /// last id. With `page.event_type`, the call reads the events of that type by an index, or those in the state
    /// if they are fewer.
    ///
    /// An event that changes its state between two pages may be missing, or listed in its old state. No event
    /// is listed twice.
    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError>;

    /// Returns the newest events that match `search`, without bodies, in descending order of their ids.
    ///
    /// The call is bounded, however many events there are: it examines at most `search.max_examined` events, in
    /// small steps and for about `search.max_time`. If that ends it, the page says so, and its
    /// [`next`](field@SearchPage::next) continues after the last event that was examined. It examines only the
    /// events with the key or of the type if these are exact, and only those in the state if that is FAILED or
    /// PROCESSING; otherwise all events with smaller ids than `search.before`.
    ///
    /// Between two pages, or two steps, an event may change its state: it may then be missing, or listed in its old
    /// state. No event is listed twice. The bounds of time are found by the ids, which ascend with time: an event
    /// may be missing that was accepted while the store's clock was more than a minute wrong.
    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError>;

    /// Counts the events of `kinds` by state, up to a bound. Answer *i* belongs to kind *i*.
    ///
    /// It reads at most `cap` events of each of three sorts: events that have fallen due (leased ones included),
    /// waiting events, and FAILED events. Processed events are not counted. A kind without events has zeros. A
    /// backend in a database gives up after a second: use a smaller `cap` for many kinds with many events.
    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError>;

    /// Returns the recorded conflicts with `event`, the latest first: at most
    /// [`MAX_CONFLICT_BODIES`](crate::MAX_CONFLICT_BODIES). The answer is empty if there are none, or no such
    /// event.
    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError>;

    /// Returns the failed attempts at `event`, the latest first: at most [`MAX_FAILED_ATTEMPTS`], including
    /// attempts before a requeue. The answer is empty if there are none, or no such event.
    ///
    /// An attempt that ended without a result (a crash, a lost lease) is listed once the event is claimed
    /// again, with [`FailureReason::Lost`].
    ///
    /// The reasons have the [details](crate::Reason::with_details) that the attempts were settled with. No other
    /// method returns them, except an export of [`Transfer`](crate::transfer::Transfer).
    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError>;

    /// Requeues FAILED events: they are due now and have their full number of attempts again. Answer *i*
    /// belongs to event *i*. Fences continue to grow, so that earlier leases stay stale.
    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError>;

    /// Makes waiting events due now, for example events that were scheduled while the store's clock was ahead.
    /// Answer *i* belongs to event *i*. Attempts and fences do not change.
    ///
    /// With [`RunningLeases::End`], it also ends the leases of leased events, as if they expired now: the event
    /// is due, its attempt counts as lost once the event is claimed again, and from then on the fence makes
    /// settlements by the earlier holder stale. If that holder is alive, two handlers may run at the same time,
    /// and the holder may renew its lease until the event is claimed again.
    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError>;

    /// Deletes events in any state with all their records. Answer *i* belongs to event *i*. Their keys are free again:
    /// a redelivery is a new event.
    ///
    /// Leased events stay, since a worker has them. An event whose lease has expired is deleted; its earlier holder can
    /// no longer settle it.
    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError>;

    /// Deletes the headers and the bodies of settled events, the bodies of their conflicts, and the details of their
    /// failed attempts, as [`delete_bodies`](Self::delete_bodies) does, but at once and also of FAILED events.
    /// Answer *i* belongs to event *i*. Keys stay taken and fingerprints are still compared.
    ///
    /// A FAILED event without a body cannot be processed again: [`requeue`](Self::requeue) answers
    /// [`Requeued::Erased`], and a redelivery is a duplicate even if it would requeue the event.
    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError>;

    /// Deletes settled events with all their records, and returns how many. Their keys are free again: a
    /// redelivery is a new event.
    ///
    /// It deletes at most `prune.limit` events: first events whose bodies are deleted already, and the oldest
    /// first. It skips events that another call is deleting. Call it until it returns less than the limit.
    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError>;

    /// Deletes the headers and bodies of PROCESSED events, the bodies of their conflicts, and the details of
    /// their failed attempts, which may quote them, and returns the number of events. Their keys stay taken and their fingerprints are still compared, so that a redelivery
    /// is a duplicate or a conflict as before.
    ///
    /// It changes at most `delete.limit` events, the oldest first, and skips events that another call is
    /// changing. Call it until it returns less than the limit.
    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError>;

    /// Pauses `kind`: its events are accepted as before, but not claimed until the kind is
    /// [resumed](Admin::resume). Returns whether the pause is new: `false` if the kind was paused already.
    ///
    /// A pause applies to all processes, and is as durable as the events of the store. A kind without any
    /// events can be paused as well.
    ///
    /// The pause takes effect with the next claim: a call of [`Scheduler::claim`](crate::Scheduler::claim) that
    /// began before this call returned may still lease events, a later call does not. Attempts that are running
    /// continue: their leases are extended and settled as usual. Retries wait for the resume, and so do events
    /// that are requeued or made due meanwhile.
    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError>;

    /// Ends the pause of `kind`, and returns whether the kind was paused.
    ///
    /// Events that fell due during the pause, and events whose leases expired, are claimed in their usual
    /// order. Workers claim them within their polling interval, or at once if the backend wakes workers.
    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError>;

    /// Returns the paused kinds in ascending order, whether or not they have events.
    async fn paused(&self) -> Result<Vec<Kind>, StoreError>;

    /// Keeps what a node says of itself, in place of its report before, and returns the live nodes like
    /// [`nodes`](Self::nodes). Nodes that have expired are deleted.
    ///
    /// Reports are not durable: after a crash of the store, it knows of no node until the nodes report themselves
    /// again. A backend for one process at a time keeps them in the memory of that process. A move of events to
    /// another backend does not move them.
    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError>;

    /// Returns the nodes that have not expired by the store's clock, in the order in which they started (reported
    /// themselves first), and by their ids: at most [`MAX_NODES`]. All nodes agree on the first one, which may do
    /// what one node does for all of them.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;

    /// Removes a node that is about to end, and returns whether it was live.
    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError>;

    /// Keeps an audit record, as durably as events, and returns its id. If there are more than [`MAX_ACTIONS`], the
    /// oldest are deleted; a backend in memory may keep fewer. A move of events to another backend does not move
    /// audit records.
    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError>;

    /// Returns audit records, the latest first. For the next page, set `page.before` to the last id.
    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError>;

    /// The partitions of a [partitioned](crate::Partitioned) store in their order, each by itself and with the same
    /// event ids; empty if the store is not partitioned, which is the default.
    ///
    /// [`Retention`](crate::Retention) sweeps each partition by itself. A decorator returns its decorated
    /// partitions, or none.
    fn partitions(&self) -> Vec<Arc<dyn Admin>> {
        Vec::new()
    }
}

// Without the provided method: a mock has its default, and needs no expectation for it.
#[cfg(any(test, feature = "mocks"))]
mockall::mock! {
    /// A mock of [`Admin`].
    pub Admin {}

    #[async_trait]
    impl Admin for Admin {
        async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;
        async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError>;
        async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError>;
        async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError>;
        async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError>;
        async fn search(&self, search: &Search) -> Result<SearchPage, StoreError>;
        async fn sample(
            &self,
            kinds: &[Kind],
            cap: NonZeroUsize,
        ) -> Result<Vec<KindSample>, StoreError>;
        async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError>;
        async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError>;
        async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError>;
        async fn make_due(
            &self,
            events: &[EventRef],
            leases: RunningLeases,
        ) -> Result<Vec<MadeDue>, StoreError>;
        async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError>;
        async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError>;
        async fn prune(&self, prune: &Prune) -> Result<usize, StoreError>;
        async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError>;
        async fn pause(&self, kind: &Kind) -> Result<bool, StoreError>;
        async fn resume(&self, kind: &Kind) -> Result<bool, StoreError>;
        async fn paused(&self) -> Result<Vec<Kind>, StoreError>;
        async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError>;
        async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;
        async fn retire(&self, node: &NodeId) -> Result<bool, StoreError>;
        async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError>;
        async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError>;
    }
}

/// How many failed attempts of one event a store keeps: the latest ones.
pub const MAX_FAILED_ATTEMPTS: usize = 16;

/// How many events of a kind are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// PROCESSING and not yet due.
    pub waiting: u64,
    /// PROCESSING, due, and not leased (an expired lease does not count).
    pub due: u64,
    /// PROCESSING and leased.
    pub leased: u64,
    /// PROCESSED.
    pub processed: u64,
    /// FAILED.
    pub failed: u64,
}

impl Counts {
    setters! {
        with_waiting waiting: u64;
        with_due due: u64;
        with_leased leased: u64;
        with_processed processed: u64;
        with_failed failed: u64;
    }
}

/// How many events were settled in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettledCounts {
    /// Events that became PROCESSED.
    pub processed: u64,
    /// Events that became FAILED.
    pub failed: u64,
}

impl SettledCounts {
    setters! {
        with_processed processed: u64;
        with_failed failed: u64;
    }
}

/// Parameters of [`Admin::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The kind of the events.
    pub kind: Kind,
    /// The state of the events.
    pub state: State,
    /// Only events with a greater id; `None` for the first page.
    pub after: Option<EventId>,
    /// Only events that cannot be claimed for longer than this, by the store's clock: they fall due later, or
    /// their leases end later. Settled events never match. `None` for all events.
    pub held_for_over: Option<Duration>,
    /// Only events of this type; `None` for all events.
    pub event_type: Option<EventType>,
    /// The largest number of events.
    pub limit: NonZeroUsize,
}

impl Page {
    /// The first `limit` events of `kind` in `state`.
    pub const fn new(kind: Kind, state: State, limit: NonZeroUsize) -> Self {
        Self {
            kind,
            state,
            after: None,
            held_for_over: None,
            event_type: None,
            limit,
        }
    }

    /// Sets [`after`](field@Self::after).
    #[must_use]
    pub fn after(self, after: EventId) -> Self {
        Self {
            after: Some(after),
            ..self
        }
    }

    /// Sets [`held_for_over`](field@Self::held_for_over).
    #[must_use]
    pub fn held_for_over(self, least: Duration) -> Self {
        Self {
            held_for_over: Some(least),
            ..self
        }
    }

    /// Sets [`event_type`](field@Self::event_type).
    #[must_use]
    pub fn event_type(self, event_type: EventType) -> Self {
        Self {
            event_type: Some(event_type),
            ..self
        }
    }
}

/// A delivery with the key of an event and other content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConflictRecord {
    /// When it was received, by the store's clock.
    pub received_at: SystemTime,
    /// The digest of its content.
    pub fingerprint: Fingerprint,
    /// The first [`MAX_CONFLICT_BODY_BYTES`](crate::MAX_CONFLICT_BODY_BYTES) bytes of its body.
    pub body: Bytes,
    /// The length of the whole body, in bytes.
    pub body_bytes: u64,
}

impl ConflictRecord {
    /// A conflict whose body had `body_bytes` bytes, of which `body` is kept.
    pub const fn new(
        received_at: SystemTime,
        fingerprint: Fingerprint,
        body: Bytes,
        body_bytes: u64,
    ) -> Self {
        Self {
            received_at,
            fingerprint,
            body,
            body_bytes,
        }
    }
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// Its number. The numbers begin with 1 again after a requeue.
    pub attempt: Attempt,
    /// When it was settled or its lease expired, by the store's clock.
    pub ended_at: SystemTime,
    /// Why it failed.
    pub reason: FailureReason,
}

impl FailedAttempt {
    /// A failed attempt.
    pub const fn new(attempt: Attempt, ended_at: SystemTime, reason: FailureReason) -> Self {
        Self {
            attempt,
            ended_at,
            reason,
        }
    }
}

/// The result of [`Admin::requeue`] for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// The event is requeued.
    Applied,
    /// The event is not FAILED. Nothing changed.
    NotFailed,
    /// The event is FAILED, and its body is [erased](Admin::erase): there is nothing to process. Nothing changed.
    Erased,
    /// There is no such event.
    NotFound,
}

/// The result of [`Admin::delete`] for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The event is deleted.
    Applied,
    /// The event is leased by a worker, or another call is changing it. Nothing changed.
    Leased,
    /// There is no such event.
    NotFound,
}

/// The result of [`Admin::erase`] for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// The headers and the body of the event are deleted.
    Applied,
    /// They were deleted before. Nothing changed.
    AlreadyErased,
    /// The event is PROCESSING, and needs its body. Nothing changed.
    Unsettled,
    /// There is no such event.
    NotFound,
}

/// What [`Admin::make_due`] does with leases that have not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningLeases {
    /// Leaves the leases and their events unchanged.
    Keep,
    /// Ends the leases.
    End,
}

/// The result of [`Admin::make_due`] for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeDue {
    /// The event is due now, and not leased.
    Applied,
    /// The event was due already, and not leased. Nothing changed.
    AlreadyDue,
    /// The event is leased by a worker. Nothing changed.
    Leased,
    /// The event is settled. Nothing changed.
    Settled,
    /// There is no such event.
    NotFound,
}

/// Parameters of [`Admin::prune`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prune {
    /// The kind of the events.
    pub kind: Kind,
    /// The state of the events.
    pub state: TerminalState,
    /// How long ago the events were settled at least, by the store's clock.
    pub older_than: Duration,
    /// The largest number of events in this call.
    pub limit: NonZeroUsize,
}

impl Prune {
    /// Deletes at most `limit` events of `kind` that have been in `state` for `older_than` or longer.
    pub const fn new(
        kind: Kind,
        state: TerminalState,
        older_than: Duration,
        limit: NonZeroUsize,
    ) -> Self {
        Self {
            kind,
            state,
            older_than,
            limit,
        }
    }
}

/// Parameters of [`Admin::delete_bodies`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteBodies {
    /// The kind of the events.
    pub kind: Kind,
    /// How long ago the events were settled at least, by the store's clock.
    pub older_than: Duration,
    /// The largest number of events in this call.
    pub limit: NonZeroUsize,
}

impl DeleteBodies {
    /// Deletes the bodies of at most `limit` events of `kind` that were settled `older_than` ago or earlier.
    pub const fn new(kind: Kind, older_than: Duration, limit: NonZeroUsize) -> Self {
        Self {
            kind,
            older_than,
            limit,
        }
    }
}

/// A final state of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TerminalState {
    /// Processed successfully.
    Processed,
    /// Failed for good.
    Failed,
}
