//! What must be asked of the store: asked every 15 s by one node, and kept in memory for scrapes and the dashboard.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};
use webhook_core::metrics::{Metric, label};
use webhook_core::{Admin, Kind, KindSample, NodeId, NodeReport};
use webhook_ui::model::SourceCounts;

use super::accepts::Accepts;
use super::exporter::Measure;
use super::minutes::{SourceSeries, minute_of};
use super::store::{self, MeasuredStore, SampleError, ShownSizes};
use super::{Exporter, as_f64};

const STORE_UP: &str = "webhook_store_up";
const EVENTS: &str = "webhook_events";
const OLDEST_DUE_AGE: &str = "webhook_oldest_due_age_seconds";
const SAMPLE_TIMESTAMP: &str = "webhook_sample_timestamp_seconds";
/// The metric of the inboxes.
const LAST_RECEIVED: &str = "webhook_last_received_timestamp_seconds";
const SAMPLE_ERRORS: &str = "webhook_sample_errors_total";

/// The metrics of the sampler.
pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        EVENTS,
        &["source", "state"],
        "Events by state: waiting, due, leased or failed. Sampled every 15 s by the process that started first, \
         and counted up to 100,001.",
    ),
    Metric::gauge(
        OLDEST_DUE_AGE,
        &["source"],
        "How long the oldest due event has waited that nobody has claimed; 0 if there is none. Sampled with \
         webhook_events.",
    ),
    Metric::gauge(
        SAMPLE_TIMESTAMP,
        &[],
        "When the events were sampled last, in seconds since 1970; only in the process that samples.",
    ),
    Metric::counter(
        SAMPLE_ERRORS,
        &[],
        "Samples and reports of this process that the store did not answer in time.",
    ),
    Metric::gauge(
        STORE_UP,
        &[],
        "1 if the store answered the latest report of this process, which is made every 15 s; otherwise 0.",
    ),
];

/// How often nodes report themselves, and the first of them samples.
const INTERVAL: Duration = Duration::from_secs(15);

/// After how long without a report a node counts as gone.
const EXPIRES_AFTER: Duration = Duration::from_secs(50);

/// Up to how many events of a kind in a state are counted.
const CAP: NonZeroUsize = NonZeroUsize::new(100_001).expect("not zero");

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for the store.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a sampler needs to know of its process.
pub(crate) struct Sampled {
    pub(crate) admin: Arc<dyn Admin>,
    /// The databases of the inbox, as far as they can be measured.
    pub(crate) stores: Vec<MeasuredStore>,
    /// What the process does: all, api or worker.
    pub(crate) role: String,
    /// Which kinds are configured. It is asked each time, since a reload may change them.
    pub(crate) kinds: Box<dyn Fn() -> Vec<Kind> + Send + Sync>,
}

/// The task that samples, until it is stopped or dropped.
pub(crate) struct Sampler {
    samples: Arc<Samples>,
    admin: Arc<dyn Admin>,
    node: NodeId,
    /// Shows the connections before each text of the metrics.
    _connections: Arc<Measure>,
    _task: AbortOnDropHandle<()>,
}

impl Sampler {
    /// Begins at once.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn start(sampled: Sampled, exporter: &'static Exporter) -> Self {
        let (admin, node) = (Arc::clone(&sampled.admin), NodeId::random());
        let samples = Arc::new(Samples {
            exporter,
            latest: Mutex::default(),
            series: Mutex::default(),
        });
        let stores = sampled.stores.clone();
        let connections: Arc<Measure> =
            Arc::new(move |exporter| store::show_connections(&stores, exporter));
        exporter.measure_by(&connections);
        let task = Task {
            sampled,
            node: node.clone(),
            samples: Arc::clone(&samples),
            exporter,
            is_up: gauge!(STORE_UP),
            sampled_at: None,
            errors: counter!(SAMPLE_ERRORS),
            shown: Vec::new(),
            sizes: ShownSizes::default(),
            is_failing: false,
        };
        Self {
            samples,
            admin,
            node,
            _connections: connections,
            _task: AbortOnDropHandle::new(tokio::spawn(task.run())),
        }
    }

    /// What was sampled.
    pub(crate) const fn samples(&self) -> &Arc<Samples> {
        &self.samples
    }

    /// Stops, and tells the other nodes that this one is gone.
    pub(crate) async fn stop(self) {
        let Self {
            admin, node, _task, ..
        } = self;
        drop(_task);
        if !matches!(
            timeout(RETIRE_TIMEOUT, admin.retire(&node)).await,
            Ok(Ok(_))
        ) {
            debug!("failed to tell the other nodes of the shutdown; they notice within a minute");
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// What is known of the store and of the last hour, in memory.
#[derive(Debug)]
pub(crate) struct Samples {
    exporter: &'static Exporter,
    latest: Mutex<Latest>,
    series: Mutex<BTreeMap<Kind, Counted>>,
}

/// The latest answers of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest {
    /// One for each kind, and when they were counted; `None` in a process whose turn it is not.
    pub(crate) kinds: Option<(SystemTime, Vec<KindSample>)>,
}

#[derive(Clone, Debug, Default)]
struct Counted {
    /// The counters as they were last, in the order of [`COUNTED`].
    counters: Option<[u64; COUNTED.len()]>,
    series: SourceSeries,
    accepts: Accepts,
}

/// The counters of a source that are kept by the minute.
const COUNTED: [(&str, &str, &str); 8] = [
    ("webhook_received_total", "outcome", "accepted"),
    ("webhook_received_total", "outcome", "duplicate"),
    ("webhook_received_total", "outcome", "conflict"),
    ("webhook_received_total", "outcome", "requeued"),
    ("webhook_received_total", "outcome", "rejected"),
    ("webhook_received_total", "outcome", "throttled"),
    ("webhook_settled_total", "state", "processed"),
    ("webhook_settled_total", "state", "failed"),
];

impl Samples {
    pub(crate) fn latest(&self) -> Latest {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last hour of the source with events of `kind`, up to now; `None` if there is no such source. Refused requests
    /// are those of transactions: other sources count them with their list.
    pub(crate) fn series(&self, kind: &Kind) -> Option<SourceSeries> {
        let mut all = self.all_series();
        let counted = all.get_mut(kind)?;
        counted.update(self.exporter, kind);
        Some(counted.series)
    }

    /// How long 99 of 100 requests to the source with events of `kind` took at most in the last minutes, in seconds;
    /// `None` if there were none.
    pub(crate) fn accept_p99(&self, kind: &Kind) -> Option<f64> {
        let mut all = self.all_series();
        let counted = all.get_mut(kind)?;
        counted.update(self.exporter, kind);
        counted.accepts.p99(self.exporter, &label(kind))
    }

    /// What transactions, the events of `kind`, have received since the process started: each delivery is one event.
    pub(crate) fn received(&self, kind: &Kind) -> SourceCounts {
        let source = label(kind);
        let [
            events,
            duplicates,
            conflicts,
            requeued,
            rejected,
            throttled,
            unavailable,
            overloaded,
        ] = [
            "accepted",
            "duplicate",
            "conflict",
            "requeued",
            "rejected",
            "throttled",
            "unavailable",
            "overloaded",
        ]
        .map(|outcome| {
            let labels = [("source", &*source), ("outcome", outcome)];
            self.exporter.counter("webhook_received_total", &labels)
        });
        SourceCounts {
            received: events + duplicates + conflicts + requeued,
            events,
            duplicates,
            conflicts,
            refused: rejected + throttled,
            unavailable: unavailable + overloaded,
        }
    }

    /// When the source with events of `kind` received its latest one; `None` if the process has stored none.
    pub(crate) fn last_received(&self, kind: &Kind) -> Option<SystemTime> {
        let source = label(kind);
        let labels = [("source", &*source)];
        let at = self.exporter.gauge(LAST_RECEIVED, &labels);
        let since = Duration::try_from_secs_f64(at).ok()?;
        (!since.is_zero()).then(|| UNIX_EPOCH + since)
    }

    /// Counts what has happened since the last call, for these sources only.
    fn update(&self, kinds: &[Kind]) {
        let mut all = self.all_series();
        all.retain(|kind, _| kinds.contains(kind));
        for kind in kinds {
            let counted = all.entry(kind.clone()).or_default();
            counted.update(self.exporter, kind);
        }
    }

    fn all_series(&self) -> MutexGuard<'_, BTreeMap<Kind, Counted>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn update(&mut self, exporter: &Exporter, kind: &Kind) {
        let source = label(kind);
        let now = COUNTED.map(|(metric, name, value)| {
            exporter.counter(metric, &[("source", &source), (name, value)])
        });
        let before = self.counters.replace(now).unwrap_or(now);
        let minute = minute_of(SystemTime::now());
        self.accepts.update(minute, exporter, &source);
        for (index, (_, _, what)) in COUNTED.into_iter().enumerate() {
            let more = now[index].saturating_sub(before[index]);
            let series = &mut self.series;
            match what {
                "rejected" | "throttled" => series.refused.add(minute, more),
                "processed" => series.processed.add(minute, more),
                "failed" => series.failed.add(minute, more),
                _ => series.received.add(minute, more),
            }
            match what {
                "duplicate" => series.duplicates.add(minute, more),
                "conflict" => series.conflicts.add(minute, more),
                _ => {}
            }
        }
    }
}

struct Task {
    sampled: Sampled,
    node: NodeId,
    samples: Arc<Samples>,
    exporter: &'static Exporter,
    is_up: Gauge,
    /// Registered with the first sample of this process: others have no time of a sample.
    sampled_at: Option<Gauge>,
    errors: Counter,
    /// The sources whose sampled gauges exist.
    shown: Vec<String>,
    sizes: ShownSizes,
    is_failing: bool,
}

impl Task {
    async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let kinds = (self.sampled.kinds)();
            self.samples.update(&kinds);
            self.report(&kinds).await;
        }
    }

    /// Reports this node, and samples if it is the first one.
    async fn report(&mut self, kinds: &[Kind]) {
        let report = self.node_report(kinds);
        let admin = Arc::clone(&self.sampled.admin);
        let nodes = answered(admin.heartbeat(&report)).await;
        self.is_up.set(f64::from(u8::from(nodes.is_some())));
        let Some(nodes) = nodes else {
            self.failed();
            return;
        };
        let is_first = nodes.first().is_none_or(|first| first.id == self.node);
        let sample = if is_first {
            let sample = answered(admin.sample(kinds, CAP)).await;
            let sizes = self.sizes().await;
            if sample.is_none() || sizes.is_none() {
                self.failed();
            } else {
                self.is_failing = false;
            }
            if let Some(sizes) = sizes {
                self.sizes.show(sizes, self.exporter);
            }
            sample
        } else {
            self.is_failing = false;
            self.forget();
            None
        };
        let mut latest = self.samples.latest();
        match sample {
            Some(sample) => {
                self.show(&sample);
                latest.kinds = Some((SystemTime::now(), sample));
            }
            // The latest sample stays, with its time.
            None if is_first => {}
            None => latest.kinds = None,
        }
        let samples = self.samples.latest.lock();
        *samples.unwrap_or_else(PoisonError::into_inner) = latest;
    }

    /// How much room the events take, by table; `None` if a database does not say it in time.
    async fn sizes(&self) -> Option<BTreeMap<String, u64>> {
        let mut total = BTreeMap::new();
        for measured in &self.sampled.stores {
            let sizes = answered(measured.sizes()).await;
            store::add(&mut total, sizes?);
        }
        Some(total)
    }

    fn node_report(&self, kinds: &[Kind]) -> NodeReport {
        let sum = |metric: &str| {
            let values = kinds.iter().map(|kind| {
                let source = label(kind);
                self.exporter.gauge(metric, &[("source", &source)])
            });
            as_count(values.sum())
        };
        NodeReport::new(self.node.clone(), self.sampled.role.as_str())
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_host(host_name())
            .with_slots(sum("webhook_concurrency_limit"))
            .with_running(sum("webhook_in_flight"))
            .with_expires_after(EXPIRES_AFTER)
    }

    /// Counts a failure, and logs the first of several.
    fn failed(&mut self) {
        self.errors.increment(1);
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(
                "failed to ask the store for numbers of events and sizes of tables; metrics show the former ones"
            );
        }
    }

    fn show(&mut self, samples: &[KindSample]) {
        let shown: Vec<_> = samples.iter().map(|sample| label(&sample.kind)).collect();
        let gone = std::mem::replace(&mut self.shown, shown);
        for source in gone.iter().filter(|it| !self.shown.contains(it)) {
            self.forget_source(source);
        }
        for (source, sample) in self.shown.iter().zip(samples) {
            for (state, count) in [
                ("waiting", sample.waiting),
                ("due", sample.due),
                ("leased", sample.leased),
                ("failed", sample.failed),
            ] {
                let labels = [("source", &**source), ("state", state)];
                self.exporter.set(EVENTS, &labels, as_f64(count));
            }
            let oldest = sample.oldest_due.unwrap_or_default().as_secs_f64();
            self.exporter
                .set(OLDEST_DUE_AGE, &[("source", source)], oldest);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let sampled_at = self
            .sampled_at
            .get_or_insert_with(|| gauge!(SAMPLE_TIMESTAMP));
        sampled_at.set(now.unwrap_or_default().as_secs_f64());
    }

    /// Forgets what this node has sampled: another one does it now.
    fn forget(&mut self) {
        for source in std::mem::take(&mut self.shown) {
            self.forget_source(&source);
        }
        self.sizes.show(BTreeMap::new(), self.exporter);
        if self.sampled_at.take().is_some() {
            self.exporter.remove(SAMPLE_TIMESTAMP, &[]);
        }
    }

    fn forget_source(&self, source: &str) {
        for state in ["waiting", "due", "leased", "failed"] {
            let labels = [("source", source), ("state", state)];
            self.exporter.remove(EVENTS, &labels);
        }
        self.exporter.remove(OLDEST_DUE_AGE, &[("source", source)]);
    }
}

/// The answer of the store, if there is one in time.
async fn answered<T, E: Into<SampleError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    match timeout(STORE_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            let error = error.into();
            let error = &*error as &(dyn std::error::Error + 'static);
            debug!(error, "failed to sample");
            None
        }
        Err(_) => {
            debug!("failed to sample: the store took too long");
            None
        }
    }
}

/// A gauge that counts, as a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate"
)]
const fn as_count(value: f64) -> u32 {
    value as u32
}

/// The name of this machine; empty where it is not known.
pub(crate) fn host_name() -> String {
    #[cfg(unix)]
    return rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    return std::env::var("COMPUTERNAME").unwrap_or_default();
}
