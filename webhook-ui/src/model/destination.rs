//! Where events are forwarded to.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;

/// Whether events are forwarded to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DestinationState {
    /// Events are forwarded: the circuit breaker is closed.
    Closed,
    /// The destination failed too often: nothing is forwarded until `until`.
    Open,
    /// Single events are forwarded, to find out whether the destination is back.
    HalfOpen,
    /// The destination asked for fewer requests: nothing is forwarded until `until`.
    Throttled,
    /// Nothing is forwarded until an operator resumes the source.
    Paused,
}

/// The answer of a destination to one request, or why there was none.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// When the attempt ended.
    pub at: Time,
    /// The key of the event.
    pub key: String,
    /// The status; null if there was no answer.
    pub status: Option<u16>,
    /// The class of the error, such as `timeout`; null for a success.
    pub error_class: Option<String>,
    /// How long the request took.
    pub duration_ms: Option<f64>,
}

/// A destination of the events of one source.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Destination {
    /// The name of the source whose events it gets.
    pub source: String,
    /// The URL without its query.
    pub url: String,
    /// Whether events are forwarded.
    pub state: DestinationState,
    /// Until when nothing is forwarded, in the states `open` and `throttled`; null in the others.
    pub until: Option<Time>,
    /// Why it is paused, as far as this process knows.
    pub paused_because: Option<String>,
    /// When this process noticed that the destination wants no more events: since then it is in the state `paused`.
    pub paused_since: Option<Time>,
    /// How many requests are running.
    pub in_flight: u64,
    /// How many may run at the same time now.
    pub window: u64,
    /// How many may run at the same time when the destination does well.
    pub concurrency: u64,
    /// The largest number of requests in a time, such as `100/s`.
    pub rate: Option<String>,
    /// How many events it has taken since the process started.
    pub delivered: u64,
    /// How many attempts have failed since the process started.
    pub failed: u64,
    /// How many attempts were given back since the process started, since the destination was held.
    pub postponed: u64,
    /// How many attempts have failed since the last event that it took.
    pub consecutive_failures: u64,
    /// The last answers, the latest first: at most 10.
    pub last_answers: Vec<Answer>,
    /// Whether the source is paused, for all nodes.
    pub paused: bool,
    /// How long the oldest due event has waited, by the latest sample.
    pub oldest_due_age_seconds: Option<f64>,
}

#[cfg(test)]
impl Destination {
    /// One that has taken an event, and does well.
    pub(crate) fn healthy(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            url: format!("https://{source}.example.com/"),
            state: DestinationState::Closed,
            until: None,
            paused_because: None,
            paused_since: None,
            in_flight: 0,
            window: 1,
            concurrency: 1,
            rate: None,
            delivered: 1,
            failed: 0,
            postponed: 0,
            consecutive_failures: 0,
            last_answers: Vec::new(),
            paused: false,
            oldest_due_age_seconds: None,
        }
    }
}
