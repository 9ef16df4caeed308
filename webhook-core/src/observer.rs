//! Hooks into what a worker does, for metrics and alerts.

use std::time::Duration;

use crate::event::{EventId, Key, Kind};
use crate::scheduler::{Attempt, FailureReason, Outcome};

/// Is told what a [`Worker`](crate::Worker) does: see
/// [`WorkerBuilder::observer`](crate::WorkerBuilder::observer).
///
/// The methods are called on the path of the work, so they must be quick and must not block. One that
/// panics changes nothing else.
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
    /// A handler is about to begin with an attempt.
    fn attempt_started(&self, event: &Observed<'_>) {
        let _ = event;
    }

    /// An attempt has ended, after `took`. How it ended is stored later, and not at all where the
    /// lease was lost.
    fn attempt_ended(&self, event: &Observed<'_>, end: AttemptEnd<'_>, took: Duration) {
        let _ = (event, end, took);
    }

    /// An event is to fail for good: its handler rejected it, or its attempts are spent. Called after
    /// [`attempt_ended`](Self::attempt_ended), and for events whose attempts were all lost.
    fn event_failed(&self, event: &Observed<'_>, reason: &FailureReason) {
        let _ = (event, reason);
    }
}

/// An event that an [`Observer`] is told of.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Observed<'a> {
    /// Its kind.
    pub kind: &'a Kind,
    /// Its idempotency key.
    pub key: &'a Key,
    /// The store's name for it, and the number of its attempt; `None` where it failed without another
    /// attempt, since all of its attempts were lost.
    pub attempt: Option<(EventId, Attempt)>,
    /// How long past its due time it was claimed.
    pub lag: Duration,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd<'a> {
    /// Well.
    Processed,
    /// Badly, and the event is tried again after a while.
    Retry {
        /// How long until then.
        after: Duration,
        /// Why.
        reason: &'a FailureReason,
    },
    /// Badly, and the event fails.
    Failed {
        /// Why.
        reason: &'a FailureReason,
    },
    /// It is not counted, and the event is tried again after a while.
    Postponed {
        /// How long until then.
        after: Duration,
    },
    /// It was cut short by a shutdown, and is not counted.
    Released,
}

impl AttemptEnd<'_> {
    /// Calls `tell` with how an attempt ended that is settled with `outcome`.
    pub(crate) fn tell(outcome: &Outcome, tell: impl FnOnce(AttemptEnd<'_>)) {
        match outcome {
            Outcome::Processed => tell(AttemptEnd::Processed),
            Outcome::Retry { after, reason } => tell(AttemptEnd::Retry {
                after: *after,
                reason: &reason.clone().into(),
            }),
            Outcome::Failed { reason } => tell(AttemptEnd::Failed {
                reason: &reason.clone().into(),
            }),
            Outcome::Postpone { after } => tell(AttemptEnd::Postponed { after: *after }),
            Outcome::Release => tell(AttemptEnd::Released),
        }
    }
}
