//! Several processes on one database, and the cost of an event: the figures for capacity planning.

use std::time::Duration;

use anyhow::Context as _;

use crate::bench::{Bench, plural};
use crate::database::{Tables, float};
use crate::report::{Run, Section};
use crate::scenario::drain::drain;
use crate::server::Server;

const PROCESSES: [usize; 3] = [1, 2, 4];

const UNCOUNTED: &str = "the database does not count what it writes";

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    // Processing begins when the senders are done.
    let delay = Duration::ZERO;
    for processes in PROCESSES {
        let bed = bench.bed("scale").await?;
        let mut servers = Vec::new();
        for _ in 0..processes {
            servers.push(bench.serve(&bed, "api", delay).await?);
        }
        let targets: Vec<&Server> = servers.iter().collect();
        let load = bench.closed(&targets, 256);
        let name = format!("ingest, {}", plural(processes, "API process"));
        let before = Spent::so_far(bed.database.tables()?).await?;
        let run = bench.measure(&bed, &name, &load).await?;
        for server in servers {
            server.stop().await?;
        }
        let events = bed.database.tables()?.counts().await?.events;
        let spent = Spent::so_far(bed.database.tables()?).await?.since(before);
        report_cost(section, &run, &spent, events);
        section.runs.push(run);

        let name = format!("drain, {}", plural(processes, "worker process"));
        let before = Spent::so_far(bed.database.tables()?).await?;
        let run = drain(bench, &bed, name, processes).await?;
        let spent = Spent::so_far(bed.database.tables()?).await?.since(before);
        report_cost(section, &run, &spent, events);
        section.runs.push(run);

        if processes == 1 {
            for table in bed.database.tables()?.table_sizes().await? {
                let bytes = float(table.table_bytes + table.index_bytes) / float(events);
                let name = format!("disk of an event: {} and its indexes", table.name);
                section.figure(name, bytes, "B");
            }
        }
        bench.close(bed, section).await?;
    }
    Ok(())
}

/// The counters of the database since it was created.
#[derive(Clone, Copy, Debug)]
struct Spent {
    wal_bytes: i64,
    transactions: i64,
}

impl Spent {
    async fn so_far(tables: &dyn Tables) -> anyhow::Result<Self> {
        Ok(Self {
            wal_bytes: tables.wal_bytes().await?.context(UNCOUNTED)?,
            transactions: tables.transactions().await?.context(UNCOUNTED)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            wal_bytes: self.wal_bytes - before.wal_bytes,
            transactions: self.transactions - before.transactions,
        }
    }
}

fn report_cost(section: &mut Section, run: &Run, spent: &Spent, events: i64) {
    let name = &run.name;
    for share in &run.shares {
        if ["server", "postgres"].contains(&share.who) {
            let micros = share.cores / run.per_second * 1e6;
            section.figure(format!("{name}: {} for an event", share.who), micros, "us");
        }
    }
    let wal = float(spent.wal_bytes) / float(events);
    section.figure(format!("{name}: WAL of an event"), wal, "B");
    let transactions = float(spent.transactions) / float(events) * 1000.0;
    section.figure(
        format!("{name}: transactions for 1,000 events"),
        transactions,
        "",
    );
}
