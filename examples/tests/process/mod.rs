//! An example under test: a process, and the lines it prints.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far beyond what anything here takes on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running example. Dropped, it is killed.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// What it prints. What it logs goes to the test's own standard error.
    lines: Receiver<String>,
}

impl Process {
    /// Starts an example that cargo has built beside this test.
    pub(crate) fn start(
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let path = path(name);
        let mut child = Command::new(&path)
            .args(arguments)
            .env_remove("DATABASE_URL")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "failed to start {}, which `cargo build -p examples --examples` builds: {error}",
                    path.display()
                )
            });
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { name, child, lines }
    }

    /// The rest of the next line, which must begin with `prefix`.
    pub(crate) fn line_after(&mut self, prefix: &str) -> String {
        let line = self.next_line(prefix);
        let rest = line.strip_prefix(prefix);
        rest.unwrap_or_else(|| panic!("{} says {line:?} instead of {prefix:?}", self.name))
            .to_owned()
    }

    /// The next line, where one like `expected` is waited for.
    pub(crate) fn next_line(&mut self, expected: &str) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.unwrap_or_else(|error| panic!("no line {expected:?} of {}: {error}", self.name))
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, with no chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is running");
    }

    /// Presses Ctrl-C; what it says then.
    pub(crate) fn interrupt(self) -> Vec<String> {
        self.stop(Signal::INT)
    }

    /// Sends `signal`, on which it must end well; what it says then.
    pub(crate) fn stop(self, signal: Signal) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
        self.finish()
    }

    /// Waits until it ends well; what it has said since.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} does not end; it said {said:?}", self.name)
                }
            }
        }
        let status = self.child.wait().expect("it is a child of this process");
        assert!(status.success(), "{} ended with {status}", self.name);
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `target/debug/examples/{name}`, from `target/debug/deps/run-…`.
fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the test knows its path");
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    path
}
