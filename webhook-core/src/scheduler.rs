//! What workers see of a backend.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::event::{EventId, Key, Kind};
use crate::headers::Headers;
use crate::setters::setters;

/// Leases due events to workers, one attempt at a time, and ends the attempts.
///
/// Every lease carries a [`Fence`]. Whoever holds a stale one changes nothing.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Leases events that are due, up to `limit` of each kind asked for: the longest due first.
    /// Answer *i* is that of claim *i*. One call serves all kinds that a process works on.
    ///
    /// No kind may occur in two of `claims`.
    ///
    /// # Guarantees
    ///
    /// - An event is leased only when its due time has passed by the store's clock, and to one
    ///   caller at a time. It stays leased for the `lease` of the claim, unless extended or settled; where its
    ///   lease before ran out, for up to twice as long, so that events lost together with a process
    ///   need not come back together.
    /// - The attempt is counted durably before the call returns, so a crash spends it.
    /// - An event whose lease ran out is due again, at its old place in the order. Where
    ///   `max_attempts` of its attempts are spent, it is not leased but ends as failed, with
    ///   [`FailureReason::Exhausted`], and is named in [`Claimed::exhausted`]. These count towards the
    ///   `limit`.
    /// - The attempt whose lease ran out is kept as one that failed, with
    ///   [`FailureReason::Lost`].
    /// - Events of other kinds are neither touched nor waited for. However many events of one kind
    ///   are due, those of another one are leased up to its own limit.
    /// - No event of a kind that was [paused](crate::Admin::pause) before the call began is leased or
    ///   ended: the answer is [`Claimed::default`], which tells of no next due time.
    /// - The call does not wait for events to fall due.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: what was leased, if anything, comes back when the lease runs out.
    ///
    /// # Cancel safety
    ///
    /// As for an error: what was leased meanwhile comes back when the lease runs out.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;

    /// Renews `leases`, each to run out `lease` from now; answer *i* is that of lease *i*.
    ///
    /// # Guarantees
    ///
    /// A lease whose fence is stale, or whose event is settled, is [`Extended::LeaseLost`] and
    /// nothing changes. One that has run out but that nobody claimed since is renewed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: whether the leases were renewed is unknown.
    ///
    /// # Cancel safety
    ///
    /// As for an error.
    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError>;

    /// Ends attempts; answer *i* is that of settlement *i*.
    ///
    /// # Guarantees
    ///
    /// - A settlement whose fence is stale, or whose event is settled already, is
    ///   [`Settled::LeaseLost`] and nothing changes, whatever became of its batch-mates. Of
    ///   several settlements of one lease in one call, the first applies. One whose lease has
    ///   run out, but which nobody claimed since, applies.
    /// - Every outcome ends the lease, those too that make the event due again.
    /// - [`Outcome::Processed`] and [`Outcome::Failed`] are terminal and durable on return.
    /// - [`Outcome::Retry`] makes the event due again after its delay, with the attempt spent.
    /// - [`Outcome::Release`] makes it due again at once, at its old place in the order, as if
    ///   the attempt had never begun: the next claim has the same attempt number, but another
    ///   fence.
    /// - [`Outcome::Postpone`] makes it due again after its delay, and is otherwise as a release.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: whether they applied is unknown. The call may be repeated; what
    /// had applied answers `LeaseLost` then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves each settlement either applied or not.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError>;

    /// Completes when there may be something to claim of some of `kinds` earlier than their last claims
    /// said, with the places of these in `kinds`.
    ///
    /// # Guarantees
    ///
    /// A hint, and nothing more: it may complete for no reason, and it may be lost. A backend
    /// without notifications completes after its own polling interval, or never.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time. A wake-up that falls between two calls is
    /// kept where that costs nothing.
    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize>;

    /// How long a worker that had more due than it could take should wait before it claims events of
    /// `kind` again. Zero where a backend does not say otherwise.
    ///
    /// For a store whose claims take from accepts what they need: see
    /// [`throttle`](crate::throttle).
    fn pause_before_claim(&self, kind: &Kind) -> Duration {
        let _ = kind;
        Duration::ZERO
    }
}

/// A wish for work of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// Only events of this kind.
    pub kind: Kind,
    /// At most as many.
    pub limit: NonZeroUsize,
    /// How long each lease runs, at least: see [`Scheduler::claim`].
    pub lease: Duration,
    /// How many attempts an event has.
    pub max_attempts: NonZeroU32,
}

impl Claim {
    /// At most `limit` events of `kind`, each leased for `lease`, that have `max_attempts` attempts.
    pub const fn new(
        kind: Kind,
        limit: NonZeroUsize,
        lease: Duration,
        max_attempts: NonZeroU32,
    ) -> Self {
        Self {
            kind,
            limit,
            lease,
            max_attempts,
        }
    }

    setters! {
        with_kind kind: Kind;
        with_limit limit: NonZeroUsize;
        with_lease lease: Duration;
        with_max_attempts max_attempts: NonZeroU32;
    }
}

/// What a claim of one kind brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The events leased, the longest due first.
    pub events: Vec<ClaimedEvent>,
    /// The keys of events that ended as failed instead, their attempts being spent.
    pub exhausted: Vec<Key>,
    /// How long until the next event of the kind falls due or its lease runs out, by the store's
    /// clock: zero when more are due already, `None` when there is none at all or the kind is
    /// paused.
    pub next_due: Option<Duration>,
}

impl Claimed {
    setters! {
        with_events events: Vec<ClaimedEvent>;
        with_exhausted exhausted: Vec<Key>;
        with_next_due next_due: Option<Duration>;
    }
}

/// An event under lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimedEvent {
    /// The right to extend and settle it.
    pub lease: Lease,
    /// Its key.
    pub key: Key,
    /// The headers kept with it.
    pub headers: Headers,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// When it was accepted, by the store's clock.
    pub accepted_at: SystemTime,
    /// How long past its due time it was leased. Leases that ran out, and releases, leave the due
    /// time as it was.
    pub lag: Duration,
}

impl ClaimedEvent {
    /// An event without headers that was leased as soon as it fell due.
    pub const fn new(lease: Lease, key: Key, body: Bytes, accepted_at: SystemTime) -> Self {
        Self {
            lease,
            key,
            headers: Headers::new(),
            body,
            accepted_at,
            lag: Duration::ZERO,
        }
    }

    /// The same with these headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// The same, leased `lag` past its due time.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }
}

/// The right to extend and settle one attempt at one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lease {
    /// The event.
    pub event: EventId,
    /// Which attempt this is.
    pub attempt: Attempt,
    /// What makes this lease stale once another one exists.
    pub fence: Fence,
}

impl Lease {
    /// A lease on this attempt at this event, which is stale once there is another fence.
    pub const fn new(event: EventId, attempt: Attempt, fence: Fence) -> Self {
        Self {
            event,
            attempt,
            fence,
        }
    }
}

/// The number of an attempt, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    /// The first attempt.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The attempt of this number.
    pub const fn new(number: NonZeroU32) -> Self {
        Self(number)
    }

    /// The number, from 1, for arithmetic that must not make it zero.
    pub const fn get(self) -> NonZeroU32 {
        self.0
    }

    /// The number, from 1.
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Grows with every claim of an event, released and requeued ones included, and is never given
/// out twice for one event. The attempt's number cannot serve: a release gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// The fence that a backend gave a lease, or read back from where it keeps it.
    pub const fn new(fence: i64) -> Self {
        Self(fence)
    }

    /// The fence as its backend gave it.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The answer to an extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The lease runs on.
    Renewed,
    /// Somebody else holds the event, or it is settled.
    LeaseLost,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settlement {
    /// The attempt's lease.
    pub lease: Lease,
    /// How it ended.
    pub outcome: Outcome,
}

impl Settlement {
    /// The end of the attempt that `lease` is of.
    pub const fn new(lease: Lease, outcome: Outcome) -> Self {
        Self { lease, outcome }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well: the event is PROCESSED.
    Processed,
    /// Badly, for this time.
    Retry {
        /// How long until the next attempt.
        after: Duration,
        /// Why.
        reason: Reason,
    },
    /// Badly, for good: the event is FAILED.
    Failed {
        /// Why.
        reason: Reason,
    },
    /// It never really began: handed back, and not counted.
    Release,
    /// The same, but the event is not due again for a while: what it needs is throttled, or known to
    /// be down.
    Postpone {
        /// How long until the next attempt.
        after: Duration,
    },
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It stands.
    Applied,
    /// Somebody else holds the event, or it was settled before. Nothing changed.
    LeaseLost,
}

/// The longest reason, in bytes; what is longer is cut.
pub const MAX_REASON_BYTES: usize = 2048;

/// Why an attempt failed, in words: at most [`MAX_REASON_BYTES`] bytes, control characters
/// replaced by spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Cuts and cleans `reason`.
    pub fn new(reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        // `str::floor_char_boundary` needs Rust 1.91.
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self(
            reason[..end]
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        )
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an attempt or an event failed.
///
/// # How it is stored
///
/// A backend stores [`as_str`](Self::as_str), the text that people see, and reads it back with
/// [`from_stored`](Self::from_stored): no backend compares texts. The texts of `Lost` and `Exhausted` never
/// change. An error with exactly such a text is read back as that reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureReason {
    /// The attempt ended with this error: its handler's, a panic, a time-out, or a payload that cannot
    /// be read.
    Error(Reason),
    /// The attempt ended without a settlement: its process crashed, or its lease ran out.
    Lost,
    /// The event's attempts are spent, and the last one ended without a settlement.
    Exhausted,
}

impl FailureReason {
    const LOST: &str = "ended without a result (crash or lost lease)";
    const EXHAUSTED: &str =
        "attempts exhausted: the last one ended without a result (crash or lost lease)";

    /// The reason whose [text](Self::as_str) a backend stored.
    pub fn from_stored(text: impl AsRef<str>) -> Self {
        match text.as_ref() {
            Self::LOST => Self::Lost,
            Self::EXHAUSTED => Self::Exhausted,
            text => Self::Error(Reason::new(text)),
        }
    }

    /// The reason as text, at most [`MAX_REASON_BYTES`] bytes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Error(reason) => reason.as_str(),
            Self::Lost => Self::LOST,
            Self::Exhausted => Self::EXHAUSTED,
        }
    }
}

impl From<Reason> for FailureReason {
    fn from(reason: Reason) -> Self {
        Self::Error(reason)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_at_a_character_and_cleaned() {
        assert_eq!(Reason::new("a\0b\nc").as_str(), "a b c");
        let long = Reason::new("é".repeat(MAX_REASON_BYTES));
        assert_eq!(long.as_str().len(), MAX_REASON_BYTES);
        let odd = Reason::new(format!("a{}", "é".repeat(MAX_REASON_BYTES)));
        assert_eq!(odd.as_str().len(), MAX_REASON_BYTES - 1);
    }

    #[test]
    fn reasons_of_failures_come_back_from_their_texts() {
        let lost = "ended without a result (crash or lost lease)";
        let exhausted =
            "attempts exhausted: the last one ended without a result (crash or lost lease)";
        for (reason, text) in [
            (FailureReason::Lost, lost),
            (FailureReason::Exhausted, exhausted),
            (FailureReason::Error(Reason::new("no luck")), "no luck"),
            (FailureReason::Error(Reason::new("")), ""),
        ] {
            assert_eq!((reason.as_str(), reason.to_string().as_str()), (text, text));
            assert_eq!(FailureReason::from_stored(text), reason);
        }
    }
}
