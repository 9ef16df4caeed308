//! `prune`: deletes old events.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use webhook_core::{Retention, Swept};

use super::kind_option::KindOption;
use super::output::spinner;
use super::{CommandError, Output};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::config::age;
use crate::views::{duration, plural, transaction_kind};

/// The options of `prune`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Prune {
    #[command(flatten)]
    of: KindOption,
    /// Delete events that have been PROCESSED or FAILED for this long, such as 12h or 30d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Duration,
    /// Keep keys until they are this old, so that redeliveries are still recognised: --older-than then
    /// deletes only the bodies of PROCESSED events
    #[arg(long, value_name = "AGE", value_parser = age)]
    keep_keys: Option<Duration>,
    /// Delete keys even if captured deliveries can then be replayed
    #[arg(long)]
    force: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Deleted PROCESSED events.
    processed: u64,
    /// Deleted FAILED events.
    failed: u64,
    /// PROCESSED events whose bodies were deleted and whose keys were kept.
    bodies: u64,
}

impl Prune {
    /// The age at which keys are deleted.
    pub(crate) fn key_age(&self) -> Duration {
        let keys = self.keep_keys.unwrap_or(self.older_than);
        keys.max(self.older_than)
    }

    /// Whether the events are transactions. The configuration tells only how transactions are signed.
    pub(crate) fn is_of_transactions(&self) -> bool {
        self.of.kind == transaction_kind()
    }

    /// Whether young keys are deleted, too.
    pub(crate) const fn is_forced(&self) -> bool {
        self.force
    }

    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let audit = Audit::begin(
            "prune",
            [
                ("kind", json!(self.of.kind.as_str())),
                ("older_than", json!(duration(self.older_than))),
                ("keep_keys", json!(self.keep_keys.map(duration))),
                ("force", json!(self.force)),
            ],
        );
        let retention =
            Retention::new(self.of.kind.clone(), self.key_age()).with_keep_bodies(self.older_than);
        let spinner = spinner();
        let swept = retention
            .sweep(&*backend.admin, |swept| spinner.set_message(text(swept)))
            .await?;
        spinner.finish_and_clear();
        let Swept {
            bodies,
            processed,
            failed,
            ..
        } = swept;
        let report = Report {
            processed,
            failed,
            bodies,
        };
        let target = self.of.kind.as_str();
        let deleted = processed + failed;
        audit
            .end_in(&*backend.admin, target, Some(deleted), &report)
            .await;
        Output::new(self.json).write(&report, |out| writeln!(out, "{}", text(&swept)))?;
        Ok(())
    }
}

fn text(swept: &Swept) -> String {
    let Swept {
        bodies,
        processed,
        failed,
        ..
    } = swept;
    let events = plural(&(processed + failed), "event", "events");
    format!(
        "deleted {processed} PROCESSED and {failed} FAILED {events}, and the bodies of {bodies} more"
    )
}
