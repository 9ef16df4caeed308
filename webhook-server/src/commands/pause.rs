//! `pause` and `resume`: stops and restarts the processing of kinds.

use clap::Args;
use webhook_core::{Admin, Kind};

use super::{CommandError, Output};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::views::{PausedKind, PausedKinds, parse_kind};

/// The options of `pause` and `resume`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Kinds {
    /// Kind of events, such as transaction; can be repeated
    #[arg(
        long = "kind",
        value_name = "KIND",
        required = true,
        value_parser = parse_kind
    )]
    kinds: Vec<Kind>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Kinds {
    pub(super) async fn pause(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let audit = Audit::begin("pause", &self.kinds);
        let mut paused = PausedKinds::default();
        for kind in &self.kinds {
            let changed = backend.admin.pause(kind).await?;
            paused.kinds.push(PausedKind::paused(kind, changed));
        }
        self.end(audit, &paused)
    }

    pub(super) async fn resume(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let audit = Audit::begin("resume", &self.kinds);
        let mut resumed = PausedKinds::default();
        for kind in &self.kinds {
            let changed = backend.admin.resume(kind).await?;
            resumed.kinds.push(PausedKind::resumed(kind, changed));
        }
        self.end(audit, &resumed)
    }

    fn end(&self, audit: Audit, done: &PausedKinds<'_>) -> Result<(), CommandError> {
        audit.end(done);
        Output::new(self.json).write(done, |out| {
            for kind in &done.kinds {
                let result = match (kind.paused, kind.changed) {
                    (true, true) => "paused",
                    (true, false) => "was paused already",
                    (false, true) => "resumed",
                    (false, false) => "was not paused",
                };
                writeln!(out, "{}: {result}", kind.kind)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}
