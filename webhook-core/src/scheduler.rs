//! [`Scheduler`]: the interface of a backend for workers.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::event::{EventId, EventType, Key, Kind};
use crate::headers::Headers;
use crate::setters::setters;
use crate::text::clean;

/// Leases due events to workers, one attempt at a time, and ends the attempts.
///
/// Every lease has a [`Fence`], a fencing token: calls with a stale lease change nothing.
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Leases events that are due, the longest due first, up to the `limit` of each claim. Answer *i* belongs
    /// to claim *i*. One call serves all kinds that a process works on.
    ///
    /// No kind may occur in two of the `claims`.
    ///
    /// # Guarantees
    ///
    /// - An event is leased only after its due time by the store's clock, and to one caller at a time. The
    ///   lease lasts for the `lease` of the claim, unless it is extended or settled. If the previous lease of
    ///   the event expired, the new one lasts up to twice as long, so that events lost together in a crash do
    ///   not come back together.
    /// - The attempt is counted durably before the call returns, so a crash spends it.
    /// - An event whose lease expired is due again, with its old due time. If `max_attempts` of its attempts
    ///   are spent, it is not leased: it fails with [`FailureReason::Exhausted`], its key is in
    ///   [`Claimed::exhausted`], and it counts towards the `limit`.
    /// - An attempt whose lease expired is recorded as a failed attempt, with [`FailureReason::Lost`].
    /// - Events of other kinds are neither changed nor waited for. However many events of one kind are due,
    ///   another kind gets events up to its own limit.
    /// - If a kind was [paused](crate::Admin::pause) before the call began, none of its events is leased or
    ///   failed, and the answer is [`Claimed::default`], without a next due time.
    /// - The call does not wait for events to fall due.
    /// - In a [partitioned](Self::partitions) store, the longest due events of each partition are leased. Those of
    ///   another partition that fell due earlier may be left for the next call, but no partition is left out of
    ///   every call. The events of an answer are in the order of their due times.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Events may have been leased; they are due again when the leases expire.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is like an error: events may have been leased, and are due again when the leases
    /// expire.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;

    /// Renews `leases`: each then expires `lease` from now. Answer *i* belongs to lease *i*.
    ///
    /// # Guarantees
    ///
    /// If the fence of a lease is stale or its event is settled, the answer is [`Extended::LeaseLost`] and
    /// nothing changes. An expired lease is renewed if its event has not been claimed since.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Whether the leases were renewed is unknown.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is unknown whether the leases were renewed.
    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError>;

    /// Ends attempts. Answer *i* belongs to settlement *i*.
    ///
    /// # Guarantees
    ///
    /// - If the fence of a settlement is stale or its event is settled already, the answer is
    ///   [`Settled::LeaseLost`] and nothing changes. The other settlements of the call are not affected. If a
    ///   call has several settlements of one lease, the first applies. A settlement of an expired lease applies
    ///   if its event has not been claimed since.
    /// - Every outcome ends the lease, including outcomes that make the event due again.
    /// - [`Outcome::Processed`] and [`Outcome::Failed`] are terminal, and durable when the call returns.
    /// - [`Outcome::Retry`] makes the event due again after its delay, with the attempt spent.
    /// - [`Outcome::Release`] makes the event due again at once, with its old due time, as if the attempt had
    ///   never begun: the next claim has the same attempt number and another fence.
    /// - [`Outcome::Postpone`] makes the event due again after its delay, and is otherwise like a release.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Whether the settlements applied is unknown. The call may be repeated; those
    /// that had applied then return `LeaseLost`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, each settlement has either applied or not.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError>;

    /// Waits until some of `kinds` may have events to claim earlier than their last claims said, and returns
    /// the indices of those kinds.
    ///
    /// # Guarantees
    ///
    /// This is only a hint: it may complete for no reason, and it may be lost. A backend without notifications
    /// completes after its own polling interval, or never.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time. A backend may lose a wake-up that occurs between two
    /// calls.
    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize>;

    /// How long a worker should wait before it claims events of `kind` again, if more events were due than its
    /// last claim could take. Default: zero.
    ///
    /// For a store in which claims slow down accepts: see [`throttle`](crate::throttle). `accepted_per_claimed` is
    /// [that of the worker](crate::WorkerOptions::accepted_per_claimed).
    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        let _ = (kind, accepted_per_claimed);
        Duration::ZERO
    }

    /// The partitions of a [partitioned](crate::Partitioned) store in their order, each as a scheduler of its own;
    /// empty if the store is not partitioned, which is the default.
    ///
    /// Their leases have the same event ids as those of this scheduler. A worker claims, extends and settles the
    /// events of each partition by themselves, so that one that is slow or down does not delay the others. A
    /// decorator returns its decorated partitions; or none, and the worker then calls its other methods only.
    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        Vec::new()
    }
}

// Without the provided methods: a mock has their defaults, and needs no expectations for them.
#[cfg(any(test, feature = "mocks"))]
mockall::mock! {
    /// A mock of [`Scheduler`].
    pub Scheduler {}

    #[async_trait]
    impl Scheduler for Scheduler {
        async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;
        async fn extend(
            &self,
            leases: &[Lease],
            lease: Duration,
        ) -> Result<Vec<Extended>, StoreError>;
        async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError>;
        async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize>;
    }
}

/// Parameters of [`Scheduler::claim`] for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The kind of the events.
    pub kind: Kind,
    /// The largest number of events.
    pub limit: NonZeroUsize,
    /// How long each lease lasts at least, see [`Scheduler::claim`].
    pub lease: Duration,
    /// How many attempts an event has before it fails.
    pub max_attempts: NonZeroU32,
}

impl Claim {
    /// Claims at most `limit` events of `kind`, leases each for `lease`, and allows `max_attempts` attempts.
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

/// The result of a claim of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The leased events, the longest due first.
    pub events: Vec<ClaimedEvent>,
    /// The keys of events that were not leased but failed, since their attempts were spent.
    pub exhausted: Vec<Key>,
    /// How long until the next event of the kind falls due or the next lease expires, by the store's clock.
    /// Zero if more events are due already; `None` if there are no more events, or if the kind is paused.
    pub next_due: Option<Duration>,
}

impl Claimed {
    setters! {
        with_events events: Vec<ClaimedEvent>;
        with_exhausted exhausted: Vec<Key>;
        with_next_due next_due: Option<Duration>;
    }

    /// The keys of all events that were leased or failed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        let events = self.events.iter().map(|event| &event.key);
        events.chain(&self.exhausted)
    }
}

/// A leased event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimedEvent {
    /// The lease, to extend and settle it.
    pub lease: Lease,
    /// The idempotency key.
    pub key: Key,
    /// The event type that was stored with it.
    pub event_type: Option<EventType>,
    /// The headers that were stored with it.
    pub headers: Headers,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When it was accepted, by the store's clock.
    pub accepted_at: SystemTime,
    /// How long after its due time it was leased. Expired leases and releases do not change the due time.
    pub lag: Duration,
    /// How long after its acceptance it was leased, by the store's clock.
    pub age: Duration,
}

impl ClaimedEvent {
    /// A leased event without an event type, without headers and without lag, leased when it was accepted.
    pub const fn new(lease: Lease, key: Key, body: Bytes, accepted_at: SystemTime) -> Self {
        Self {
            lease,
            key,
            event_type: None,
            headers: Headers::new(),
            body,
            accepted_at,
            lag: Duration::ZERO,
            age: Duration::ZERO,
        }
    }

    /// Sets the event type.
    #[must_use]
    pub fn with_event_type(self, event_type: impl Into<Option<EventType>>) -> Self {
        Self {
            event_type: event_type.into(),
            ..self
        }
    }

    /// Sets the headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// Sets how long after its due time the event was leased.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    /// Sets how long after its acceptance the event was leased.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        Self { age, ..self }
    }
}

/// The right to extend and settle one attempt at one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lease {
    /// The event.
    pub event: EventId,
    /// The number of the attempt.
    pub attempt: Attempt,
    /// The fencing token, which makes this lease stale as soon as there is a later one.
    pub fence: Fence,
}

impl Lease {
    /// A lease on an attempt at an event.
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

    /// The attempt with this number.
    pub const fn new(number: NonZeroU32) -> Self {
        Self(number)
    }

    /// The number, from 1, as a type that cannot be zero.
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

/// A fencing token: makes a lease stale as soon as its event is claimed again.
///
/// It grows with every claim of an event, also after a release or a requeue, and is never used twice for one
/// event. The attempt number cannot serve as the token, since a release gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// A fence with this value, which only backends choose.
    pub const fn new(fence: i64) -> Self {
        Self(fence)
    }

    /// The value that the backend chose.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The result of [`Scheduler::extend`] for one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The lease was renewed.
    Renewed,
    /// The event was claimed again or is settled. Nothing changed.
    LeaseLost,
}

/// Parameters of [`Scheduler::settle`] for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settlement {
    /// The lease on the attempt.
    pub lease: Lease,
    /// How the attempt ended.
    pub outcome: Outcome,
}

impl Settlement {
    /// Ends the attempt of `lease` with `outcome`.
    pub const fn new(lease: Lease, outcome: Outcome) -> Self {
        Self { lease, outcome }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded: the event is PROCESSED.
    Processed,
    /// It failed, and the event is tried again.
    Retry {
        /// How long until the next attempt.
        after: Duration,
        /// Why it failed.
        reason: Reason,
    },
    /// It failed for good: the event is FAILED.
    Failed {
        /// Why it failed.
        reason: Reason,
    },
    /// It was given back, and does not count as an attempt: the event is due again at once.
    Release,
    /// It was given back, and does not count as an attempt. The event is due again after a delay: a service
    /// that it needs is throttled, or known to be down.
    Postpone {
        /// How long until the next attempt.
        after: Duration,
    },
}

/// The result of [`Scheduler::settle`] for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The settlement was stored.
    Applied,
    /// The event was claimed again, or was settled before. Nothing changed.
    LeaseLost,
}

/// The largest length of a reason in bytes; longer reasons are truncated.
pub const MAX_REASON_BYTES: usize = 2048;

/// The largest length of the details of a failed attempt in bytes; longer ones are dropped.
pub const MAX_DETAILS_BYTES: usize = 32 * 1024;

/// The text that says why an attempt failed: at most [`MAX_REASON_BYTES`] bytes, with control characters
/// replaced by spaces. It may have details, for example the answer of a service.
///
/// Backends keep the details with the failed attempt only:
/// [`Admin::failed_attempts`](crate::Admin::failed_attempts) returns them, the record of the event does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason {
    text: String,
    details: Option<Bytes>,
}

impl Reason {
    /// Truncates `reason`, and replaces its control characters.
    pub fn new(reason: impl AsRef<str>) -> Self {
        Self {
            text: clean(reason.as_ref(), MAX_REASON_BYTES),
            details: None,
        }
    }

    /// Sets the details, in a format of the handler's choice. They are dropped if they are longer than
    /// [`MAX_DETAILS_BYTES`]. Operators see them, so they must not contain secrets.
    #[must_use]
    pub fn with_details(self, details: Bytes) -> Self {
        Self {
            details: Some(details).filter(|it| it.len() <= MAX_DETAILS_BYTES),
            ..self
        }
    }

    /// Removes the details.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self {
            details: None,
            ..self
        }
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The details; `None` if there are none, which differs from empty ones.
    pub fn details(&self) -> Option<&Bytes> {
        self.details.as_ref()
    }

    /// Puts `what` before the text.
    pub(crate) fn prefixed(self, what: &str) -> Self {
        Self {
            details: self.details,
            ..Self::new(format!("{what}: {}", self.text))
        }
    }
}

/// Of the details, it shows only the length: they may be long, and may quote the event.
impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reason = f.debug_tuple("Reason");
        reason.field(&self.text);
        if let Some(details) = &self.details {
            reason.field(&format_args!("{} bytes of details", details.len()));
        }
        reason.finish()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why an attempt or an event failed.
///
/// # How it is stored
///
/// A backend stores the text of [`as_str`](Self::as_str), which people see as well, and restores the reason
/// with [`from_stored`](Self::from_stored). It need not compare texts. The texts of `Lost` and `Exhausted`
/// never change. An error with exactly the same text is restored as that reason.
///
/// The details of a failed attempt are stored beside the text, and restored with
/// [`from_stored_with`](Self::from_stored_with).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureReason {
    /// The attempt ended with this error: from its handler, or about a panic, a time-out or a payload that
    /// cannot be decoded.
    Error(Reason),
    /// The attempt ended without a settlement: its process crashed, or its lease expired.
    Lost,
    /// All attempts of the event are spent, and the last one ended without a settlement. If the last one failed, and
    /// fewer attempts are allowed since, the reason is [`no_attempts_left`](Self::no_attempts_left).
    Exhausted,
}

impl FailureReason {
    const LOST: &str = "ended without a result (crash or lost lease)";
    const EXHAUSTED: &str =
        "attempts exhausted: the last one ended without a result (crash or lost lease)";

    /// The reason of an event that a claim fails although its last attempt was settled: `made` attempts were made, and
    /// only `allowed` are allowed, since that number was lowered.
    pub fn no_attempts_left(made: u32, allowed: NonZeroU32) -> Self {
        Self::Error(Reason::new(format!(
            "no attempts left: {made} made, {allowed} allowed"
        )))
    }

    /// Restores a reason from its stored [text](Self::as_str).
    pub fn from_stored(text: impl AsRef<str>) -> Self {
        match text.as_ref() {
            Self::LOST => Self::Lost,
            Self::EXHAUSTED => Self::Exhausted,
            text => Self::Error(Reason::new(text)),
        }
    }

    /// Restores the reason of a failed attempt from its stored [text](Self::as_str) and its stored
    /// [details](Self::details), if it has any.
    pub fn from_stored_with(text: impl AsRef<str>, details: Option<Bytes>) -> Self {
        match details {
            Some(details) => Self::Error(Reason::new(text).with_details(details)),
            None => Self::from_stored(text),
        }
    }

    /// The details of an error; `None` if there are none, which differs from empty ones.
    pub fn details(&self) -> Option<&Bytes> {
        match self {
            Self::Error(reason) => reason.details(),
            Self::Lost | Self::Exhausted => None,
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
    fn reasons_are_truncated_and_cleaned() {
        assert_eq!(Reason::new("a\0b\nc").as_str(), "a b c");
        let long = Reason::new("é".repeat(MAX_REASON_BYTES));
        assert_eq!(long.as_str().len(), MAX_REASON_BYTES);
        let odd = Reason::new(format!("a{}", "é".repeat(MAX_REASON_BYTES)));
        assert_eq!(odd.as_str().len(), MAX_REASON_BYTES - 1);
    }

    #[test]
    fn details_that_are_too_long_are_dropped() {
        let reason = Reason::new("broken");
        assert_eq!(reason.details(), None);
        for length in [0, MAX_DETAILS_BYTES] {
            let detailed = reason.clone().with_details(vec![0xff; length].into());
            assert_eq!(detailed.details().map(Bytes::len), Some(length));
            assert_ne!(detailed, reason);
            assert_eq!(detailed.to_string(), "broken");
            assert_eq!(detailed.without_details(), reason);
        }
        let long = Bytes::from(vec![0; MAX_DETAILS_BYTES + 1]);
        let short = reason.clone().with_details("short".into());
        assert_eq!(
            format!("{reason:?} {short:?}"),
            r#"Reason("broken") Reason("broken", 5 bytes of details)"#
        );
        assert_eq!(short.with_details(long), reason);
    }

    #[test]
    fn failure_reasons_are_restored_with_their_details() {
        let detailed = FailureReason::from(Reason::new("broken").with_details("{}".into()));
        let stored = (detailed.as_str(), detailed.details().cloned());
        assert_eq!(
            FailureReason::from_stored_with(stored.0, stored.1),
            detailed
        );
        let lost = FailureReason::Lost;
        assert_eq!(lost.details(), None);
        assert_eq!(FailureReason::from_stored_with(lost.as_str(), None), lost);
        // Only an error has details, whatever its text is.
        let odd = FailureReason::from(Reason::new(lost.as_str()).with_details("".into()));
        let stored = (odd.as_str(), odd.details().cloned());
        assert_eq!(FailureReason::from_stored_with(stored.0, stored.1), odd);
    }

    #[test]
    fn failure_reasons_are_restored_from_their_texts() {
        let lost = "ended without a result (crash or lost lease)";
        let exhausted =
            "attempts exhausted: the last one ended without a result (crash or lost lease)";
        for (reason, text) in [
            (FailureReason::Lost, lost),
            (FailureReason::Exhausted, exhausted),
            (
                FailureReason::no_attempts_left(13, NonZeroU32::new(3).unwrap()),
                "no attempts left: 13 made, 3 allowed",
            ),
            (FailureReason::Error(Reason::new("no luck")), "no luck"),
            (FailureReason::Error(Reason::new("")), ""),
        ] {
            assert_eq!((reason.as_str(), reason.to_string().as_str()), (text, text));
            assert_eq!(FailureReason::from_stored(text), reason);
        }
    }
}
