//! The header `Retry-After`.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, RETRY_AFTER};

/// The longest time that is obeyed: longer ones count as this.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// Returns how long the receiver asks to wait by `Retry-After` (RFC 9110, section 10.2.3): seconds, or a
/// date, from which the answer's own date is subtracted, so that clocks may differ. `now` stands in for a
/// missing date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let wanted = text(RETRY_AFTER).filter(|wanted| !wanted.is_empty())?;
    let wait = if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is too long in any case.
        Duration::from_secs(wanted.parse().unwrap_or(u64::MAX))
    } else {
        let answered = text(DATE).and_then(date).unwrap_or(now);
        date(wanted)?.duration_since(answered).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn read(retry_after_: &[u8], date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(retry_after_).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_obeyed_up_to_a_day() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 007 ", Some(7)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("Tue, 06 Nov 2294 08:49:37 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("1, 2", None),
            ("2026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(read(text.as_bytes(), None), seconds, "{text:?}");
        }
        assert_eq!(read(b"\xff", None), None);
        assert_eq!(retry_after(&HeaderMap::new(), now()), None);
    }

    #[test]
    fn a_date_counts_from_the_date_of_the_answer() {
        let later = "Sun, 06 Nov 1994 09:00:00 GMT";
        let answered = Some("Sun, 06 Nov 1994 08:59:00 GMT");
        assert_eq!(read(later.as_bytes(), answered), Some(60));
        assert_eq!(read(later.as_bytes(), Some("yesterday")), Some(623));
        assert_eq!(read(b"5", answered), Some(5));
    }
}
