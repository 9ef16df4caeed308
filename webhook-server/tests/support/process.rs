//! The server as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::in_time;

/// A running `webhook-server`, killed on drop.
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// What it has logged so far.
    pub(crate) logged: Vec<String>,
}

/// A way to start one: with no environment and in an empty directory, but for what is added.
pub(crate) struct Starter {
    command: Command,
    directory: PathBuf,
}

/// `webhook-server` with these arguments.
pub(crate) fn webhook_server(args: &[&str]) -> Starter {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook-server"));
    command
        .args(args)
        .env_clear()
        .current_dir(&directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Starter { command, directory }
}

impl Starter {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes the file `.env`.
    pub(crate) fn env_file(self, text: &str) -> Self {
        std::fs::write(self.directory.join(".env"), text).unwrap();
        self
    }

    /// Runs it to its end: its exit code, standard output and standard error.
    pub(crate) async fn output(mut self) -> (i32, String, String) {
        let output = in_time("the process's end", self.command.output())
            .await
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Starts it on a port of its own, with its log in JSON, whatever else is set.
    pub(crate) fn start(self) -> Process {
        self.start_on("127.0.0.1:0")
    }

    /// The same, on this address.
    pub(crate) fn start_on(mut self, addr: &str) -> Process {
        let mut child = self
            .command
            .args(["--bind-addr", addr, "--log-format=json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Process {
            child,
            log,
            logged: Vec::new(),
        }
    }
}

impl Process {
    /// Waits until it logs `message`, and returns that line.
    pub(crate) async fn logs(&mut self, message: &str) -> Value {
        while let Some(event) = in_time(message, self.next_event()).await {
            if event["message"] == message {
                return event;
            }
        }
        panic!("ended without logging {message:?}: {:#?}", self.logged);
    }

    /// The next line that it logs, for as long as it runs.
    pub(crate) async fn next_event(&mut self) -> Option<Value> {
        let line = self.log.next_line().await.unwrap()?;
        let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.logged.push(line);
        Some(event)
    }

    /// Waits until it listens, and returns where.
    pub(crate) async fn listens(&mut self) -> SocketAddr {
        self.logs("listening").await["addr"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        Pid::from_raw(pid).unwrap()
    }

    /// Waits until it ends, having logged what is left.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        while let Some(line) = in_time("the log's end", self.log.next_line())
            .await
            .unwrap()
        {
            self.logged.push(line);
        }
        in_time("the process's end", self.child.wait())
            .await
            .unwrap()
    }
}
