//! How long to wait before the next call while the store fails.

use std::time::Duration;

use crate::backoff::Backoff;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};

/// The shortest wait, also for the smallest jitter.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// Returns the wait after this many failures in a row, from 1.
pub(super) fn pause(failures: u32) -> Duration {
    BACKOFF.delay(failures).max(MIN_PAUSE)
}
