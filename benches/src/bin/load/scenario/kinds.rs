//! A worker of many kinds compared with a worker of one, both in this process and with the same
//! number of slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use webhook_core::{HandlerError, Kind, RawEvent, Worker, WorkerOptions};

use crate::bench::{Bench, plural};
use crate::database::{Preload, float, grown};
use crate::opened::Opened;
use crate::report::{Run, Section};

/// The number of kinds that is compared with one kind.
const MANY: usize = 200;

/// How long a drain may make no progress.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let mut best = [0.0_f64; 2];
    // In turns, since a machine's speed drifts.
    for _ in 0..bench.scale.turns.min(3) {
        for (kinds, best) in [1, MANY].into_iter().zip(&mut best) {
            let per_second = one(bench, section, kinds).await?;
            *best = best.max(per_second);
        }
    }
    section.figure(
        "kinds: drain of 200 beside one",
        best[1] / best[0].max(f64::MIN_POSITIVE),
        "x",
    );
    Ok(())
}

/// Drains the events of `kinds` kinds, then idles. Returns the events drained per second.
async fn one(bench: &mut Bench, section: &mut Section, kinds: usize) -> anyhow::Result<f64> {
    let mut bed = bench.bed("kinds").await?;
    let events = bench.scale.drain_events.min(300_000);
    bench.preload(&mut bed, Preload::Due, events).await?;
    bed.database.tables()?.spread_over_kinds(kinds).await?;
    bench.checkpoint().await?;

    let backend = Opened::open(&bed.database).await?;
    let processed = Arc::new(AtomicU64::new(0));
    let options = WorkerOptions::default();
    let builder = (0..kinds).try_fold(Worker::builder(), |builder, number| {
        let processed = Arc::clone(&processed);
        let handler = move |_: RawEvent| {
            processed.fetch_add(1, Ordering::Relaxed);
            async { Ok::<(), HandlerError>(()) }
        };
        let kind = Kind::new(format!("kind-{number}"))?;
        anyhow::Ok(builder.handle_raw(kind, options.clone(), handler))
    })?;
    bench
        .progress
        .begin(&format!("drain, {}", plural(kinds, "kind")), events);
    let start = Instant::now();
    let worker = builder.start(backend.scheduler());
    let mut last = (0, start);
    while last.0 < events {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = processed.load(Ordering::Relaxed);
        if now > last.0 {
            last = (now, Instant::now());
            bench.progress.at(now, String::new());
        }
        ensure!(
            last.1.elapsed() < PATIENCE,
            "{} of {events} were processed",
            last.0
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    let per_second = float(i64::try_from(events)?) / seconds;
    let run = Run::counted(
        format!("drain, {}", plural(kinds, "kind")),
        per_second,
        seconds,
    );
    bench.progress.say(&run.line());
    section.runs.push(run);

    let length = bench.scale.idle.min(Duration::from_secs(20));
    tokio::time::sleep(length / 6).await;
    let before = bed.database.tables()?.transactions().await?;
    tokio::time::sleep(length).await;
    let transactions = grown(before, bed.database.tables()?.transactions().await?);
    if let Some(transactions) = transactions {
        let queries = float(transactions) / length.as_secs_f64();
        let name = format!("idle, {}: queries", plural(kinds, "kind"));
        bench.progress.say(&format!("  {name} {queries:.2}/s"));
        section.figure(name, queries, "/s");
    }

    worker.shutdown(Duration::from_secs(10)).await;
    backend.close().await;
    bench.close(bed, section).await?;
    Ok(per_second)
}
