//! How long past the due time handlers begin, according to the server's log: the time to notice
//! that an event is due, to commit the claim, and to start the handler.

use std::time::Duration;

use crate::backend::Backend;
use crate::bench::{Bench, plural};
use crate::report::Section;
use crate::scenario::ONE_SERVER;
use crate::server::Server;

/// The default log level, in JSON.
const LOGGING: &str = "LOG_LEVEL=info,LOG_FORMAT=json";

/// The least number of events of a run, since a percentile needs enough of them; low rates take
/// longer.
const FEWEST_EVENTS: f64 = 1_500.0;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let delay = bench.scale.delay;
    let nodes: &[usize] = match bench.backend {
        Backend::Postgres => &[1, 3],
        Backend::Sqlite | Backend::Memory => {
            section.notes.push(ONE_SERVER);
            &[1]
        }
    };
    for &nodes in nodes {
        let logging = LOGGING.parse().map_err(anyhow::Error::msg)?;
        let bed = bench.bed_of("lateness", logging).await?;
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
            let since =
                bed.database.tables()?.now_micros().await? + i64::try_from(warmed_up.as_micros())?;
            section.runs.push(bench.measure(&bed, &name, &load).await?);
            bench.await_processed(&bed).await?;

            let settled = bed.database.tables()?.lateness(since, delay).await?;
            let (mut keys, mut times) = (Vec::new(), Vec::new());
            for server in &servers {
                let begun = server.begun()?;
                keys.extend(begun.0);
                times.extend(begun.1);
            }
            let late = bed
                .database
                .tables()?
                .pick_up(since, delay, &keys, &times)
                .await?;
            section.check(late.events > 0 && late.events == settled.events, || {
                format!("{name}: not every event settled was begun: {settled:?}, {late:?}")
            });
            section.check(late.min >= 0.0, || {
                format!("{name}: a handler began before its event was due: {late:?}")
            });
            for (percentile, value) in [
                ("p50", late.p50),
                ("p90", late.p90),
                ("p99", late.p99),
                ("p99.9", late.p999),
                ("max", late.max),
                ("p50, settled", settled.p50),
                ("p99, settled", settled.p99),
            ] {
                section.figure(format!("{name}: {percentile}"), value, "ms past due");
            }
            bench.progress.say(&format!(
                "  {name}: begun {:.2} ms past due at the median, {:.2} ms at p99",
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
