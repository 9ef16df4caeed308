//! Simulated time.
//!
//! It moves in ticks. Within a tick nothing moves but what the seed chooses next, call by call,
//! so that every order of what happens "at once" is possible and repeatable.
//!
//! The core draws its pauses after a failed claim or settlement from the system's randomness.
//! They are at most five seconds, and a tick is longer; claims and settlements fail only as a
//! tick begins, and nobody looks until it is half over. So however long such a pause really was,
//! it has the same end, and a run depends on its seed alone.

use std::time::Duration;

/// One tick.
pub(crate) const TICK: Duration = Duration::from_secs(10);

/// After the tick's begin: longer than the core's pauses after hints and contention, shorter than
/// its shortest pause after an error.
pub(crate) const HINTS: Duration = Duration::from_millis(12);

/// After the tick's begin: every pause after an error is over.
pub(crate) const PAUSES: Duration = Duration::from_millis(5_500);

/// After the tick's begin: calls that such pauses ended in are looked at.
pub(crate) const MIDDLE: Duration = Duration::from_secs(6);

/// A number of ticks as a duration.
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_secs(TICK.as_secs() * count)
}
