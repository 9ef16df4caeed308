//! The metrics that an inbox, a worker and retention give to the recorder of the [`metrics`] facade.
//!
//! Install a recorder before you create an [`Inbox`](crate::Inbox), a [`Worker`](crate::Worker) or a
//! [`Pipeline`](crate::Pipeline): they register their metrics then, once for each kind, and keep the handles.
//! [`METRICS`] lists the names, with what an exporter needs to know of them.
//!
//! ```
//! use webhook_core::metrics::{METRICS, MetricType};
//!
//! // An exporter that has to know the buckets of histograms in advance:
//! for metric in METRICS {
//!     if let MetricType::Histogram { buckets } = metric.metric_type {
//!         println!("{} has {} buckets", metric.name, buckets.len());
//!     }
//! }
//! ```

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::event::Kind;

/// The largest number of kinds that metrics tell apart in a process. [`label`] gives further kinds the label
/// [`OTHER`].
pub const MAX_LABELS: usize = 256;

/// The label that kinds share for which there is no label left.
pub const OTHER: &str = "_other";

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub metric_type: MetricType,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricType::Counter, labels, help)
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricType::Gauge, labels, help)
    }

    /// A histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricType::Histogram { buckets }, labels, help)
    }

    const fn new(
        name: &'static str,
        metric_type: MetricType,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            metric_type,
            labels,
            help,
        }
    }
}

/// The type of a [`Metric`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricType {
    /// A number that only grows.
    Counter,
    /// A number that grows and falls.
    Gauge,
    /// Counts of values by size.
    Histogram {
        /// The upper bounds of its buckets, without the infinite one.
        buckets: &'static [f64],
    },
}

/// The buckets for the time in which a store or a sender is answered: 1 ms to 5 s.
pub const ANSWER_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// The buckets for the time that a handler or an app takes: 5 ms to 10 min.
pub const ATTEMPT_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0,
];

/// The buckets for the time that events wait: 10 ms to a day.
pub const WAIT_SECONDS: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
];

/// The buckets for the size of batches.
const BATCH_EVENTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The metrics of this crate. The label `source` is the kind of the events, as [`label`] writes it.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "webhook_received_total",
        &["source", "outcome"],
        "Events by what the store did with them (accepted, duplicate, conflict, requeued), and requests that \
         the sender must repeat (overloaded, unavailable).",
    ),
    Metric::gauge(
        "webhook_last_received_timestamp_seconds",
        &["source"],
        "When the latest event was stored, in seconds since 1970.",
    ),
    Metric::histogram(
        "webhook_flush_events",
        &[],
        BATCH_EVENTS,
        "Events in a batch that was stored in one commit.",
    ),
    Metric::histogram(
        "webhook_flush_duration_seconds",
        &[],
        ANSWER_SECONDS,
        "How long it took to store a batch.",
    ),
    Metric::gauge(
        "webhook_flush_queue_events",
        &["inbox", "partition"],
        "Deliveries that are not durable yet. The label partition is empty, unless the store is partitioned.",
    ),
    Metric::gauge(
        "webhook_flush_queue_events_limit",
        &["inbox", "partition"],
        "How many deliveries may wait for a batch.",
    ),
    Metric::gauge(
        "webhook_flush_queue_bytes",
        &["inbox", "partition"],
        "Bytes of the deliveries that are not durable yet.",
    ),
    Metric::gauge(
        "webhook_flush_queue_bytes_limit",
        &["inbox", "partition"],
        "How many bytes of deliveries may wait.",
    ),
    Metric::counter(
        "webhook_attempts_total",
        &["source", "outcome"],
        "Attempts by how they ended: processed, retried, failed (the last attempt), rejected (for good, with \
         attempts left), postponed and released (do not count), or lost (the lease was lost, or its outcome \
         could not be stored).",
    ),
    Metric::histogram(
        "webhook_attempt_duration_seconds",
        &["source"],
        ATTEMPT_SECONDS,
        "How long attempts took.",
    ),
    Metric::histogram(
        "webhook_start_delay_seconds",
        &["source"],
        WAIT_SECONDS,
        "How long after its due time an event was claimed for an attempt.",
    ),
    Metric::histogram(
        "webhook_end_to_end_duration_seconds",
        &["source"],
        WAIT_SECONDS,
        "How long it took from the acceptance of an event until it was PROCESSED, with its delay and its \
         retries.",
    ),
    Metric::counter(
        "webhook_settled_total",
        &["source", "state"],
        "Events that reached their last state: processed or failed.",
    ),
    Metric::gauge(
        "webhook_in_flight",
        &["source"],
        "Events that workers hold: attempts that are running, and for forwarded sources also events that are claimed \
         ahead and wait until a request may begin.",
    ),
    Metric::gauge(
        "webhook_concurrency_limit",
        &["source"],
        "How many events workers may hold at the same time; zero in a process that does not process the source. For \
         a forwarded source that is twice its concurrency: as many are claimed ahead as requests may run.",
    ),
    Metric::histogram(
        "webhook_store_duration_seconds",
        &["operation"],
        ANSWER_SECONDS,
        "How long calls of the store took: accept, find, claim, extend, settle and prune.",
    ),
    Metric::counter(
        "webhook_store_errors_total",
        &["operation", "error"],
        "Calls of the store that failed: unavailable, refused, full or timeout.",
    ),
    Metric::counter(
        "webhook_pruned_total",
        &["source", "what"],
        "Old events (event) and bodies (body) that retention deleted.",
    ),
];

static LABELS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Returns the label of `kind`: its name, or [`OTHER`] if this process has used [`MAX_LABELS`] labels already. A
/// kind keeps its label until the process ends.
pub fn label(kind: &Kind) -> String {
    label_in(&LABELS, kind)
}

fn label_in(labels: &Mutex<BTreeSet<String>>, kind: &Kind) -> String {
    let mut labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
    let name = kind.as_str();
    if !labels.contains(name) {
        if labels.len() >= MAX_LABELS {
            return OTHER.to_owned();
        }
        labels.insert(name.to_owned());
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_over_the_limit_share_a_label() {
        let labels = Mutex::default();
        let kind = |i: usize| Kind::new(format!("kind-{i}")).unwrap();
        for i in 0..MAX_LABELS {
            assert_eq!(label_in(&labels, &kind(i)), kind(i).as_str());
        }
        for i in MAX_LABELS..2 * MAX_LABELS {
            assert_eq!(label_in(&labels, &kind(i)), OTHER);
        }
        assert_eq!(label_in(&labels, &kind(7)), "kind-7");
    }

    #[test]
    fn names_and_buckets_are_in_order() {
        for metric in METRICS {
            assert!(metric.name.starts_with("webhook_"), "{}", metric.name);
            let is_counter = metric.metric_type == MetricType::Counter;
            assert_eq!(
                metric.name.ends_with("_total"),
                is_counter,
                "{}",
                metric.name
            );
            if let MetricType::Histogram { buckets } = metric.metric_type {
                assert!(buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
    }
}
