//! A database, nodes and senders, put together for one run of one fault.

mod crash;
mod ending;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::folder::Folder;
use testkit::postgres::Postgres;
use testkit::wait::Limit;
use tokio::time::{Instant, sleep};

use crate::backend::Backend;
use crate::book::Book;
use crate::node::{LogSink, Node, NodeSetup};
use crate::senders::{Mix, Senders, mixed};
use crate::tools::{Tools, url_at};

pub(crate) use crash::Promised;

/// The time between acceptance and the due time of events.
pub(crate) const DELAY: Duration = Duration::from_millis(200);

/// The default lease: how long a dead node's events wait before others take them over.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);

/// The default number of attempts of an event.
const MAX_ATTEMPTS: u32 = 10;

/// The time limit for the recovery after the fault.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// The parameters of one run of a fault.
#[derive(Clone, Debug)]
pub struct Run {
    /// The programs.
    pub tools: Arc<Tools>,
    /// How long the load and the fault last.
    pub seconds: f64,
    /// The number of events that are sent each second.
    pub rate: f64,
    /// The seed of the random choices.
    pub seed: u64,
    /// The server that is upgraded: that of the previous release, or the current one.
    pub former_server: Option<PathBuf>,
}

/// The system under test.
#[derive(Debug)]
pub(crate) struct Rig<B = Postgres> {
    pub(crate) run: Run,
    pub(crate) random: StdRng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) database: B,
    pub(crate) book: Arc<Book>,
    pub(crate) ledger: PathBuf,
    /// Other observations.
    pub(crate) notes: Vec<String>,
    /// Violations that the fault itself has seen.
    pub(crate) violations: Vec<String>,
    /// Key prefixes of the events whose stored body the run itself changes.
    pub(crate) spoilt: Option<&'static str>,
    /// The number of attempts of an event.
    pub(crate) max_attempts: u32,
    /// How long a dead node's events wait before others take them over.
    pub(crate) lease: Duration,
    /// How long a sender waits before it gets a 503.
    pub(crate) patience: Duration,
    /// The behaviours of the events that are sent.
    pub(crate) mix: Mix,
    /// Whether every event that is not told to fail must be processed in its first attempt.
    pub(crate) spends_no_attempt: bool,
    /// Whether handlers record what they do and behave as keys say; those of `webhook-server` do
    /// not.
    pub(crate) keeps_ledger: bool,
    /// Whether the run has to report a violation.
    pub(crate) expects_violations: bool,
    recovery: Duration,
    probes: u64,
    loads: u64,
    /// The number of nodes that were started so far, including those that are gone.
    started: usize,
    pub(crate) folder: Folder,
}

impl Rig<Postgres> {
    /// Starts PostgreSQL with settings (`name=value`), without nodes.
    pub(crate) async fn with_settings(run: &Run, settings: &[&str]) -> anyhow::Result<Self> {
        let cluster = run.tools.cluster().await?;
        let folder = cluster.folder("run")?;
        let data = folder.path().join("data");
        let postgres = cluster.start_copy(&data, settings).await?;
        Ok(Self::on(run, folder, postgres))
    }

    /// Returns the setup of a node that reaches the database at `port`.
    pub(crate) fn setup_at(&self, port: u16) -> NodeSetup {
        self.setup_with(url_at(port))
    }
}

impl<B: Backend> Rig<B> {
    /// Starts a database without nodes.
    pub(crate) async fn new(run: &Run) -> anyhow::Result<Self> {
        let (folder, database) = B::start(&run.tools).await?;
        Ok(Self::on(run, folder, database))
    }

    /// Uses a database that is already running, in `folder` or elsewhere.
    pub(crate) fn on(run: &Run, folder: Folder, database: B) -> Self {
        Self {
            run: run.clone(),
            random: StdRng::seed_from_u64(run.seed),
            nodes: Vec::new(),
            database,
            book: Arc::default(),
            ledger: folder.path().join("ledger"),
            notes: Vec::new(),
            violations: Vec::new(),
            spoilt: None,
            max_attempts: MAX_ATTEMPTS,
            lease: LEASE,
            patience: Duration::from_secs(1),
            mix: mixed,
            spends_no_attempt: false,
            keeps_ledger: true,
            expects_violations: false,
            recovery: Duration::ZERO,
            probes: 0,
            loads: 0,
            started: 0,
            folder,
        }
    }

    fn setup_with(&self, database_url: String) -> NodeSetup {
        let variables = vec![
            ("DATABASE_URL", database_url),
            ("FAULTS_LEDGER", self.ledger.display().to_string()),
            ("PROCESSING_DELAY_SECONDS", DELAY.as_secs_f64().to_string()),
            (
                "PROCESSING_STALE_TIMEOUT_SECONDS",
                self.lease.as_secs_f64().to_string(),
            ),
            ("MAX_ATTEMPTS", self.max_attempts.to_string()),
            (
                "ACCEPT_TIMEOUT_SECONDS",
                self.patience.as_secs_f64().to_string(),
            ),
            ("DRAIN_SECONDS", "10".to_owned()),
            ("DATABASE_POOL_SIZE", "4".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
        ];
        NodeSetup {
            program: self.run.tools.node.clone(),
            variables,
            at_first: Vec::new(),
            log_sink: LogSink::default(),
        }
    }

    /// Returns the setup of a node.
    pub(crate) fn setup(&self) -> NodeSetup {
        self.setup_with(self.database.url())
    }

    /// Starts a node, and does not wait for it.
    pub(crate) fn start(&mut self, setup: NodeSetup) -> anyhow::Result<()> {
        let name = format!("node-{}", self.started);
        self.started += 1;
        let node = Node::start(&name, setup, self.folder.path())?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts `count` nodes, and waits until they are ready.
    pub(crate) async fn start_nodes(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.start(self.setup())?;
        }
        self.ready().await
    }

    /// Waits until every node is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// Starts to send to the nodes that accept.
    pub(crate) fn load(&mut self) -> Senders {
        let accepting = self.nodes.iter().filter(|node| node.accepts);
        let addrs = accepting.map(|node| node.addr).collect();
        let first = self.loads * 1_000_000;
        self.loads += 1;
        Senders::start(
            Arc::clone(&self.book),
            addrs,
            self.run.rate,
            first,
            self.mix,
        )
    }

    /// Waits for this share of the duration of a run's load.
    pub(crate) async fn during(&self, share: f64) {
        sleep(Duration::from_secs_f64(self.run.seconds * share)).await;
    }

    /// Waits for about this share of it, with some variation to hit different moments.
    pub(crate) async fn about_during(&mut self, share: f64) {
        let share = share * self.random.random_range(0.6..1.4);
        self.during(share).await;
    }

    /// Waits until `more` further events are acknowledged.
    pub(crate) async fn acknowledges(&self, more: usize) -> anyhow::Result<()> {
        let wanted = self.book.acknowledged() + more;
        let limit = Limit::of(RECOVERY_LIMIT);
        while self.book.acknowledged() < wanted {
            limit
                .pause(|| format!("{more} more are acknowledged: {}", self.last_words()))
                .await?;
        }
        Ok(())
    }

    /// Returns whether a fault must continue: until `end`, and until some delivery has been
    /// refused. A fault that nobody notices tests nothing.
    pub(crate) fn goes_on(&self, end: Instant) -> anyhow::Result<bool> {
        let is_noticed = self.book.entries().unavailable > 0;
        let now = Instant::now();
        ensure!(
            is_noticed || now < end + RECOVERY_LIMIT,
            "the fault has no effect within {RECOVERY_LIMIT:?}"
        );
        Ok(now < end || !is_noticed)
    }

    /// Waits until some delivery has been refused.
    pub(crate) async fn refuses(&self) -> anyhow::Result<()> {
        let end = Instant::now();
        while self.goes_on(end)? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Returns how many of what there are `per_second` of a run's load.
    pub(crate) fn count(&self, per_second: u128) -> usize {
        let load = Duration::from_secs_f64(self.run.seconds);
        usize::try_from(load.as_millis() * per_second / 1_000).unwrap_or(usize::MAX)
    }

    /// Adds violations, each with `place`.
    pub(crate) fn found(&mut self, place: &str, violations: Vec<String>) {
        let named = violations.into_iter().map(|it| format!("{it} ({place})"));
        self.violations.extend(named);
    }

    /// Returns the ends of all logs.
    pub(crate) fn last_words(&self) -> String {
        let nodes = self.nodes.iter();
        let mut words: Vec<_> = nodes
            .map(|node| format!("\n{}:\n{}", node.name, node.last_words()))
            .collect();
        words.push(format!("\n{}", self.database.last_words()));
        words.concat()
    }
}
