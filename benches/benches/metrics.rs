//! The cost of metrics: of an increment, and of a scrape with 200 sources.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use metrics::{Counter, Histogram, Label, counter, gauge, histogram};
use webhook_core::metrics::{Metric, MetricType};
use webhook_server::metrics::{all_metrics, scrape};

const SOURCES: usize = 200;

/// The values of a label other than the source.
const VALUES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

pub(crate) fn record_and_scrape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metrics");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    // The first scrape installs the exporter.
    scrape().expect("metrics are text");
    let (mut counters, mut histograms) = (Vec::new(), Vec::new());
    for metric in all_metrics() {
        let name = metric.name;
        for labels in labels(&metric) {
            match metric.metric_type {
                MetricType::Counter => counters.push(counter!(name, labels)),
                MetricType::Histogram { .. } => histograms.push(histogram!(name, labels)),
                _ => gauge!(name, labels).set(1.5),
            }
        }
    }
    // Each in turn, so that they are not all in the same cache line.
    group.throughput(Throughput::Elements(1));
    let mut turns = counters.iter().cycle();
    group.bench_function("increment", |bencher| {
        bencher.iter(|| turns.next().map(|it: &Counter| it.increment(1)));
    });
    let mut turns = histograms.iter().cycle();
    group.bench_function("record", |bencher| {
        bencher.iter(|| turns.next().map(|it: &Histogram| it.record(0.003)));
    });
    let lines = scrape().expect("metrics are text").lines().count();
    group.throughput(Throughput::Elements(lines as u64));
    group.bench_function("scrape-200-sources", |bencher| {
        bencher.iter(|| black_box(scrape()));
    });
    group.finish();
}

/// The labels of all values of a metric.
fn labels(metric: &Metric) -> Vec<Vec<Label>> {
    let is_source = |name: &&str| matches!(*name, "source" | "destination");
    let mut all = vec![Vec::new()];
    for &name in metric.labels {
        let values: Vec<String> = if is_source(&name) {
            (0..SOURCES)
                .map(|source| format!("source-{source}"))
                .collect()
        } else {
            VALUES.map(str::to_owned).to_vec()
        };
        all = all
            .into_iter()
            .flat_map(|labels| {
                values.iter().map(move |value| {
                    let mut labels: Vec<Label> = labels.clone();
                    labels.push(Label::new(name, value.clone()));
                    labels
                })
            })
            .collect();
    }
    all
}
