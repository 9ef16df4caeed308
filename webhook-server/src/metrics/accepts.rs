//! How long requests to a source took lately: for the overview, which shows it without a Prometheus.

use std::collections::VecDeque;

use super::Exporter;
use super::histogram::Counts;

/// The metric of requests.
const DURATION: &str = "webhook_accept_duration_seconds";

/// How many minutes before the one under way are looked at.
const MINUTES: u64 = 5;

/// The counts of the histogram at the beginning of each of the last minutes, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepts(VecDeque<(u64, Counts)>);

impl Accepts {
    /// Keeps the first counts of each minute.
    pub(super) fn update(&mut self, minute: u64, exporter: &Exporter, source: &str) {
        let is_new = self.0.back().is_none_or(|(latest, _)| *latest < minute);
        if is_new && let Some(counts) = counts(exporter, source) {
            // A source is looked at soon after it has its metrics, which begin at zero.
            let is_first = self.0.is_empty();
            self.add(minute, if is_first { counts.zeros() } else { counts });
        }
    }

    fn add(&mut self, minute: u64, counts: Counts) {
        self.0.push_back((minute, counts));
        while let Some((oldest, _)) = self.0.front()
            && oldest + MINUTES < minute
        {
            self.0.pop_front();
        }
    }

    /// How long 99 of 100 requests took at most, in seconds; `None` if there were none.
    pub(super) fn p99(&self, exporter: &Exporter, source: &str) -> Option<f64> {
        self.p99_until(&counts(exporter, source)?)
    }

    fn p99_until(&self, now: &Counts) -> Option<f64> {
        let (_, oldest) = self.0.front()?;
        now.since(oldest).quantile(0.99)
    }
}

fn counts(exporter: &Exporter, source: &str) -> Option<Counts> {
    exporter.histogram(DURATION, &[("source", source)])
}

#[cfg(test)]
mod tests {
    use metrics::HistogramFn;
    use prometheus_client::metrics::family::MetricConstructor;

    use super::super::histogram::Bounds;
    use super::*;

    #[test]
    fn requests_of_more_than_five_minutes_ago_are_left_out() {
        let histogram = Bounds(&[0.01, 0.1, 1.0]).new_metric();
        let mut accepts = Accepts::default();
        assert_eq!(accepts.p99_until(&histogram.counts()), None);
        accepts.add(10, histogram.counts());
        histogram.record(0.5);
        for minute in 11..=15 {
            accepts.add(minute, histogram.counts());
            assert!(accepts.p99_until(&histogram.counts()) > Some(0.1));
        }
        accepts.add(16, histogram.counts());
        assert_eq!(accepts.p99_until(&histogram.counts()), None);
        histogram.record(0.005);
        assert!(accepts.p99_until(&histogram.counts()) <= Some(0.01));
        assert_eq!(accepts.0.len(), 6);
    }
}
