//! What only operators need of a backend.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::event::{EventId, EventRef, EventSummary, Fingerprint, Kind, State};
use crate::scheduler::{Attempt, FailureReason};
use crate::setters::setters;

/// Looks into a backend and tidies it up. No sender or worker waits for any of this.
///
/// Every method fails with [`StoreError::Unavailable`] alone, and may be dropped at any time: a
/// change is then made wholly or not at all.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// The kinds of all events in the store, in ascending order and without duplicates, from one
    /// snapshot.
    ///
    /// A kind is listed as long as the store keeps one of its events, even if all of them are settled
    /// and their bodies deleted. It is no longer listed once its last event is [pruned](Admin::prune). Costs a few
    /// index look-ups for each kind, however many events there are.
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;

    /// How many events of `kind` stand where, in one snapshot. Costs a scan of them.
    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError>;

    /// The age of the oldest event of `kind` that is due and that nobody holds (a lease that ran
    /// out holds nothing); `None` when there is none. Costs an index look-up, however many are
    /// waiting.
    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError>;

    /// How many events of `kind` were settled within the last `within`, by the store's clock. Costs
    /// a scan of those.
    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError>;

    /// A page of the events of `page.kind` in `page.state`, in ascending order of their ids. It
    /// loads no bodies: [`Store::find`](crate::Store::find) has them.
    ///
    /// An event that moves between two pages may be missed or seen in its old state; no event is
    /// seen twice. To read on, ask for what comes `after` the last id.
    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError>;

    /// The conflicting deliveries kept of `event`, the latest first: at most
    /// [`MAX_CONFLICT_BODIES`](crate::MAX_CONFLICT_BODIES). Empty where there are none or there
    /// is no such event.
    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError>;

    /// The attempts at `event` that ended badly, the latest first: at most
    /// [`MAX_FAILED_ATTEMPTS`], those of before a requeue included. Empty where there are none or
    /// there is no such event.
    ///
    /// An attempt that ended without a result (a crash, a lost lease) is among them once the event
    /// was claimed again, with [`FailureReason::Lost`].
    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError>;

    /// Schedules failed events afresh, due now and with all their attempts; answer *i* is that of
    /// event *i*. Fences go on growing, so that leases from before stay stale.
    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError>;

    /// Makes events that wait due now, such as those that were scheduled while the store's clock
    /// was ahead; answer *i* is that of event *i*. Attempts and fences stay as they are.
    ///
    /// With [`RunningLeases::End`] it also ends the leases of events that somebody holds, as if
    /// they ran out now: the event is due, its attempt counts as lost once it is claimed again, and
    /// the fence makes what its holder settles after that stale. A holder that is alive may run
    /// beside the next one, and may renew its lease until another claims the event.
    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError>;

    /// Deletes settled events, with all that is kept of them, and says how many: at most
    /// `prune.limit`, those without bodies before others, the oldest first, skipping those that another
    /// call is deleting. Their keys are free again: a redelivery is a new event. Call it until it
    /// answers less than the limit.
    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError>;

    /// Deletes the headers and bodies of PROCESSED events, theirs and those of their conflicts, and says of
    /// how many events: at most `delete.limit`, the oldest first, skipping those that another call
    /// is at. Their keys stay taken and their fingerprints are compared as before, so that
    /// a redelivery is still a duplicate or a conflict. Call it until it answers less than the
    /// limit.
    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError>;

    /// Pauses `kind`: its events are accepted as before, but none of them is claimed until the kind is
    /// [resumed](Admin::resume). Answers whether the kind was not paused before.
    ///
    /// A pause holds for all processes and outlives them, as durably as the store's events. It needs no event:
    /// a kind that the store has never seen can be paused.
    ///
    /// It takes effect with the next claim: a call of [`Scheduler::claim`](crate::Scheduler::claim) that began
    /// before this one returned may still lease events; one that begins later does not. Attempts that are
    /// running go on: their leases are extended and settled as usual, and a retry waits for the resume, as
    /// does whatever is requeued or made due meanwhile.
    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError>;

    /// Ends the pause of `kind`, and answers whether there was one.
    ///
    /// What fell due meanwhile, and events whose leases ran out meanwhile, are claimed in their usual
    /// order. Workers find them within their polling interval, or at once where the backend wakes them.
    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError>;

    /// The kinds that are paused, in ascending order, whether or not they have events.
    async fn paused(&self) -> Result<Vec<Kind>, StoreError>;
}

/// How many failed attempts of one event a store keeps: the latest ones.
pub const MAX_FAILED_ATTEMPTS: usize = 16;

/// How many events stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// PROCESSING, not yet due.
    pub waiting: u64,
    /// PROCESSING, due, and held by nobody (or by a lease that ran out).
    pub due: u64,
    /// PROCESSING, under a lease.
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

/// How many events were settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettledCounts {
    /// As PROCESSED.
    pub processed: u64,
    /// As FAILED.
    pub failed: u64,
}

impl SettledCounts {
    setters! {
        with_processed processed: u64;
        with_failed failed: u64;
    }
}

/// Which events to list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Only events of this kind.
    pub kind: Kind,
    /// Only events in this state.
    pub state: State,
    /// Only events with a greater id; `None` for the first page.
    pub after: Option<EventId>,
    /// Only events that nobody can claim for longer than this, by the store's clock: they fall due
    /// later, or a lease on them ends later. `None` for all; settled events never match.
    pub held_for_over: Option<Duration>,
    /// At most as many.
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
            limit,
        }
    }

    /// The same, of events with an id greater than `after`.
    #[must_use]
    pub fn after(self, after: EventId) -> Self {
        Self {
            after: Some(after),
            ..self
        }
    }

    /// The same, of events that nobody can claim for longer than `least`.
    #[must_use]
    pub fn held_for_over(self, least: Duration) -> Self {
        Self {
            held_for_over: Some(least),
            ..self
        }
    }
}

/// A delivery whose key was taken by other content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConflictRecord {
    /// When it came, by the store's clock.
    pub received_at: SystemTime,
    /// Digest of its content.
    pub fingerprint: Fingerprint,
    /// The first [`MAX_CONFLICT_BODY_BYTES`](crate::MAX_CONFLICT_BODY_BYTES) bytes of its body.
    pub body: Bytes,
    /// How many bytes the body had.
    pub body_bytes: u64,
}

impl ConflictRecord {
    /// A delivery of this content, received at that time, of whose body of `body_bytes` bytes `body` is kept.
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

/// An attempt that ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// Its number. They begin anew with a requeue.
    pub attempt: Attempt,
    /// When it ended, by the store's clock: when it was settled, or when its lease ran out.
    pub ended_at: SystemTime,
    /// Why.
    pub reason: FailureReason,
}

impl FailedAttempt {
    /// An attempt that ended at that time, for this reason.
    pub const fn new(attempt: Attempt, ended_at: SystemTime, reason: FailureReason) -> Self {
        Self {
            attempt,
            ended_at,
            reason,
        }
    }
}

/// The answer to a requeue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It is scheduled afresh.
    Applied,
    /// It is not failed; nothing changed.
    NotFailed,
    /// There is no such event.
    NotFound,
}

/// How [`Admin::make_due`] treats leases that have not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningLeases {
    /// Leaves them, and their events, as they are.
    Keep,
    /// Ends them.
    End,
}

/// The answer to [`Admin::make_due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeDue {
    /// It is due now, and nobody holds it.
    Applied,
    /// It was due already, and nobody held it; nothing changed.
    AlreadyDue,
    /// A worker holds it; nothing changed.
    Leased,
    /// It is settled; nothing changed.
    Settled,
    /// There is no such event.
    NotFound,
}

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prune {
    /// Only events of this kind.
    pub kind: Kind,
    /// Only events in this terminal state.
    pub state: TerminalState,
    /// Only events settled at least as long ago, by the store's clock.
    pub older_than: Duration,
    /// At most as many in one call.
    pub limit: NonZeroUsize,
}

impl Prune {
    /// At most `limit` events of `kind` that have been in `state` for `older_than` or longer.
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

/// Whose bodies to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteBodies {
    /// Only events of this kind.
    pub kind: Kind,
    /// Only events settled at least as long ago, by the store's clock.
    pub older_than: Duration,
    /// At most as many in one call.
    pub limit: NonZeroUsize,
}

impl DeleteBodies {
    /// The bodies of at most `limit` events of `kind` that were settled `older_than` ago or earlier.
    pub const fn new(kind: Kind, older_than: Duration, limit: NonZeroUsize) -> Self {
        Self {
            kind,
            older_than,
            limit,
        }
    }
}

/// A state that an event stays in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TerminalState {
    /// Ended well.
    Processed,
    /// Ended badly.
    Failed,
}
