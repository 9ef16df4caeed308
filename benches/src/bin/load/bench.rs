//! The tools of every scenario: servers, databases, measurements, checks.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use crate::backend::Backend;
use crate::database::{Cluster, Database, Preload, sqlite};
use crate::generator::{Generator, Pace, Traffic};
use crate::machine::Machine;
use crate::options::{Options, Scale};
use crate::pgbench;
use crate::process::Watched;
use crate::progress::Progress;
use crate::recording::{Answers, Recording};
use crate::report::{Report, Run, Section};
use crate::request::{BODY_BYTES, Choice, Destination, Keys};
use crate::server::{ASIDE, Programs, Server, Settings, Variant};

/// The least number of events that a worker must process in a second.
const SLOWEST_PER_SECOND: u64 = 500;

/// Everything that a scenario needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) scale: Scale,
    /// The backend of the scenario that is running.
    pub(crate) backend: Backend,
    cluster: Option<Cluster>,
    pub(crate) programs: Programs,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
}

/// A database, and a record of the requests sent to it.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) database: Database,
    /// The program and the settings of the servers on it.
    variant: Variant,
    keys: Arc<Keys>,
    answers: RefCell<Vec<Answers>>,
    /// How many events were written beforehand, and how many of them stay in the queue.
    preloaded: i64,
    pub(crate) waiting: i64,
}

/// The requests of one measurement, and the servers that they go to.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) servers: &'a [&'a Server],
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) destination: Destination,
    pub(crate) choice: Choice,
    pub(crate) sizes: &'a [usize],
    pub(crate) seconds: Duration,
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(crate) enum Party<'a> {
    /// A webhook-server with its database.
    Inbox { bed: &'a Bed, load: Load<'a> },
    /// The server that stores nothing.
    Bare { load: Load<'a> },
    /// pgbench with this number of clients, on a prepared database.
    Inserts {
        database: &'a Database,
        clients: usize,
    },
}

impl Bench {
    pub(crate) async fn prepare(options: Options) -> anyhow::Result<Self> {
        let backends = options.backends();
        let cluster = match backends.contains(&Backend::Postgres) {
            true => Some(Cluster::find().await?),
            false => None,
        };
        let machine = Machine::look_up(cluster.as_ref(), &backends).await?;
        let programs = Programs::new(
            options.server.as_deref(),
            options.server_env.clone(),
            &backends,
        )?;
        Ok(Self {
            scale: options.scale(),
            report: Report::new(machine, options.quick, backends.clone()),
            progress: Progress::new(),
            backend: backends[0],
            cluster,
            programs,
            options,
        })
    }

    /// Creates a database without tables.
    pub(crate) async fn create(&mut self, purpose: &str) -> anyhow::Result<Database> {
        match self.backend {
            Backend::Postgres => {
                let cluster = self.cluster.as_mut();
                cluster
                    .context("there is no PostgreSQL")?
                    .create(purpose)
                    .await
            }
            Backend::Sqlite => sqlite::create(purpose),
            Backend::Memory => Ok(Database::in_memory()),
        }
    }

    /// Writes back what earlier runs have changed in PostgreSQL, so that every run begins alike.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<()> {
        match &self.cluster {
            Some(cluster) => cluster.checkpoint().await,
            None => Ok(()),
        }
    }

    /// Creates a database with the schema.
    pub(crate) async fn bed(&mut self, purpose: &str) -> anyhow::Result<Bed> {
        self.bed_of(purpose, Variant::default()).await
    }

    /// Creates a database with the schema, for servers other than the usual ones.
    pub(crate) async fn bed_of(&mut self, purpose: &str, variant: Variant) -> anyhow::Result<Bed> {
        let database = self.create(purpose).await?;
        if self.backend != Backend::Memory {
            self.programs.migrate(&variant, &database.url).await?;
        }
        Ok(Bed {
            database,
            variant,
            keys: Arc::new(Keys::new(u64::from(std::process::id()) << 32)),
            answers: RefCell::default(),
            preloaded: 0,
            waiting: 0,
        })
    }

    /// Starts a server on `bed`.
    pub(crate) async fn serve(
        &mut self,
        bed: &Bed,
        role: &'static str,
        delay: Duration,
    ) -> anyhow::Result<Server> {
        let settings = Settings {
            role,
            delay,
            backend: bed.database.backend,
            database_url: &bed.database.url,
            variant: &bed.variant,
        };
        self.programs.serve(&settings).await
    }

    /// A load of unique typical events, as fast as answers come.
    pub(crate) fn closed<'a>(&self, servers: &'a [&'a Server], connections: usize) -> Load<'a> {
        Load {
            servers,
            connections,
            pace: Pace::Closed,
            destination: Destination::Transactions,
            choice: Choice::Unique,
            sizes: &[BODY_BYTES],
            seconds: self.scale.measure,
        }
    }

    /// A load of unique typical events at a constant rate.
    pub(crate) fn open<'a>(&self, servers: &'a [&'a Server], per_second: f64) -> Load<'a> {
        Load {
            pace: Pace::Open(per_second),
            ..self.closed(servers, 128)
        }
    }

    /// The processes whose processor time is measured while these servers run.
    pub(crate) fn watched(&self, servers: &[&Server]) -> Watched {
        Watched {
            servers: servers.iter().map(|server| server.pid).collect(),
            postmaster: self.cluster.as_ref().and_then(|it| it.postmaster),
            pooler: self.cluster.as_ref().and_then(|it| it.pooler),
        }
    }

    /// Sends `load`, and records the answers in `bed`.
    pub(crate) async fn measure(
        &self,
        bed: &Bed,
        name: impl Into<String>,
        load: &Load<'_>,
    ) -> anyhow::Result<Run> {
        self.checkpoint().await?;
        let run = self.stretch(bed, name, load).await?;
        self.progress.say(&run.line());
        Ok(run)
    }

    /// Measures the sides of a comparison in turns, since a machine's speed drifts.
    pub(crate) async fn in_turns(
        &self,
        section: &mut Section,
        parties: &[(String, Party<'_>)],
    ) -> anyhow::Result<()> {
        self.checkpoint().await?;
        for _ in 0..self.scale.turns {
            for (name, party) in parties {
                let run = match party {
                    Party::Inbox { bed, load } => self.stretch(bed, name, &self.turn(load)).await?,
                    Party::Bare { load } => {
                        let keys = Arc::new(Keys::new(0));
                        let run = self.send(&keys, name.clone(), &self.turn(load)).await?;
                        let complaint = run.answers.as_ref().and_then(Answers::complaint);
                        section.failures.extend(complaint);
                        run
                    }
                    Party::Inserts { database, clients } => {
                        let seconds = self.scale.measure / self.scale.turns;
                        let watched = self.watched(&[]);
                        let (progress, clients) = (&self.progress, *clients);
                        pgbench::measure(progress, &watched, database, name, clients, seconds)
                            .await?
                    }
                };
                section.add(run);
            }
        }
        self.say_runs(section, parties.len());
        Ok(())
    }

    /// Prints the results of the last `count` runs.
    pub(crate) fn say_runs(&self, section: &Section, count: usize) {
        let first = section.runs.len().saturating_sub(count);
        for run in &section.runs[first..] {
            self.progress.say(&run.line());
        }
    }

    /// Returns the part of `load` that is sent in one turn.
    pub(crate) fn turn<'a>(&self, load: &Load<'a>) -> Load<'a> {
        Load {
            seconds: load.seconds / self.scale.turns,
            ..load.clone()
        }
    }

    /// Sends `load` as a part of a longer measurement, and records the answers in `bed`.
    pub(crate) async fn stretch(
        &self,
        bed: &Bed,
        name: impl Into<String>,
        load: &Load<'_>,
    ) -> anyhow::Result<Run> {
        let run = self.send(&bed.keys, name.into(), load).await?;
        bed.answers.borrow_mut().extend(run.answers.clone());
        Ok(run)
    }

    async fn send(&self, keys: &Arc<Keys>, name: String, load: &Load<'_>) -> anyhow::Result<Run> {
        let traffic = Traffic {
            targets: load.servers.iter().map(|server| server.address).collect(),
            connections: load.connections,
            pace: load.pace,
            destination: load.destination,
            choice: load.choice,
            sizes: load.sizes.to_vec(),
            keys: Arc::clone(keys),
            threads: self.generator_threads(),
        };
        let from = Instant::now() + self.scale.warm_up.min(load.seconds / 4);
        let until = from + load.seconds;
        let interval = (load.seconds / 40).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let recording = Arc::new(Recording::new(from, until, interval));
        let generator = Generator::start(&traffic, &recording, until)?;
        let watched = self.watched(load.servers);

        tokio::time::sleep_until(from.into()).await;
        let before = watched.usage();
        self.watch(&name, &recording, from, until).await;
        let shares = watched.usage().since(&before);

        spawn_blocking(|| generator.join())
            .await?
            .with_context(|| format!("failed to send all of \"{name}\""))?;
        let recording = Arc::into_inner(recording).context("all connections are gone")?;
        Ok(Run::of(name, recording.finish(), shares))
    }

    /// Moves the bar until the measurement is over.
    async fn watch(&self, name: &str, recording: &Recording, from: Instant, until: Instant) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.progress.begin(name, millis(until - from));
        loop {
            let now = Instant::now();
            if now >= until {
                return;
            }
            let (answers, point) = recording.so_far();
            let message = point.map_or_else(String::new, |point| {
                format!(
                    "{:.0}/s, p99 {:.1} ms, {answers} answers",
                    point.per_second, point.p99
                )
            });
            self.progress.at(millis(now - from), message);
            tokio::time::sleep_until((now + Duration::from_millis(200)).min(until).into()).await;
        }
    }

    fn generator_threads(&self) -> NonZeroUsize {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.options.generator_threads.unwrap_or(cores / 4);
        NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
    }

    /// Writes events into `bed` before anything is sent to it.
    pub(crate) async fn preload(
        &self,
        bed: &mut Bed,
        preload: Preload,
        events: u64,
    ) -> anyhow::Result<()> {
        bed.database
            .tables()?
            .preload(&self.progress, preload, events)
            .await?;
        bed.preloaded = i64::try_from(events)?;
        if preload == Preload::Waiting {
            bed.waiting = bed.preloaded;
        }
        Ok(())
    }

    /// Waits until every event that falls due soon is processed. A worker must be running.
    pub(crate) async fn await_processed(&self, bed: &Bed) -> anyhow::Result<()> {
        let due = bed.database.tables()?.queued().await? - bed.waiting;
        self.await_settled(bed, due).await
    }

    /// Waits until events are due that were accepted for workers to come, with this delay.
    pub(crate) async fn await_due(&self, bed: &Bed, delay: Duration) -> anyhow::Result<()> {
        let delay = match bed.database.backend {
            Backend::Postgres => delay,
            Backend::Sqlite | Backend::Memory => ASIDE,
        };
        bed.database.tables()?.make_due(delay).await
    }

    /// Waits until the `due` events that fall due soon are processed.
    pub(crate) async fn await_settled(&self, bed: &Bed, due: i64) -> anyhow::Result<()> {
        let seconds = u64::try_from(due).unwrap_or(0) / SLOWEST_PER_SECOND;
        let patience = Duration::from_mins(1) + Duration::from_secs(seconds);
        bed.database
            .tables()?
            .await_processed(&self.progress, due, bed.waiting, patience)
            .await
    }

    /// Checks that every answer was 202 and that every event accepted is among the `stored` ones, and removes the
    /// database. No server may be running.
    pub(crate) async fn remove(
        &self,
        bed: Bed,
        name: &str,
        stored: u64,
        section: &mut Section,
    ) -> anyhow::Result<()> {
        let answers = bed.answers.take();
        let complaints = answers.iter().filter_map(Answers::complaint);
        section.failures.extend(complaints);
        let accepted: u64 = answers.iter().map(|answers| answers.accepted).sum();
        let issued = bed.keys.issued();
        section.check(accepted == issued && stored == issued, || {
            format!(
                "{name}: {issued} keys were sent, {accepted} answers said ACCEPTED, and {stored} events are stored"
            )
        });
        bed.database.tables()?.remove().await
    }

    /// Checks that every answer was 202 and that every event accepted is in the database, has all
    /// of them processed, checks that too, and removes the database. No server may be running.
    pub(crate) async fn close(&mut self, bed: Bed, section: &mut Section) -> anyhow::Result<()> {
        let answers = bed.answers.take();
        let complaints = answers.iter().filter_map(Answers::complaint);
        section.failures.extend(complaints);
        let accepted: u64 = answers.iter().map(|answers| answers.accepted).sum();
        let expected = i64::try_from(bed.keys.issued())? + bed.preloaded;
        section.check(accepted == bed.keys.issued(), || {
            format!(
                "{} keys were sent, {accepted} answers said ACCEPTED",
                bed.keys.issued()
            )
        });
        if bed.database.backend == Backend::Memory {
            // Its events were lost when the server stopped.
            return Ok(());
        }
        let tables = bed.database.tables()?;
        let counts = tables.counts().await?;
        section.check(counts.events == expected, || {
            format!(
                "{} events are in the database instead of {expected}",
                counts.events
            )
        });

        self.await_due(&bed, Duration::ZERO).await?;
        let worker = self.serve(&bed, "worker", Duration::ZERO).await?;
        self.await_processed(&bed).await?;
        worker.stop().await?;
        let counts = tables.counts().await?;
        section.check(
            counts.failed == 0 && counts.processed == expected - bed.waiting,
            || format!("not everything was processed in the end: {counts:?}"),
        );
        tables.remove().await
    }
}

/// Returns the sides of a comparison in the order of a turn. The first side meets the machine in another state than the
/// last one, so each side has each place once in as many turns as there are sides. The next turns go through the same
/// orders backwards.
pub(crate) fn in_order_of<T>(turn: u32, sides: &[T]) -> Vec<&T> {
    let turn = usize::try_from(turn).unwrap_or_default();
    let mut order: Vec<&T> = sides.iter().collect();
    order.rotate_left(turn % sides.len());
    if turn / sides.len() % 2 == 1 {
        order.reverse();
    }
    order
}

/// `1 connection`, `2 connections`, `2 processes`
pub(crate) fn plural(count: usize, what: &str) -> String {
    let ending = match count {
        1 => "",
        _ if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {what}{ending}")
}
