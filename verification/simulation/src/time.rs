//! Simulated time.
//!
//! Time advances in ticks. Within a tick the seed chooses which call proceeds next, so every order
//! of simultaneous calls is possible and repeatable.
//!
//! The core's pauses after a failed claim or settlement come from the system's randomness. They are
//! at most five seconds, which is less than a tick. Claims and settlements fail only at the
//! beginning of a tick, and the calls after the pause proceed only in its second half. So the
//! length of the pause has no effect, and a run depends on its seed alone.

use std::time::Duration;

/// One tick.
pub(crate) const TICK: Duration = Duration::from_secs(10);

/// The time after the beginning of a tick when the core's pauses after hints and contention are
/// over, and its shortest pause after an error is not. That pause is also longer than claims of one
/// of several partitions keep their slots, so that it has no effect on who gets them.
pub(crate) const HINTS: Duration = Duration::from_millis(12);

/// The time after the beginning of a tick when every pause after an error is over.
pub(crate) const PAUSES: Duration = Duration::from_millis(5_500);

/// The time after the beginning of a tick when the calls after such pauses proceed.
pub(crate) const MIDDLE: Duration = Duration::from_secs(6);

/// Converts a number of ticks to a duration.
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_secs(TICK.as_secs() * count)
}
