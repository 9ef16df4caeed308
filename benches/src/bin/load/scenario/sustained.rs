//! Ingest and processing together for a long time, at a rate below the maximum.

use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::bench::{Bed, Bench, Load};
use crate::database::{Database, TableSize, float, grown};
use crate::process;
use crate::report::{Run, Section, Series};

/// The share of the maximum at which the sustained run sends.
const SHARE: f64 = 0.8;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    let rate = match bench.options.sustained_rate {
        Some(rate) => rate,
        None => {
            let maximum = find_maximum(bench, section, delay).await?;
            section.figure("sustained: maximum found", maximum, "/s");
            maximum * SHARE
        }
    };

    let bed = bench.bed("sustained").await?;
    let server = bench.serve(&bed, "all", delay).await?;
    let servers = [&server];
    let load = Load {
        seconds: bench.scale.sustained,
        ..bench.open(&servers, rate)
    };
    let sampler = tokio::spawn(sample(bed.database.clone(), server.pid, load.seconds));
    let warm_up = bench.scale.warm_up + delay;
    let since = bed.database.tables()?.now_micros().await? + i64::try_from(warm_up.as_micros())?;
    let wal = bed.database.tables()?.wal_bytes().await?;
    let run = bench.measure(&bed, "sustained", &load).await?;
    let samples = sampler.await??;
    bench.await_processed(&bed).await?;
    let wal = grown(wal, bed.database.tables()?.wal_bytes().await?);

    let settled = bed
        .database
        .tables()?
        .settled(since, load.seconds / 40)
        .await?;
    let events = float(bed.database.tables()?.counts().await?.events);
    if let Some(wal) = wal {
        let name = "sustained: WAL of an event, in and out";
        section.figure(name, float(wal) / events, "B");
    }
    report_flatness(section, &run);
    report_samples(section, &samples, bench.backend);
    report_late(section, &bed, since, delay).await?;
    section.runs.push(Run {
        points: settled.points,
        ..Run::counted("sustained, processed", settled.per_second, settled.seconds)
    });
    section.runs.push(run);
    server.stop().await?;
    bench.close(bed, section).await
}

/// Finds the highest rate at which senders are answered in time and the queue does not grow.
async fn find_maximum(
    bench: &mut Bench,
    section: &mut Section,
    delay: Duration,
) -> anyhow::Result<f64> {
    let bed = bench.bed("search").await?;
    let server = bench.serve(&bed, "all", delay).await?;
    let servers = [&server];
    let seconds = bench.scale.search_step;
    let closed = Load {
        seconds,
        ..bench.closed(&servers, 64)
    };
    let run = bench
        .measure(&bed, "as fast as answers come", &closed)
        .await?;
    let (mut low, mut high) = (0.0, run.per_second);
    section.runs.push(run);
    for _ in 0..bench.scale.probes {
        // Let the events of the last probe be processed first.
        bench.await_processed(&bed).await?;
        let rate = (low + high) / 2.0;
        let load = Load {
            seconds,
            ..bench.open(&servers, rate)
        };
        let name = format!("probe at {rate:.0}/s");
        let run = bench.measure(&bed, name, &load).await?;
        let lag = bed.database.tables()?.lag_seconds().await?;
        let in_time = run.latency.is_some_and(|latency| latency.p99 < 250.0);
        if in_time && run.per_second > 0.97 * rate && lag < 1.0 {
            low = rate;
        } else {
            high = rate;
        }
        section.figure(format!("lag after a probe at {rate:.0}/s"), lag, "s");
        section.runs.push(run);
    }
    server.stop().await?;
    bench.close(bed, section).await?;
    // Even the slowest probe was too fast.
    Ok(if low > 0.0 { low } else { high / 2.0 })
}

/// The sizes that may grow, at one moment.
#[derive(Clone, Debug)]
struct Sample {
    /// Seconds from the start.
    at: f64,
    resident_bytes: f64,
    dead_rows: f64,
    lag_seconds: f64,
    tables: Vec<TableSize>,
}

impl Sample {
    /// The length of SQLite's write-ahead log.
    fn log_bytes(&self) -> f64 {
        let log = self.tables.iter().find(|it| it.name.ends_with("-wal"));
        log.map_or(0.0, |log| float(log.table_bytes))
    }
}

async fn sample(database: Database, server: u32, length: Duration) -> anyhow::Result<Vec<Sample>> {
    let start = Instant::now();
    let step = (length / 60).max(Duration::from_millis(100));
    let mut samples = Vec::new();
    while start.elapsed() < length {
        let tables = database.tables()?.table_sizes().await?;
        samples.push(Sample {
            at: start.elapsed().as_secs_f64(),
            resident_bytes: process::resident_bytes(server).map_or(0.0, bytes),
            dead_rows: tables.iter().map(|table| float(table.dead_rows)).sum(),
            lag_seconds: database.tables()?.lag_seconds().await?,
            tables,
        });
        tokio::time::sleep(step).await;
    }
    Ok(samples)
}

/// Compares the median p99 of the last fifth of the run with that of the first.
fn report_flatness(section: &mut Section, run: &Run) {
    let fifth = (run.points.len() / 5).max(1);
    let p99 = |points: &[crate::recording::Point]| {
        let mut p99: Vec<f64> = points.iter().map(|point| point.p99).collect();
        p99.sort_by(f64::total_cmp);
        p99.get(p99.len() / 2).copied().unwrap_or(0.0)
    };
    let first = p99(&run.points[..fifth.min(run.points.len())]);
    let last = p99(&run.points[run.points.len().saturating_sub(fifth)..]);
    section.figure("sustained: p99 of the first fifth", first, "ms");
    section.figure("sustained: p99 of the last fifth", last, "ms");
    section.figure(
        "sustained: p99 at the end over that at the start",
        last / first,
        "x",
    );
}

fn report_samples(section: &mut Section, samples: &[Sample], backend: Backend) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return;
    };
    let megabytes = |bytes: f64| bytes / 1e6;
    let half = &samples[samples.len() / 2];
    let most = |value: fn(&Sample) -> f64| samples.iter().map(value).fold(0.0, f64::max);
    section.figure(
        "sustained: memory at the start",
        megabytes(first.resident_bytes),
        "MB",
    );
    section.figure(
        "sustained: memory at the end",
        megabytes(last.resident_bytes),
        "MB",
    );
    section.figure(
        "sustained: most memory",
        megabytes(most(|it| it.resident_bytes)),
        "MB",
    );
    section.figure("sustained: most lag", most(|it| it.lag_seconds), "s");
    // Both come and go: compare the maximum of each half.
    let (early, late) = samples.split_at(samples.len() / 2);
    let growth = |value: fn(&Sample) -> f64| {
        let most = |half: &[Sample]| half.iter().map(value).fold(1.0, f64::max);
        most(late) / most(early)
    };
    match backend {
        Backend::Postgres => {
            section.figure("sustained: dead rows at half-time", half.dead_rows, "rows");
            section.figure("sustained: dead rows at the end", last.dead_rows, "rows");
            section.figure("sustained: most dead rows", most(|it| it.dead_rows), "rows");
            section.figure(
                "sustained: most dead rows of the second half over those of the first",
                growth(|it| it.dead_rows),
                "x",
            );
        }
        Backend::Sqlite | Backend::Memory => {
            section.figure(
                "sustained: longest write-ahead log",
                megabytes(most(Sample::log_bytes)),
                "MB",
            );
            section.figure(
                "sustained: longest write-ahead log of the second half over that of the first",
                growth(Sample::log_bytes),
                "x",
            );
        }
    }
    for (when, sample) in [("start", first), ("end", last)] {
        for table in &sample.tables {
            let name = &table.name;
            let size = megabytes(float(table.table_bytes));
            section.figure(format!("sustained: {name} at the {when}"), size, "MB");
            if table.index_bytes > 0 {
                let size = megabytes(float(table.index_bytes));
                section.figure(
                    format!("sustained: indexes of {name} at the {when}"),
                    size,
                    "MB",
                );
            }
        }
    }
    let series = |value: fn(&Sample) -> f64| samples.iter().map(|it| (it.at, value(it))).collect();
    section.series = vec![
        Series {
            title: "sustained: memory, MB",
            points: series(|it| it.resident_bytes / 1e6),
        },
        match backend {
            Backend::Postgres => Series {
                title: "sustained: dead rows",
                points: series(|it| it.dead_rows),
            },
            Backend::Sqlite | Backend::Memory => Series {
                title: "sustained: write-ahead log, MB",
                points: series(|it| it.log_bytes() / 1e6),
            },
        },
        Series {
            title: "sustained: lag, s",
            points: series(|it| it.lag_seconds),
        },
    ];
}

async fn report_late(
    section: &mut Section,
    bed: &Bed,
    since: i64,
    delay: Duration,
) -> anyhow::Result<()> {
    let late = bed.database.tables()?.lateness(since, delay).await?;
    section.figure("sustained: late p50", late.p50, "ms past due");
    section.figure("sustained: late p99", late.p99, "ms past due");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}
