//! What is counted of the requests to a source. The inbox counts the events, and what it cannot take.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};
use webhook_core::Kind;
use webhook_core::metrics::label;
use webhook_sources::{RefusalReason, Unverified};

/// The values of the label `reason`.
const REASONS: [&str; 11] = [
    "signature_missing",
    "signature_invalid",
    "signature_expired",
    "unauthorized",
    "media_type",
    "too_large",
    "too_slow",
    "malformed",
    "invalid",
    "method",
    "disabled",
];

/// The counters of one source.
pub(crate) struct Requests {
    rejected: Counter,
    throttled: Counter,
    overloaded: Counter,
    unavailable: Counter,
    /// One for each of [`REASONS`].
    reasons: [Counter; REASONS.len()],
    duration: Histogram,
    bytes: Counter,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As the status of the answer says.
    ByStatus,
    /// For this reason, which is one of [`REASONS`].
    Because(&'static str),
    /// The request is over a limit of its source, or of its client.
    Throttled,
    /// The server has too much to do.
    Overloaded,
    /// The inbox has counted it.
    Counted,
}

/// What a refused request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The sender has to change something: this, which is one of [`REASONS`].
    Rejected(&'static str),
    Throttled,
    Overloaded,
    Unavailable,
    /// The inbox has counted it.
    Counted,
}

impl Refused {
    /// What a request is counted as that is refused with `status`.
    pub(crate) fn refusal(self, status: StatusCode) -> Refusal {
        Refusal::Rejected(match self {
            Self::Counted => return Refusal::Counted,
            Self::Throttled => return Refusal::Throttled,
            Self::Overloaded => return Refusal::Overloaded,
            Self::Because(reason) => reason,
            Self::ByStatus => match status.as_u16() {
                401 | 403 => "unauthorized",
                405 => "method",
                408 => "too_slow",
                410 => "disabled",
                413 => "too_large",
                415 => "media_type",
                422 => "invalid",
                429 => return Refusal::Throttled,
                // A coding of the body that no sender may use here.
                501 => "malformed",
                500.. => return Refusal::Unavailable,
                _ => "malformed",
            },
        })
    }

    /// Why a source refuses a request.
    pub(crate) const fn of(reason: &RefusalReason) -> Self {
        Self::Because(match reason {
            RefusalReason::Unverified(reason) => return Self::unverified(reason),
            RefusalReason::Method => "method",
            RefusalReason::Challenge => "signature_invalid",
            RefusalReason::VerifyToken | RefusalReason::Origin => "unauthorized",
            _ => "malformed",
        })
    }

    /// Why a delivery of transactions is not verified.
    pub(crate) const fn unverified(reason: &Unverified) -> Self {
        Self::Because(match reason {
            Unverified::Missing { .. } => "signature_missing",
            Unverified::TooFar { .. } => "signature_expired",
            _ => "signature_invalid",
        })
    }
}

impl Requests {
    /// Counters that nobody is shown.
    pub(crate) fn unseen() -> Self {
        Self {
            rejected: Counter::noop(),
            throttled: Counter::noop(),
            overloaded: Counter::noop(),
            unavailable: Counter::noop(),
            reasons: REASONS.map(|_| Counter::noop()),
            duration: Histogram::noop(),
            bytes: Counter::noop(),
        }
    }

    pub(crate) fn new(kind: &Kind) -> Self {
        let source = label(kind);
        let outcome = |outcome: &'static str| counter!("webhook_received_total", "source" => source.clone(), "outcome" => outcome);
        Self {
            rejected: outcome("rejected"),
            throttled: outcome("throttled"),
            overloaded: outcome("overloaded"),
            unavailable: outcome("unavailable"),
            reasons: REASONS.map(|reason| {
                counter!("webhook_rejected_total", "source" => source.clone(), "reason" => reason)
            }),
            duration: histogram!("webhook_accept_duration_seconds", "source" => source.clone()),
            bytes: counter!("webhook_received_bytes_total", "source" => source),
        }
    }

    /// Counts a body that was read.
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
    }

    /// Records how long a request took.
    pub(crate) fn answered(&self, took: Duration) {
        self.duration.record(took);
    }

    /// Counts a request that is refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Counted => return,
            Refusal::Throttled => return self.throttled.increment(1),
            Refusal::Overloaded => return self.overloaded.increment(1),
            Refusal::Unavailable => return self.unavailable.increment(1),
            Refusal::Rejected(reason) => reason,
        };
        self.rejected.increment(1);
        let of_reason = REASONS.iter().zip(&self.reasons);
        if let Some((_, counter)) = of_reason.into_iter().find(|(it, _)| **it == reason) {
            counter.increment(1);
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
