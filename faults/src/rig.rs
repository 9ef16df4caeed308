//! A database, nodes and senders, put together for one run of one fault.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::query_scalar;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::behaviour::Behaviour;
use crate::book::Book;
use crate::folder::Folder;
use crate::ledger;
use crate::node::{Node, NodeSetup};
use crate::postgres::Postgres;
use crate::reconcile::{Evidence, Tally, reconcile};
use crate::senders::{self, Senders};
use crate::stored;
use crate::tools::Tools;

/// How long after acceptance events fall due.
pub(crate) const DELAY: Duration = Duration::from_millis(200);

/// How long a dead node's events wait for others.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);

/// How many attempts an event has, where a fault says nothing else.
const MAX_ATTEMPTS: u32 = 10;

/// How long after the fault all may take to be as it was before.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// How long after the load all may take to be settled.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);

/// What one run of a fault is given.
#[derive(Clone, Debug)]
pub struct Run {
    /// The programs.
    pub tools: Arc<Tools>,
    /// How long the load and the fault last.
    pub seconds: f64,
    /// How many events are sent a second.
    pub rate: f64,
    /// What the random choices follow from.
    pub seed: u64,
}

/// What a fault attacks.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) run: Run,
    pub(crate) random: StdRng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) postgres: Postgres,
    pub(crate) book: Arc<Book>,
    pub(crate) ledger: PathBuf,
    /// What else is worth to be told.
    pub(crate) notes: Vec<String>,
    /// What must not be, as the fault itself has seen.
    pub(crate) violations: Vec<String>,
    /// Events whose stored body the run itself changes, by the start of their keys.
    pub(crate) spoilt: Option<&'static str>,
    /// How many attempts an event has.
    pub(crate) max_attempts: u32,
    /// Whether every event that is not told to fail has to be processed in its first attempt.
    pub(crate) spends_no_attempt: bool,
    recovery: Duration,
    probes: u64,
    loads: u64,
    pub(crate) folder: Folder,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Rig {
    /// A database without nodes.
    pub(crate) async fn new(run: &Run) -> anyhow::Result<Self> {
        Self::with_settings(run, &[]).await
    }

    /// The same, with settings of PostgreSQL (`name=value`).
    pub(crate) async fn with_settings(run: &Run, settings: &[&str]) -> anyhow::Result<Self> {
        let folder = run.tools.folder("run")?;
        let data = folder.path().join("data");
        run.tools.copy_cluster(&data).await?;
        let postgres = Postgres::start(&run.tools, data, settings).await?;
        Ok(Self::on(run, folder, postgres))
    }

    /// On a database that is there already, in `folder` or elsewhere.
    pub(crate) fn on(run: &Run, folder: Folder, postgres: Postgres) -> Self {
        Self {
            run: run.clone(),
            random: StdRng::seed_from_u64(run.seed),
            nodes: Vec::new(),
            postgres,
            book: Arc::default(),
            ledger: folder.path().join("ledger"),
            notes: Vec::new(),
            violations: Vec::new(),
            spoilt: None,
            max_attempts: MAX_ATTEMPTS,
            spends_no_attempt: false,
            recovery: Duration::ZERO,
            probes: 0,
            loads: 0,
            folder,
        }
    }

    /// A node on the database as it is reached at `port`.
    pub(crate) fn setup_at(&self, port: u16) -> NodeSetup {
        let variables = vec![
            ("DATABASE_URL", Postgres::url_at(port)),
            ("FAULTS_LEDGER", self.ledger.display().to_string()),
            ("PROCESSING_DELAY_SECONDS", DELAY.as_secs_f64().to_string()),
            (
                "PROCESSING_STALE_TIMEOUT_SECONDS",
                LEASE.as_secs_f64().to_string(),
            ),
            ("MAX_ATTEMPTS", self.max_attempts.to_string()),
            ("ACCEPT_TIMEOUT_SECONDS", "1".to_owned()),
            ("DRAIN_SECONDS", "10".to_owned()),
            ("DATABASE_POOL_SIZE", "4".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
        ];
        NodeSetup {
            program: self.run.tools.node.clone(),
            variables,
            at_first: Vec::new(),
        }
    }

    /// A node on the database.
    pub(crate) fn setup(&self) -> NodeSetup {
        self.setup_at(self.postgres.port)
    }

    /// Starts a node, and does not wait for it.
    pub(crate) fn start(&mut self, setup: NodeSetup) -> anyhow::Result<()> {
        let name = format!("node-{}", self.nodes.len());
        let node = Node::start(&name, setup, self.folder.path())?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts so many nodes on the database, and waits until they are ready.
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

    /// Begins to send to the nodes that accept.
    pub(crate) fn load(&mut self) -> Senders {
        self.load_of(self.run.rate)
    }

    /// The same, so many events a second.
    pub(crate) fn load_of(&mut self, rate: f64) -> Senders {
        let accepting = self.nodes.iter().filter(|node| node.accepts);
        let addrs = accepting.map(|node| node.addr).collect();
        let first = self.loads * 1_000_000;
        self.loads += 1;
        Senders::start(Arc::clone(&self.book), addrs, rate, first)
    }

    /// Waits for this share of the time that a run's load lasts.
    pub(crate) async fn during(&self, share: f64) {
        sleep(Duration::from_secs_f64(self.run.seconds * share)).await;
    }

    /// Waits for about this share of it, to hit another moment each time.
    pub(crate) async fn about_during(&mut self, share: f64) {
        let share = share * self.random.random_range(0.6..1.4);
        self.during(share).await;
    }

    /// Waits until so many events more are acknowledged.
    pub(crate) async fn acknowledges(&self, more: usize) -> anyhow::Result<()> {
        let wanted = self.book.acknowledged() + more;
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while self.book.acknowledged() < wanted {
            if Instant::now() > deadline {
                bail!(
                    "nothing is acknowledged within {RECOVERY_LIMIT:?}: {}",
                    self.last_words()
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The fault is over: measures how long it takes until every node has accepted a new event, and
    /// all of these are processed.
    pub(crate) async fn healed(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let first = self.probes;
        let accepting: Vec<_> = self.nodes.iter().filter(|node| node.accepts).collect();
        self.probes += u64::try_from(accepting.len())?;
        let keys: Vec<_> = (first..self.probes)
            .map(|number| senders::key(Behaviour::Well, number))
            .collect();
        let deliveries = accepting
            .iter()
            .zip(&keys)
            .map(|(node, key)| senders::deliver_to(node.addr, &self.book, key));
        let deliveries = futures_util::future::join_all(deliveries);
        if timeout(RECOVERY_LIMIT, deliveries).await.is_err() {
            bail!(
                "not every node accepts within {RECOVERY_LIMIT:?}: {}",
                self.last_words()
            );
        }
        let mut connection = self.postgres.connect().await?;
        loop {
            let processed: i64 = query_scalar(
                "SELECT count(*) FROM webhook.outcomes JOIN webhook.events USING (id)
                 WHERE key = ANY ($1)",
            )
            .bind(&keys)
            .fetch_one(&mut connection)
            .await?;
            if usize::try_from(processed)? == keys.len() {
                break;
            }
            if began.elapsed() > RECOVERY_LIMIT {
                bail!(
                    "new events are not processed within {RECOVERY_LIMIT:?}: {}",
                    self.last_words()
                );
            }
            sleep(Duration::from_millis(10)).await;
        }
        let recovery = began.elapsed().saturating_sub(DELAY);
        self.recovery = self.recovery.max(recovery);
        Ok(())
    }

    /// Complains where no delivery was refused: then the fault was none.
    pub(crate) fn must_have_refused(&mut self) {
        let unavailable = self.book.entries().unavailable;
        if unavailable == 0 {
            self.violations.push("the fault had no effect".to_owned());
        }
    }

    /// Complains where senders noticed more than connections closed while idle.
    pub(crate) fn must_not_be_noticed(&mut self) {
        let entries = self.book.entries();
        let (unavailable, unanswered) = (entries.unavailable, entries.unanswered);
        // A connection that looked idle was not, if what was sent over it has been accepted.
        let swallowed = entries.sent.values();
        let swallowed = swallowed.filter(|it| it.accepted == 0 && it.duplicates > 0);
        let swallowed = swallowed.count();
        drop(entries);
        for (count, what) in [
            (unavailable, "requests answered 503"),
            (unanswered, "requests cut off"),
            (swallowed as u64, "events accepted without an answer"),
        ] {
            if count > 0 {
                self.violations.push(format!("{count} {what}"));
            }
        }
    }

    /// Runs `webhook-server` with this environment more, to its end.
    pub(crate) async fn server(
        &self,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Ended> {
        let mut server = self.server_command(arguments);
        server.envs(variables.iter().map(|(name, value)| (name, value)));
        let output = timeout(RECOVERY_LIMIT, server.output())
            .await
            .context("the server does not end")??;
        Ok(Ended {
            code: output.status.code(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// `webhook-server` on the database.
    pub(crate) fn server_command(&self, arguments: &[&str]) -> Command {
        let mut server = Command::new(&self.run.tools.server);
        server
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", Postgres::url_at(self.postgres.port))
            .env("DATABASE_WAIT_SECONDS", "1")
            .env("BIND_ADDR", "127.0.0.1:0")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        server
    }

    /// Complains unless a server ended with an error that says `words`.
    pub(crate) fn must_refuse(&mut self, ended: &Ended, words: &str) {
        if ended.code != Some(1) || !ended.log.contains(words) {
            let log = ended.log.trim();
            let complaint = format!(
                "{:?} instead of a refusal with {words:?}: {log}",
                ended.code
            );
            self.violations.push(complaint);
        }
    }

    /// Ends the load, waits until all is settled, stops the nodes and reconciles.
    pub(crate) async fn finish(mut self, load: Senders) -> anyhow::Result<Tally> {
        load.finish().await?;
        let drained = self.drained().await;
        for node in &mut self.nodes {
            if let Err(error) = node.stop().await {
                self.violations.push(format!("{error:#}"));
            }
        }
        if let Err(error) = drained {
            self.violations.push(format!("STUCK: {error:#}"));
        }
        let tally = self.tally().await?;
        if !tally.violations.is_empty() {
            let kept = self.folder.keep();
            eprintln!("what was left behind is kept in {}", kept.display());
        }
        Ok(tally)
    }

    async fn tally(&self) -> anyhow::Result<Tally> {
        let mut connection = self.postgres.connect().await?;
        let stored = stored::all(&mut connection).await?;
        let strays = stored::strays(&mut connection).await?;
        let lines = ledger::read(&self.ledger).context("the ledger is damaged")?;
        let mut tally = reconcile(&Evidence {
            entries: &self.book.entries(),
            stored: &stored,
            lines: &lines,
            delay: DELAY,
            lease: LEASE,
            max_attempts: self.max_attempts,
            spoilt: self.spoilt,
            spends_no_attempt: self.spends_no_attempt,
        });
        tally.recovery_seconds = self.recovery.as_secs_f64();
        tally.notes.clone_from(&self.notes);
        tally.violations.extend(self.violations.iter().cloned());
        if strays > 0 {
            let stray = format!("{strays} rows that belong to no event");
            tally.violations.push(stray);
        }
        for node in &self.nodes {
            // A handler's panic is caught and logged by design; any other is a bug.
            let panicked = node
                .log()
                .lines()
                .filter(|line| line.contains("panicked at") && !line.contains("handler.rs"))
                .map(|line| format!("{} panicked: {line}", node.name))
                .next();
            tally.violations.extend(panicked);
        }
        Ok(tally)
    }

    /// Waits until no event is queued any more.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        let mut connection = self.postgres.connect().await?;
        let deadline = Instant::now() + DRAIN_LIMIT;
        loop {
            let queued: i64 = query_scalar("SELECT count(*) FROM webhook.queue")
                .fetch_one(&mut connection)
                .await?;
            if queued == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{queued} events are queued after {DRAIN_LIMIT:?}: {}",
                    self.last_words()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The ends of all logs.
    pub(crate) fn last_words(&self) -> String {
        let nodes = self.nodes.iter();
        let mut words: Vec<_> = nodes
            .map(|node| format!("\n{}:\n{}", node.name, node.last_words()))
            .collect();
        words.push(format!("\nPostgreSQL:\n{}", self.postgres.last_words()));
        words.concat()
    }
}
