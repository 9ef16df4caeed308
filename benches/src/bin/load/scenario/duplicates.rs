//! Deliveries that were seen before must cost no more than new ones.

use crate::bench::{Bench, Load};
use crate::report::Section;
use crate::request::Choice;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let mut bed = bench.bed("duplicates").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    let servers = [&server];
    let unique = bench.closed(&servers, 64);
    let name = "no repeats, 64 connections";
    section
        .runs
        .push(bench.measure(&mut bed, name, &unique).await?);
    for percent in [10, 50, 99] {
        let load = Load {
            choice: Choice::Repeats { percent },
            ..unique.clone()
        };
        let name = format!("{percent} % repeats");
        section
            .runs
            .push(bench.measure(&mut bed, name, &load).await?);
    }

    let unique = bench.closed(&servers, 256);
    let name = "no repeats, 256 connections";
    section
        .runs
        .push(bench.measure(&mut bed, name, &unique).await?);
    server.stop().await?;
    bench.close(bed, section).await?;

    // In a database of its own, where all connections race for the first one.
    let mut bed = bench.bed("hot_key").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    let servers = [&server];
    let hot = Load {
        choice: Choice::Hot,
        ..bench.closed(&servers, 256)
    };
    section
        .runs
        .push(bench.measure(&mut bed, "hot key", &hot).await?);
    server.stop().await?;
    bench.close(bed, section).await
}
