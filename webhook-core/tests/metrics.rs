//! What an inbox, a worker and retention give to a recorder of the facade `metrics`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key as MetricKey, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
};
use webhook_core::metrics::METRICS;
use webhook_core::{
    Envelope, Fingerprint, HandlerError, Inbox, InboxOptions, Key, Kind, Partition,
    PartitionOptions, Partitioned, Pipeline, RawEvent, Retention, WorkerOptions,
};
use webhook_memory::MemoryStore;

/// Keeps every value by its name and its labels. A histogram is a count of its values.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<Value>>>);

#[derive(Default)]
struct Value(Mutex<f64>);

impl Kept {
    fn value(&self, key: &MetricKey) -> Arc<Value> {
        let listed = METRICS.iter().find(|metric| metric.name == key.name());
        let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
        assert_eq!(listed.unwrap().labels, labels, "{}", key.name());
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        let name = format!("{}({})", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    /// The values that are not zero and begin with one of the `names`.
    fn listed(&self, names: &[&str]) -> Vec<String> {
        let all = self.0.lock().unwrap();
        let wanted = all.iter().filter(|(name, value)| {
            value.now() > 0.0 && names.iter().any(|it| name.starts_with(it))
        });
        wanted
            .map(|(name, value)| format!("{name} {}", value.now()))
            .collect()
    }
}

impl Value {
    fn now(&self) -> f64 {
        *self.0.lock().unwrap()
    }

    fn add(&self, more: f64) {
        *self.0.lock().unwrap() += more;
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.add(by);
    }

    fn decrement(&self, by: f64) {
        self.add(-by);
    }

    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = value;
    }
}

impl metrics::CounterFn for Value {
    fn increment(&self, by: u64) {
        self.add(by as f64);
    }

    fn absolute(&self, value: u64) {
        *self.0.lock().unwrap() = value as f64;
    }
}

impl HistogramFn for Value {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}

fn note(id: &str, content: &str) -> Envelope {
    let key = Key::new(id.to_owned()).unwrap();
    let (kind, body) = (Kind::from_static("note"), content.to_owned().into());
    Envelope::new(kind, key, Fingerprint::of([content]), body)
}

async fn process_some_events() {
    let store = Arc::new(MemoryStore::default());
    let options = WorkerOptions::default()
        .with_concurrency(8)
        .with_max_attempts(NonZeroU32::new(2).unwrap());
    let kind = Kind::from_static("note");
    let handler = async |event: RawEvent| match (&event.body[..], event.attempt().number()) {
        (b"fails", _) | (b"fails once", 1) => Err(HandlerError::retry_after(Duration::ZERO, "no")),
        (b"is wrong", _) => Err(HandlerError::reject("wrong")),
        _ => Ok(()),
    };
    let pipeline = Pipeline::builder(Arc::clone(&store))
        .inbox(InboxOptions::default().with_max_queued(100))
        .handle_raw(kind.clone(), options, handler)
        .start();
    let inbox = pipeline.inbox();
    for (id, content) in [
        ("n-1", "is right"),
        ("n-1", "is right"),
        ("n-1", "is other"),
        ("n-2", "fails"),
        ("n-3", "fails once"),
        ("n-4", "is wrong"),
    ] {
        inbox.accept(note(id, content)).await.unwrap();
    }
    pipeline.idle().await;
    let retention = Retention::new(kind, Duration::ZERO);
    retention.sweep(&*store, |_| {}).await.unwrap();
    pipeline.shutdown(Duration::from_secs(1)).await;
}

/// Runs `work` in paused time, and keeps what it measures.
fn recorded<T>(kept: &Kept, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    with_local_recorder(kept, || runtime.block_on(work))
}

#[test]
fn events_are_counted_from_their_acceptance_to_their_end() {
    let kept = Kept::default();
    recorded(&kept, process_some_events());
    let counts = kept.listed(&[
        "webhook_received",
        "webhook_attempt",
        "webhook_settled",
        "webhook_end_to_end",
        "webhook_start_delay",
        "webhook_pruned",
        "webhook_store_errors",
        "webhook_flush_events",
        "webhook_flush_duration",
    ]);
    let expected = [
        "webhook_attempt_duration_seconds(note) 6",
        "webhook_attempts_total(note,failed) 1",
        "webhook_attempts_total(note,processed) 2",
        "webhook_attempts_total(note,rejected) 1",
        "webhook_attempts_total(note,retried) 2",
        "webhook_end_to_end_duration_seconds(note) 2",
        "webhook_flush_duration_seconds() 6",
        "webhook_flush_events() 6",
        "webhook_pruned_total(note,event) 4",
        "webhook_received_total(note,accepted) 4",
        "webhook_received_total(note,conflict) 1",
        "webhook_received_total(note,duplicate) 1",
        "webhook_settled_total(note,failed) 2",
        "webhook_settled_total(note,processed) 2",
        "webhook_start_delay_seconds(note) 6",
    ];
    assert_eq!(counts, expected);
    for operation in ["accept", "claim", "settle", "prune"] {
        let name = format!("webhook_store_duration_seconds({operation})");
        assert_eq!(kept.listed(&[&name]).len(), 1, "{operation}");
    }
    // Everything that ran or waited has ended, and the limits are gone with the pipeline.
    let gauges = [
        "webhook_in_flight",
        "webhook_concurrency",
        "webhook_flush_queue",
    ];
    assert_eq!(kept.listed(&gauges), [""; 0]);
    assert_eq!(kept.listed(&["webhook_last_received"]).len(), 1);
}

/// One full queue among empty ones can be seen.
#[test]
fn the_queue_of_each_partition_has_gauges_of_its_own() {
    let kept = Kept::default();
    let queues = ["webhook_flush_queue_events", "webhook_flush_queue_bytes"];
    let of_partitions = async |count: usize| {
        let partitions =
            (0..count).map(|_| -> Arc<dyn Partition> { Arc::new(MemoryStore::default()) });
        let opened = Partitioned::open(partitions.collect(), PartitionOptions::default()).await;
        let options = InboxOptions::default()
            .with_max_queued(9)
            .with_max_queued_bytes(600);
        let inbox = Inbox::new(Arc::new(opened.unwrap()), options);
        let limits = kept.listed(&queues);
        // No flush has begun when the call has been polled once.
        let mut accept = Box::pin(inbox.accept(note("n-1", "is right")));
        assert!(futures_util::poll!(&mut accept).is_pending());
        let mut waiting = kept.listed(&queues);
        waiting.retain(|it| !limits.contains(it));
        accept.await.unwrap();
        inbox.close().await;
        drop(inbox);
        (limits, waiting)
    };
    let (of_one, of_two) = recorded(&kept, async {
        (of_partitions(1).await, of_partitions(2).await)
    });
    assert_eq!(kept.listed(&queues), [""; 0]);
    let (limits, waiting) = of_one;
    assert_eq!(
        limits,
        [
            "webhook_flush_queue_bytes_limit(inbox,) 600",
            "webhook_flush_queue_events_limit(inbox,) 9"
        ]
    );
    assert_eq!(
        waiting,
        [
            "webhook_flush_queue_bytes(inbox,) 8",
            "webhook_flush_queue_events(inbox,) 1"
        ]
    );
    let (limits, waiting) = of_two;
    assert_eq!(
        limits,
        [
            "webhook_flush_queue_bytes_limit(inbox,0) 300",
            "webhook_flush_queue_bytes_limit(inbox,1) 300",
            "webhook_flush_queue_events_limit(inbox,0) 9",
            "webhook_flush_queue_events_limit(inbox,1) 9"
        ]
    );
    assert_eq!(
        waiting,
        [
            "webhook_flush_queue_bytes(inbox,0) 8",
            "webhook_flush_queue_events(inbox,0) 1"
        ]
    );
}
