//! Times and durations as the file keeps them: whole microseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest delay and the longest lease: a thousand years.
const MAX: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// `duration` in microseconds, rounded up, so that nothing falls due early.
pub(crate) fn of(duration: Duration) -> i64 {
    let nanos = duration.min(MAX).as_nanos();
    i64::try_from(nanos.div_ceil(1000)).expect("a thousand years fit")
}

/// A difference of times; a negative one is zero.
pub(crate) fn duration(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// A time in microseconds since 1970.
pub(crate) fn time(us: i64) -> SystemTime {
    let distance = Duration::from_micros(us.unsigned_abs());
    if us < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

/// Microseconds since 1970.
pub(crate) fn of_time(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// Microseconds since 1970 by the clock of the host.
pub(crate) fn host_now() -> i64 {
    of_time(SystemTime::now()).max(0)
}
