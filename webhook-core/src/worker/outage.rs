//! How long to wait before the next try while the store fails.

use std::time::Duration;

use crate::backoff::Backoff;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};

/// At least as long, whatever the jitter.
const FLOOR: Duration = Duration::from_millis(20);

/// The wait after `failures` failures in a row, from 1.
pub(super) fn pause(failures: u32) -> Duration {
    BACKOFF.delay(failures).max(FLOOR)
}
