//! PgBouncer in transaction mode.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::port::Port;
use crate::postgres::Programs;
use crate::process::{Process, last_lines, log_to};
use crate::tools::find_or_install;
use crate::wait::Limit;

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long it may take to end once it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A pooler. It is killed on drop.
#[derive(Debug)]
pub struct PgBouncer {
    pgbouncer: Command,
    process: Option<Process>,
    port: Port,
    log: PathBuf,
}

/// PgBouncer's version: major and minor.
///
/// # Errors
///
/// When it cannot be had, or does not tell.
pub async fn version() -> anyhow::Result<(u32, u32)> {
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

impl PgBouncer {
    /// Starts one in front of the PostgreSQL on port `postgres`, with so many connections to it, and
    /// these further lines of its configuration. `role` connects without a password; `folder` holds
    /// its files.
    ///
    /// # Errors
    ///
    /// When it does not listen.
    pub async fn start(
        programs: &Programs,
        folder: &Path,
        postgres: u16,
        role: &str,
        connections: u32,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let program = find_or_install("pgbouncer").await?;
        let port = Port::reserve()?;
        let (ini, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
        std::fs::write(&users, format!("\"{role}\" \"\"\n"))?;
        let config = format!(
            "[databases]
            * = host=127.0.0.1 port={postgres}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {}
            unix_socket_dir =
            auth_type = trust
            auth_file = {}
            pool_mode = transaction
            max_client_conn = 200
            default_pool_size = {connections}
            {settings}
            ",
            port.number(),
            users.display()
        );
        // It takes indented lines for what they are, but not its sections.
        let lines: Vec<_> = config.lines().map(str::trim).collect();
        std::fs::write(&ini, lines.join("\n"))?;
        let mut pgbouncer = programs.as_owner(program);
        pgbouncer.arg("-q").arg(&ini);
        let mut pooler = Self {
            pgbouncer,
            process: None,
            port,
            log: folder.join("pgbouncer.log"),
        };
        pooler.resume().await?;
        Ok(pooler)
    }

    /// Its port, which stays its own while it is stopped.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Starts it, again, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it does not listen.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        log_to(&mut self.pgbouncer, &self.log)?;
        self.process = Some(Process::spawn("PgBouncer", &mut self.pgbouncer)?);
        let limit = Limit::of(START_LIMIT);
        while TcpStream::connect(self.port.addr()).await.is_err() {
            limit
                .pause(|| format!("PgBouncer listens: {}", last_lines(&self.log, 8)))
                .await?;
        }
        Ok(())
    }

    /// Kills it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("PgBouncer does not run")?;
        process.end(Signal::KILL, STOP_LIMIT).await?;
        Ok(())
    }
}
