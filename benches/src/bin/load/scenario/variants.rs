//! webhook-servers with different settings or different code, compared with each other.

use std::time::Duration;

use crate::backend::Backend;
use crate::bench::{Bed, Bench, plural};
use crate::report::Section;
use crate::scenario::drain::drain;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let mut beds = Vec::new();
    for variant in bench.options.variants.clone() {
        let name = variant.name.clone();
        beds.push((name, bench.bed_of("variant", variant).await?));
    }
    compare(bench, section, beds).await
}

/// Measures servers on these databases in turns.
pub(super) async fn compare(
    bench: &mut Bench,
    section: &mut Section,
    beds: Vec<(String, Bed)>,
) -> anyhow::Result<()> {
    let connections = bench.scale.connections.clone();
    bench.checkpoint().await?;
    for _ in 0..bench.scale.turns {
        for &connections in &connections {
            for (name, bed) in &beds {
                let what = plural(connections, "connection");
                ingest(bench, section, format!("{what}, {name}"), bed, connections).await?;
            }
        }
        for (name, bed) in &beds {
            if bed.database.backend == Backend::Memory {
                continue;
            }
            bench.await_due(bed, Duration::ZERO).await?;
            section.add(drain(bench, bed, format!("drain, {name}"), 1).await?);
        }
        for (name, bed) in &beds {
            let server = bench.serve(bed, "all", Duration::ZERO).await?;
            let servers = [&server];
            let load = bench.turn(&bench.closed(&servers, 64));
            let name = format!("in and out, {name}");
            section.add(bench.stretch(bed, name, &load).await?);
            if bed.database.backend != Backend::Memory {
                bench.await_processed(bed).await?;
            }
            server.stop().await?;
        }
    }
    bench.say_runs(section, section.runs.len());
    for (_, bed) in beds {
        bench.close(bed, section).await?;
    }
    Ok(())
}

async fn ingest(
    bench: &mut Bench,
    section: &mut Section,
    name: String,
    bed: &Bed,
    connections: usize,
) -> anyhow::Result<()> {
    let server = bench.serve(bed, "api", Duration::ZERO).await?;
    let servers = [&server];
    let load = bench.turn(&bench.closed(&servers, connections));
    section.add(bench.stretch(bed, name, &load).await?);
    server.stop().await
}
