//! Leases due events.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use webhook_core::{
    Claim, Claimed, ClaimedEvent, EXHAUSTED_REASON, EventId, Fence, LOST_REASON, Lease,
};

use crate::error::PgError;
use crate::floor::{BOTTOM_US, Floors, Found};
use crate::microseconds;
use crate::record::{self, key};
use crate::session::Session;

/// One statement; a second one where the first began above the bottom and did not find enough.
pub(crate) async fn claim(
    session: &mut Session<'_>,
    floors: &Floors,
    claim: &Claim,
) -> Result<Claimed, PgError> {
    let from_us = floors.start(&claim.kind, Instant::now());
    let mut claimed = claim_from(session, floors, claim, claim.limit.get(), from_us).await?;
    let found = claimed.events.len() + claimed.exhausted.len();
    if from_us == BOTTOM_US || found == claim.limit.get() {
        return Ok(claimed);
    }
    let rest = floors.until_bottom(&claim.kind, Instant::now());
    if rest.is_zero() {
        let limit = claim.limit.get() - found;
        match claim_from(session, floors, claim, limit, BOTTOM_US).await {
            Ok(mut below) => {
                below.events.append(&mut claimed.events);
                below
                    .events
                    .sort_by_key(|event| std::cmp::Reverse(event.lag));
                below.exhausted.append(&mut claimed.exhausted);
                return Ok(below);
            }
            // What is leased already is worth more than the error, which will come again.
            Err(error) => tracing::debug!(%error, "claim from the bottom failed"),
        }
    }
    // Nothing is known of what is below: come back when it may be looked at.
    claimed.next_due = Some(claimed.next_due.map_or(rest, |due| due.min(rest)));
    Ok(claimed)
}

async fn claim_from(
    session: &mut Session<'_>,
    floors: &Floors,
    claim: &Claim,
    limit: usize,
    from_us: i64,
) -> Result<Claimed, PgError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let max_attempts = i32::try_from(claim.max_attempts.get()).unwrap_or(i32::MAX);
    let started = Instant::now();
    let rows = session
        .rows(include_str!("claim.sql"), |query| {
            query
                .bind(claim.kind.as_str().to_owned())
                .bind(limit)
                .bind(microseconds::of(claim.lease))
                .bind(max_attempts)
                .bind(EXHAUSTED_REASON)
                .bind(from_us)
                .bind(LOST_REASON)
                .bind(record::FAILED_ATTEMPT_SLOTS)
        })
        .await?;
    let took = started.elapsed();

    let mut claimed = Claimed::default();
    let mut first_us = None;
    for row in &rows {
        claimed.next_due = row
            .try_get::<Option<i64>, _>("next_due_us")?
            .map(microseconds::duration);
        let Some(id) = row.try_get::<Option<i64>, _>("id")? else {
            continue;
        };
        if first_us.is_none() {
            first_us = Some(row.try_get("due_us")?);
        }
        if row.try_get("spent")? {
            claimed.exhausted.push(key(row.try_get("key")?)?);
        } else {
            claimed.events.push(event(row, id)?);
        }
    }
    let events = claimed.events.len() + claimed.exhausted.len();
    let found = Found {
        started,
        took,
        lease: claim.lease,
        first_us,
        events,
    };
    floors.note(&claim.kind, from_us, found);
    Ok(claimed)
}

fn event(row: &PgRow, id: i64) -> Result<ClaimedEvent, PgError> {
    let lag: Duration = microseconds::duration(row.try_get("lag_us")?);
    let lease = Lease {
        event: EventId(id),
        attempt: record::attempt(row.try_get("attempt")?)?,
        fence: Fence(row.try_get("fence")?),
    };
    let key = key(row.try_get("key")?)?;
    let body = Bytes::copy_from_slice(row.try_get("body")?);
    let accepted_at = microseconds::time(row.try_get("accepted_at_us")?);
    let event = ClaimedEvent::new(lease, key, body, accepted_at);
    Ok(event
        .with_headers(record::headers(row.try_get("headers")?)?)
        .with_lag(lag))
}
