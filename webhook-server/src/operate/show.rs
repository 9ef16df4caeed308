//! One transaction, with all that is known of it.

use std::io::{self, Write};

use clap::Args;
use webhook_core::{ConflictRecord, EventRecord, FailedAttempt, State};
use webhook_postgres::PgStore;

use super::output::{instant, plain};
use super::{OperateError, Output};
use crate::shown::{Details, shown_id, typed_id};

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Show {
    /// The transaction's id, as it is or as the other commands show it (\u{202e} for U+202E)
    #[arg(value_name = "ID")]
    id: String,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let not_found = || OperateError::NotFound {
            id: self.id.clone(),
        };
        // What cannot be a key is that of no transaction.
        let key = typed_id(&self.id).map_err(|_| not_found())?;
        let details = Details::find(database, database, key).await?;
        let details = details.ok_or_else(not_found)?;
        Output::new(self.json).write(&details.document(), |out| {
            let record = &details.record;
            write_record(out, record)?;
            match &details.content {
                Some(content) => writeln!(
                    out,
                    "{} {} from \"{}\" to \"{}\"",
                    content.amount(),
                    content.currency(),
                    shown_id(content.source_account().as_str()),
                    shown_id(content.destination_account().as_str()),
                )?,
                None if record.stripped => writeln!(out, "its body is forgotten")?,
                None => writeln!(out, "its body cannot be read")?,
            }
            write_attempts(out, &details.attempts)?;
            write_conflicts(out, record, &details.conflicts)
        })?;
        Ok(())
    }
}

fn write_record(out: &mut dyn Write, record: &EventRecord) -> io::Result<()> {
    writeln!(
        out,
        "transaction \"{}\"",
        shown_id(record.envelope.key.as_str())
    )?;
    write!(out, "{}", record.state)?;
    match record.settled_at {
        Some(settled_at) => write!(out, " since {}", instant(settled_at))?,
        None => write!(out, " since it was received")?,
    }
    writeln!(
        out,
        ", received {}, attempts {}",
        instant(record.accepted_at),
        record.attempts
    )?;
    if let Some(due_at) = record.due_at {
        write!(out, "due {}", instant(due_at))?;
        if let Some(until) = record.leased_until {
            write!(out, ", under way, lease until {}", instant(until))?;
        }
        writeln!(out)?;
    }
    if let (Some(reason), State::Failed) = (&record.reason, record.state) {
        writeln!(out, "reason: {}", plain(reason, usize::MAX))?;
    }
    Ok(())
}

fn write_attempts(out: &mut dyn Write, attempts: &[FailedAttempt]) -> io::Result<()> {
    if !attempts.is_empty() {
        writeln!(out, "failed attempts, the latest first:")?;
    }
    for attempt in attempts {
        let reason = plain(&attempt.reason, usize::MAX);
        let ended_at = instant(attempt.ended_at);
        writeln!(out, "  {:>3}  {ended_at}  {reason}", attempt.attempt)?;
    }
    Ok(())
}

fn write_conflicts(
    out: &mut dyn Write,
    record: &EventRecord,
    conflicts: &[ConflictRecord],
) -> io::Result<()> {
    if record.conflict_count > 0 {
        let (all, kept) = (record.conflict_count, conflicts.len());
        writeln!(
            out,
            "conflicting deliveries: {all}, of which {kept} are kept, the latest first:"
        )?;
    }
    for conflict in conflicts {
        let body = String::from_utf8_lossy(&conflict.body);
        let received_at = instant(conflict.received_at);
        writeln!(out, "  {received_at}  {}", plain(&body, 400))?;
    }
    Ok(())
}
