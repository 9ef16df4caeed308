//! The time of a signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest number of digits. Milliseconds have fewer for the next 200 years.
const MAX_DIGITS: usize = 14;

/// Parses a whole number of units since 1970, which consists only of digits.
pub(super) fn parse(text: &str) -> Option<u64> {
    let is_number =
        (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether `at`, counted from 1970, is within `tolerance` of `now`.
pub(super) fn is_near(at: Duration, now: SystemTime, tolerance: Duration) -> bool {
    let Ok(now) = now.duration_since(UNIX_EPOCH) else {
        return false;
    };
    now.abs_diff(at) <= tolerance
}

/// Returns the time from 1970 to `at`.
pub(super) fn since_epoch(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}
