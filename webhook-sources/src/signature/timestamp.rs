//! The time that a signature names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More digits than milliseconds will have for two hundred years.
const MAX_DIGITS: usize = 14;

/// A whole number of units since 1970, in digits and nothing else.
pub(super) fn parse(text: &str) -> Option<u64> {
    let is_number =
        (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether `at`, since 1970, is no further than `tolerance` from `now`.
pub(super) fn is_near(at: Duration, now: SystemTime, tolerance: Duration) -> bool {
    let Ok(now) = now.duration_since(UNIX_EPOCH) else {
        return false;
    };
    now.abs_diff(at) <= tolerance
}

/// How long after 1970 `at` is.
pub(super) fn since_epoch(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}
