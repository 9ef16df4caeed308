//! One PostgreSQL server, to be stopped in every way there is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use testkit::port::Port;
use testkit::process::{Process, last_lines, log_to};
use testkit::wait::Limit;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::tools::{ADMIN, APP, DATABASE, Tools};

/// How long it may take to come up, recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to go down.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A server, killed on drop.
#[derive(Debug)]
pub(crate) struct Postgres {
    postgres: Command,
    process: Option<Process>,
    data: PathBuf,
    pub(crate) port: u16,
    _reserved: Port,
}

impl Postgres {
    /// Starts a server on the cluster `data` with some settings (`name=value`) more.
    pub(crate) async fn start(
        tools: &Tools,
        data: PathBuf,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let reserved = Port::reserve()?;
        let port = reserved.number();
        let mut postgres = tools.postgres_command("postgres");
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string());
        for setting in settings {
            postgres.arg("-c").arg(setting);
        }
        let mut server = Self {
            postgres,
            process: None,
            data,
            port,
            _reserved: reserved,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Starts it again, and waits until it answers.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        let limit = Limit::of(START_LIMIT);
        loop {
            self.launch()?;
            match self.await_answer(limit).await {
                Ok(()) => return Ok(()),
                // What a killed server left behind (processes, shared memory) goes by itself.
                Err(_) if self.has_ended()? && !limit.is_reached() => {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts it, and does not wait.
    pub(crate) fn launch(&mut self) -> anyhow::Result<()> {
        let log = self.log_path();
        log_to(&mut self.postgres, &log)?;
        self.process = Some(Process::spawn("PostgreSQL", &mut self.postgres)?);
        Ok(())
    }

    /// Waits until it lets an administrator in.
    pub(crate) async fn await_answer(&mut self, limit: Limit) -> anyhow::Result<()> {
        loop {
            if self.connect_to("postgres").await.is_ok() {
                return Ok(());
            }
            if self.has_ended()? {
                bail!("PostgreSQL ended while it came up: {}", self.last_words());
            }
            limit
                .pause(|| format!("PostgreSQL comes up: {}", self.last_words()))
                .await?;
        }
    }

    /// Waits until it has thrown out this session, and all others, and lets an administrator in
    /// again.
    pub(crate) async fn recovered(&mut self, session: &mut PgConnection) -> anyhow::Result<()> {
        let limit = Limit::of(START_LIMIT);
        while sqlx::raw_sql("SELECT 1")
            .execute(&mut *session)
            .await
            .is_ok()
        {
            limit.pause(|| "PostgreSQL ends the session").await?;
        }
        self.await_answer(limit).await
    }

    /// Whether the process is gone.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(match &mut self.process {
            Some(process) => process.ended()?.is_some(),
            None => true,
        })
    }

    /// Stops it as an operator does.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::INT).await
    }

    /// Sends a signal to the first process and waits for its end: INT is a fast stop, QUIT an
    /// immediate one, KILL none at all.
    pub(crate) async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("PostgreSQL does not run")?;
        process.end(signal, STOP_LIMIT).await?;
        self.process = None;
        Ok(())
    }

    /// How an administrator connects to the nodes' database.
    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(ADMIN)
            .database(DATABASE)
            .ssl_mode(PgSslMode::Disable)
            .application_name("harness")
    }

    /// Connects to the nodes' database, past everything that stands between.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.connect_to(DATABASE).await
    }

    pub(crate) async fn connect_to(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = self.options().database(database);
        Ok(timeout(Duration::from_secs(10), options.connect())
            .await
            .context("PostgreSQL does not answer")??)
    }

    /// Runs statements as an administrator, in the nodes' database.
    pub(crate) async fn execute(&self, sql: impl Into<String>) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let sql = sql.into();
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut connection)
            .await
            .with_context(|| sql)?;
        Ok(())
    }

    /// The URL of the nodes' database for the nodes' role, on this server or on what stands before
    /// it at `port`.
    pub(crate) fn url_at(port: u16) -> String {
        Self::url_of(APP, port)
    }

    /// The same for another role.
    pub(crate) fn url_of(role: &str, port: u16) -> String {
        format!("postgres://{role}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log_path(), 8)
    }
}
