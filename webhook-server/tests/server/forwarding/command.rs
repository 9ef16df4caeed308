//! A command that runs until it is told to end.

use rustix::process::Signal;
use testkit::process::{Lines, Process};

use crate::support::process::Starter;
use crate::support::{PATIENCE, in_time, secrets};

/// A running command.
pub(super) struct Running {
    process: Process,
    pub(super) out: Lines,
    pub(super) err: Lines,
}

impl Running {
    pub(super) fn start(starter: Starter) -> Self {
        let mut command = starter.into_command();
        let (stdout, out) = Lines::pipe().unwrap();
        let (stderr, err) = Lines::inspected_pipe(|line| {
            assert_eq!(secrets::fault(line), None, "{line}");
        })
        .unwrap();
        command.stdout(stdout).stderr(stderr);
        let process = Process::spawn("webhook-server", &mut command).unwrap();
        // The ends of the pipes in this process are closed with it.
        drop(command);
        Self { process, out, err }
    }

    /// The next line of standard output with this text.
    pub(super) async fn prints(&mut self, text: &str) -> String {
        next(&mut self.out, text).await
    }

    /// The next line of standard error with this text.
    pub(super) async fn says(&mut self, text: &str) -> String {
        next(&mut self.err, text).await
    }

    /// Interrupts it, and returns its exit code.
    pub(super) async fn interrupt(&mut self) -> Option<i32> {
        let ended = self.process.end(Signal::INT, PATIENCE).await;
        ended.unwrap().code()
    }
}

async fn next(lines: &mut Lines, text: &str) -> String {
    let mut others = Vec::new();
    while let Some(line) = in_time(text, lines.next()).await {
        if line.contains(text) {
            return line;
        }
        others.push(line);
    }
    panic!("ended without {text:?}: {others:#?}");
}
