//! Accepting and processing in this process, without HTTP, on each backend in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use webhook_core::{
    Accepted, Envelope, Fingerprint, HandlerError, Inbox, InboxOptions, Key, Kind, NewEvent,
    RawEvent, Worker, WorkerOptions,
};

use crate::backend::Backend;
use crate::bench::{Bench, plural};
use crate::database::{Database, float};
use crate::opened::Opened;
use crate::recording::{Latency, Recording};
use crate::report::{Run, Section};
use crate::request::{self, BODY_BYTES};
use crate::scenario::compare_backends;

const CALLERS: [u64; 3] = [1, 64, 256];

/// The default of a worker, and a number that lets it claim and settle more at once.
const CONCURRENCY: [usize; 2] = [256, 2_048];

/// Into how many parts the events of a drain are divided: there are ten drains of each backend.
pub(super) const DRAINS: u64 = 10;

/// How many events are accepted in one call before a drain.
const BATCH: u64 = 512;

/// How long a call may take, and how long a drain may make no progress.
const PATIENCE: Duration = Duration::from_mins(1);

/// The delay of events that are not processed in the run.
const WAITING: Duration = Duration::from_hours(1);

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let threads = Threads::start()?;
    let mut sides = Vec::new();
    for backend in bench.options.backends() {
        bench.backend = backend;
        let database = bench.create("in_process").await?;
        let opening = database.clone();
        let opened = threads
            .run(async move { Opened::open(&opening).await })
            .await?;
        sides.push(Side {
            backend,
            database,
            opened,
            numbers: Arc::default(),
        });
    }

    bench.checkpoint().await?;
    let seconds = bench.scale.measure / bench.scale.turns;
    let drained = (bench.scale.drain_events / DRAINS).max(1);
    for turn in 0..bench.scale.turns {
        for side in &mut sides {
            side.empty_memory().await?;
        }
        for callers in CALLERS {
            for side in &sides {
                let name = plural(usize::try_from(callers)?, "caller");
                let name = format!("in process, {name}, {}", side.backend);
                let work = accept(
                    side.opened.clone(),
                    Arc::clone(&side.numbers),
                    callers,
                    seconds,
                );
                section.add(measure(bench, &threads, name, work).await?);
            }
        }
        for concurrency in CONCURRENCY {
            for side in &sides {
                let name = format!(
                    "in process, drain, concurrency {concurrency}, {}",
                    side.backend
                );
                let kind = Kind::new(format!("drain-{turn}-{concurrency}"))?;
                let filling = fill(
                    side.opened.clone(),
                    Arc::clone(&side.numbers),
                    kind.clone(),
                    drained,
                );
                threads.run(filling).await?;
                let work = drain(side.opened.clone(), kind, concurrency, drained);
                section.add(measure(bench, &threads, name, work).await?);
            }
        }
    }
    bench.say_runs(section, section.runs.len());
    compare_backends(section, &bench.options.backends());
    for side in sides {
        side.close(&threads, section, &bench.scale, drained).await?;
    }
    Ok(())
}

/// One backend.
struct Side {
    backend: Backend,
    database: Database,
    opened: Opened,
    /// How many events were accepted so far.
    numbers: Arc<AtomicU64>,
}

impl Side {
    /// Gives memory back, which would not be enough for all turns.
    async fn empty_memory(&mut self) -> anyhow::Result<()> {
        if self.backend == Backend::Memory {
            self.opened = Opened::open(&self.database).await?;
        }
        Ok(())
    }

    /// Checks that every event is stored and processed, and removes the database.
    async fn close(
        self,
        threads: &Threads,
        section: &mut Section,
        scale: &crate::options::Scale,
        drained: u64,
    ) -> anyhow::Result<()> {
        let opened = self.opened;
        threads
            .run(async move {
                opened.close().await;
                Ok(())
            })
            .await?;
        if self.backend == Backend::Memory {
            return Ok(());
        }
        let tables = self.database.tables()?;
        let counts = tables.counts().await?;
        let accepted = i64::try_from(self.numbers.load(Ordering::Relaxed))?;
        section.check(counts.events == accepted, || {
            format!(
                "{accepted} events were accepted on {}: {counts:?}",
                self.backend
            )
        });
        let drains = u64::from(scale.turns) * CONCURRENCY.len() as u64;
        let processed = i64::try_from(drained * drains)?;
        section.check(counts.processed == processed, || {
            format!(
                "{processed} events were drained on {}: {counts:?}",
                self.backend
            )
        });
        tables.remove().await
    }
}

/// The result of a measurement: events, seconds, and latencies if somebody waited.
pub(crate) type Measured = (u64, Duration, Option<Histogram<u64>>);

pub(super) async fn measure(
    bench: &Bench,
    threads: &Threads,
    name: String,
    work: impl Future<Output = anyhow::Result<Measured>> + Send + 'static,
) -> anyhow::Result<Run> {
    bench.progress.begin(&name, 1);
    let watched = bench.watched(&[]);
    let before = watched.usage();
    let (events, elapsed, histogram) = threads.run(work).await?;
    let seconds = elapsed.as_secs_f64();
    let per_second = float(i64::try_from(events)?) / seconds;
    Ok(Run {
        shares: watched.usage().since(&before),
        latency: histogram.as_ref().and_then(Latency::of),
        histogram,
        ..Run::counted(name, per_second, seconds)
    })
}

/// Accepts events one per call, each caller one after the other.
pub(super) async fn accept(
    opened: Opened,
    numbers: Arc<AtomicU64>,
    callers: u64,
    length: Duration,
) -> anyhow::Result<Measured> {
    let options = InboxOptions::default()
        .with_delay(WAITING)
        .with_accept_timeout(PATIENCE);
    let inbox = Inbox::new(opened.store(), options);
    let kind = Kind::new("waiting")?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (inbox, kind, numbers) = (inbox.clone(), kind.clone(), Arc::clone(&numbers));
        tasks.spawn(async move {
            let mut latency = Recording::histogram();
            while start.elapsed() < length {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let event = envelope(&kind, number)?;
                let called = Instant::now();
                let accepted = inbox.accept(event).await?;
                ensure!(accepted == Accepted::New, "{accepted:?}");
                let micros = u64::try_from(called.elapsed().as_micros())?;
                latency.saturating_record(micros.max(1));
            }
            anyhow::Ok(latency)
        });
    }
    let mut latency = Recording::histogram();
    while let Some(caller) = tasks.join_next().await {
        latency.add(caller??)?;
    }
    let elapsed = start.elapsed();
    inbox.close().await;
    Ok((latency.len(), elapsed, Some(latency)))
}

/// Accepts `count` events that are due.
pub(super) async fn fill(
    opened: Opened,
    numbers: Arc<AtomicU64>,
    kind: Kind,
    count: u64,
) -> anyhow::Result<()> {
    let store = opened.store();
    let mut left = count;
    while left > 0 {
        let batch = left.min(BATCH);
        let first = numbers.fetch_add(batch, Ordering::Relaxed);
        let events: Vec<NewEvent> = (first..first + batch)
            .map(|number| Ok(NewEvent::new(envelope(&kind, number)?, Duration::ZERO)))
            .collect::<anyhow::Result<_>>()?;
        store.accept(&events).await?;
        left -= batch;
    }
    Ok(())
}

/// Processes the `count` events of this kind.
pub(super) async fn drain(
    opened: Opened,
    kind: Kind,
    concurrency: usize,
    count: u64,
) -> anyhow::Result<Measured> {
    let processed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&processed);
    let handler = move |_: RawEvent| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok::<(), HandlerError>(()) }
    };
    let options = WorkerOptions::default().with_concurrency(concurrency);
    let start = Instant::now();
    let worker = Worker::builder()
        .handle_raw(kind, options, handler)
        .start(opened.scheduler());
    while processed.load(Ordering::Relaxed) < count {
        ensure!(start.elapsed() < PATIENCE, "not all were processed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Until the last of them are settled, too.
    worker.shutdown(PATIENCE).await;
    Ok((count, start.elapsed(), None))
}

/// An event of the typical size, with a key in no order.
fn envelope(kind: &Kind, number: u64) -> anyhow::Result<Envelope> {
    let scattered = request::preloaded_key(number);
    let key = format!("txn_{scattered:016x}");
    let fingerprint = Fingerprint::of([&key]);
    let body = Bytes::from(request::body(scattered, BODY_BYTES));
    Ok(Envelope::new(
        kind.clone(),
        Key::new(key)?,
        fingerprint,
        body,
    ))
}

/// A runtime with a thread for each core, which the generator's runtime does not have.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let runtime = self.0.as_ref().context("it is there until it is dropped")?;
        runtime.spawn(work).await?
    }
}

impl Drop for Threads {
    /// Dropping a runtime would block, which another runtime does not allow.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
