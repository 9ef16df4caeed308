//! What the answer to a request means for its event and for its destination.

use std::time::{Duration, SystemTime};

use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};

use crate::breaker::Health;
use crate::client::{Answer, Exchange, Failure};
use crate::destination::without_query;
use crate::error_class::ErrorClass;
use crate::retry_after::retry_after;
use crate::statuses::StatusSet;

/// How long an event waits at least after a time-out, 502 or 504: the app may still be working on it.
const OVERLOAD_DELAY: Duration = Duration::from_secs(60);

/// How much of a `Location` is shown, in characters.
const MAX_LOCATION_CHARS: usize = 256;

/// What an answer, or its absence, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) event: Fate,
    pub(crate) destination: Effect,
    /// `None` if the event was delivered.
    pub(crate) class: Option<ErrorClass>,
    /// What happened, in one line for people.
    pub(crate) reason: String,
}

/// What happens to the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// It is tried again, after this long at least.
    Retry(Duration),
    Fail,
    /// It waits until the destination is resumed, without spending an attempt.
    Hold,
}

/// What happens to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Health(Health),
    /// There was no connection, or no answer in time: fewer requests at the same time may help.
    Overload(Health),
    /// It gets no events for this long.
    Throttle(Duration),
    /// It gets no events until it is resumed.
    Pause,
    /// Nothing: the answer is about the event.
    None,
}

impl Exchange {
    /// Returns why the event was not delivered, in one line for people; `None` if it was delivered.
    pub fn failure(&self) -> Option<String> {
        let verdict = self.verdict();
        verdict.class.map(|_| verdict.reason)
    }

    /// Returns how long the destination asks to wait before the next request, if it does so: by 429 or 503 with
    /// `Retry-After`. At most 24 hours.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.verdict().destination {
            Effect::Throttle(wait) => Some(wait),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        judge(&self.result, &StatusSet::new(), SystemTime::now())
    }
}

/// Judges the result of a request, which came at the time `now`.
pub(crate) fn judge(
    result: &Result<Answer, Failure>,
    fail_on: &StatusSet,
    now: SystemTime,
) -> Verdict {
    match result {
        Ok(answer) => judge_answer(answer, fail_on, now),
        Err(failure) => judge_failure(failure),
    }
}

fn judge_answer(answer: &Answer, fail_on: &StatusSet, now: SystemTime) -> Verdict {
    let status = answer.status;
    let class = class_of(status);
    let verdict = |event, destination| Verdict {
        event,
        destination,
        class,
        reason: answered(status),
    };
    let failure = Effect::Health(Health::Failure);
    match status {
        _ if status.is_success() => verdict(Fate::Delivered, Effect::Health(Health::Success)),
        StatusCode::GONE => verdict(Fate::Hold, Effect::Pause),
        _ if fail_on.contains(status) => verdict(Fate::Fail, Effect::None),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            match retry_after(&answer.headers, now) {
                Some(wait) => Verdict {
                    class: Some(ErrorClass::Throttled),
                    reason: format!("{}, to be tried again in {wait:?}", answered(status)),
                    ..verdict(Fate::Retry(wait), Effect::Throttle(wait))
                },
                None => verdict(Fate::Retry(Duration::ZERO), failure),
            }
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            verdict(Fate::Retry(OVERLOAD_DELAY), failure)
        }
        _ if status.is_redirection() => {
            let place = location(&answer.headers);
            let moved = place.map(|place| format!(": the URL has moved to {place}"));
            Verdict {
                reason: format!("{}{}", answered(status), moved.unwrap_or_default()),
                ..verdict(Fate::Retry(Duration::ZERO), failure)
            }
        }
        _ => verdict(Fate::Retry(Duration::ZERO), failure),
    }
}

fn judge_failure(failure: &Failure) -> Verdict {
    let (wait, destination) = match failure.class {
        ErrorClass::TimeoutResponse => (OVERLOAD_DELAY, Effect::Overload(Health::Failure)),
        ErrorClass::TimeoutConnect => (OVERLOAD_DELAY, Effect::Overload(Health::ConnectionFailure)),
        ErrorClass::Dns
        | ErrorClass::Connect
        | ErrorClass::TlsVerify
        | ErrorClass::TlsHandshake
        | ErrorClass::BlockedAddress => {
            (Duration::ZERO, Effect::Overload(Health::ConnectionFailure))
        }
        ErrorClass::Reset => (Duration::ZERO, Effect::Overload(Health::Failure)),
        ErrorClass::Aborted => (Duration::ZERO, Effect::None),
        ErrorClass::Redirect
        | ErrorClass::Status4xx
        | ErrorClass::Status5xx
        | ErrorClass::Throttled
        | ErrorClass::Gone
        | ErrorClass::TooLarge
        | ErrorClass::Protocol => (Duration::ZERO, Effect::Health(Health::Failure)),
    };
    Verdict {
        event: Fate::Retry(wait),
        destination,
        class: Some(failure.class),
        reason: failure.message.clone(),
    }
}

/// The class of a status; `None` for a success.
fn class_of(status: StatusCode) -> Option<ErrorClass> {
    Some(match status.as_u16() {
        200..=299 => return None,
        300..=399 => ErrorClass::Redirect,
        410 => ErrorClass::Gone,
        429 => ErrorClass::Throttled,
        400..=499 => ErrorClass::Status4xx,
        500..=599 => ErrorClass::Status5xx,
        _ => ErrorClass::Protocol,
    })
}

fn answered(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("answered {} {reason}", status.as_u16())
        .trim_end()
        .to_owned()
}

/// Where a redirect leads to, without the query, which may have secrets.
fn location(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let place = match text.parse::<Uri>() {
        Ok(uri) if uri.scheme().is_some() => without_query(&uri),
        // Relative references may be anything.
        _ => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    let is_shown = !place.is_empty() && !place.contains('@');
    is_shown.then(|| place.chars().take(MAX_LOCATION_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::RETRY_AFTER;
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn exchanges_tell_failures_and_how_long_to_wait() {
        let exchange = |result| Exchange {
            result,
            peer: None,
            timings: crate::client::Timings::default(),
        };
        for (status, headers, failure, wait) in [
            (204, &[][..], None, None),
            (500, &[], Some("answered 500 Internal Server Error"), None),
            (410, &[], Some("answered 410 Gone"), None),
            (
                503,
                &[(RETRY_AFTER, "7")],
                Some("answered 503 Service Unavailable, to be tried again in 7s"),
                Some(Duration::from_secs(7)),
            ),
        ] {
            let exchange = exchange(answer(status, headers));
            assert_eq!(exchange.failure().as_deref(), failure, "{status}");
            assert_eq!(exchange.retry_after(), wait, "{status}");
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const FAILURE: Effect = Effect::Health(Health::Failure);
    const RETRY: Fate = Fate::Retry(Duration::ZERO);

    fn answer(status: u16, headers: &[(HeaderName, &str)]) -> Result<Answer, Failure> {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::new(),
            is_body_whole: true,
        })
    }

    fn judged(result: &Result<Answer, Failure>) -> Verdict {
        let fail_on = "400, 411-422".parse().unwrap();
        judge(result, &fail_on, SystemTime::now())
    }

    #[test]
    fn each_status_has_its_meaning() {
        let delivered = (Fate::Delivered, Effect::Health(Health::Success), None);
        let failed = |class| (RETRY, FAILURE, Some(class));
        for (status, meaning) in [
            (200, delivered),
            (202, delivered),
            (204, delivered),
            (299, delivered),
            (300, failed(ErrorClass::Redirect)),
            (304, failed(ErrorClass::Redirect)),
            (308, failed(ErrorClass::Redirect)),
            (400, (Fate::Fail, Effect::None, Some(ErrorClass::Status4xx))),
            (401, failed(ErrorClass::Status4xx)),
            (404, failed(ErrorClass::Status4xx)),
            (408, failed(ErrorClass::Status4xx)),
            (410, (Fate::Hold, Effect::Pause, Some(ErrorClass::Gone))),
            (422, (Fate::Fail, Effect::None, Some(ErrorClass::Status4xx))),
            (425, failed(ErrorClass::Status4xx)),
            (429, failed(ErrorClass::Throttled)),
            (500, failed(ErrorClass::Status5xx)),
            (
                502,
                (
                    Fate::Retry(60 * SECOND),
                    FAILURE,
                    Some(ErrorClass::Status5xx),
                ),
            ),
            (503, failed(ErrorClass::Status5xx)),
            (
                504,
                (
                    Fate::Retry(60 * SECOND),
                    FAILURE,
                    Some(ErrorClass::Status5xx),
                ),
            ),
            (599, failed(ErrorClass::Status5xx)),
            (600, failed(ErrorClass::Protocol)),
            (199, failed(ErrorClass::Protocol)),
        ] {
            let verdict = judged(&answer(status, &[]));
            let judged = (verdict.event, verdict.destination, verdict.class);
            assert_eq!(judged, meaning, "{status}");
        }
    }

    #[test]
    fn retry_after_throttles_with_two_statuses_only() {
        for status in [429, 503] {
            let verdict = judged(&answer(status, &[(RETRY_AFTER, "90")]));
            assert_eq!(verdict.event, Fate::Retry(90 * SECOND));
            assert_eq!(verdict.destination, Effect::Throttle(90 * SECOND));
            assert_eq!(verdict.class, Some(ErrorClass::Throttled));
            let verdict = judged(&answer(status, &[(RETRY_AFTER, "soon")]));
            assert_eq!((verdict.event, verdict.destination), (RETRY, FAILURE));
        }
        let verdict = judged(&answer(500, &[(RETRY_AFTER, "90")]));
        assert_eq!((verdict.event, verdict.destination), (RETRY, FAILURE));
    }

    #[test]
    fn gone_pauses_even_if_it_is_to_fail() {
        let fail_on = "400-499".parse().unwrap();
        let verdict = judge(&answer(410, &[]), &fail_on, SystemTime::now());
        assert_eq!(verdict.event, Fate::Hold);
    }

    #[test]
    fn each_failure_has_its_meaning() {
        for class in ErrorClass::ALL {
            let message = "failed to connect to 10.0.0.7:3000".to_owned();
            let verdict = judged(&Err(Failure { class, message }));
            assert_eq!(verdict.class, Some(class));
            assert_eq!(verdict.reason, "failed to connect to 10.0.0.7:3000");
            let wait = match class {
                ErrorClass::TimeoutConnect | ErrorClass::TimeoutResponse => 60 * SECOND,
                _ => Duration::ZERO,
            };
            assert_eq!(verdict.event, Fate::Retry(wait), "{class}");
        }
    }

    #[test]
    fn reasons_are_for_people() {
        let reason = |status, headers: &[_]| judged(&answer(status, headers)).reason;
        assert_eq!(reason(500, &[]), "answered 500 Internal Server Error");
        assert_eq!(reason(599, &[]), "answered 599");
        assert_eq!(
            reason(429, &[(RETRY_AFTER, "90")]),
            "answered 429 Too Many Requests, to be tried again in 90s"
        );
        let moved = |place| reason(301, &[(LOCATION, place)]);
        let moved_to = "answered 301 Moved Permanently: the URL has moved to ";
        for (place, shown) in [
            ("https://other.test/hooks", "https://other.test/hooks"),
            (
                "https://a:b@other.test/hooks?token=c#d",
                "https://other.test/hooks",
            ),
            ("/login?next=hooks", "/login"),
            ("login#form", "login"),
        ] {
            assert_eq!(moved(place), format!("{moved_to}{shown}"));
        }
        for place in ["", "?a=b", "//a:b@host/"] {
            assert_eq!(moved(place), "answered 301 Moved Permanently", "{place}");
        }
        assert_eq!(moved(&"/x".repeat(1_000)).len(), moved_to.len() + 256);
    }
}
