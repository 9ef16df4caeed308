//! Extends leases, and ends attempts.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use webhook_core::{Extended, Kind, Lease, Outcome, Reason, Settled, Settlement};

use crate::claim::{FailedAttempt, record_failed_attempt};
use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::query::{execute_each, query};
use crate::{microseconds, record};

/// The answers to settlements, and which events are due again.
#[derive(Default)]
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
    let rows = query(include_str!("settle/held.sql"))
        .bind(record::json(&leases))
        .fetch_all(&mut transaction.connection)
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
    query(include_str!("settle/extend.sql"))
        .bind(transaction.now_us + microseconds::of(lease))
        .bind(record::json(&ids))
        .execute(&mut transaction.connection)
        .await?;
    let mut answers = vec![Extended::LeaseLost; leases.len()];
    for held in held {
        answers[held.place] = Extended::Renewed;
    }
    Ok(answers)
}

/// Changes a row if the lease is valid: that of an event that had no outcome before. It is deleted from the queue next.
const PROCESSED: &str = include_str!("settle/processed.sql");

pub(crate) async fn settle(
    transaction: &mut Transaction<'_>,
    settlements: &[&Settlement],
) -> Result<Ended, SqliteError> {
    if settlements.is_empty() {
        return Ok(Ended::default());
    }
    let mut answers = vec![Settled::LeaseLost; settlements.len()];
    let mut leases = HashSet::with_capacity(settlements.len());
    let (mut processed, mut others) = (Vec::new(), Vec::new());
    for (place, settlement) in settlements.iter().enumerate() {
        // Of several settlements of one lease, the first applies.
        if leases.insert((settlement.lease.event, settlement.lease.fence)) {
            match settlement.outcome {
                Outcome::Processed => processed.push((place, settlement.lease)),
                _ => others.push((place, *settlement)),
            }
        }
    }
    settle_processed(transaction, &processed, &mut answers).await?;
    let due_again = settle_others(transaction, &others, &mut answers).await?;
    Ok(Ended { answers, due_again })
}

async fn settle_processed(
    transaction: &mut Transaction<'_>,
    processed: &[(usize, Lease)],
    answers: &mut [Settled],
) -> Result<(), SqliteError> {
    let now_us = transaction.now_us;
    let leases = processed.iter().map(|(_, lease)| {
        let (event, fence) = (lease.event.get(), lease.fence.get());
        [event.into(), fence.into(), now_us.into()]
    });
    let changed = execute_each(&mut transaction.connection, PROCESSED, leases).await?;
    let mut ids = Vec::with_capacity(processed.len());
    for ((place, lease), changed) in processed.iter().zip(changed) {
        if changed > 0 {
            answers[*place] = Settled::Applied;
            ids.push(lease.event.get());
        }
    }
    delete_from_queue(transaction, &ids).await
}

/// Returns which events are due again.
async fn settle_others(
    transaction: &mut Transaction<'_>,
    settlements: &[(usize, &Settlement)],
    answers: &mut [Settled],
) -> Result<Vec<(Kind, Duration)>, SqliteError> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let held = held(transaction, settlements.iter().map(|(_, it)| it.lease)).await?;
    let mut failed = Vec::new();
    let mut due_again: HashMap<i64, i64> = HashMap::new();
    for held in &held {
        let (place, settlement) = settlements[held.place];
        answers[place] = Settled::Applied;
        let attempts_before = held.attempts.saturating_sub(1);
        let (after_us, attempts, reason) = match &settlement.outcome {
            Outcome::Processed => unreachable!("these are settled by another statement"),
            Outcome::Failed { reason } => {
                note(transaction, held, reason).await?;
                failed.push((held.id, reason.as_str()));
                continue;
            }
            Outcome::Retry { after, reason } => {
                note(transaction, held, reason).await?;
                let after_us = microseconds::of(*after);
                (Some(after_us), held.attempts, Some(reason.as_str()))
            }
            Outcome::Release => (None, attempts_before, held.reason.as_deref()),
            Outcome::Postpone { after } => {
                let after_us = microseconds::of(*after);
                (Some(after_us), attempts_before, held.reason.as_deref())
            }
        };
        let due_us = after_us.map_or(held.due_us, |after_us| transaction.now_us + after_us);
        put_back(transaction, held, due_us, attempts, reason).await?;
        let soonest = due_again.entry(held.kind).or_insert(i64::MAX);
        *soonest = after_us.unwrap_or(0).min(*soonest);
    }
    if !failed.is_empty() {
        fail(transaction, &failed).await?;
    }
    let mut kinds = Vec::with_capacity(due_again.len());
    for (kind, after_us) in due_again {
        let name = transaction
            .kinds
            .name(&mut transaction.connection, kind)
            .await?;
        kinds.push((name, microseconds::duration(after_us)));
    }
    Ok(kinds)
}

/// Records why the attempt failed.
async fn note(
    transaction: &mut Transaction<'_>,
    held: &Held,
    reason: &Reason,
) -> Result<(), SqliteError> {
    let ended_us = transaction.now_us;
    record_failed_attempt(
        transaction,
        &FailedAttempt {
            id: held.id,
            fence: held.fence,
            attempt: held.attempts,
            ended_us,
            reason: reason.as_str(),
            details: reason.details().map(AsRef::as_ref),
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
    query(include_str!("settle/put_back.sql"))
        .bind(held.id)
        .bind(due_us)
        .bind(attempts)
        .bind(reason)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// Moves events to the outcomes as failed, with their reasons.
async fn fail(
    transaction: &mut Transaction<'_>,
    failed: &[(i64, &str)],
) -> Result<(), SqliteError> {
    query(include_str!("settle/fail.sql"))
        .bind(transaction.now_us)
        .bind(record::json(failed))
        .execute(&mut transaction.connection)
        .await?;
    let ids: Vec<i64> = failed.iter().map(|(id, _)| *id).collect();
    delete_from_queue(transaction, &ids).await
}

pub(crate) async fn delete_from_queue(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
) -> Result<(), SqliteError> {
    if ids.is_empty() {
        return Ok(());
    }
    query("DELETE FROM queue WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(record::json(ids))
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}
