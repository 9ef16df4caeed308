//! Leases due events.

use std::num::NonZeroU32;

use bytes::Bytes;
use sqlx::Row;
use webhook_core::{
    Attempt, Claim, Claimed, ClaimedEvent, EventId, FailureReason, Fence, Lease,
    MAX_FAILED_ATTEMPTS,
};

use crate::error::SqliteError;
use crate::writer::Transaction;
use crate::{microseconds, record};

/// Answers each of `claims`; `None` for a kind that is paused.
pub(crate) async fn claim(
    transaction: &mut Transaction<'_>,
    claims: &[Claim],
) -> Result<Vec<Option<Claimed>>, SqliteError> {
    let paused = sqlx::query("SELECT name FROM paused_kinds")
        .fetch_all(&mut *transaction.connection)
        .await?;
    let paused: Vec<&str> = paused
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let mut answers = Vec::with_capacity(claims.len());
    for claim in claims {
        answers.push(if paused.contains(&claim.kind.as_str()) {
            None
        } else {
            Some(claim_kind(transaction, claim).await?)
        });
    }
    Ok(answers)
}

/// An event that is due.
struct Due {
    id: i64,
    leased_until_us: Option<i64>,
    attempts: u32,
    fence: i64,
}

async fn claim_kind(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
) -> Result<Claimed, SqliteError> {
    let kind = transaction
        .kinds
        .number(transaction.connection, &claim.kind);
    let Some(kind) = kind.await? else {
        return Ok(Claimed::default());
    };
    let now_us = transaction.now_us;
    let rows = sqlx::query(include_str!("claim/due.sql"))
        .bind(kind)
        .bind(now_us)
        .bind(i64::try_from(claim.limit.get()).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction.connection)
        .await?;
    let mut claimed = Claimed::default();
    let (mut leased, mut exhausted, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let due = Due {
            id: row.try_get(0)?,
            leased_until_us: row.try_get(2)?,
            attempts: row.try_get(3)?,
            fence: row.try_get(4)?,
        };
        let key = record::key(row.try_get(5)?)?;
        if due.attempts >= claim.max_attempts.get() {
            exhausted.push(due.id);
            claimed.exhausted.push(key);
        } else {
            leased.push(due.id);
            let attempt = NonZeroU32::MIN.saturating_add(due.attempts);
            let lease = Lease::new(
                EventId::new(due.id),
                Attempt::new(attempt),
                Fence::new(due.fence + 1),
            );
            let body = Bytes::copy_from_slice(row.try_get(7)?);
            let accepted_at = microseconds::time(row.try_get(8)?);
            let lag = microseconds::duration(now_us - row.try_get::<i64, _>(1)?);
            claimed.events.push(
                ClaimedEvent::new(lease, key, body, accepted_at)
                    .with_headers(record::headers(row.try_get(6)?)?)
                    .with_lag(lag),
            );
        }
        if due.leased_until_us.is_some() {
            lost.push(due);
        }
    }
    let limit_reached = rows.len() == claim.limit.get();
    drop(rows);
    record_lost(transaction, &lost).await?;
    end_exhausted(transaction, &exhausted).await?;
    if !leased.is_empty() {
        sqlx::query(include_str!("claim/lease.sql"))
            .bind(now_us)
            .bind(microseconds::of(claim.lease).max(1))
            .bind(record::json(&leased))
            .execute(&mut *transaction.connection)
            .await?;
    }
    claimed.next_due = next_due(transaction, kind, limit_reached).await?;
    Ok(claimed)
}

/// Records the attempts whose leases ended without a settlement.
async fn record_lost(transaction: &mut Transaction<'_>, lost: &[Due]) -> Result<(), SqliteError> {
    for due in lost {
        record_failed_attempt(
            transaction,
            &FailedAttempt {
                id: due.id,
                fence: due.fence,
                attempt: due.attempts,
                ended_us: due.leased_until_us.unwrap_or(transaction.now_us),
                reason: FailureReason::Lost.as_str(),
            },
        )
        .await?;
    }
    Ok(())
}

/// An attempt that failed.
pub(crate) struct FailedAttempt<'r> {
    pub(crate) id: i64,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) ended_us: i64,
    pub(crate) reason: &'r str,
}

pub(crate) async fn record_failed_attempt(
    transaction: &mut Transaction<'_>,
    failed: &FailedAttempt<'_>,
) -> Result<(), SqliteError> {
    sqlx::query(include_str!("claim/failed_attempt.sql"))
        .bind(failed.id)
        .bind(failed.fence)
        .bind(i64::try_from(MAX_FAILED_ATTEMPTS).expect("a handful"))
        .bind(failed.attempt)
        .bind(failed.ended_us)
        .bind(failed.reason)
        .execute(&mut *transaction.connection)
        .await?;
    Ok(())
}

/// Ends events whose attempts are used up.
async fn end_exhausted(
    transaction: &mut Transaction<'_>,
    exhausted: &[i64],
) -> Result<(), SqliteError> {
    if exhausted.is_empty() {
        return Ok(());
    }
    let ids = record::json(exhausted);
    sqlx::query(include_str!("claim/exhausted.sql"))
        .bind(transaction.now_us)
        .bind(FailureReason::Exhausted.as_str())
        .bind(&ids)
        .execute(&mut *transaction.connection)
        .await?;
    sqlx::query("DELETE FROM queue WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(&ids)
        .execute(&mut *transaction.connection)
        .await?;
    Ok(())
}

/// How long until the next event can be claimed.
async fn next_due(
    transaction: &mut Transaction<'_>,
    kind: i64,
    limit_reached: bool,
) -> Result<Option<std::time::Duration>, SqliteError> {
    let now_us = transaction.now_us;
    if limit_reached {
        let more = sqlx::query(include_str!("claim/more_due.sql"))
            .bind(kind)
            .bind(now_us)
            .fetch_optional(&mut *transaction.connection)
            .await?;
        if more.is_some() {
            return Ok(Some(std::time::Duration::ZERO));
        }
    }
    let row = sqlx::query(include_str!("claim/next_due.sql"))
        .bind(kind)
        .bind(now_us)
        .fetch_one(&mut *transaction.connection)
        .await?;
    let (due_us, ends_us): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let next_us = due_us.into_iter().chain(ends_us).min();
    Ok(next_us.map(|next_us| microseconds::duration(next_us - now_us)))
}
