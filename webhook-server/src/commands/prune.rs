//! Deletes old events.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use webhook_core::{Retention, Swept};
use webhook_postgres::PgStore;

use super::kind_option::KindOption;
use super::output::spinner;
use super::{CommandError, Output};
use crate::audit::Audit;
use crate::config::age;
use crate::views::transaction_kind;

/// What to delete, and what of it to keep.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Prune {
    #[command(flatten)]
    of: KindOption,
    /// Only what was settled, as PROCESSED or FAILED, at least as long ago, such as 12h or 30d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Duration,
    /// Of PROCESSED events delete only the bodies until they are this old, so that
    /// redeliveries are still known as such; the same for FAILED ones, bodies and all
    #[arg(long, value_name = "AGE", value_parser = age)]
    keep_keys: Option<Duration>,
    /// Delete keys even where a captured delivery could then be sent again
    #[arg(long)]
    force: bool,
    /// Write one JSON object instead of a line of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// PROCESSED, gone.
    processed: u64,
    /// FAILED, gone.
    failed: u64,
    /// Bodies of PROCESSED ones, their keys being kept.
    bodies: u64,
}

impl Prune {
    /// How old an event is when its key is deleted.
    pub(crate) fn key_age(&self) -> Duration {
        let keys = self.keep_keys.unwrap_or(self.older_than);
        keys.max(self.older_than)
    }

    /// Whether the events are transactions. The configuration tells how their senders sign, and nothing of
    /// the senders of other events.
    pub(crate) fn is_of_transactions(&self) -> bool {
        self.of.kind == transaction_kind()
    }

    /// Whether keys are deleted however soon that is.
    pub(crate) const fn is_forced(&self) -> bool {
        self.force
    }

    pub(super) async fn run(&self, database: &PgStore) -> Result<(), CommandError> {
        let audit = Audit::begin("prune", self);
        let retention =
            Retention::new(self.of.kind.clone(), self.key_age()).with_keep_bodies(self.older_than);
        let spinner = spinner();
        let swept = retention
            .sweep(database, |swept| spinner.set_message(text(swept)))
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
        audit.end(&report);
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
    format!("deleted {processed} PROCESSED, {failed} FAILED, and the bodies of {bodies} more")
}
