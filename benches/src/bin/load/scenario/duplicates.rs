//! Repeated deliveries must cost no more than new ones.

use crate::bench::{Bench, Load, Party};
use crate::report::Section;
use crate::request::Choice;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let bed = bench.bed("duplicates").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    // In a database of its own, where all connections race for the first one.
    let hot_bed = bench.bed("hot_key").await?;
    let hot_server = bench.serve(&hot_bed, "api", parked).await?;
    let (servers, hot_servers) = ([&server], [&hot_server]);

    let unique = bench.closed(&servers, 64);
    let mut parties = vec![("no repeats, 64 connections".to_owned(), unique.clone())];
    for percent in [10, 50, 99] {
        let load = Load {
            choice: Choice::Repeats { percent },
            ..unique.clone()
        };
        parties.push((format!("{percent} % repeats"), load));
    }
    let parties: Vec<_> = parties
        .into_iter()
        .map(|(name, load)| (name, Party::Inbox { bed: &bed, load }))
        .collect();
    bench.in_turns(section, &parties).await?;

    let unique = Party::Inbox {
        bed: &bed,
        load: bench.closed(&servers, 256),
    };
    let hot = Party::Inbox {
        bed: &hot_bed,
        load: Load {
            choice: Choice::Hot,
            ..bench.closed(&hot_servers, 256)
        },
    };
    let parties = [
        ("no repeats, 256 connections".to_owned(), unique),
        ("hot key".to_owned(), hot),
    ];
    bench.in_turns(section, &parties).await?;

    server.stop().await?;
    hot_server.stop().await?;
    bench.close(bed, section).await?;
    bench.close(hot_bed, section).await
}
