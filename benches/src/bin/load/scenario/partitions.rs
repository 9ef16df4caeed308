//! The cost of partitions: the same inbox without partitions, with one and with eight, in turns.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use webhook_core::{Kind, payload};
use webhook_server::transaction::Transaction;

use crate::bench::{Bed, Bench, in_order_of};
use crate::database::Database;
use crate::opened::Opened;
use crate::report::Section;
use crate::scenario::in_process::{self, DRAINS, Threads};
use crate::server::Variant;

/// The number of partitions whose cost is a target.
const MANY: usize = 8;

/// How many requests, or callers, wait at the same time.
const CONNECTIONS: usize = 256;

/// The default of a worker.
const CONCURRENCY: usize = 256;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let threads = Threads::start()?;
    // In databases of their own, accepts are not slowed down by the dead rows of a drain, nor by their vacuum.
    let (mut accepting, mut draining) = (Vec::new(), Vec::new());
    for partitions in [None, NonZeroUsize::new(1), NonZeroUsize::new(MANY)] {
        accepting.push(Side::open(bench, &threads, partitions).await?);
        draining.push(Side::open(bench, &threads, partitions).await?);
    }
    let mut servers = Vec::new();
    for partitions in [None, NonZeroUsize::new(MANY)] {
        let variant = match partitions {
            None => Variant::default(),
            Some(count) => Variant::default().with_env("PARTITIONS", count.to_string()),
        };
        let bed = bench.bed_of("partitions", variant).await?;
        servers.push((name(partitions), bed, partitions));
    }

    bench.checkpoint().await?;
    let seconds = bench.scale.measure / bench.scale.turns;
    let drained = (bench.scale.drain_events / DRAINS).max(1);
    // Each side has each place equally often.
    let orders = u32::try_from(accepting.len() * servers.len())?;
    for turn in 0..bench.scale.turns.next_multiple_of(orders) {
        for (name, bed, _) in in_order_of(turn, &servers) {
            ingest(
                bench,
                section,
                format!("{CONNECTIONS} connections, {name}"),
                bed,
            )
            .await?;
        }
        for side in in_order_of(turn, &accepting) {
            let name = format!("in process, {CONNECTIONS} callers, {}", side.name);
            let numbers = Arc::clone(&side.numbers);
            let work =
                in_process::accept(side.opened.clone(), numbers, CONNECTIONS as u64, seconds);
            section.add(in_process::measure(bench, &threads, name, work).await?);
        }
        for side in in_order_of(turn, &draining) {
            let name = format!("in process, drain, {}", side.name);
            let kind = Kind::new(format!("drain-{turn}"))?;
            let numbers = Arc::clone(&side.numbers);
            let filling = in_process::fill(side.opened.clone(), numbers, kind.clone(), drained);
            threads.run(filling).await?;
            let work = in_process::drain(side.opened.clone(), kind, CONCURRENCY, drained);
            section.add(in_process::measure(bench, &threads, name, work).await?);
        }
    }
    bench.say_runs(section, section.runs.len());
    compare(section);
    for side in accepting.into_iter().chain(draining) {
        side.close(&threads, section).await?;
    }
    for (name, bed, partitions) in servers {
        let stored = stored(&threads, &bed.database, partitions).await?;
        bench.remove(bed, &name, stored, section).await?;
    }
    Ok(())
}

/// An inbox that is used in this process.
struct Side {
    name: String,
    database: Database,
    opened: Opened,
    /// How many events were accepted so far.
    numbers: Arc<AtomicU64>,
}

impl Side {
    async fn open(
        bench: &mut Bench,
        threads: &Threads,
        partitions: Option<NonZeroUsize>,
    ) -> anyhow::Result<Self> {
        let database = bench.create("partitions").await?;
        Ok(Self {
            name: name(partitions),
            opened: open(threads, &database, partitions).await?,
            database,
            numbers: Arc::default(),
        })
    }

    /// Checks that every event is stored, and removes the database.
    async fn close(self, threads: &Threads, section: &mut Section) -> anyhow::Result<()> {
        let Self {
            name,
            database,
            opened,
            numbers,
        } = self;
        let stored = threads
            .run(async move { count_all(opened, None).await })
            .await?;
        let accepted = numbers.load(Ordering::Relaxed);
        section.check(stored == accepted, || {
            format!("{accepted} events were accepted with {name}, and {stored} are stored")
        });
        database.tables()?.remove().await
    }
}

async fn open(
    threads: &Threads,
    database: &Database,
    partitions: Option<NonZeroUsize>,
) -> anyhow::Result<Opened> {
    let database = database.clone();
    let opening = async move {
        match partitions {
            None => Opened::open(&database).await,
            Some(count) => Opened::open_partitions(&database, count).await,
        }
    };
    threads.run(opening).await
}

fn name(partitions: Option<NonZeroUsize>) -> String {
    match partitions.map(NonZeroUsize::get) {
        None => "no partitions".to_owned(),
        Some(count) => crate::bench::plural(count, "partition"),
    }
}

async fn ingest(
    bench: &mut Bench,
    section: &mut Section,
    name: String,
    bed: &Bed,
) -> anyhow::Result<()> {
    let server = bench.serve(bed, "api", Duration::ZERO).await?;
    let servers = [&server];
    let load = bench.turn(&bench.closed(&servers, CONNECTIONS));
    section.add(bench.stretch(bed, name, &load).await?);
    server.stop().await
}

/// Counts the events that servers have stored.
async fn stored(
    threads: &Threads,
    database: &Database,
    partitions: Option<NonZeroUsize>,
) -> anyhow::Result<u64> {
    let opened = open(threads, database, partitions).await?;
    let kind = payload::kind_of::<Transaction>();
    threads
        .run(async move { count_all(opened, Some(kind)).await })
        .await
}

/// Counts the events of a kind, or of all kinds, and closes the inbox.
async fn count_all(opened: Opened, kind: Option<Kind>) -> anyhow::Result<u64> {
    let admin = opened.admin();
    let kinds = match kind {
        Some(kind) => vec![kind],
        None => admin.kinds().await?,
    };
    let mut events = 0;
    for kind in kinds {
        let counts = admin.counts(&kind).await?;
        events += counts.waiting + counts.due + counts.leased + counts.processed + counts.failed;
    }
    opened.close().await;
    Ok(events)
}

/// Compares each number of partitions with none.
fn compare(section: &mut Section) {
    let none = name(None);
    let rate = |section: &Section, name: &str| {
        let run = section.runs.iter().find(|run| run.name == name);
        run.map(|run| run.per_second)
    };
    let callers = format!("in process, {CONNECTIONS} callers");
    let connections = format!("{CONNECTIONS} connections");
    for what in [connections.as_str(), &callers, "in process, drain"] {
        for count in [1, MANY] {
            let with = name(NonZeroUsize::new(count));
            let rates = rate(section, &format!("{what}, {with}"))
                .zip(rate(section, &format!("{what}, {none}")));
            if let Some((with_partitions, without)) = rates {
                let figure = format!("{what}: {with} over none");
                section.figure(figure, with_partitions / without, "x");
            }
        }
    }
}
