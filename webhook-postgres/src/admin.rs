//! The operations of [`Admin`](webhook_core::Admin), each with its SQL in a file of its name.

pub(crate) mod actions;
pub(crate) mod nodes;
pub(crate) mod search;
mod table_sizes;

use std::time::Duration;

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{
    ConflictRecord, Counts, DeleteBodies, Deleted, Erased, EventId, EventRef, EventSummary,
    FailedAttempt, Kind, MadeDue, Page, Prune, Requeued, RunningLeases, SettledCounts, State,
    TerminalState,
};

use crate::accept::{fingerprint, index};
use crate::error::PgError;
use crate::microseconds;
use crate::record;
use crate::session::Session;

pub use table_sizes::TableSize;
pub(crate) use table_sizes::table_sizes;

/// How long the guards may take to be read: all of them are.
const GUARDS_TIMEOUT: Duration = Duration::from_secs(600);

/// How many events one statement of [`prune`] or [`delete_bodies`] changes at most: each statement is
/// short, and others can run in between.
const STATEMENT_LIMIT: usize = 1_000;

pub(crate) async fn kinds(session: &mut Session<'_>) -> Result<Vec<Kind>, PgError> {
    let rows = session
        .rows(include_str!("admin/kinds.sql"), |query| query)
        .await?;
    let kinds = rows.iter().map(|row| record::kind(row.try_get("kind")?));
    kinds.collect()
}

/// Reads all guards.
pub(crate) async fn guarded_kinds(session: &mut Session<'_>) -> Result<Vec<Kind>, PgError> {
    let sql = include_str!("admin/guarded_kinds.sql");
    let rows = session
        .rows_within(GUARDS_TIMEOUT, sql, |query| query)
        .await?;
    let kinds = rows.iter().map(|row| record::kind(row.try_get("kind")?));
    kinds.collect()
}

pub(crate) async fn counts(session: &mut Session<'_>, kind: &Kind) -> Result<Counts, PgError> {
    let rows = session
        .rows(include_str!("admin/counts.sql"), |query| {
            query.bind(kind.as_str().to_owned())
        })
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Counts::default());
    };
    Ok(Counts::default()
        .with_waiting(count(row.try_get("waiting")?))
        .with_due(count(row.try_get("due")?))
        .with_leased(count(row.try_get("leased")?))
        .with_processed(count(row.try_get("processed")?))
        .with_failed(count(row.try_get("failed")?)))
}

pub(crate) async fn lag(
    session: &mut Session<'_>,
    kind: &Kind,
) -> Result<Option<Duration>, PgError> {
    let rows = session
        .rows(include_str!("admin/lag.sql"), |query| {
            query.bind(kind.as_str().to_owned())
        })
        .await?;
    match rows.first() {
        Some(row) => Ok(Some(microseconds::duration(row.try_get("lag_us")?))),
        None => Ok(None),
    }
}

pub(crate) async fn settled(
    session: &mut Session<'_>,
    kind: &Kind,
    within: Duration,
) -> Result<SettledCounts, PgError> {
    let rows = session
        .rows(include_str!("admin/settled.sql"), |query| {
            query
                .bind(kind.as_str().to_owned())
                .bind(microseconds::of(within))
        })
        .await?;
    let Some(row) = rows.first() else {
        return Ok(SettledCounts::default());
    };
    Ok(SettledCounts::default()
        .with_processed(count(row.try_get("processed")?))
        .with_failed(count(row.try_get("failed")?)))
}

pub(crate) async fn list(
    session: &mut Session<'_>,
    page: &Page,
) -> Result<Vec<EventSummary>, PgError> {
    let sql = match page.state {
        State::Processing => include_str!("admin/list_processing.sql"),
        State::Processed => include_str!("admin/list_processed.sql"),
        State::Failed => include_str!("admin/list_failed.sql"),
    };
    let after = page.after.map_or(0, EventId::get);
    let rows = session
        .rows_planned_anew(sql, |query| {
            query
                .bind(page.kind.as_str().to_owned())
                .bind(after)
                .bind(i64::try_from(page.limit.get()).unwrap_or(i64::MAX))
                .bind(page.held_for_over.map(microseconds::of))
                .bind(page.event_type.as_ref().map(|it| it.as_str().to_owned()))
        })
        .await?;
    rows.iter()
        .map(|row| {
            let event = EventRef {
                kind: page.kind.clone(),
                key: record::key(row.try_get("key")?)?,
            };
            record::summary(row, event)
        })
        .collect()
}

pub(crate) async fn conflicts(
    session: &mut Session<'_>,
    event: &EventRef,
) -> Result<Vec<ConflictRecord>, PgError> {
    let rows = session
        .rows(include_str!("admin/conflicts.sql"), |query| {
            query
                .bind(event.kind.as_str().to_owned())
                .bind(event.key.as_str().to_owned())
        })
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ConflictRecord::new(
                microseconds::time(row.try_get("received_at_us")?),
                fingerprint(row.try_get("fingerprint")?)?,
                Bytes::copy_from_slice(row.try_get("body")?),
                count(row.try_get("body_bytes")?),
            ))
        })
        .collect()
}

pub(crate) async fn failed_attempts(
    session: &mut Session<'_>,
    event: &EventRef,
) -> Result<Vec<FailedAttempt>, PgError> {
    let rows = session
        .rows(include_str!("admin/failed_attempts.sql"), |query| {
            query
                .bind(event.kind.as_str().to_owned())
                .bind(event.key.as_str().to_owned())
        })
        .await?;
    rows.iter().map(record::failed_attempt).collect()
}

pub(crate) async fn requeue(
    session: &mut Session<'_>,
    events: &[EventRef],
) -> Result<Vec<Requeued>, PgError> {
    let mut answers = vec![Requeued::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("admin/requeue.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
        })
        .await?;
    for row in &rows {
        answers[index(row.try_get("place")?)?] = if row.try_get("applied")? {
            Requeued::Applied
        } else if row.try_get("erased")? {
            Requeued::Erased
        } else {
            Requeued::NotFailed
        };
    }
    Ok(answers)
}

pub(crate) async fn make_due(
    session: &mut Session<'_>,
    events: &[EventRef],
    leases: RunningLeases,
) -> Result<Vec<MadeDue>, PgError> {
    let mut answers = vec![MadeDue::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("admin/make_due.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
                .bind(leases == RunningLeases::End)
        })
        .await?;
    for row in &rows {
        answers[index(row.try_get("place")?)?] = if row.try_get("applied")? {
            MadeDue::Applied
        } else if row.try_get("settled")? {
            MadeDue::Settled
        } else if row.try_get("kept")? {
            MadeDue::Leased
        } else {
            MadeDue::AlreadyDue
        };
    }
    Ok(answers)
}

pub(crate) async fn delete(
    session: &mut Session<'_>,
    events: &[EventRef],
) -> Result<Vec<Deleted>, PgError> {
    let mut answers = vec![Deleted::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("admin/delete.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
        })
        .await?;
    for row in &rows {
        let (deleted, is_first) = (row.try_get("deleted")?, row.try_get("is_first")?);
        answers[index(row.try_get("place")?)?] = match (deleted, is_first) {
            (true, true) => Deleted::Applied,
            (true, false) => Deleted::NotFound,
            (false, _) => Deleted::Leased,
        };
    }
    Ok(answers)
}

pub(crate) async fn erase(
    session: &mut Session<'_>,
    events: &[EventRef],
) -> Result<Vec<Erased>, PgError> {
    let mut answers = vec![Erased::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("admin/erase.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
        })
        .await?;
    for row in &rows {
        answers[index(row.try_get("place")?)?] = if row.try_get("unsettled")? {
            Erased::Unsettled
        } else if row.try_get("applied")? {
            Erased::Applied
        } else {
            Erased::AlreadyErased
        };
    }
    Ok(answers)
}

pub(crate) async fn prune(session: &mut Session<'_>, prune: &Prune) -> Result<usize, PgError> {
    let mut batches = Batches::up_to(prune.limit.get());
    while let Some(limit) = batches.next() {
        let rows = session
            .rows(include_str!("admin/prune.sql"), |query| {
                query
                    .bind(prune.kind.as_str().to_owned())
                    .bind(prune.state == TerminalState::Failed)
                    .bind(microseconds::of(prune.older_than))
                    .bind(limit)
            })
            .await?;
        let deleted = rows.first().map(|row| row.try_get("deleted"));
        batches.note(deleted.transpose()?.unwrap_or(0), limit);
    }
    Ok(batches.changed)
}

pub(crate) async fn delete_bodies(
    session: &mut Session<'_>,
    delete: &DeleteBodies,
) -> Result<usize, PgError> {
    let mut batches = Batches::up_to(delete.limit.get());
    while let Some(limit) = batches.next() {
        let rows = session
            .rows(include_str!("admin/delete_bodies.sql"), |query| {
                query
                    .bind(delete.kind.as_str().to_owned())
                    .bind(microseconds::of(delete.older_than))
                    .bind(limit)
            })
            .await?;
        let deleted = rows.first().map(|row| row.try_get("deleted"));
        batches.note(deleted.transpose()?.unwrap_or(0), limit);
    }
    Ok(batches.changed)
}

/// Returns whether the kind was running before.
pub(crate) async fn pause(session: &mut Session<'_>, kind: &Kind) -> Result<bool, PgError> {
    has_changed(session, include_str!("admin/pause.sql"), kind).await
}

/// Returns whether the kind was paused before.
pub(crate) async fn resume(session: &mut Session<'_>, kind: &Kind) -> Result<bool, PgError> {
    has_changed(session, include_str!("admin/resume.sql"), kind).await
}

async fn has_changed(
    session: &mut Session<'_>,
    sql: &'static str,
    kind: &Kind,
) -> Result<bool, PgError> {
    let rows = session
        .rows(sql, |query| query.bind(kind.as_str().to_owned()))
        .await?;
    Ok(!rows.is_empty())
}

pub(crate) async fn paused(session: &mut Session<'_>) -> Result<Vec<Kind>, PgError> {
    let rows = session
        .rows(include_str!("admin/paused.sql"), |query| query)
        .await?;
    let kinds = rows.iter().map(|row| record::kind(row.try_get("kind")?));
    kinds.collect()
}

/// A count from PostgreSQL, which has no unsigned integers.
fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// Splits a change of many events into statements of at most [`STATEMENT_LIMIT`], until the caller's limit
/// is reached or no events are left.
struct Batches {
    left: usize,
    changed: usize,
}

impl Batches {
    fn up_to(limit: usize) -> Self {
        Self {
            left: limit,
            changed: 0,
        }
    }

    /// The limit of the next statement; `None` when there is none to run.
    fn next(&self) -> Option<i64> {
        let limit = STATEMENT_LIMIT.min(self.left);
        (limit > 0).then(|| i64::try_from(limit).unwrap_or(i64::MAX))
    }

    /// Records how many events a statement with this limit has changed.
    fn note(&mut self, count: i64, limit: i64) {
        let changed = usize::try_from(count).unwrap_or(0);
        self.changed += changed;
        self.left = if count < limit {
            0
        } else {
            self.left.saturating_sub(changed)
        };
    }
}
