//! `show`: shows one event.

use std::io::{self, Write};

use clap::Args;
use webhook_core::{EventRecord, EventRef, FailedAttempt, State};

use super::kind_option::KindOption;
use super::output::{instant, plain};
use super::{CommandError, Output};
use crate::backend::CommandBackend;
use crate::logging::escaped;
use crate::views::{Body, Details, details_line, escape_key, parse_key};

/// The options of `show`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Show {
    /// Id of the transaction or key of the event, as it is or as other commands print it (\u{202e} for
    /// U+202E)
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    of: KindOption,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let kind = &self.of.kind;
        let not_found = || CommandError::NotFound {
            kind: kind.clone(),
            id: self.id.clone(),
        };
        // Text that cannot be a key is the key of no event.
        let event = EventRef {
            key: parse_key(kind, &self.id).map_err(|_| not_found())?,
            kind: kind.clone(),
        };
        let details = Details::find(&*backend.store, &*backend.admin, &event).await?;
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
                    escape_key(content.source_account().as_str()),
                    escape_key(content.destination_account().as_str()),
                )?,
                None if record.body_deleted => writeln!(out, "body deleted")?,
                None if details.is_of_transaction() => writeln!(out, "body cannot be read")?,
                None => write_content(out, record)?,
            }
            write_attempts(out, &details.attempts)?;
            write_conflicts(out, &details)
        })?;
        Ok(())
    }
}

fn write_record(out: &mut dyn Write, record: &EventRecord) -> io::Result<()> {
    writeln!(
        out,
        "{} \"{}\"",
        record.envelope.kind,
        escape_key(record.envelope.key.as_str())
    )?;
    if let Some(event_type) = &record.envelope.event_type {
        writeln!(out, "type {}", plain(event_type.as_str(), usize::MAX))?;
    }
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
            write!(out, ", being processed, lease until {}", instant(until))?;
        }
        writeln!(out)?;
    }
    if let (Some(reason), State::Failed) = (&record.reason, record.state) {
        writeln!(out, "reason: {}", plain(reason.as_str(), usize::MAX))?;
    }
    Ok(())
}

/// The headers and the body of an event that is no transaction.
fn write_content(out: &mut dyn Write, record: &EventRecord) -> io::Result<()> {
    for (name, value) in record.envelope.headers.iter() {
        let value = String::from_utf8_lossy(value);
        writeln!(out, "header {}: {}", escaped(name), escaped(&value))?;
    }
    if record.envelope.body.is_empty() {
        return writeln!(out, "body empty");
    }
    let body = Body::of(&record.envelope.body);
    writeln!(out, "body ({}): {}", body.encoding(), body.line())
}

fn write_attempts(out: &mut dyn Write, attempts: &[FailedAttempt]) -> io::Result<()> {
    if !attempts.is_empty() {
        writeln!(out, "failed attempts, the latest first:")?;
    }
    for attempt in attempts {
        let reason = plain(attempt.reason.as_str(), usize::MAX);
        let ended_at = instant(attempt.ended_at);
        writeln!(out, "  {:>3}  {ended_at}  {reason}", attempt.attempt)?;
        if let Some(details) = details_line(attempt) {
            writeln!(out, "       {}", plain(&details, 400))?;
        }
    }
    Ok(())
}

fn write_conflicts(out: &mut dyn Write, details: &Details) -> io::Result<()> {
    let Details {
        record, conflicts, ..
    } = details;
    if record.conflict_count > 0 {
        let (all, kept) = (record.conflict_count, conflicts.len());
        writeln!(
            out,
            "conflicting deliveries: {all}, of which {kept} are kept, the latest first:"
        )?;
    }
    for conflict in conflicts {
        let body = if details.is_of_transaction() {
            plain(&String::from_utf8_lossy(&conflict.body), 400)
        } else {
            let body = Body::of_conflict(conflict);
            format!("{}: {}", body.encoding(), plain(&body.line(), 400))
        };
        writeln!(out, "  {}  {body}", instant(conflict.received_at))?;
    }
    Ok(())
}
