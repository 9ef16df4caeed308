//! Ingest must stay fast while a backlog drains.

use crate::bench::Bench;
use crate::database::{Preload, float};
use crate::report::{Run, Section};

const WITHOUT: &str = "ingest without a backlog";
const WITH: &str = "ingest while a backlog drains";

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let mut drained_bed = bench.bed("contention").await?;
    let events = bench.scale.drain_events;
    bench
        .preload(&mut drained_bed, Preload::Due, events)
        .await?;
    let quiet_bed = bench.bed("contention_without").await?;
    bench.checkpoint().await?;

    // New events fall due after all turns, so that only the backlog is processed in them.
    let delay = bench.scale.parked * 2;
    for _ in 0..bench.scale.turns {
        for (name, bed) in [(WITHOUT, &quiet_bed), (WITH, &drained_bed)] {
            let server = bench.serve(bed, "all", delay).await?;
            let servers = [&server];
            let load = bench.turn(&bench.closed(&servers, 64));
            let since = bed.database.tables()?.now_micros().await?;
            section.add(bench.stretch(bed, name, &load).await?);
            if name == WITH {
                let meanwhile = bed
                    .database
                    .tables()?
                    .settled(since, load.seconds / 10)
                    .await?;
                section.add(Run {
                    points: meanwhile.points,
                    ..Run::counted(
                        "backlog drained meanwhile",
                        meanwhile.per_second,
                        meanwhile.seconds,
                    )
                });
            }
            server.stop().await?;
        }
    }
    bench.say_runs(section, 3);
    let left = drained_bed.database.tables()?.due().await?;
    section.figure("backlog left in the end", float(left), "events");
    bench.close(quiet_bed, section).await?;
    bench.close(drained_bed, section).await
}
