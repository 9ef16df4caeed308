//! Runs `webhook-server` where it must refuse to start.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::Backend;

use super::{RECOVERY_LIMIT, Rig};

/// The exit of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl<B: Backend> Rig<B> {
    /// Runs `webhook-server` to its end, with this additional environment.
    pub(crate) async fn server(
        &self,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Ended> {
        let mut server = self.server_command(arguments);
        server.envs(variables.iter().map(|(name, value)| (name, value)));
        let output = timeout(RECOVERY_LIMIT, server.output())
            .await
            .context("the server does not end")??;
        Ok(Ended {
            code: output.status.code(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Returns the command of `webhook-server` on the database.
    pub(crate) fn server_command(&self, arguments: &[&str]) -> Command {
        let mut server = Command::new(&self.run.tools.server);
        server
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.database.url())
            .env("DATABASE_WAIT_SECONDS", "1")
            .env("BIND_ADDR", "127.0.0.1:0")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        server
    }

    /// Adds a violation unless a server ended with an error that contains `words`.
    pub(crate) fn must_refuse(&mut self, ended: &Ended, words: &str) {
        if ended.code != Some(1) || !ended.log.contains(words) {
            let log = ended.log.trim();
            let complaint = format!(
                "{:?} instead of a refusal with {words:?}: {log}",
                ended.code
            );
            self.violations.push(complaint);
        }
    }
}
