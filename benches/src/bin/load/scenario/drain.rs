//! How fast workers claim, handle and settle a backlog.

use std::time::Duration;

use crate::backend::Backend;
use crate::bench::{Bed, Bench, plural};
use crate::database::{Preload, float, grown};
use crate::report::{Run, Section};
use crate::scenario::ONE_SERVER;
use crate::server::Server;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let workers: &[usize] = match bench.backend {
        Backend::Postgres => &[1, 2],
        Backend::Sqlite | Backend::Memory => {
            section.notes.push(ONE_SERVER);
            &[1]
        }
    };
    for &workers in workers {
        let mut bed = bench.bed("drain").await?;
        let events = bench.scale.drain_events;
        bench.preload(&mut bed, Preload::Due, events).await?;
        let name = format!("drain, {}", plural(workers, "worker"));
        section.runs.push(drain(bench, &bed, name, workers).await?);
        bench.close(bed, section).await?;
    }
    Ok(())
}

/// Processes every due event with `workers` worker processes.
pub(super) async fn drain(
    bench: &mut Bench,
    bed: &Bed,
    name: String,
    workers: usize,
) -> anyhow::Result<Run> {
    bench.checkpoint().await?;
    let since = bed.database.tables()?.now_micros().await?;
    let wal = bed.database.tables()?.wal_bytes().await?;
    let due = bed.database.tables()?.queued().await? - bed.waiting;
    let mut servers = Vec::new();
    for _ in 0..workers {
        servers.push(bench.serve(bed, "worker", Duration::ZERO).await?);
    }
    let watched = bench.watched(&servers.iter().collect::<Vec<&Server>>());
    let before = watched.usage();
    bench.await_settled(bed, due).await?;
    let shares = watched.usage().since(&before);
    for server in servers {
        server.stop().await?;
    }
    let interval = if bench.options.quick {
        Duration::from_millis(20)
    } else {
        Duration::from_secs(1)
    };
    let settled = bed.database.tables()?.settled(since, interval).await?;
    let wal = grown(wal, bed.database.tables()?.wal_bytes().await?);
    let run = Run {
        shares,
        points: settled.points,
        ..Run::counted(name, settled.per_second, settled.seconds)
    };
    let wal = wal.map_or_else(String::new, |bytes| {
        format!("; WAL {:.0} B/event", float(bytes) / float(due.max(1)))
    });
    bench.progress.say(&format!("{}{wal}", run.line()));
    Ok(run)
}
