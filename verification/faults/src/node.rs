//! A node with a supervisor that restarts it, as an operating system does.

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

/// The pause before a process that ended is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The time-out until a node is ready.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// The time-out until a node has ended after it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// How to start a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSetup {
    pub(crate) program: PathBuf,
    /// The environment of the node.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Variables that are added for its first start only.
    pub(crate) at_first: Vec<(&'static str, String)>,
    pub(crate) log_sink: LogSink,
}

/// Where a node's standard error goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum LogSink {
    #[default]
    File,
    /// A pipe whose reader has gone.
    Closed,
    /// A pipe whose reader reads nothing.
    Stalled,
    /// A full disk.
    Full,
}

/// A node, which is killed on drop.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    /// Whether it accepts deliveries.
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
    /// The node must not be started again when its process ends.
    Stopped,
}

impl Node {
    /// Starts a node that logs into `folder`, and does not wait for it.
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

    /// Waits until the node is ready.
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

    /// Returns the status of its `/readyz`, or `None` if it does not answer.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let mut client = Client::connect(self.addr).await?;
        Some(client.ask(&get("/readyz")).await.ok()?.status)
    }

    /// Sends a signal to the process. Has no effect while it is being restarted.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.life.borrow().pid {
            // The process may just have ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Returns the most memory that the process has had, in bytes, as Linux counts it.
    pub(crate) fn peak_memory_bytes(&self) -> Option<u64> {
        let pid = self.life.borrow().pid?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
        let status = status.ok()?;
        let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Returns how often it was started.
    pub(crate) fn starts(&self) -> usize {
        self.life.borrow().starts
    }

    /// Returns the exit status of each of its processes.
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

    /// Kills it with SIGKILL without a restart, and waits for its end.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL).await
    }

    /// Sends it a signal without a restart, and waits for its end.
    pub(crate) async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.goal.send_replace(Goal::Stopped);
        self.signal(signal);
        match timeout(STOP_LIMIT, &mut self.supervisor).await {
            Ok(supervised) => Ok(supervised??),
            Err(_) => bail!("{} does not stop: {}", self.name, self.last_words()),
        }
    }

    /// Stops it with SIGTERM without a restart, and waits for its end.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::TERM).await?;
        let ends = self.ends();
        if let Some(last) = ends.last()
            && !last.success()
            // The process was told to stop before it could handle signals.
            && last.signal() != Some(Signal::TERM.as_raw())
        {
            bail!("{} ended with {last}: {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Returns the end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log, 8)
    }

    /// Returns all of its log.
    pub(crate) fn log(&self) -> String {
        last_lines(&self.log, usize::MAX)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The process is killed when the task that holds it is dropped.
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
                // The node was told to stop between the check and the start, so nobody has
                // signalled this process.
                return Ok(());
            }
            let status = process.wait().await?;
            self.told.send_modify(|life| {
                life.pid = None;
                life.ends.push(status);
            });
            let stopped = self.wanted.wait_for(|goal| *goal == Goal::Stopped);
            // This ends at once if the node must not be started again.
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
