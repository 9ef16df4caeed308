//! Ingest of unique events over more and more connections, compared with the machine's limits.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::backend::Backend;
use crate::bench::{Bed, Bench, Party, plural};
use crate::database::Database;
use crate::pgbench;
use crate::process::build_folder;
use crate::report::Section;
use crate::server::Server;

/// One commit per request, and as many of them at a time as PostgreSQL can put into one fsync by
/// itself.
const BATCHING_OFF: &str = "MAX_BATCH=1,MAX_CONCURRENT_FLUSHES=64,DATABASE_POOL_SIZE=64";

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let bed = bench.bed("ingest").await?;
    let server = bench.serve(&bed, "api", parked).await?;
    let limits = match bench.backend {
        Backend::Postgres => Some(Limits::start(bench).await?),
        Backend::Sqlite | Backend::Memory => {
            section.notes.push(
                "single-row inserts by pgbench and the server without batching are measured on \
                 PostgreSQL only",
            );
            None
        }
    };
    let bare = bench.programs.serve_bare().await?;

    let disk = match bench.backend {
        // The folder for PostgreSQL's files, unless another one is set.
        Backend::Postgres => Some(std::env::temp_dir()),
        Backend::Sqlite => Some(build_folder()?),
        Backend::Memory => None,
    };
    if let Some(disk) = disk {
        let syncs = spawn_blocking(move || sync_singly(&disk)).await??;
        section.figure(
            "fdatasync of 8 KiB, one after the other",
            syncs.per_second,
            "/s",
        );
        section.figure("fdatasync of 8 KiB: p99", syncs.p99_millis, "ms");
    }

    for connections in bench.scale.connections.clone() {
        let name = plural(connections, "connection");
        let (inbox, limit) = ([&server], [&bare]);
        let unbatched = limits.as_ref().map(|limits| [&limits.single]);
        let mut parties = vec![(
            name.clone(),
            Party::Inbox {
                bed: &bed,
                load: bench.closed(&inbox, connections),
            },
        )];
        if let (Some(limits), Some(unbatched)) = (&limits, &unbatched)
            && bench.scale.pgbench_clients.contains(&connections)
        {
            parties.push((
                format!("{name}, batching off"),
                Party::Inbox {
                    bed: &limits.single_bed,
                    load: bench.closed(unbatched, connections),
                },
            ));
            parties.push((
                format!("pgbench, {}", plural(connections, "client")),
                Party::Inserts {
                    database: &limits.inserts,
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
    bench.close(bed, section).await?;
    match limits {
        Some(limits) => limits.close(bench, section).await,
        None => Ok(()),
    }
}

/// What PostgreSQL does without batches.
struct Limits {
    single_bed: Bed,
    single: Server,
    /// The database that pgbench inserts into.
    inserts: Database,
}

impl Limits {
    async fn start(bench: &mut Bench) -> anyhow::Result<Self> {
        let batching_off = BATCHING_OFF.parse().map_err(anyhow::Error::msg)?;
        let single_bed = bench.bed_of("batching_off", batching_off).await?;
        let single = bench.serve(&single_bed, "api", bench.scale.parked).await?;
        let inserts = bench.create("pgbench").await?;
        pgbench::prepare(&inserts).await?;
        Ok(Self {
            single_bed,
            single,
            inserts,
        })
    }

    async fn close(self, bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
        self.single.stop().await?;
        self.inserts.tables()?.remove().await?;
        bench.close(self.single_bed, section).await
    }
}

/// How many commits per second the disk allows if nothing else uses it.
struct Syncs {
    per_second: f64,
    p99_millis: f64,
}

fn sync_singly(folder: &Path) -> std::io::Result<Syncs> {
    const LENGTH: Duration = Duration::from_secs(1);
    let path = folder.join(format!("webhook-load-{}.sync", std::process::id()));
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
