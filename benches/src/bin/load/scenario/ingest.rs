//! Unique events over ever more connections, each time next to the limits.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::bench::{Bench, plural};
use crate::database::Database;
use crate::pgbench;
use crate::process::{self, Share};
use crate::report::{Run, Section};

/// One commit per request, and as many of them at a time as PostgreSQL can put into one fsync by
/// itself.
const BATCHING_OFF: [&str; 3] = [
    "--max-batch=1",
    "--max-flushes=64",
    "--database-pool-size=64",
];

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let mut bed = bench.bed("ingest").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    let mut single_bed = bench.bed("batching_off").await?;
    let single = bench
        .serve_with(&single_bed, "api", parked, &BATCHING_OFF)
        .await?;
    let bare = bench.programs.serve_bare().await?;
    let inserts = bench.cluster.create("pgbench").await?;
    pgbench::prepare(&inserts).await?;

    let syncs = spawn_blocking(sync_singly).await??;
    section.figure("fdatasync of 8 KiB, one after the other", syncs, "/s");

    // Whatever is compared is measured one after the other: a machine's speed drifts.
    for connections in bench.scale.connections.clone() {
        let name = plural(connections, "connection");
        let servers = [&server];
        let load = bench.closed(&servers, connections);
        section
            .runs
            .push(bench.measure(&mut bed, &name, &load).await?);

        if bench.scale.pgbench_clients.contains(&connections) {
            let servers = [&single];
            let load = bench.closed(&servers, connections);
            let name = format!("{name}, batching off");
            let run = bench.measure(&mut single_bed, name, &load).await?;
            section.runs.push(run);

            let name = format!("pgbench, {}", plural(connections, "client"));
            section
                .runs
                .push(insert_singly(bench, &inserts, name, connections).await?);
        }

        let servers = [&bare];
        let load = bench.closed(&servers, connections);
        let run = bench
            .measure_bare(format!("bare server, {name}"), &load)
            .await?;
        let complaint = run.answers.as_ref().and_then(|answers| answers.complaint());
        section.failures.extend(complaint);
        section.runs.push(run);
    }

    drop(bare);
    server.stop().await?;
    single.stop().await?;
    bench.cluster.remove(inserts).await?;
    bench.close(bed, section).await?;
    bench.close(single_bed, section).await
}

/// How many commits a second the disk allows that share it with nobody. Where PostgreSQL writes
/// its files, unless it was given another place.
fn sync_singly() -> std::io::Result<f64> {
    const LENGTH: Duration = Duration::from_millis(500);
    let path = std::env::temp_dir().join(format!("webhook-load-{}.sync", std::process::id()));
    let mut file = File::create(&path)?;
    let page = [0x5a; 8192];
    // Allocated beforehand, as WAL segments are.
    file.write_all(&page)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < LENGTH {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1.0;
    }
    let per_second = count / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(per_second)
}

async fn insert_singly(
    bench: &Bench,
    database: &Database,
    name: String,
    clients: usize,
) -> anyhow::Result<Run> {
    bench.cluster.checkpoint().await?;
    bench.progress.begin(&name, 1);
    let watched = bench.watched(&[]);
    let before = watched.usage();
    let children = process::ended_children_seconds();
    let inserted = pgbench::insert(database, clients, bench.scale.measure).await?;
    let mut shares = watched.usage().since(&before);
    if let (Some(before), Some(now)) = (children, process::ended_children_seconds()) {
        shares.push(Share {
            who: "pgbench",
            cores: (now - before) / bench.scale.measure.as_secs_f64(),
        });
    }
    let run = Run {
        name,
        per_second: inserted.per_second,
        latency: None,
        answers: None,
        shares,
        points: inserted.points,
    };
    bench.progress.say(&run.line());
    Ok(run)
}
