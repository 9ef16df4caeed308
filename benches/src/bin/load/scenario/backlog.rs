//! Beside many events that wait, and then beside many that are done, everything must go on as in
//! an empty table.

use crate::bench::Bench;
use crate::database::{Preload, float};
use crate::report::Section;
use crate::scenario::drain::drain;

/// In and out together at a rate far below the maximum.
const STEADY_PER_SECOND: f64 = 5_000.0;
const STEADY_PER_SECOND_QUICK: f64 = 500.0;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    let steady = if bench.options.quick {
        STEADY_PER_SECOND_QUICK
    } else {
        STEADY_PER_SECOND
    };
    for (name, preload) in [
        ("empty table", None),
        (
            "events waiting",
            Some((Preload::Waiting, bench.scale.waiting_events)),
        ),
        (
            "events processed",
            Some((Preload::Processed, bench.scale.processed_events)),
        ),
    ] {
        let mut bed = bench.bed("backlog").await?;
        if let Some((preload, events)) = preload {
            bench.preload(&mut bed, preload, events).await?;
        }

        let server = bench.serve(&bed, "api", delay).await?;
        let servers = [&server];
        let load = bench.closed(&servers, 64);
        let run = bench
            .measure(&mut bed, format!("ingest, {name}"), &load)
            .await?;
        section.runs.push(run);
        server.stop().await?;
        tokio::time::sleep(delay).await;
        let run = drain(bench, &bed, format!("drain, {name}"), 1).await?;
        section.runs.push(run);

        let server = bench.serve(&bed, "all", delay).await?;
        let servers = [&server];
        let load = bench.open(&servers, steady);
        let warmed_up = bench.scale.warm_up + delay;
        let since = bed.database.now_micros().await? + i64::try_from(warmed_up.as_micros())?;
        let run = bench
            .measure(&mut bed, format!("in and out, {name}"), &load)
            .await?;
        section.runs.push(run);
        bench.await_processed(&bed).await?;
        server.stop().await?;
        let late = bed.database.lateness(since).await?;
        section.figure(
            format!("in and out, {name}: late p50"),
            late.p50,
            "ms past due",
        );
        section.figure(
            format!("in and out, {name}: late p99"),
            late.p99,
            "ms past due",
        );
        for table in bed.database.table_sizes().await? {
            section.figure(
                format!("{name}: {} and its indexes", table.name),
                float(table.table_bytes + table.index_bytes) / 1e6,
                "MB",
            );
        }
        bench.close(bed, section).await?;
    }
    Ok(())
}
