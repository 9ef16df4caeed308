//! Runs an example as a process under test, and reads the lines that it prints.

use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use testkit::process::Lines;
use testkit::wait::{PATIENCE, in_time};
use tokio::process::Command;

/// A running example, which is killed when it is dropped.
pub(crate) struct Process {
    name: &'static str,
    process: testkit::process::Process,
    /// The lines on its standard output. Its log goes to the standard error of the test.
    lines: Lines,
}

impl Process {
    /// Starts an example that cargo has built beside this test.
    pub(crate) fn start(
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let path = path(name);
        let (stdout, lines) = Lines::pipe().expect("the system has pipes");
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .env_remove("DATABASE_URL")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout);
        let process =
            testkit::process::Process::spawn(name, &mut command).unwrap_or_else(|error| {
                panic!(
                    "{error:#}: {}, which `cargo build -p examples --examples` builds",
                    path.display()
                )
            });
        Self {
            name,
            process,
            lines,
        }
    }

    /// Returns the rest of the next line, which must begin with `prefix`.
    pub(crate) async fn line_after(&mut self, prefix: &str) -> String {
        let line = self.next_line(prefix).await;
        let rest = line.strip_prefix(prefix);
        rest.unwrap_or_else(|| panic!("{} says {line:?} instead of {prefix:?}", self.name))
            .to_owned()
    }

    /// Waits for the next line; `expected` describes it in error messages.
    pub(crate) async fn next_line(&mut self, expected: &str) -> String {
        let what = format!("{} prints {expected:?}", self.name);
        let line = in_time(&what, self.lines.next()).await;
        line.unwrap_or_else(|| panic!("{} ended before it printed {expected:?}", self.name))
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> i64 {
        let pid = self.process.pid().expect("it is running");
        i64::from(pid.as_raw_nonzero().get())
    }

    /// Kills the process without a chance to clean up.
    pub(crate) fn kill(self) {
        self.process.signal(Signal::KILL).expect("it is running");
    }

    /// Sends the signal of Ctrl-C, and returns the remaining output.
    pub(crate) async fn interrupt(self) -> Vec<String> {
        self.stop(Signal::INT).await
    }

    /// Sends `signal`, on which it must exit successfully, and returns the remaining output.
    pub(crate) async fn stop(self, signal: Signal) -> Vec<String> {
        self.process.signal(signal).expect("it is running");
        self.finish().await
    }

    /// Waits until it exits successfully, and returns the remaining output.
    pub(crate) async fn finish(mut self) -> Vec<String> {
        let mut said = Vec::new();
        let what = format!("{} ends", self.name);
        while let Some(line) = in_time(&what, self.lines.next()).await {
            said.push(line);
        }
        let status = self.process.wait_within(PATIENCE).await.expect("it ends");
        assert!(status.success(), "{} ended with {status}", self.name);
        said
    }
}

/// Returns `target/debug/examples/{name}`, derived from `target/debug/deps/run-…`.
fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the test knows its path");
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    path
}
