//! PostgreSQL servers of a test's own, to be stopped in every way there is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::folder::{Folder, Owner, parent_in_memory};
use crate::port::Port;
use crate::process::{Process, last_lines, log_to, run};
use crate::tools::find_or_install;
use crate::wait::Limit;

/// The name of the superuser of each cluster.
pub const ADMIN: &str = "webhook";

/// How long a server may take to come up, recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to go down.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// PostgreSQL's programs, and whom they run as.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    owner: Option<Owner>,
}

impl Programs {
    /// Finds PostgreSQL, or installs it.
    ///
    /// # Errors
    ///
    /// When it cannot be had.
    pub async fn find() -> anyhow::Result<Self> {
        Self::in_folder(find_or_install("postgres").await?)
    }

    /// Those in a folder, which may be of another version.
    ///
    /// # Errors
    ///
    /// When there is no user to run them as.
    pub fn in_folder(folder: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            folder,
            owner: Owner::needed()?,
        })
    }

    /// The user that servers run as, where that is another than this process's.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// A program of PostgreSQL, to be run as the servers' user.
    pub fn command(&self, program: &str) -> Command {
        self.as_owner(self.folder.join(program))
    }

    /// Any program, to be run as the servers' user, with an empty environment.
    pub fn as_owner(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(owner) = self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Makes a cluster in `data`, with these further arguments of `initdb` and lines of
    /// `postgresql.conf`.
    ///
    /// # Errors
    ///
    /// When `initdb` fails, or the configuration cannot be written.
    pub async fn make_cluster(
        &self,
        data: &Path,
        arguments: &[&str],
        conf: &str,
    ) -> anyhow::Result<()> {
        let mut initdb = self.command("initdb");
        initdb
            .arg("--pgdata")
            .arg(data)
            .args(["--username", ADMIN, "--encoding=UTF8", "--locale=C"])
            .arg("--no-sync")
            .args(arguments);
        run(&mut initdb).await?;
        let file = data.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&file)?;
        text.push_str(conf);
        Ok(std::fs::write(&file, text)?)
    }
}

/// A server. It is killed on drop.
#[derive(Debug)]
pub struct Postgres {
    command: Command,
    process: Option<Process>,
    log: PathBuf,
    admin: PgConnectOptions,
    port: Port,
}

impl Postgres {
    /// Starts a server on the cluster in `data`, with these further settings (`name=value`), and
    /// waits until it answers. `database` is the one that [`connect`](Self::connect) and
    /// [`execute`](Self::execute) use.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn start(
        programs: &Programs,
        data: &Path,
        database: &str,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        Self::start_with(programs, data, database, None, settings).await
    }

    async fn start_with(
        programs: &Programs,
        data: &Path,
        database: &str,
        password: Option<&str>,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let port = Port::reserve()?;
        let mut command = programs.command("postgres");
        command.arg("-D").arg(data);
        command.arg("-p").arg(port.number().to_string());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        let mut admin = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port.number())
            .username(ADMIN)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("harness");
        if let Some(password) = password {
            admin = admin.password(password);
        }
        let mut server = Self {
            command,
            process: None,
            log: data.with_extension("log"),
            admin,
            port,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Its port, which stays its own while it is stopped.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
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
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        log_to(&mut self.command, &self.log)?;
        self.process = Some(Process::spawn("PostgreSQL", &mut self.command)?);
        Ok(())
    }

    /// Waits until it lets an administrator in.
    ///
    /// # Errors
    ///
    /// When it ends, or the limit is reached.
    pub async fn await_answer(&mut self, limit: Limit) -> anyhow::Result<()> {
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

    /// Waits until it has ended this session, and all others, and lets an administrator in again.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn recovered(&mut self, session: &mut PgConnection) -> anyhow::Result<()> {
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

    /// Whether it has ended.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(match &mut self.process {
            Some(process) => process.ended()?.is_some(),
            None => true,
        })
    }

    /// Stops it as an operator does.
    ///
    /// # Errors
    ///
    /// When it does not stop.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::INT).await
    }

    /// Sends a signal to the first process and waits for its end: INT is a fast stop, QUIT an
    /// immediate one, and KILL ends it without any.
    ///
    /// # Errors
    ///
    /// When it does not stop.
    pub async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("PostgreSQL does not run")?;
        process.end(signal, STOP_LIMIT).await?;
        self.process = None;
        Ok(())
    }

    /// How an administrator connects to its database.
    pub fn options(&self) -> &PgConnectOptions {
        &self.admin
    }

    /// Connects to its database, past everything that stands between.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.admin).await
    }

    /// Connects to another database.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn connect_to(&self, database: &str) -> anyhow::Result<PgConnection> {
        connect(&self.admin.clone().database(database)).await
    }

    /// Runs statements as an administrator, in its database.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses one of them.
    pub async fn execute(&self, sql: impl Into<String>) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let sql = sql.into();
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut connection)
            .await
            .with_context(|| sql)?;
        Ok(())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        last_lines(&self.log, 8)
    }
}

async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    Ok(timeout(CONNECT_LIMIT, options.connect())
        .await
        .context("PostgreSQL does not answer")??)
}

/// A server of one test's own, for settings that would disturb other tests. It is stopped and removed
/// on drop.
#[derive(Debug)]
pub struct OwnServer {
    url: String,
    // Before the folder: what is dropped first still uses the other.
    server: Postgres,
    _folder: Folder,
}

impl OwnServer {
    /// Starts one with these settings (`name=value`). It does not sync to disk, and asks for a
    /// password.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(settings: &[&str]) -> Self {
        let started = async { Self::start_by(&Programs::find().await?, settings).await };
        started
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL server: {error:#}"))
    }

    /// Starts one by these programs, with these settings (`name=value`).
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn start_by(programs: &Programs, settings: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::create(&parent_in_memory(), "own-server", programs.owner())?;
        let password = format!("{:032x}", rand::random::<u128>());
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, &password)?;
        if let Some(owner) = programs.owner() {
            owner.take(&password_file)?;
        }
        let data = folder.path().join("data");
        let pwfile = format!("--pwfile={}", password_file.display());
        let conf = format!(
            "
            listen_addresses = '127.0.0.1'
            unix_socket_directories = '{}'
            fsync = off
            ",
            folder.path().display()
        );
        programs
            .make_cluster(&data, &["--auth=password", &pwfile], &conf)
            .await?;
        let server =
            Postgres::start_with(programs, &data, "postgres", Some(&password), settings).await?;
        let port = server.port();
        Ok(Self {
            url: format!("postgres://{ADMIN}:{password}@127.0.0.1:{port}/postgres"),
            server,
            _folder: folder,
        })
    }

    /// The URL of its database `postgres`: a superuser with a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it, as the loss of its process does.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub async fn kill(&mut self) {
        let ended = self.server.end(Signal::KILL).await;
        ended.unwrap_or_else(|error| panic!("PostgreSQL does not end: {error:#}"));
    }

    /// Starts it again, on the same port, and waits until it has recovered.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) {
        let resumed = self.server.resume().await;
        resumed.unwrap_or_else(|error| panic!("PostgreSQL does not come back: {error:#}"));
    }
}
