//! Ingest of unique events over more and more connections, compared with the machine's limits.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::bench::{Bench, Party, plural};
use crate::pgbench;
use crate::report::Section;

/// One commit per request, and as many of them at a time as PostgreSQL can put into one fsync by
/// itself.
const BATCHING_OFF: &str = "MAX_BATCH=1,MAX_CONCURRENT_FLUSHES=64,DATABASE_POOL_SIZE=64";

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let bed = bench.bed("ingest").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    let batching_off = BATCHING_OFF.parse().map_err(anyhow::Error::msg)?;
    let single_bed = bench.bed_of("batching_off", batching_off).await?;
    let single = bench.serve(&single_bed, "api", parked).await?;
    let bare = bench.programs.serve_bare().await?;
    let inserts = bench.cluster.create("pgbench").await?;
    pgbench::prepare(&inserts).await?;

    let syncs = spawn_blocking(sync_singly).await??;
    section.figure(
        "fdatasync of 8 KiB, one after the other",
        syncs.per_second,
        "/s",
    );
    section.figure("fdatasync of 8 KiB: p99", syncs.p99_millis, "ms");

    for connections in bench.scale.connections.clone() {
        let name = plural(connections, "connection");
        let (inbox, unbatched, limit) = ([&server], [&single], [&bare]);
        let mut parties = vec![(
            name.clone(),
            Party::Inbox {
                bed: &bed,
                load: bench.closed(&inbox, connections),
            },
        )];
        if bench.scale.pgbench_clients.contains(&connections) {
            parties.push((
                format!("{name}, batching off"),
                Party::Inbox {
                    bed: &single_bed,
                    load: bench.closed(&unbatched, connections),
                },
            ));
            parties.push((
                format!("pgbench, {}", plural(connections, "client")),
                Party::Inserts {
                    database: &inserts,
                    clients: connections,
                },
            ));
        }
        parties.push((
            format!("bare server, {name}"),
            Party::Bare {
                load: bench.closed(&limit, connections),
            },
        ));
        bench.in_turns(section, &parties).await?;
    }

    drop(bare);
    server.stop().await?;
    single.stop().await?;
    inserts.tables.remove().await?;
    bench.close(bed, section).await?;
    bench.close(single_bed, section).await
}

/// How many commits per second the disk allows if nothing else uses it.
struct Syncs {
    per_second: f64,
    p99_millis: f64,
}

/// The folder for PostgreSQL's files, unless another one is set.
fn sync_singly() -> std::io::Result<Syncs> {
    const LENGTH: Duration = Duration::from_secs(1);
    let path = std::env::temp_dir().join(format!("webhook-load-{}.sync", std::process::id()));
    let mut file = File::create(&path)?;
    let page = [0x5a; 8192];
    // Allocate the file beforehand, as PostgreSQL does with WAL segments.
    file.write_all(&page)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut taken = Vec::new();
    while start.elapsed() < LENGTH {
        let begun = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        taken.push(begun.elapsed());
    }
    let elapsed = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    taken.sort_unstable();
    let p99 = taken[taken.len() * 99 / 100];
    Ok(Syncs {
        #[expect(
            clippy::cast_precision_loss,
            reason = "no disk syncs 2^52 times a second"
        )]
        per_second: taken.len() as f64 / elapsed,
        p99_millis: p99.as_secs_f64() * 1000.0,
    })
}
