//! The metrics that a forwarder with a name gives to the recorder of the [`metrics`] facade.
//!
//! Install a recorder before you call [`Forwarder::with_name`](crate::Forwarder::with_name).

use webhook_core::metrics::{ATTEMPT_SECONDS, Metric};

/// The values of the label `result`: a status or a class of statuses, or why there is no answer.
pub(crate) const RESULTS: [&str; 14] = [
    "2xx", "3xx", "4xx", "410", "429", "5xx", "dns", "connect", "tls", "timeout", "reset",
    "blocked", "protocol", "aborted",
];

/// The values of the label `by`.
pub(crate) const HELD_BY: [&str; 4] = ["breaker", "concurrency", "pause", "retry_after"];

/// The values of the label `state`.
pub(crate) const STATES: [&str; 5] = ["closed", "open", "half_open", "throttled", "paused"];

/// The metrics of this crate. The label `destination` is the name of the forwarder.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "webhook_forward_requests_total",
        &["destination", "result"],
        "Requests to the destination by their results: 2xx, 3xx, 4xx, 410, 429, 5xx, or without an answer \
         dns, connect, tls, timeout, reset, blocked, protocol and aborted.",
    ),
    Metric::histogram(
        "webhook_forward_duration_seconds",
        &["destination"],
        ATTEMPT_SECONDS,
        "How long requests to the destination took, from the connection to the end of the answer.",
    ),
    Metric::counter(
        "webhook_forward_held_total",
        &["destination", "by"],
        "Events that were claimed and postponed without a request, by what held them: breaker, pause or \
         retry_after. Events that are not claimed are not counted.",
    ),
    Metric::gauge(
        "webhook_destination_state",
        &["destination", "state"],
        "1 for the state of the destination in this process: closed (it takes events), open and half_open \
         (its circuit breaker), throttled (it asked for fewer requests) or paused (it answered 410).",
    ),
];
