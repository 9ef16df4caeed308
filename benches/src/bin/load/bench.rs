//! What every scenario works with: servers, databases, measurements, checks.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use crate::database::{Cluster, Counts, Database, Preload};
use crate::generator::{Generator, Pace, Traffic};
use crate::machine::Machine;
use crate::options::{Options, Scale};
use crate::process::Watched;
use crate::progress::Progress;
use crate::recording::{Answers, Recording};
use crate::report::{Report, Run, Section};
use crate::request::{Choice, Keys};
use crate::server::{Programs, Server, Settings};

/// The body of a typical event.
pub(crate) const BODY_BYTES: usize = 300;

/// How many events are processed in a second, at the very least.
const SLOWEST_PER_SECOND: u64 = 500;

/// All that a scenario needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) scale: Scale,
    pub(crate) cluster: Cluster,
    pub(crate) programs: Programs,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
}

/// A database, and what was sent to it.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) database: Database,
    keys: Arc<Keys>,
    answers: Vec<Answers>,
    /// Events written beforehand, and how many of them stay in the queue.
    preloaded: i64,
    pub(crate) waiting: i64,
}

/// What to send in one measurement, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) servers: &'a [&'a Server],
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) choice: Choice,
    pub(crate) sizes: &'a [usize],
    pub(crate) seconds: Duration,
}

impl Bench {
    pub(crate) async fn prepare(options: Options) -> anyhow::Result<Self> {
        let cluster = Cluster::find().await?;
        let machine = Machine::look_up(&mut cluster.connect().await?).await?;
        let programs = Programs::new(options.server.as_deref(), options.server_env.clone())?;
        Ok(Self {
            scale: options.scale(),
            report: Report::new(machine, options.quick),
            progress: Progress::new(),
            cluster,
            programs,
            options,
        })
    }

    /// A new database with the schema in it.
    pub(crate) async fn bed(&mut self, purpose: &str) -> anyhow::Result<Bed> {
        let database = self.cluster.create(purpose).await?;
        self.programs.migrate(&database.url).await?;
        Ok(Bed {
            database,
            keys: Arc::new(Keys::new(u64::from(std::process::id()) << 32)),
            answers: Vec::new(),
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
        self.serve_with(bed, role, delay, &[]).await
    }

    /// Starts a server on `bed` with further options.
    pub(crate) async fn serve_with(
        &mut self,
        bed: &Bed,
        role: &'static str,
        delay: Duration,
        arguments: &[&'static str],
    ) -> anyhow::Result<Server> {
        let settings = Settings {
            role,
            delay,
            database_url: &bed.database.url,
            arguments,
        };
        self.programs.serve(&settings).await
    }

    /// A load of unique typical events, as fast as answers come.
    pub(crate) fn closed<'a>(&self, servers: &'a [&'a Server], connections: usize) -> Load<'a> {
        Load {
            servers,
            connections,
            pace: Pace::Closed,
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

    /// Whose processor time counts while these servers run.
    pub(crate) fn watched(&self, servers: &[&Server]) -> Watched {
        Watched {
            servers: servers.iter().map(|server| server.pid).collect(),
            postmaster: self.cluster.postmaster,
            pooler: self.cluster.pooler,
        }
    }

    /// Sends `load`, and notes the answers in `bed`.
    pub(crate) async fn measure(
        &self,
        bed: &mut Bed,
        name: impl Into<String>,
        load: &Load<'_>,
    ) -> anyhow::Result<Run> {
        let run = self.measure_with(&bed.keys, name.into(), load).await?;
        bed.answers.extend(run.answers.clone());
        Ok(run)
    }

    /// Sends `load` where nothing is stored.
    pub(crate) async fn measure_bare(
        &self,
        name: impl Into<String>,
        load: &Load<'_>,
    ) -> anyhow::Result<Run> {
        self.measure_with(&Arc::new(Keys::new(0)), name.into(), load)
            .await
    }

    async fn measure_with(
        &self,
        keys: &Arc<Keys>,
        name: String,
        load: &Load<'_>,
    ) -> anyhow::Result<Run> {
        self.cluster.checkpoint().await?;
        let traffic = Traffic {
            targets: load.servers.iter().map(|server| server.address).collect(),
            connections: load.connections,
            pace: load.pace,
            choice: load.choice,
            sizes: load.sizes.to_vec(),
            keys: Arc::clone(keys),
            threads: self.generator_threads(),
        };
        let from = Instant::now() + self.scale.warm_up;
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
        let run = Run::of(name, recording.finish(), shares);
        self.progress.say(&run.line());
        Ok(run)
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
            .preload(&self.progress, preload, events)
            .await?;
        bed.preloaded = i64::try_from(events)?;
        if preload == Preload::Waiting {
            bed.waiting = bed.preloaded;
        }
        Ok(())
    }

    /// Waits until everything is processed that will fall due soon; somebody must be at it.
    pub(crate) async fn await_processed(&self, bed: &Bed) -> anyhow::Result<Counts> {
        let counts = bed.database.counts().await?;
        let queued = u64::try_from(counts.queued - bed.waiting).unwrap_or(0);
        let patience = Duration::from_mins(1) + Duration::from_secs(queued / SLOWEST_PER_SECOND);
        let expected = counts.events - bed.waiting;
        bed.database
            .await_processed(&self.progress, expected, bed.waiting, patience)
            .await
    }

    /// Checks that every answer was 202 and that every event accepted is in the database, has all
    /// of them processed, checks that too, and removes the database. No server may be running.
    pub(crate) async fn close(&mut self, bed: Bed, section: &mut Section) -> anyhow::Result<()> {
        let complaints = bed.answers.iter().filter_map(Answers::complaint);
        section.failures.extend(complaints);
        let accepted: u64 = bed.answers.iter().map(|answers| answers.accepted).sum();
        let expected = i64::try_from(bed.keys.issued())? + bed.preloaded;
        section.check(accepted == bed.keys.issued(), || {
            format!(
                "{} keys were sent, {accepted} answers said ACCEPTED",
                bed.keys.issued()
            )
        });
        let counts = bed.database.counts().await?;
        section.check(counts.events == expected, || {
            format!(
                "{} events are in the database instead of {expected}",
                counts.events
            )
        });

        let worker = self.serve(&bed, "worker", Duration::ZERO).await?;
        let counts = self.await_processed(&bed).await?;
        worker.stop().await?;
        section.check(
            counts.failed == 0 && counts.processed == expected - bed.waiting,
            || format!("not everything was processed in the end: {counts:?}"),
        );
        self.cluster.remove(bed.database).await
    }
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
