//! PgBouncer in transaction mode.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::port::Port;
use crate::postgres::last_lines;
use crate::tools::{APP, Tools, find_or_install};

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A pooler; killed on drop.
#[derive(Debug)]
pub(crate) struct Pooler {
    pgbouncer: Command,
    child: Option<Child>,
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
        let port = reserved.number;
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
            child: None,
            port,
            _reserved: reserved,
            log: folder.join("pgbouncer.log"),
        };
        pooler.resume().await?;
        Ok(pooler)
    }

    /// Starts it, again, and waits until it listens.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        self.pgbouncer.stdout(log.try_clone()?).stderr(log);
        self.child = Some(self.pgbouncer.spawn()?);
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            ensure!(
                Instant::now() < deadline,
                "PgBouncer does not listen: {}",
                last_lines(&self.log, 8)
            );
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let child = self.child.as_mut().context("PgBouncer does not run")?;
        child.kill().await?;
        Ok(())
    }
}
