//! The server as a process of its own.
//!
//! Whatever a test is about, its server logs all that it can, and every line is looked at: a secret,
//! a whole account number, a panic, an answer 500 or a control character in it fails the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use testkit::process::Lines;
use tokio::process::Command;

use super::{PATIENCE, in_time, secrets};

/// Each command for operators, with the arguments that it needs.
pub(crate) const OPERATOR_COMMANDS: [&[&str]; 8] = [
    &["status"],
    &["list"],
    &["show", "a"],
    &["requeue", "a"],
    &["make-due", "a"],
    &["pause", "--kind=a", "--new"],
    &["resume", "--kind=a"],
    &["prune", "--older-than=1d"],
];

/// Waits until one of two servers listens and the other one is refused, and stops the first.
pub(crate) async fn one_starts([first, second]: &mut [Process; 2]) {
    let listening = tokio::join!(first.listens_or_ends(), second.listens_or_ends());
    let (refused, other) = match listening {
        (true, false) => (second, first),
        (false, true) => (first, second),
        both_or_none => panic!("one must listen: {both_or_none:?}"),
    };
    assert_eq!(refused.ends().await.code(), Some(1));
    other.signal(Signal::TERM);
    other.ends().await;
}

/// A running `webhook-server`, killed on drop.
pub(crate) struct Process {
    process: testkit::process::Process,
    log: Lines,
    /// What is wrong with its log so far.
    faults: Arc<Mutex<Vec<String>>>,
    shows_details: bool,
    is_for_people: bool,
    /// What it has logged so far; debug and trace only where the test asked for them.
    pub(crate) logged: Vec<String>,
}

/// A way to start one: with no environment and in an empty directory, but for what is added. Events are
/// kept in memory, and a server listens on a port of its own, unless the test says where.
pub(crate) struct Starter {
    command: Command,
    directory: PathBuf,
    sets_level: bool,
    sets_database: bool,
    sets_address: bool,
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
    for arg in args {
        if let Some((flag, value)) = arg.split_once('=') {
            let variable = flag.trim_start_matches('-').replace('-', "_");
            secrets::keep_setting(&variable.to_uppercase(), value);
        }
    }
    Starter {
        command,
        directory,
        sets_level: args.iter().any(|arg| arg.starts_with("--log-level")),
        sets_database: args.iter().any(|arg| arg.starts_with("--database-url")),
        // Commands do not listen.
        sets_address: args
            .iter()
            .any(|arg| arg.starts_with("--bind-addr") || !arg.starts_with("--")),
    }
}

impl Starter {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        secrets::keep_setting(name, value);
        self.sets_level |= name == "LOG_LEVEL";
        self.sets_database |= ["DATABASE_URL", "DATABASE_URL_FILE"].contains(&name);
        self.sets_address |= name == "BIND_ADDR";
        self.command.env(name, value);
        self
    }

    /// Writes the file `.env`.
    pub(crate) fn env_file(mut self, content: impl AsRef<[u8]>) -> Self {
        let text = String::from_utf8_lossy(content.as_ref());
        self.sets_database |= text.contains("DATABASE_URL");
        self.sets_address |= text.contains("BIND_ADDR");
        std::fs::write(self.directory.join(".env"), content).unwrap();
        self
    }

    /// Starts it in this directory.
    pub(crate) fn in_directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self.command.current_dir(directory);
        self
    }

    /// Without a `DATABASE_URL`, if the test sets none.
    pub(crate) fn on_default_backend(mut self) -> Self {
        self.sets_database = true;
        self
    }

    /// In this file.
    pub(crate) fn on_file(self, file: &str) -> Self {
        self.env("DATABASE_URL", &format!("sqlite:{file}"))
    }

    /// Runs it to its end: its exit code, standard output and standard error.
    pub(crate) async fn output(mut self) -> (i32, String, String) {
        self.set_defaults();
        let output = in_time("the process's end", self.command.output())
            .await
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        for line in log.lines() {
            assert_eq!(secrets::fault(line), None, "{line}");
        }
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            log,
        )
    }

    /// The command, for a test that reads its output in another way.
    pub(crate) fn into_command(mut self) -> Command {
        self.set_defaults();
        self.command
    }

    fn set_defaults(&mut self) {
        if !self.sets_database {
            self.command.env("DATABASE_URL", "memory:");
        }
        if !self.sets_address {
            self.command.env("BIND_ADDR", "127.0.0.1:0");
        }
    }

    /// Starts it on a port of its own, with its log in JSON, whatever else is set.
    pub(crate) fn start(self) -> Process {
        self.start_on("127.0.0.1:0")
    }

    /// The same, on this address.
    pub(crate) fn start_on(self, addr: &str) -> Process {
        self.spawn(addr, "json")
    }

    /// Starts it on a port of its own, with its log for people.
    pub(crate) fn start_for_people(self) -> Process {
        self.spawn("127.0.0.1:0", "human")
    }

    fn spawn(mut self, addr: &str, log_format: &str) -> Process {
        let faults = Arc::<Mutex<Vec<String>>>::default();
        let found = Arc::clone(&faults);
        let (stderr, log) = Lines::inspected_pipe(move |line| {
            if let Some(fault) = secrets::fault(line) {
                found.lock().unwrap().push(format!("{fault}: {line}"));
            }
        })
        .unwrap();
        self.set_defaults();
        if !self.sets_level {
            self.command.env("LOG_LEVEL", "trace");
        }
        self.command
            .args(["--bind-addr", addr, "--log-format", log_format])
            .stderr(stderr);
        Process {
            process: testkit::process::Process::spawn("webhook-server", &mut self.command).unwrap(),
            log,
            faults,
            shows_details: self.sets_level,
            is_for_people: log_format == "human",
            logged: Vec::new(),
        }
    }
}

fn is_detail(line: &str) -> bool {
    let start = line.get(..80).unwrap_or(line);
    [
        r#""level":"DEBUG""#,
        r#""level":"TRACE""#,
        " DEBUG ",
        " TRACE ",
    ]
    .iter()
    .any(|level| start.contains(level))
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
        let line = self.next_line().await?;
        let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.logged.push(line);
        Some(event)
    }

    /// The next line, as it is, that the test wants to see.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        loop {
            let line = self.log.next().await?;
            if self.shows_details || !is_detail(&line) {
                return Some(line);
            }
        }
    }

    /// Waits until it listens, and returns where.
    pub(crate) async fn listens(&mut self) -> SocketAddr {
        if self.is_for_people {
            loop {
                let line = in_time("listening", self.next_line()).await.unwrap();
                if let Some((_, addr)) = line.split_once("listening addr=") {
                    return addr.split(' ').next().unwrap().parse().unwrap();
                }
            }
        }
        self.logs("listening").await["addr"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until it listens or has ended, and says whether it listens.
    pub(crate) async fn listens_or_ends(&mut self) -> bool {
        while let Some(event) = in_time("listening, or the end", self.next_event()).await {
            if event["message"] == "listening" {
                return true;
            }
        }
        false
    }

    /// Waits until a signal no longer ends it by itself.
    pub(crate) async fn signals_are_caught(&self) {
        let path = format!("/proc/{}/status", self.pid());
        super::until("signals are caught", async || {
            let status = std::fs::read_to_string(&path).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
            caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid().unwrap()
    }

    /// Waits until it ends, having logged what is left.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        while let Some(line) = in_time("the log's end", self.next_line()).await {
            self.logged.push(line);
        }
        let status = self.process.wait_within(PATIENCE).await.unwrap();
        self.assert_log();
        status
    }

    /// Fails the test where something is wrong with the log, which has ended.
    fn assert_log(&mut self) {
        self.log.inspected();
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // It may have ended by itself.
            let _ = self.process.signal(Signal::KILL);
            self.assert_log();
        }
    }
}
