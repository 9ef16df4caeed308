//! A histogram that can be read: that of `prometheus-client` can only be written as text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::HistogramFn;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::as_f64;

/// How often values were recorded in each bucket. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// The bits of the sum of all values.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Inner {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }))
    }

    /// The counts until now.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.0.counts.iter();
        Counts {
            bounds: self.0.bounds,
            counts: counts.map(|it| it.load(Ordering::Relaxed)).collect(),
        }
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bounds = self.0.bounds.iter();
        let is_above = |bound: &&f64| value > **bound || value.is_nan();
        let bucket = bounds.take_while(is_above).count();
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It cannot fail, since the function always returns a value.
        let _ = self
            .0
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Counts { bounds, counts } = self.counts();
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let sum = f64::from_bits(self.0.sum.load(Ordering::Relaxed));
        let count = counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Makes histograms whose buckets have these upper bounds, in ascending order.
#[derive(Clone)]
pub(super) struct Bounds(pub(super) &'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0)
    }
}

/// The counts of a histogram at some time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counts {
    bounds: &'static [f64],
    /// One more than there are bounds: the last one is that of the values above all bounds.
    counts: Box<[u64]>,
}

impl Counts {
    /// The counts of the same histogram before any value.
    pub(super) fn zeros(&self) -> Self {
        Self {
            bounds: self.bounds,
            counts: self.counts.iter().map(|_| 0).collect(),
        }
    }

    /// What was counted since `earlier`, which are counts of the same histogram.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            bounds: self.bounds,
            counts: counts
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        }
    }

    /// The value below which this share of the values is, estimated as `histogram_quantile` of Prometheus does: as if
    /// the values were spread evenly within their bucket. `None` if there are no values.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let rank = as_f64(total) * share;
        let (mut below, mut lower) = (0, 0.0);
        for (&upper, &count) in self.bounds.iter().zip(&self.counts) {
            if count > 0 && as_f64(below + count) >= rank {
                let into = (rank - as_f64(below)) / as_f64(count);
                return Some(lower + (upper - lower) * into);
            }
            below += count;
            lower = upper;
        }
        // They are above all bounds.
        (total > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.01, 0.1, 1.0];

    fn recorded(values: &[f64]) -> Histogram {
        let histogram = Bounds(BOUNDS).new_metric();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    #[test]
    fn each_value_is_in_the_bucket_with_the_next_bound() {
        let histogram = recorded(&[0.0, 0.01, 0.011, 1.0, 1.1, f64::INFINITY, f64::NAN]);
        assert_eq!(*histogram.counts().counts, [2, 1, 1, 3]);
    }

    #[test]
    fn quantiles_are_estimated_within_a_bucket() {
        let p99 = |values: &[f64]| recorded(values).counts().quantile(0.99);
        assert_eq!(p99(&[]), None);
        assert_eq!(p99(&[5.0]), Some(1.0), "above all bounds");
        let values = [[0.05; 99].as_slice(), &[0.5]].concat();
        assert_eq!(p99(&values), Some(0.1));
        let half = recorded(&[0.05; 10]).counts().quantile(0.5).unwrap();
        assert!((half - 0.055).abs() < 1e-9, "{half}");
    }

    #[test]
    fn earlier_values_are_left_out() {
        let histogram = recorded(&[5.0; 10]);
        let earlier = histogram.counts();
        assert_eq!(histogram.counts().since(&earlier).quantile(0.99), None);
        assert_eq!(histogram.counts().since(&earlier.zeros()), earlier);
        histogram.record(0.005);
        let since = histogram.counts().since(&earlier);
        assert_eq!(*since.counts, [1, 0, 0, 0]);
    }
}
