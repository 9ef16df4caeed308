//! A node under a supervisor that starts it again, as an operating system does.

use std::fs::File;
use std::io::PipeReader;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use testkit::port::Port;
use testkit::process::{Process, last_lines};
use testkit::wait::Limit;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::http::{Client, get};

/// Before a process that ended is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How long a node may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// How long a node may take to end, once told to.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// How to start a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSetup {
    pub(crate) program: PathBuf,
    /// Its environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// What is added for its first start alone.
    pub(crate) at_first: Vec<(&'static str, String)>,
    pub(crate) log_sink: LogSink,
}

/// Where a node's standard error leads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum LogSink {
    #[default]
    File,
    /// A pipe whose reader has gone.
    Closed,
    /// A pipe whose reader reads nothing.
    Stalled,
    /// A disk without room.
    Full,
}

/// A node; killed on drop.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    /// Whether it takes deliveries.
    pub(crate) accepts: bool,
    _port: Port,
    log: PathBuf,
    life: watch::Receiver<Life>,
    goal: watch::Sender<Goal>,
    supervisor: JoinHandle<anyhow::Result<()>>,
}

#[derive(Clone, Debug, Default)]
struct Life {
    pid: Option<Pid>,
    starts: usize,
    ends: Vec<ExitStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Running,
    /// Not to be started again when it ends.
    Stopped,
}

impl Node {
    /// Starts one, which logs into `folder`, and does not wait for it.
    pub(crate) fn start(name: &str, setup: NodeSetup, folder: &Path) -> anyhow::Result<Self> {
        let port = Port::reserve()?;
        let addr = port.addr();
        let log = folder.join(format!("{name}.log"));
        let accepts = !setup
            .variables
            .iter()
            .any(|(name, value)| *name == "ROLE" && value == "worker");
        let (told, life) = watch::channel(Life::default());
        let (goal, wanted) = watch::channel(Goal::Running);
        let supervisor = Supervisor {
            setup,
            addr,
            folder: folder.to_owned(),
            log: log.clone(),
            told,
            wanted,
            stalled: Vec::new(),
        };
        Ok(Self {
            name: name.to_owned(),
            addr,
            accepts,
            _port: port,
            log,
            life,
            goal,
            supervisor: tokio::spawn(supervisor.run()),
        })
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let limit = Limit::of(READY_LIMIT);
        while !self.is_ready().await {
            limit
                .pause(|| format!("{} is ready: {}", self.name, self.last_words()))
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.readiness().await == Some(200)
    }

    /// The status of its `/readyz`; none where it does not answer.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let mut client = Client::connect(self.addr).await?;
        Some(client.ask(&get("/readyz")).await.ok()?.status)
    }

    /// Sends it a signal; where it is just being started again, nothing happens.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.life.borrow().pid {
            // It may just have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> usize {
        self.life.borrow().starts
    }

    /// How it ended, each time.
    pub(crate) fn ends(&self) -> Vec<ExitStatus> {
        self.life.borrow().ends.clone()
    }

    /// Waits until it has been started `starts` times.
    pub(crate) async fn started(&self, starts: usize) -> anyhow::Result<()> {
        let mut life = self.life.clone();
        let started = life.wait_for(|life| life.starts >= starts);
        timeout(READY_LIMIT, started)
            .await
            .with_context(|| format!("{} was not started again", self.name))??;
        Ok(())
    }

    /// Kills it with SIGKILL, for good, and waits for its end.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL).await
    }

    async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.goal.send_replace(Goal::Stopped);
        self.signal(signal);
        match timeout(STOP_LIMIT, &mut self.supervisor).await {
            Ok(supervised) => Ok(supervised??),
            Err(_) => bail!("{} does not stop: {}", self.name, self.last_words()),
        }
    }

    /// Stops it with SIGTERM, for good, and waits for its end.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::TERM).await?;
        let ends = self.ends();
        if let Some(last) = ends.last()
            && !last.success()
            // It was told to stop before it could hear of it.
            && last.signal() != Some(Signal::TERM.as_raw())
        {
            bail!("{} ended with {last}: {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log, 8)
    }

    /// All of its log.
    pub(crate) fn log(&self) -> String {
        last_lines(&self.log, usize::MAX)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The process goes with the task that holds it.
        self.supervisor.abort();
    }
}

struct Supervisor {
    setup: NodeSetup,
    addr: SocketAddr,
    folder: PathBuf,
    log: PathBuf,
    told: watch::Sender<Life>,
    wanted: watch::Receiver<Goal>,
    /// The readers of [`LogSink::Stalled`], which must stay open.
    stalled: Vec<PipeReader>,
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        while *self.wanted.borrow() == Goal::Running {
            let mut process = Process::spawn("a node", &mut self.command()?)?;
            self.told.send_modify(|life| {
                life.pid = process.pid();
                life.starts += 1;
            });
            if *self.wanted.borrow() == Goal::Stopped {
                // Told to stop between the look and the start: nobody has signalled this one.
                return Ok(());
            }
            let status = process.wait().await?;
            self.told.send_modify(|life| {
                life.pid = None;
                life.ends.push(status);
            });
            let stopped = self.wanted.wait_for(|goal| *goal == Goal::Stopped);
            // Over at once where nobody wants it any more.
            let _ = timeout(RESTART_PAUSE, stopped).await;
        }
        Ok(())
    }

    fn command(&mut self) -> anyhow::Result<Command> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let stderr = match self.setup.log_sink {
            LogSink::File => Stdio::from(log.try_clone()?),
            LogSink::Closed => Stdio::from(std::io::pipe()?.1),
            LogSink::Stalled => {
                let (reader, writer) = std::io::pipe()?;
                self.stalled.push(reader);
                Stdio::from(writer)
            }
            LogSink::Full => Stdio::from(File::options().write(true).open("/dev/full")?),
        };
        let mut command = Command::new(&self.setup.program);
        command
            .env_clear()
            .envs(
                self.setup
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("BIND_ADDR", self.addr.to_string())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(stderr);
        if self.told.borrow().starts == 0 {
            let at_first = self.setup.at_first.iter();
            command.envs(at_first.map(|(name, value)| (name, value)));
        }
        Ok(command)
    }
}
