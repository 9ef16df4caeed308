//! Converts times and durations from and to microseconds, which PostgreSQL uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest delay and the longest lease: 10,000 years. PostgreSQL's timestamps end in the year 294276.
const MAX: Duration = Duration::from_secs(10_000 * 365 * 86_400);

/// Converts `duration` to microseconds, rounded up, so that nothing falls due early.
pub(crate) fn of(duration: Duration) -> i64 {
    let nanos = duration.min(MAX).as_nanos();
    i64::try_from(nanos.div_ceil(1000)).expect("ten thousand years fit")
}

/// Converts microseconds from PostgreSQL to a duration; a negative number is zero.
pub(crate) fn duration(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// Converts microseconds since 1970 from PostgreSQL to a time.
pub(crate) fn time(us: i64) -> SystemTime {
    let distance = Duration::from_micros(us.unsigned_abs());
    if us < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

/// Converts a time to microseconds since 1970.
pub(crate) fn of_time(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up_and_bounded() {
        assert_eq!(of(Duration::ZERO), 0);
        assert_eq!(of(Duration::from_nanos(1)), 1);
        assert_eq!(of(Duration::from_nanos(1_001)), 2);
        assert_eq!(of(Duration::MAX), of(MAX));
        assert_eq!(duration(-5), Duration::ZERO);
    }

    #[test]
    fn times_are_microseconds_since_1970() {
        assert_eq!(time(1_500_000), UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(time(-1), UNIX_EPOCH - Duration::from_micros(1));
        for us in [0, 1, -1, 1_500_000, i64::from(i32::MIN)] {
            assert_eq!(of_time(time(us)), us);
        }
    }
}
