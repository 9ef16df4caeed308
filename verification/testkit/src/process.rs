//! Processes under test.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A child process. It is killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; errors call the process `name`.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> anyhow::Result<Self> {
        let name = name.into();
        let child = command
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name, child })
    }

    /// Its id; none once it has been waited for.
    pub fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.child.id()?).ok()?;
        Pid::from_raw(pid)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid();
        let pid = pid.with_context(|| format!("{} does not run", self.name))?;
        kill_process(pid, signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end, however long that takes.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`.
    pub async fn wait_within(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not end within {limit:?}", self.name))??)
    }

    /// Sends it a signal and waits for its end.
    ///
    /// # Errors
    ///
    /// When it has ended before, or does not end within `limit`.
    pub async fn end(&mut self, signal: Signal, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        self.wait_within(limit).await
    }
}

/// Has a process append both of its outputs to a file.
///
/// # Errors
///
/// When the file cannot be opened.
pub fn log_to(command: &mut Command, path: &Path) -> io::Result<()> {
    let log = File::options().append(true).create(true).open(path)?;
    command.stdout(log.try_clone()?).stderr(log);
    Ok(())
}

/// The last lines of a file; nothing where there is no file.
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it cannot be started, or fails: with what it wrote to standard error.
pub async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .await
        .with_context(|| format!("failed to run {:?}", command.as_std()))?;
    ensure!(
        output.status.success(),
        "{:?} failed: {}",
        command.as_std(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The lines that a process writes to a pipe.
///
/// A thread reads them all along, so that a test that looks at none of them does not hold up the
/// process.
#[derive(Debug)]
pub struct Lines {
    lines: UnboundedReceiver<String>,
    reading: Option<JoinHandle<()>>,
}

impl Lines {
    /// Makes a pipe: its end for the process, and the lines that come out of it.
    ///
    /// # Errors
    ///
    /// When the system has no more pipes.
    pub fn pipe() -> io::Result<(Stdio, Self)> {
        Self::inspected_pipe(|_| ())
    }

    /// The same; `inspect` looks at each line, whether a test asks for it or not.
    ///
    /// # Errors
    ///
    /// When the system has no more pipes.
    pub fn inspected_pipe(inspect: impl FnMut(&str) + Send + 'static) -> io::Result<(Stdio, Self)> {
        let (reader, writer) = io::pipe()?;
        Ok((writer.into(), Self::read(reader, inspect)))
    }

    fn read(
        pipe: impl Read + Send + 'static,
        mut inspect: impl FnMut(&str) + Send + 'static,
    ) -> Self {
        let (sender, lines) = unbounded_channel();
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                inspect(&line);
                // The test may have ended.
                let _ = sender.send(line);
            }
        });
        Self {
            lines,
            reading: Some(reading),
        }
    }

    /// The next line; none once all of the pipe's writers are gone.
    pub async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Blocks until all lines are inspected: until all of the pipe's writers are gone.
    pub fn inspected(&mut self) {
        if let Some(reading) = self.reading.take() {
            // It panics only where `inspect` does, which has told about it.
            let _ = reading.join();
        }
    }
}
