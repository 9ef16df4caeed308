//! One transaction, with all that is known of it.

use std::io::{self, Write};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use webhook_core::{
    ConflictRecord, EventRecord, EventRef, FailedAttempt, Key, Operator, State, Store,
};
use webhook_postgres::PgStore;

use super::output::{instant, plain};
use super::{OperateError, Output, kind};
use crate::shown::{Shown, as_instant, content};

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Show {
    /// The transaction's id
    #[arg(value_name = "ID")]
    id: String,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    transaction: Shown<'a>,
    body_forgotten: bool,
    failed_attempts: Vec<Attempt<'a>>,
    conflicts: Vec<Conflict>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    attempt: u32,
    #[serde(serialize_with = "as_instant")]
    ended_at: SystemTime,
    reason: &'a str,
}

#[derive(Serialize)]
struct Conflict {
    #[serde(serialize_with = "as_instant")]
    received_at: SystemTime,
    body_bytes: u64,
    /// What is kept of it, with U+FFFD for what is not UTF-8.
    body: String,
}

impl Show {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let not_found = || OperateError::NotFound {
            id: self.id.clone(),
        };
        let event = EventRef {
            kind: kind(),
            // What cannot be a key is that of no transaction.
            key: Key::new(self.id.trim()).map_err(|_| not_found())?,
        };
        let found = database.find(std::slice::from_ref(&event)).await?;
        let record = found.into_iter().flatten().next().ok_or_else(not_found)?;
        let attempts = database.failed_attempts(&event).await?;
        let conflicts = database.conflicts(&event).await?;
        let content = content(&record);
        let document = Document {
            transaction: Shown::of(&record, content.as_ref()),
            body_forgotten: record.stripped,
            failed_attempts: attempts.iter().map(Attempt::of).collect(),
            conflicts: conflicts.iter().map(Conflict::of).collect(),
        };
        Output::new(self.json).write(&document, |out| {
            write_record(out, &record)?;
            match &content {
                Some(content) => writeln!(
                    out,
                    "{} {} from {:?} to {:?}",
                    content.amount(),
                    content.currency(),
                    content.source_account().as_str(),
                    content.destination_account().as_str(),
                )?,
                None if record.stripped => writeln!(out, "its body is forgotten")?,
                None => writeln!(out, "its body cannot be read")?,
            }
            write_attempts(out, &attempts)?;
            write_conflicts(out, &record, &conflicts)
        })?;
        Ok(())
    }
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a FailedAttempt) -> Self {
        Self {
            attempt: attempt.attempt.number(),
            ended_at: attempt.ended_at,
            reason: &attempt.reason,
        }
    }
}

impl Conflict {
    fn of(conflict: &ConflictRecord) -> Self {
        Self {
            received_at: conflict.received_at,
            body_bytes: conflict.body_bytes,
            body: String::from_utf8_lossy(&conflict.body).into_owned(),
        }
    }
}

fn write_record(out: &mut dyn Write, record: &EventRecord) -> io::Result<()> {
    writeln!(out, "transaction {:?}", record.envelope.key.as_str())?;
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
