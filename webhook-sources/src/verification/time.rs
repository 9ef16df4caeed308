//! The time of a signature.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::Unverified;
use crate::spec::{TimeFormat, TimeSpec, Tolerance};

/// The largest number of digits. Milliseconds have fewer for the next 200 years.
const MAX_DIGITS: usize = 14;

/// The largest length of a date and a time, in bytes.
const MAX_DATE_BYTES: usize = 40;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Refuses a time that is not written as it must be, or that is not within the tolerance of `now`.
pub(super) fn check(text: &str, spec: &TimeSpec, now: SystemTime) -> Result<(), Unverified> {
    let at = parse(text, spec.format).ok_or_else(|| Unverified::Malformed {
        place: spec.at.clone(),
    })?;
    let Tolerance::Within(tolerance) = spec.tolerance else {
        return Ok(());
    };
    let ahead = at - nanos(now);
    if ahead.unsigned_abs() <= tolerance.as_nanos() {
        return Ok(());
    }
    // Rounded away from zero, so that a time just outside the tolerance does not look as if it were inside.
    let seconds = ahead
        .unsigned_abs()
        .div_ceil(NANOS_PER_SECOND.unsigned_abs());
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Err(Unverified::TooFar {
        seconds: if ahead < 0 { -seconds } else { seconds },
    })
}

/// The nanoseconds from 1970 to the time that `text` is.
fn parse(text: &str, format: TimeFormat) -> Option<i128> {
    match format {
        TimeFormat::Seconds => Some(number(text)? * NANOS_PER_SECOND),
        TimeFormat::Milliseconds => Some(number(text)? * (NANOS_PER_SECOND / 1_000)),
        TimeFormat::Rfc3339 => {
            // jiff reads more than RFC 3339, such as the name of a time zone in brackets.
            let is_plain = |byte: u8| byte.is_ascii_digit() || b"-:.+TtZz".contains(&byte);
            let is_date = text.len() <= MAX_DATE_BYTES && text.bytes().all(is_plain);
            let parsed = is_date.then(|| text.parse::<Timestamp>().ok()).flatten();
            parsed.map(Timestamp::as_nanosecond)
        }
    }
}

/// A whole number that consists only of digits.
fn number(text: &str) -> Option<i128> {
    let is_number =
        (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The nanoseconds from 1970 to `at`.
fn nanos(at: SystemTime) -> i128 {
    let signed = |nanos: u128| i128::try_from(nanos).unwrap_or(i128::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_nanos()),
        Err(before) => -signed(before.duration().as_nanos()),
    }
}

/// Writes a time as a sender does; none before 1970.
pub(super) fn write(at: SystemTime, format: TimeFormat) -> Option<String> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    match format {
        TimeFormat::Seconds => Some(since.as_secs().to_string()),
        TimeFormat::Milliseconds => Some(since.as_millis().to_string()),
        TimeFormat::Rfc3339 => {
            let seconds = i64::try_from(since.as_secs()).ok()?;
            Some(Timestamp::from_second(seconds).ok()?.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_their_format_says() {
        let day = "2023-11-14T22:13:20";
        let seconds = 1_700_000_000 * NANOS_PER_SECOND;
        for (text, format, expected) in [
            ("0", TimeFormat::Seconds, Some(0)),
            ("1700000000", TimeFormat::Seconds, Some(seconds)),
            ("1700000000000", TimeFormat::Milliseconds, Some(seconds)),
            (
                "99999999999999",
                TimeFormat::Seconds,
                Some(99_999_999_999_999 * NANOS_PER_SECOND),
            ),
            ("100000000000000", TimeFormat::Seconds, None),
            ("+1700000000", TimeFormat::Seconds, None),
            ("-1", TimeFormat::Seconds, None),
            ("1700000000 ", TimeFormat::Seconds, None),
            ("1700000000.0", TimeFormat::Seconds, None),
            ("1.7e9", TimeFormat::Seconds, None),
            ("１７００００００００", TimeFormat::Seconds, None),
            ("", TimeFormat::Seconds, None),
            (&format!("{day}Z"), TimeFormat::Rfc3339, Some(seconds)),
            (
                &format!("{day}.000+00:00"),
                TimeFormat::Rfc3339,
                Some(seconds),
            ),
            (
                &format!("{day}+01:00"),
                TimeFormat::Rfc3339,
                Some(seconds - 3_600 * NANOS_PER_SECOND),
            ),
            (day, TimeFormat::Rfc3339, None),
            (&format!("{day}Z[UTC]"), TimeFormat::Rfc3339, None),
            (
                &format!("{day}.{}Z", "0".repeat(40)),
                TimeFormat::Rfc3339,
                None,
            ),
            ("1700000000", TimeFormat::Rfc3339, None),
            ("", TimeFormat::Rfc3339, None),
        ] {
            assert_eq!(parse(text, format), expected, "{text:?}");
        }
    }
}
