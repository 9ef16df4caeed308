//! Extends leases, and ends attempts.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::Row;
use webhook_core::{Extended, Kind, Lease, Outcome, Settled, Settlement};

use crate::claim::{FailedAttempt, record_failed_attempt};
use crate::error::SqliteError;
use crate::writer::Transaction;
use crate::{microseconds, record};

/// The answers to settlements, and which events are due again.
pub(crate) struct Ended {
    pub(crate) answers: Vec<Settled>,
    /// The kinds of events that are due again, and how soon the first of each is.
    pub(crate) due_again: Vec<(Kind, Duration)>,
}

/// The leases that are valid: their places, and the rest of the rows of their events.
async fn held(
    transaction: &mut Transaction<'_>,
    leases: impl Iterator<Item = Lease>,
) -> Result<Vec<Held>, SqliteError> {
    let leases: Vec<(i64, i64)> = leases
        .map(|lease| (lease.event.get(), lease.fence.get()))
        .collect();
    let rows = sqlx::query(include_str!("settle/held.sql"))
        .bind(record::json(&leases))
        .fetch_all(&mut *transaction.connection)
        .await?;
    let held = rows.iter().map(|row| {
        let place: i64 = row.try_get(0)?;
        Ok(Held {
            place: usize::try_from(place).unwrap_or(usize::MAX),
            id: row.try_get(1)?,
            kind: row.try_get(2)?,
            due_us: row.try_get(3)?,
            attempts: row.try_get(4)?,
            fence: row.try_get(5)?,
            reason: row.try_get(6)?,
        })
    });
    held.collect()
}

struct Held {
    place: usize,
    id: i64,
    kind: i64,
    due_us: i64,
    attempts: u32,
    fence: i64,
    reason: Option<String>,
}

pub(crate) async fn extend(
    transaction: &mut Transaction<'_>,
    leases: &[Lease],
    lease: Duration,
) -> Result<Vec<Extended>, SqliteError> {
    let held = held(transaction, leases.iter().copied()).await?;
    let ids: Vec<i64> = held.iter().map(|held| held.id).collect();
    sqlx::query(include_str!("settle/extend.sql"))
        .bind(transaction.now_us + microseconds::of(lease))
        .bind(record::json(&ids))
        .execute(&mut *transaction.connection)
        .await?;
    let mut answers = vec![Extended::LeaseLost; leases.len()];
    for held in held {
        answers[held.place] = Extended::Renewed;
    }
    Ok(answers)
}

pub(crate) async fn settle(
    transaction: &mut Transaction<'_>,
    settlements: &[Settlement],
) -> Result<Ended, SqliteError> {
    let held = held(transaction, settlements.iter().map(|it| it.lease)).await?;
    let mut answers = vec![Settled::LeaseLost; settlements.len()];
    let mut ids = HashSet::with_capacity(held.len());
    let mut ended = Vec::with_capacity(held.len());
    let mut due_again: HashMap<i64, i64> = HashMap::new();
    for held in &held {
        // Of several settlements of one lease, the first applies.
        if !ids.insert(held.id) {
            continue;
        }
        answers[held.place] = Settled::Applied;
        match &settlements[held.place].outcome {
            Outcome::Processed => {
                ended.push((held.id, held.kind, 0, held.attempts, held.fence, None))
            }
            Outcome::Failed { reason } => {
                let reason = reason.as_str();
                ended.push((
                    held.id,
                    held.kind,
                    1,
                    held.attempts,
                    held.fence,
                    Some(reason),
                ));
                note(transaction, held, reason).await?;
            }
            Outcome::Retry { after, reason } => {
                let reason = reason.as_str();
                note(transaction, held, reason).await?;
                let after_us = microseconds::of(*after);
                let due_us = transaction.now_us + after_us;
                put_back(transaction, held, due_us, held.attempts, Some(reason)).await?;
                soonest(&mut due_again, held.kind, after_us);
            }
            Outcome::Release => {
                let attempts = held.attempts.saturating_sub(1);
                put_back(
                    transaction,
                    held,
                    held.due_us,
                    attempts,
                    held.reason.as_deref(),
                )
                .await?;
                soonest(&mut due_again, held.kind, 0);
            }
            Outcome::Postpone { after } => {
                let after_us = microseconds::of(*after);
                let due_us = transaction.now_us + after_us;
                let attempts = held.attempts.saturating_sub(1);
                put_back(transaction, held, due_us, attempts, held.reason.as_deref()).await?;
                soonest(&mut due_again, held.kind, after_us);
            }
        }
    }
    if !ended.is_empty() {
        end(transaction, &ended).await?;
    }
    let mut names = Vec::with_capacity(due_again.len());
    for (kind, after_us) in due_again {
        let row = sqlx::query("SELECT name FROM kinds WHERE kind = ?1")
            .bind(kind)
            .fetch_one(&mut *transaction.connection)
            .await?;
        names.push((
            record::kind(row.try_get(0)?)?,
            microseconds::duration(after_us),
        ));
    }
    Ok(Ended {
        answers,
        due_again: names,
    })
}

fn soonest(due_again: &mut HashMap<i64, i64>, kind: i64, after_us: i64) {
    let soonest = due_again.entry(kind).or_insert(after_us);
    *soonest = after_us.min(*soonest);
}

/// Records why the attempt failed.
async fn note(
    transaction: &mut Transaction<'_>,
    held: &Held,
    reason: &str,
) -> Result<(), SqliteError> {
    let ended_us = transaction.now_us;
    record_failed_attempt(
        transaction,
        &FailedAttempt {
            id: held.id,
            fence: held.fence,
            attempt: held.attempts,
            ended_us,
            reason,
        },
    )
    .await
}

/// Ends the lease, and leaves the event in the queue.
async fn put_back(
    transaction: &mut Transaction<'_>,
    held: &Held,
    due_us: i64,
    attempts: u32,
    reason: Option<&str>,
) -> Result<(), SqliteError> {
    sqlx::query(include_str!("settle/put_back.sql"))
        .bind(held.id)
        .bind(due_us)
        .bind(attempts)
        .bind(reason)
        .execute(&mut *transaction.connection)
        .await?;
    Ok(())
}

/// The row of an event that ended: id, kind, 1 if it failed, attempts, fence, reason.
type OutcomeRow<'r> = (i64, i64, i64, u32, i64, Option<&'r str>);

/// Moves events from the queue to the outcomes.
async fn end(
    transaction: &mut Transaction<'_>,
    ended: &[OutcomeRow<'_>],
) -> Result<(), SqliteError> {
    let ended = record::json(ended);
    sqlx::query(include_str!("settle/end.sql"))
        .bind(transaction.now_us)
        .bind(&ended)
        .execute(&mut *transaction.connection)
        .await?;
    sqlx::query("DELETE FROM queue WHERE id IN (SELECT value ->> 0 FROM json_each(?1))")
        .bind(&ended)
        .execute(&mut *transaction.connection)
        .await?;
    Ok(())
}
