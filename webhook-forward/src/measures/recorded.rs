//! Counts and times, for the recorder of the facade `metrics`.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use http::StatusCode;
use webhook_core::Kind;
use webhook_core::metrics::label;

use crate::error_class::ErrorClass;
use crate::limit::Held;
use crate::metrics::{HELD_BY, RESULTS, STATES};
use crate::status::DestinationState;

/// What the forwarder of one destination measures.
pub(crate) struct Measures {
    /// One for each of [`RESULTS`].
    requests: [Counter; RESULTS.len()],
    duration: Histogram,
    /// One for each of [`HELD_BY`].
    held: [Counter; HELD_BY.len()],
    /// One for each of [`STATES`].
    states: [Gauge; STATES.len()],
    /// The index of the state that was set last.
    state: AtomicUsize,
}

impl Measures {
    pub(crate) fn new(name: &Kind) -> Self {
        let destination = label(name);
        let measures = Self {
            requests: RESULTS.map(|result| {
                counter!(
                    "webhook_forward_requests_total",
                    "destination" => destination.clone(), "result" => result
                )
            }),
            duration: histogram!(
                "webhook_forward_duration_seconds", "destination" => destination.clone()
            ),
            held: HELD_BY.map(|by| {
                counter!(
                    "webhook_forward_held_total", "destination" => destination.clone(), "by" => by
                )
            }),
            states: STATES.map(|state| {
                gauge!(
                    "webhook_destination_state",
                    "destination" => destination.clone(), "state" => state
                )
            }),
            state: AtomicUsize::new(STATES.len()),
        };
        measures.is(DestinationState::Closed);
        measures
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(
        &self,
        status: Option<StatusCode>,
        class: Option<ErrorClass>,
        took: Duration,
    ) {
        self.duration.record(took);
        increment(&self.requests, &RESULTS, result(status, class));
    }

    /// Counts an event that was claimed and is not sent now.
    pub(crate) fn held(&self, held: Held) {
        let by = match held {
            Held::Paused => "pause",
            Held::Throttled => "retry_after",
            Held::Open | Held::Probed => "breaker",
            Held::Full => "concurrency",
        };
        increment(&self.held, &HELD_BY, by);
    }

    /// Sets the state. Does nothing if it is the same as before.
    pub(crate) fn is(&self, state: DestinationState) {
        let name = match state {
            DestinationState::Closed => "closed",
            DestinationState::Open { .. } => "open",
            DestinationState::HalfOpen => "half_open",
            DestinationState::Throttled { .. } => "throttled",
            DestinationState::Paused => "paused",
        };
        let index = STATES.iter().position(|it| *it == name).unwrap_or_default();
        if self.state.swap(index, Ordering::Relaxed) != index {
            for (gauge, state) in self.states.iter().zip(STATES) {
                gauge.set(f64::from(u8::from(state == name)));
            }
        }
    }
}

impl Drop for Measures {
    /// A destination that is gone has no state.
    fn drop(&mut self) {
        for gauge in &self.states {
            gauge.set(0.0);
        }
    }
}

fn increment(counters: &[Counter], names: &[&str], name: &str) {
    let found = names.iter().zip(counters).find(|(it, _)| **it == name);
    if let Some((_, counter)) = found {
        counter.increment(1);
    }
}

/// The result of a request: one of [`RESULTS`].
fn result(status: Option<StatusCode>, class: Option<ErrorClass>) -> &'static str {
    match (status.map(|status| status.as_u16()), class) {
        (Some(410), _) => "410",
        (Some(429), _) => "429",
        (Some(200..300), _) => "2xx",
        (Some(300..400), _) => "3xx",
        (Some(400..500), _) => "4xx",
        (Some(500..600), _) => "5xx",
        (None, Some(ErrorClass::Dns)) => "dns",
        (None, Some(ErrorClass::Connect)) => "connect",
        (None, Some(ErrorClass::TlsVerify | ErrorClass::TlsHandshake)) => "tls",
        (None, Some(ErrorClass::TimeoutConnect | ErrorClass::TimeoutResponse)) => "timeout",
        (None, Some(ErrorClass::Reset)) => "reset",
        (None, Some(ErrorClass::BlockedAddress)) => "blocked",
        (None, Some(ErrorClass::Aborted)) => "aborted",
        _ => "protocol",
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_listed() {
        let statuses = (100..1000).map(|status| {
            let status = StatusCode::from_u16(status).unwrap();
            result(Some(status), None)
        });
        let classes = ErrorClass::ALL.map(|class| result(None, Some(class)));
        let mut results: Vec<_> = statuses.chain(classes).collect();
        results.sort_unstable();
        results.dedup();
        let mut listed = RESULTS;
        listed.sort_unstable();
        assert_eq!(results, listed);
    }
}
