//! Ingest must stay fast while a backlog drains.

use crate::bench::Bench;
use crate::database::{Preload, float};
use crate::report::{Run, Section};
use crate::server::Variant;

/// The names of the runs, and of the figure of what is left.
pub(super) struct Names {
    pub(super) without: &'static str,
    pub(super) with: &'static str,
    pub(super) meanwhile: &'static str,
    pub(super) left: &'static str,
}

const NAMES: Names = Names {
    without: "ingest without a backlog",
    with: "ingest while a backlog drains",
    meanwhile: "backlog drained meanwhile",
    left: "backlog left in the end",
};

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let events = bench.scale.drain_events;
    compare(bench, section, &Variant::default(), events, &NAMES).await
}

/// Compares ingest without a backlog with ingest while servers of this variant process a backlog of
/// `events`.
pub(super) async fn compare(
    bench: &mut Bench,
    section: &mut Section,
    variant: &Variant,
    events: u64,
    names: &Names,
) -> anyhow::Result<()> {
    let mut drained_bed = bench.bed_of("contention", variant.clone()).await?;
    bench
        .preload(&mut drained_bed, Preload::Due, events)
        .await?;
    let quiet_bed = bench.bed_of("contention_without", variant.clone()).await?;
    bench.checkpoint().await?;

    // New events fall due after all turns, so that only the backlog is processed in them.
    let delay = bench.scale.parked * 2;
    for _ in 0..bench.scale.turns {
        for (name, bed) in [(names.without, &quiet_bed), (names.with, &drained_bed)] {
            let server = bench.serve(bed, "all", delay).await?;
            let servers = [&server];
            let load = bench.turn(&bench.closed(&servers, 64));
            let since = bed.database.tables()?.now_micros().await?;
            section.add(bench.stretch(bed, name, &load).await?);
            if name == names.with {
                let meanwhile = bed
                    .database
                    .tables()?
                    .settled(since, load.seconds / 10)
                    .await?;
                section.add(Run {
                    points: meanwhile.points,
                    ..Run::counted(names.meanwhile, meanwhile.per_second, meanwhile.seconds)
                });
            }
            server.stop().await?;
        }
    }
    bench.say_runs(section, 3);
    let left = drained_bed.database.tables()?.due().await?;
    section.figure(names.left, float(left), "events");
    bench.close(quiet_bed, section).await?;
    bench.close(drained_bed, section).await
}
