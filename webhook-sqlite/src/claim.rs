//! Leases due events.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use webhook_core::{
    Attempt, Claim, Claimed, ClaimedEvent, EventId, FailureReason, Fence, Lease,
    MAX_FAILED_ATTEMPTS,
};

use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::query::{Connection, query};
use crate::settle::delete_from_queue;
use crate::{microseconds, record};

/// Answers each of `claims`; `None` for a kind that is paused.
pub(crate) async fn claim(
    transaction: &mut Transaction<'_>,
    claims: &[Claim],
) -> Result<Vec<Option<Claimed>>, SqliteError> {
    // One claim looks for events at once, since it mostly finds some. Of many kinds, few have any.
    if let [claim] = claims
        && let Some(claimed) = claim_kind(transaction, claim).await?
    {
        return Ok(vec![Some(claimed)]);
    }
    let states = kind_states(&mut transaction.connection, transaction.now_us, claims).await?;
    let mut answers = Vec::with_capacity(claims.len());
    for (claim, state) in claims.iter().zip(states) {
        answers.push(match state.unless_due() {
            Some(answer) => answer,
            None => claim_kind(transaction, claim).await?,
        });
    }
    Ok(answers)
}

/// The answers to `claims`, if they are all without events. Needs no transaction.
pub(crate) async fn without_events(
    connection: &mut Connection<'_>,
    now_us: i64,
    claims: &[Claim],
) -> Result<Option<Vec<Option<Claimed>>>, SqliteError> {
    let states = kind_states(connection, now_us, claims).await?;
    Ok(states.into_iter().map(KindState::unless_due).collect())
}

enum KindState {
    Paused,
    /// Some event is due and not leased.
    Due,
    /// How long until the next event can be claimed.
    NotDue(Option<Duration>),
}

impl KindState {
    /// The answer to a claim; `None` if events are due.
    fn unless_due(self) -> Option<Option<Claimed>> {
        match self {
            Self::Paused => Some(None),
            Self::Due => None,
            Self::NotDue(next_due) => {
                let mut claimed = Claimed::default();
                claimed.next_due = next_due;
                Some(Some(claimed))
            }
        }
    }
}

/// The states of the kinds of `claims`.
async fn kind_states(
    connection: &mut Connection<'_>,
    now_us: i64,
    claims: &[Claim],
) -> Result<Vec<KindState>, SqliteError> {
    let names: Vec<&str> = claims.iter().map(|claim| claim.kind.as_str()).collect();
    let rows = query(include_str!("claim/kind_states.sql"))
        .bind(record::json(&names))
        .bind(now_us)
        .fetch_all(connection)
        .await?;
    let states = rows.iter().map(|row| {
        let next_us: Option<i64> = row.try_get(2)?;
        Ok(if row.try_get(0)? {
            KindState::Paused
        } else if row.try_get(1)? {
            KindState::Due
        } else {
            KindState::NotDue(next_us.map(|next_us| microseconds::duration(next_us - now_us)))
        })
    });
    states.collect()
}

/// An event that is due.
struct Due {
    id: i64,
    leased_until_us: Option<i64>,
    attempts: u32,
    fence: i64,
}

/// Leases due events; `None` if none is due, or if the kind is paused.
async fn claim_kind(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
) -> Result<Option<Claimed>, SqliteError> {
    let now_us = transaction.now_us;
    let limit = claim.limit.get();
    // One more than the limit, which tells whether more are due.
    let rows = query(include_str!("claim/due.sql"))
        .bind(claim.kind.as_str())
        .bind(now_us)
        .bind(i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1)))
        .fetch_all(&mut transaction.connection)
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut claimed = Claimed::default();
    let (mut leased, mut exhausted, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows.iter().take(limit) {
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
            let body = row.try_get::<&Bytes>(8)?.clone();
            let accepted_us = row.try_get(9)?;
            let accepted_at = microseconds::time(accepted_us);
            let lag = microseconds::duration(now_us - row.try_get::<i64>(1)?);
            claimed.events.push(
                ClaimedEvent::new(lease, key, body, accepted_at)
                    .with_event_type(record::event_type(row.try_get(6)?)?)
                    .with_headers(record::headers(row.try_get(7)?)?)
                    .with_lag(lag)
                    .with_age(microseconds::duration(now_us - accepted_us)),
            );
        }
        if due.leased_until_us.is_some() {
            lost.push(due);
        }
    }
    let are_more_due = rows.len() > limit;
    drop(rows);
    record_lost(transaction, &lost).await?;
    end_exhausted(transaction, &exhausted, claim.max_attempts).await?;
    lease(transaction, &leased, claim.lease).await?;
    claimed.next_due = if are_more_due {
        Some(Duration::ZERO)
    } else {
        let claims = std::slice::from_ref(claim);
        match kind_states(&mut transaction.connection, now_us, claims).await?[..] {
            [KindState::NotDue(next_due)] => next_due,
            // The kind is not paused, and its due events are leased, unless one is not among the events.
            _ => {
                return Err(SqliteError::Damaged {
                    detail: format!("an event of kind {} is queued but missing", claim.kind),
                });
            }
        }
    };
    Ok(Some(claimed))
}

async fn lease(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    lease: Duration,
) -> Result<(), SqliteError> {
    if ids.is_empty() {
        return Ok(());
    }
    query(include_str!("claim/lease.sql"))
        .bind(transaction.now_us)
        .bind(microseconds::of(lease).max(1))
        .bind(record::json(ids))
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
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
                details: None,
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
    pub(crate) details: Option<&'r [u8]>,
}

pub(crate) async fn record_failed_attempt(
    transaction: &mut Transaction<'_>,
    failed: &FailedAttempt<'_>,
) -> Result<(), SqliteError> {
    query(include_str!("claim/failed_attempt.sql"))
        .bind(failed.id)
        .bind(failed.fence)
        .bind(i64::try_from(MAX_FAILED_ATTEMPTS).expect("a handful"))
        .bind(failed.attempt)
        .bind(failed.ended_us)
        .bind(failed.reason)
        .bind(failed.details)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// Ends events whose attempts are used up.
async fn end_exhausted(
    transaction: &mut Transaction<'_>,
    exhausted: &[i64],
    max_attempts: NonZeroU32,
) -> Result<(), SqliteError> {
    if exhausted.is_empty() {
        return Ok(());
    }
    query(include_str!("claim/exhausted.sql"))
        .bind(transaction.now_us)
        .bind(FailureReason::Exhausted.as_str())
        .bind(record::json(exhausted))
        .bind(max_attempts.get())
        .execute(&mut transaction.connection)
        .await?;
    delete_from_queue(transaction, exhausted).await
}
