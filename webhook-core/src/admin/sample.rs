//! [`KindSample`]: bounded counts of one kind.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::event::Kind;
use crate::setters::setters;

/// How many events of a kind are in each state, counted up to a bound: the result of
/// [`Admin::sample`](crate::Admin::sample) for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindSample {
    /// The kind.
    pub kind: Kind,
    /// Events that are PROCESSING and not yet due.
    pub waiting: u64,
    /// Events that are PROCESSING, due, and not leased (an expired lease does not count).
    pub due: u64,
    /// Events that are PROCESSING and leased.
    pub leased: u64,
    /// Events that are FAILED.
    pub failed: u64,
    /// Whether there are more events than were counted: each of the numbers above may be too small.
    pub is_capped: bool,
    /// How long ago the oldest event fell due that is not leased; `None` if there is none.
    pub oldest_due: Option<Duration>,
    /// Whether the kind is paused.
    pub paused: bool,
}

impl KindSample {
    /// A kind without events.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            waiting: 0,
            due: 0,
            leased: 0,
            failed: 0,
            is_capped: false,
            oldest_due: None,
            paused: false,
        }
    }

    /// Sets [`is_capped`](field@Self::is_capped) by the counts: they were counted up to `cap`, where due and leased events
    /// were counted together.
    #[must_use]
    pub fn capped_at(self, cap: NonZeroUsize) -> Self {
        let counts = [self.waiting, self.due + self.leased, self.failed];
        let is_capped = counts.iter().any(|count| *count >= cap.get() as u64);
        Self { is_capped, ..self }
    }

    setters! {
        with_waiting waiting: u64;
        with_due due: u64;
        with_leased leased: u64;
        with_failed failed: u64;
        with_is_capped is_capped: bool;
        with_oldest_due oldest_due: Option<Duration>;
        with_paused paused: bool;
    }
}
