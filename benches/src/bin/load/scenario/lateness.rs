//! How long past due events are settled, from the database's own times.
//!
//! That is the time to pick an event up, to commit the claim, to run the handler, and to reach the
//! statement that settles it: a handler starts somewhat earlier.

use std::time::Duration;

use crate::bench::{Bench, plural};
use crate::report::Section;
use crate::server::Server;

/// Slow rates take longer, for a percentile needs events.
const FEWEST_EVENTS: f64 = 1_500.0;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    for nodes in [1, 3] {
        let bed = bench.bed("lateness").await?;
        let mut servers = Vec::new();
        for _ in 0..nodes {
            servers.push(bench.serve(&bed, "all", delay).await?);
        }
        for rate in bench.scale.lateness_rates.clone() {
            let name = format!("late at {rate}/s, {}", plural(nodes, "node"));
            let targets: Vec<&Server> = servers.iter().collect();
            let mut load = bench.open(&targets, f64::from(rate));
            if !bench.options.quick {
                let seconds = FEWEST_EVENTS / f64::from(rate);
                load.seconds = load.seconds.max(Duration::from_secs_f64(seconds));
            }
            let warmed_up = bench.scale.warm_up + delay;
            let since = bed.database.now_micros().await? + i64::try_from(warmed_up.as_micros())?;
            section.runs.push(bench.measure(&bed, &name, &load).await?);
            bench.await_processed(&bed).await?;

            let late = bed.database.lateness(since).await?;
            section.check(late.events > 0 && late.min >= 0.0, || {
                format!("{name}: an event was settled before it was due: {late:?}")
            });
            for (percentile, value) in [
                ("p50", late.p50),
                ("p90", late.p90),
                ("p99", late.p99),
                ("p99.9", late.p999),
                ("max", late.max),
            ] {
                section.figure(format!("{name}: {percentile}"), value, "ms past due");
            }
            bench.progress.say(&format!(
                "  {name}: settled {:.2} ms past due at the median, {:.2} ms at p99",
                late.p50, late.p99
            ));
        }
        for server in servers {
            server.stop().await?;
        }
        bench.close(bed, section).await?;
    }
    Ok(())
}
