//! Ingest and drain beside many waiting events, and then beside many processed ones, must be as
//! fast as in an empty table.

use crate::bench::{Bed, Bench};
use crate::database::{Preload, float};
use crate::report::Section;
use crate::scenario::drain::drain;

/// The rate of ingest and processing together, far below the maximum.
const STEADY_PER_SECOND: f64 = 5_000.0;
const STEADY_PER_SECOND_QUICK: f64 = 500.0;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    for (backlog, preload, events) in [
        (
            "events waiting",
            Preload::Waiting,
            bench.scale.waiting_events,
        ),
        (
            "events processed",
            Preload::Processed,
            bench.scale.processed_events,
        ),
    ] {
        let mut full = bench.bed("backlog").await?;
        bench.preload(&mut full, preload, events).await?;
        let empty = bench.bed("backlog_without").await?;
        let beds = [
            (format!("empty table, beside that of {backlog}"), &empty),
            (backlog.to_owned(), &full),
        ];

        bench.checkpoint().await?;
        for _ in 0..bench.scale.turns {
            for (name, bed) in &beds {
                ingest_and_drain(bench, section, name, bed).await?;
            }
        }
        bench.say_runs(section, 4);
        for (name, bed) in &beds {
            in_and_out(bench, section, name, bed).await?;
            for table in bed.database.tables()?.table_sizes().await? {
                section.figure(
                    format!("{name}: {}", table.title()),
                    float(table.table_bytes + table.index_bytes) / 1e6,
                    "MB",
                );
            }
        }
        bench.close(empty, section).await?;
        bench.close(full, section).await?;
    }
    Ok(())
}

async fn ingest_and_drain(
    bench: &mut Bench,
    section: &mut Section,
    name: &str,
    bed: &Bed,
) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    let server = bench.serve(bed, "api", delay).await?;
    let servers = [&server];
    let load = bench.turn(&bench.closed(&servers, 64));
    section.add(bench.stretch(bed, format!("ingest, {name}"), &load).await?);
    server.stop().await?;
    bench.await_due(bed, delay).await?;
    section.add(drain(bench, bed, format!("drain, {name}"), 1).await?);
    Ok(())
}

async fn in_and_out(
    bench: &mut Bench,
    section: &mut Section,
    name: &str,
    bed: &Bed,
) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    let steady = if bench.options.quick {
        STEADY_PER_SECOND_QUICK
    } else {
        STEADY_PER_SECOND
    };
    let server = bench.serve(bed, "all", delay).await?;
    let servers = [&server];
    let load = bench.open(&servers, steady);
    let warmed_up = bench.scale.warm_up + delay;
    let since = bed.database.tables()?.now_micros().await? + i64::try_from(warmed_up.as_micros())?;
    section.add(
        bench
            .measure(bed, format!("in and out, {name}"), &load)
            .await?,
    );
    bench.await_processed(bed).await?;
    server.stop().await?;
    let late = bed.database.tables()?.lateness(since, delay).await?;
    for (percentile, value) in [("p50", late.p50), ("p99", late.p99)] {
        let name = format!("in and out, {name}: late {percentile}");
        section.figure(name, value, "ms past due");
    }
    Ok(())
}
