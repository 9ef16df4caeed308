//! PgBouncer in transaction mode.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use testkit::port::Port;
use testkit::process::{Process, last_lines, log_to};
use testkit::tools::find_or_install;
use testkit::wait::Limit;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::tools::{APP, Tools};

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long it may take to end once it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A pooler; killed on drop.
#[derive(Debug)]
pub(crate) struct Pooler {
    pgbouncer: Command,
    process: Option<Process>,
    pub(crate) port: u16,
    _reserved: Port,
    log: PathBuf,
}

/// PgBouncer's version: major and minor.
pub(crate) async fn version() -> anyhow::Result<(u32, u32)> {
    let pgbouncer = find_or_install("pgbouncer").await?;
    let output = Command::new(pgbouncer).arg("--version").output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = || {
        let number = text.split_whitespace().nth(1)?;
        let (major, minor) = number.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    read().with_context(|| format!("that is no version of PgBouncer: {text}"))
}

impl Pooler {
    /// Starts one in front of the PostgreSQL on `port`, with so many connections to it, and these
    /// settings more.
    pub(crate) async fn start(
        tools: &Tools,
        folder: &Path,
        postgres: u16,
        connections: u32,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let program = find_or_install("pgbouncer").await?;
        let reserved = Port::reserve()?;
        let port = reserved.number();
        let (ini, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
        std::fs::write(&users, format!("\"{APP}\" \"\"\n"))?;
        let config = format!(
            "[databases]
            * = host=127.0.0.1 port={postgres}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {}
            pool_mode = transaction
            max_client_conn = 200
            default_pool_size = {connections}
            {settings}
            ",
            users.display()
        );
        // It takes indented lines for what they are, but not its sections.
        let lines: Vec<_> = config.lines().map(str::trim).collect();
        std::fs::write(&ini, lines.join("\n"))?;
        let mut pgbouncer = tools.as_owner(program);
        pgbouncer.arg("-q").arg(&ini);
        let mut pooler = Self {
            pgbouncer,
            process: None,
            port,
            _reserved: reserved,
            log: folder.join("pgbouncer.log"),
        };
        pooler.resume().await?;
        Ok(pooler)
    }

    /// Starts it, again, and waits until it listens.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        log_to(&mut self.pgbouncer, &self.log)?;
        self.process = Some(Process::spawn("PgBouncer", &mut self.pgbouncer)?);
        let limit = Limit::of(START_LIMIT);
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            limit
                .pause(|| format!("PgBouncer listens: {}", last_lines(&self.log, 8)))
                .await?;
        }
        Ok(())
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("PgBouncer does not run")?;
        process.end(Signal::KILL, STOP_LIMIT).await?;
        Ok(())
    }
}
