//! Senders must get their answer while a backlog drains.

use crate::bench::Bench;
use crate::database::{Preload, float};
use crate::report::Section;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    for (name, events) in [
        ("ingest without a backlog", 0),
        ("ingest while a backlog drains", bench.scale.drain_events),
    ] {
        let mut bed = bench.bed("contention").await?;
        if events > 0 {
            bench.preload(&mut bed, Preload::Due, events).await?;
        }
        // New events fall due after the run, so that only the backlog is processed in it.
        let server = bench.serve(&bed, "all", bench.scale.parked).await?;
        let servers = [&server];
        let load = bench.closed(&servers, 64);
        let since = bed.database.now_micros().await?;
        section
            .runs
            .push(bench.measure(&mut bed, name, &load).await?);
        if events > 0 {
            let interval = load.seconds / 10;
            let settled = bed.database.settled(since, interval).await?;
            let left = bed.database.due().await?;
            section.figure("backlog drained meanwhile", settled.per_second, "/s");
            section.figure("backlog left in the end", float(left), "events");
        }
        server.stop().await?;
        bench.close(bed, section).await?;
    }
    Ok(())
}
