//! The servers under test, each a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use testkit::port::Port;
use testkit::process::{Process, last_lines, log_to};
use testkit::wait::Limit;

use crate::backend::Backend;
use crate::client::Client;
use crate::machine::BUILD;
use crate::process::build_folder;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The delay of a server that should be an API node on a backend where one process has all roles: its
/// worker has nothing to do for longer than a run takes.
pub(crate) const ASIDE: Duration = Duration::from_hours(1);

/// Room for all events of a run.
const MEMORY: [(&str, &str); 2] = [
    ("MEMORY_CAPACITY", "100000000"),
    ("MEMORY_MAX_BYTES", "100000000000"),
];

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    _port: Port,
    log: PathBuf,
}

/// Starts servers.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The program, once it is known.
    server: Option<PathBuf>,
    server_env: Vec<(String, String)>,
    logs: PathBuf,
    started: u32,
}

/// The role of a webhook-server.
#[derive(Clone, Debug)]
pub(crate) struct Settings<'a> {
    /// On other backends than PostgreSQL one process has all roles.
    pub(crate) role: &'static str,
    pub(crate) delay: Duration,
    pub(crate) backend: Backend,
    pub(crate) database_url: &'a str,
    pub(crate) variant: &'a Variant,
}

/// A webhook-server with another program or other settings: `[FILE,]NAME=VALUE,…`
#[derive(Clone, Debug, Default)]
pub(crate) struct Variant {
    /// The argument as it was given.
    pub(crate) name: String,
    server: Option<PathBuf>,
    /// The variables of its environment.
    env: Vec<(String, String)>,
}

impl Variant {
    /// The usual server with one more variable of its environment.
    #[must_use]
    pub(crate) fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut variant = Self {
            name: text.to_owned(),
            ..Self::default()
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) => variant.env.push((name.to_owned(), value.to_owned())),
                None => {
                    let path = Path::new(part).canonicalize();
                    variant.server = Some(path.map_err(|error| format!("{part}: {error}"))?);
                }
            }
        }
        Ok(variant)
    }
}

impl Programs {
    /// Uses `server`, or builds one when it is first needed.
    pub(crate) fn new(
        server: Option<&Path>,
        server_env: Vec<(String, String)>,
        backends: &[Backend],
    ) -> anyhow::Result<Self> {
        // Runs on different backends may go on at the same time.
        let names: Vec<String> = backends.iter().map(Backend::to_string).collect();
        let logs = build_folder()?.join("load-logs").join(names.join("-"));
        std::fs::create_dir_all(&logs)?;
        Ok(Self {
            server: server
                .map(|path| path.canonicalize().context("--server"))
                .transpose()?,
            server_env,
            logs,
            started: 0,
        })
    }

    /// The folder for the files of servers.
    pub(crate) fn folder(&self) -> &Path {
        &self.logs
    }

    fn server(&mut self) -> anyhow::Result<&Path> {
        if self.server.is_none() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.args(["build", "--package", "webhook-server"]);
            cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
            if BUILD == "release" {
                cargo.arg("--release");
            }
            ensure!(cargo.status()?.success(), "failed to build webhook-server");
            self.server = Some(build_folder()?.join("webhook-server"));
        }
        self.server.as_deref().context("it has just been built")
    }

    fn server_of(&mut self, variant: &Variant) -> anyhow::Result<PathBuf> {
        match &variant.server {
            Some(server) => Ok(server.clone()),
            None => Ok(self.server()?.to_owned()),
        }
    }

    /// Creates or updates the schema of a database.
    pub(crate) async fn migrate(
        &mut self,
        variant: &Variant,
        database_url: &str,
    ) -> anyhow::Result<()> {
        let output = tokio::process::Command::new(self.server_of(variant)?)
            .arg("migrate")
            .env("DATABASE_URL", database_url)
            .envs(variant.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.logs)
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "failed to migrate: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Starts a webhook-server and waits until it is ready.
    pub(crate) async fn serve(&mut self, settings: &Settings<'_>) -> anyhow::Result<Server> {
        let (role, delay) = match (settings.backend, settings.role) {
            (Backend::Postgres, role) => (role, settings.delay),
            (_, "api") => ("all", ASIDE),
            _ => ("all", settings.delay),
        };
        let mut command = Command::new(self.server_of(settings.variant)?);
        if settings.backend == Backend::Memory {
            command.envs(MEMORY);
        }
        command
            .env("DATABASE_URL", settings.database_url)
            .env("ROLE", role)
            .env("PROCESSING_DELAY_SECONDS", delay.as_secs_f64().to_string())
            .env("LOG_LEVEL", "warn")
            .envs(self.server_env.iter().map(|(name, value)| (name, value)))
            .envs(
                settings
                    .variant
                    .env
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        let port = Port::reserve()?;
        command.env("BIND_ADDR", port.addr().to_string());
        self.start(command, port, "/readyz").await
    }

    /// Starts the bare server of this program.
    pub(crate) async fn serve_bare(&mut self) -> anyhow::Result<Server> {
        self.serve_role("bare", Port::reserve()?).await
    }

    /// Starts the receiver of this program, which events are forwarded to.
    pub(crate) async fn serve_receiver(&mut self, port: Port) -> anyhow::Result<Server> {
        self.serve_role("receiver", port).await
    }

    async fn serve_role(&mut self, role: &str, port: Port) -> anyhow::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).arg(port.addr().to_string());
        self.start(command, port, "/").await
    }

    async fn start(&mut self, command: Command, port: Port, probe: &str) -> anyhow::Result<Server> {
        self.started += 1;
        let log = self.logs.join(format!("server-{}.log", self.started));
        // An earlier run of this program may have left one.
        let _ = std::fs::remove_file(&log);
        let mut command = tokio::process::Command::from(command);
        log_to(&mut command, &log)?;
        command
            // In a folder without a .env file.
            .current_dir(&self.logs)
            .stdin(Stdio::null());
        let process = Process::spawn("a server", &mut command)?;
        let pid = process.pid().context("the process has just been started")?;
        let mut server = Server {
            process,
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            address: port.addr(),
            _port: port,
            log,
        };
        server.await_ready(probe).await?;
        Ok(server)
    }
}

impl Server {
    async fn await_ready(&mut self, probe: &str) -> anyhow::Result<()> {
        let limit = Limit::of(START_LIMIT);
        let request = format!("GET {probe} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        loop {
            if let Some(status) = self.process.ended()? {
                bail!(
                    "a server ended at its start, {status}: {}",
                    self.last_words()
                );
            }
            if let Ok(mut client) = Client::connect(self.address).await
                && let Ok(answer) = client.ask(request.as_bytes()).await
                // The bare server and the receiver take other requests, but it is an answer.
                && (answer.status == 200 || probe == "/")
            {
                return Ok(());
            }
            limit
                .pause(|| format!("a server is ready: {}", self.last_words()))
                .await?;
        }
    }

    /// Stops the server with SIGTERM, and waits until it has ended. Dropping it kills it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.end(Signal::TERM, STOP_LIMIT).await?;
        ensure!(
            status.success(),
            "a server ended with {status}: {}",
            self.last_words()
        );
        Ok(())
    }

    /// Returns the keys that its handlers began with and when they did, from its log.
    pub(crate) fn begun(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        #[derive(serde::Deserialize)]
        struct Line {
            timestamp: String,
            transaction_id: Option<String>,
        }
        let log = std::fs::read_to_string(&self.log)?;
        Ok(log
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
            .filter_map(|line| Some((line.transaction_id?, line.timestamp)))
            .unzip())
    }

    /// Waits until it has logged a line with these words.
    pub(crate) async fn until_logged(&self, words: &str) -> anyhow::Result<()> {
        let limit = Limit::of(START_LIMIT);
        while !std::fs::read_to_string(&self.log)?.contains(words) {
            limit
                .pause(|| format!("a server logs {words:?}: {}", self.last_words()))
                .await?;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        last_lines(&self.log, 10)
    }
}
