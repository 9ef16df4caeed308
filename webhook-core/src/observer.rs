//! [`Observer`]: hooks for metrics and alerts.

use std::time::Duration;

use crate::event::{EventId, Key, Kind};
use crate::scheduler::{Attempt, FailureReason, Outcome};

/// Callbacks of a [`Worker`](crate::Worker), which
/// [`WorkerBuilder::observer`](crate::WorkerBuilder::observer) registers.
///
/// The worker waits for each call, so methods must be quick and must not block. A panic in a method is caught
/// and has no other effect.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// use webhook_core::{FailureReason, Observed, Observer};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn event_failed(&self, event: &Observed<'_>, reason: &FailureReason) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         eprintln!("event {} of kind {} failed: {reason}", event.key, event.kind);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called before the handler of an attempt begins.
    fn attempt_started(&self, event: &Observed<'_>) {
        let _ = event;
    }

    /// Called when an attempt has ended, after `took`. The result is stored later, and not at all if the lease
    /// was lost.
    fn attempt_ended(&self, event: &Observed<'_>, end: AttemptEnd<'_>, took: Duration) {
        let _ = (event, end, took);
    }

    /// Called when an event fails for good: its handler rejected it, or its attempts are spent. Called after
    /// [`attempt_ended`](Self::attempt_ended), and also for events whose last attempt was lost.
    fn event_failed(&self, event: &Observed<'_>, reason: &FailureReason) {
        let _ = (event, reason);
    }
}

/// The event of a call of an [`Observer`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Observed<'a> {
    /// The kind.
    pub kind: &'a Kind,
    /// The idempotency key.
    pub key: &'a Key,
    /// The id of the event and the number of the attempt; `None` if the event failed without another attempt,
    /// since its attempts were spent by crashes or lost leases.
    pub attempt: Option<(EventId, Attempt)>,
    /// How long after its due time it was claimed.
    pub lag: Duration,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd<'a> {
    /// It succeeded.
    Processed,
    /// It failed, and the event is tried again.
    Retry {
        /// How long until the next attempt.
        after: Duration,
        /// Why it failed.
        reason: &'a FailureReason,
    },
    /// It failed, and the event fails for good.
    Failed {
        /// Why it failed.
        reason: &'a FailureReason,
    },
    /// It does not count, and the event is tried again later.
    Postponed {
        /// How long until the next attempt.
        after: Duration,
    },
    /// A shutdown interrupted it. It does not count.
    Released,
}

impl AttemptEnd<'_> {
    /// Calls `observe` with the end that belongs to `outcome`.
    pub(crate) fn with(outcome: &Outcome, observe: impl FnOnce(AttemptEnd<'_>)) {
        match outcome {
            Outcome::Processed => observe(AttemptEnd::Processed),
            Outcome::Retry { after, reason } => observe(AttemptEnd::Retry {
                after: *after,
                reason: &reason.clone().into(),
            }),
            Outcome::Failed { reason } => observe(AttemptEnd::Failed {
                reason: &reason.clone().into(),
            }),
            Outcome::Postpone { after } => observe(AttemptEnd::Postponed { after: *after }),
            Outcome::Release => observe(AttemptEnd::Released),
        }
    }
}
