//! The exporter: a recorder of the facade `metrics`, which writes what it has as text.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{counter, gauge};
use prometheus_client::registry::Registry;
use tracing::warn;
use webhook_core::metrics::MetricType;

use super::histogram::{self, Bounds, Histogram};
use super::names;
use super::process::Process;

/// The labels of a value, in the order of the list of names.
type Labels = Vec<(&'static str, String)>;

type Counters = Family<Labels, counter::Counter>;
type Gauges = Family<Labels, gauge::Gauge<f64, std::sync::atomic::AtomicU64>>;
type Histograms = Family<Labels, Histogram, Bounds>;

/// Sets gauges right before they are written. It reads memory only.
pub(super) type Measure = dyn Fn(&Exporter) + Send + Sync;

/// A format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus's own, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Every metric of the process, in memory.
pub(crate) struct Exporter {
    registry: Registry,
    families: HashMap<&'static str, Listed>,
    process: Process,
    /// Those of the servers that run.
    measures: Mutex<Vec<Weak<Measure>>>,
}

/// A family, and the labels of its metric.
struct Listed {
    labels: &'static [&'static str],
    family: Values,
}

enum Values {
    Counters(Counters),
    Gauges(Gauges),
    Histograms(Histograms),
}

impl Exporter {
    /// The exporter of this process: the first call installs it as the recorder of the facade.
    pub(crate) fn of_process() -> &'static Self {
        static EXPORTER: OnceLock<Arc<Exporter>> = OnceLock::new();
        EXPORTER.get_or_init(|| {
            let exporter = Arc::new(Self::new());
            if metrics::set_global_recorder(Arc::clone(&exporter)).is_err() {
                warn!("another recorder of metrics is installed: /metrics has no values");
            }
            exporter
        })
    }

    fn new() -> Self {
        let mut registry = Registry::default();
        let mut families = HashMap::new();
        for metric in names::recorded() {
            let name = metric.name;
            let help = metric.help.trim_end_matches('.');
            let family = match metric.metric_type {
                MetricType::Counter => {
                    let counters = Counters::default();
                    // The encoder adds the suffix.
                    let name = name.strip_suffix("_total").unwrap_or(name);
                    registry.register(name, help, counters.clone());
                    Values::Counters(counters)
                }
                MetricType::Histogram { buckets } => {
                    let histograms = Histograms::new_with_constructor(Bounds(buckets));
                    registry.register(name, help, histograms.clone());
                    Values::Histograms(histograms)
                }
                _ => {
                    let gauges = Gauges::default();
                    registry.register(name, help, gauges.clone());
                    Values::Gauges(gauges)
                }
            };
            let labels = metric.labels;
            families.insert(name, Listed { labels, family });
        }
        Self {
            process: Process::new(&mut registry),
            registry,
            families,
            measures: Mutex::default(),
        }
    }

    /// Calls `measure` before each text, until it is dropped.
    pub(super) fn measure_by(&self, measure: &Arc<Measure>) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        measures.retain(|it| it.strong_count() > 0);
        measures.push(Arc::downgrade(measure));
    }

    /// All metrics as text. Reads memory only, and the files of the kernel about this process.
    pub(crate) fn text(&self, format: Format) -> Result<String, fmt::Error> {
        self.process.measure();
        let measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        let measures: Vec<_> = measures.iter().filter_map(Weak::upgrade).collect();
        for measure in measures {
            measure(self);
        }
        let mut text = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry)?,
            Format::OpenMetrics => text::encode(&mut text, &self.registry)?,
        }
        Ok(text)
    }

    /// The value of a counter; zero if there is none.
    pub(crate) fn counter(&self, name: &str, labels: &[(&'static str, &str)]) -> u64 {
        match self.families.get(name).map(|listed| &listed.family) {
            Some(Values::Counters(family)) => {
                family.get(&owned(labels)).map_or(0, |value| value.get())
            }
            _ => 0,
        }
    }

    /// The counts of a histogram; `None` if there is none.
    pub(super) fn histogram(
        &self,
        name: &str,
        labels: &[(&'static str, &str)],
    ) -> Option<histogram::Counts> {
        match &self.families.get(name)?.family {
            Values::Histograms(family) => Some(family.get(&owned(labels))?.counts()),
            _ => None,
        }
    }

    /// The value of a gauge; zero if there is none.
    pub(crate) fn gauge(&self, name: &str, labels: &[(&'static str, &str)]) -> f64 {
        self.gauges(name)
            .and_then(|family| Some(family.get(&owned(labels))?.get()))
            .unwrap_or_default()
    }

    /// Sets a gauge. Its labels are in the order of the list of names.
    pub(crate) fn set(&self, name: &str, labels: &[(&'static str, &str)], value: f64) {
        if let Some(family) = self.gauges(name) {
            family.get_or_create(&owned(labels)).set(value);
        }
    }

    /// Removes a gauge. Nobody may have a handle of it, which would have no effect from then on.
    pub(crate) fn remove(&self, name: &str, labels: &[(&'static str, &str)]) {
        if let Some(family) = self.gauges(name) {
            family.remove(&owned(labels));
        }
    }

    fn gauges(&self, name: &str) -> Option<&Gauges> {
        match &self.families.get(name)?.family {
            Values::Gauges(family) => Some(family),
            _ => None,
        }
    }

    /// The family of `key` with its labels; `None` if it is not listed.
    fn find(&self, key: &Key) -> Option<(&Values, Labels)> {
        let Listed { labels, family } = self.families.get(key.name())?;
        let value = |name: &str| {
            let label = key.labels().find(|label| label.key() == name);
            label.map_or_else(String::new, |label| label.value().to_owned())
        };
        Some((
            family,
            labels.iter().map(|&name| (name, value(name))).collect(),
        ))
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Recorder for Exporter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.find(key) {
            Some((Values::Counters(family), labels)) => {
                Counter::from_arc(Arc::new(Handle(family.get_or_create_owned(&labels))))
            }
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.find(key) {
            Some((Values::Gauges(family), labels)) => {
                Gauge::from_arc(Arc::new(Handle(family.get_or_create_owned(&labels))))
            }
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match self.find(key) {
            Some((Values::Histograms(family), labels)) => {
                metrics::Histogram::from_arc(Arc::new(family.get_or_create_owned(&labels)))
            }
            _ => metrics::Histogram::noop(),
        }
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    let labels = labels.iter();
    labels
        .map(|&(name, value)| (name, value.to_owned()))
        .collect()
}

/// A value, as the facade wants it.
struct Handle<T>(T);

impl CounterFn for Handle<counter::Counter> {
    fn increment(&self, more: u64) {
        self.0.inc_by(more);
    }

    fn absolute(&self, value: u64) {
        self.0
            .inner()
            .fetch_max(value, std::sync::atomic::Ordering::Relaxed);
    }
}

impl GaugeFn for Handle<gauge::Gauge<f64, std::sync::atomic::AtomicU64>> {
    fn increment(&self, more: f64) {
        self.0.inc_by(more);
    }

    fn decrement(&self, less: f64) {
        self.0.dec_by(less);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}
