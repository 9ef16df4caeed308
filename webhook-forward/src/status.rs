//! How a destination does.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::error_class::ErrorClass;
use crate::request::rfc3339;

/// How many answers a status lists.
pub(crate) const LAST_ANSWERS: usize = 10;

/// How a destination does, as this process sees it: for operators, who get it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DestinationStatus {
    /// The URL without its query.
    pub url: String,
    /// Whether events are forwarded.
    #[serde(flatten)]
    pub state: DestinationState,
    /// Why and since when it is paused, if it said itself that it wants no more events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseRecord>,
    /// The number of requests that are running.
    pub in_flight: usize,
    /// How many requests may run at the same time now.
    pub window: usize,
    /// How many requests may run at the same time when the destination does well.
    pub concurrency: usize,
    /// The largest number of requests in a time, such as `100/s`.
    pub rate: Option<String>,
    /// The number of events that the destination has taken since the start.
    pub delivered: u64,
    /// The number of attempts that have failed since the start.
    pub failed: u64,
    /// The number of attempts that were given back since the start, since the destination was held.
    pub postponed: u64,
    /// The number of attempts that have failed since the last event that the destination took.
    pub consecutive_failures: u64,
    /// The last answers, the latest first: at most 10.
    pub last_answers: Vec<AnswerRecord>,
}

/// Whether events are forwarded to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DestinationState {
    /// Events are forwarded: the circuit breaker is closed.
    Closed,
    /// The destination failed too often: no events are forwarded until then.
    Open {
        /// When the next event is forwarded, as a probe.
        #[serde(serialize_with = "time")]
        until: SystemTime,
    },
    /// Single events are forwarded, to find out whether the destination is back.
    HalfOpen,
    /// The destination asked for fewer requests: no events are forwarded until then.
    Throttled {
        /// When events are forwarded again.
        #[serde(serialize_with = "time")]
        until: SystemTime,
    },
    /// The destination answered 410: no events are forwarded until its kind is resumed.
    Paused,
}

/// Why a destination is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PauseRecord {
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: SystemTime,
    /// What the destination answered.
    pub reason: String,
}

/// One answer of a destination, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerRecord {
    /// When the attempt ended.
    #[serde(serialize_with = "time")]
    pub at: SystemTime,
    /// The key of the event.
    pub key: String,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why the attempt failed, if it failed.
    #[serde(serialize_with = "word")]
    pub error_class: Option<ErrorClass>,
    /// How long the attempt took.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339(*time).serialize(serializer)
}

fn word<S: Serializer>(class: &Option<ErrorClass>, serializer: S) -> Result<S::Ok, S::Error> {
    class.map(ErrorClass::as_str).serialize(serializer)
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    millis.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn it_is_written_as_one_object() {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let status = DestinationStatus {
            url: "http://app.test/hooks".to_owned(),
            state: DestinationState::Open { until: at },
            pause: Some(PauseRecord {
                since: at,
                reason: "answered 410 Gone".to_owned(),
            }),
            in_flight: 1,
            window: 2,
            concurrency: 32,
            rate: Some("100/s".to_owned()),
            delivered: 3,
            failed: 4,
            postponed: 5,
            consecutive_failures: 6,
            last_answers: vec![AnswerRecord {
                at,
                key: "evt_1".to_owned(),
                status: None,
                error_class: Some(ErrorClass::Connect),
                duration: Duration::from_millis(12),
            }],
        };
        let json = serde_json::json!({
            "url": "http://app.test/hooks",
            "state": "open",
            "until": "2023-11-14T22:13:20.500Z",
            "pause": { "since": "2023-11-14T22:13:20.500Z", "reason": "answered 410 Gone" },
            "in_flight": 1,
            "window": 2,
            "concurrency": 32,
            "rate": "100/s",
            "delivered": 3,
            "failed": 4,
            "postponed": 5,
            "consecutive_failures": 6,
            "last_answers": [{
                "at": "2023-11-14T22:13:20.500Z",
                "key": "evt_1",
                "status": null,
                "error_class": "connect",
                "duration_ms": 12,
            }],
        });
        assert_eq!(serde_json::to_value(status).unwrap(), json);
        for (state, word) in [
            (DestinationState::Closed, "closed"),
            (DestinationState::HalfOpen, "half_open"),
            (DestinationState::Throttled { until: at }, "throttled"),
            (DestinationState::Paused, "paused"),
        ] {
            assert_eq!(serde_json::to_value(state).unwrap()["state"], word);
        }
    }
}
