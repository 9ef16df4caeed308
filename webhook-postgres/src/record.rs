//! Reads records and summaries of events from rows of `find.sql` and `admin/list_*.sql`.

use std::num::NonZeroU32;
use std::time::SystemTime;

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use webhook_core::{
    Attempt, EventId, EventRecord, EventRef, EventSummary, EventType, FailedAttempt, FailureReason,
    Headers, Key, Kind, MAX_FAILED_ATTEMPTS, State,
};

use crate::accept::fingerprint;
use crate::error::PgError;
use crate::microseconds;

pub(crate) fn record(row: &PgRow, event: EventRef) -> Result<EventRecord, PgError> {
    let body = Bytes::copy_from_slice(row.try_get("body")?);
    Ok(summary(row, event)?.with_body(body))
}

pub(crate) fn summary(row: &PgRow, event: EventRef) -> Result<EventSummary, PgError> {
    let state = match row.try_get::<Option<bool>, _>("failed")? {
        None => State::Processing,
        Some(false) => State::Processed,
        Some(true) => State::Failed,
    };
    let time = |column: &str| -> Result<Option<SystemTime>, PgError> {
        Ok(row
            .try_get::<Option<i64>, _>(column)?
            .map(microseconds::time))
    };
    let conflict_count: i64 = row.try_get("conflict_count")?;
    let mut summary = EventSummary::new(
        EventId::new(row.try_get("id")?),
        event,
        fingerprint(row.try_get("fingerprint")?)?,
        state,
        microseconds::time(row.try_get("accepted_at_us")?),
    );
    summary.event_type = event_type(row.try_get("event_type")?)?;
    summary.headers = headers(row.try_get("headers")?)?;
    summary.body_deleted = row.try_get("stripped")?;
    summary.attempts = attempts(row.try_get("attempts")?)?;
    summary.due_at = time("due_at_us")?;
    summary.leased_until = time("leased_until_us")?;
    summary.settled_at = time("settled_at_us")?;
    summary.reason = row
        .try_get::<Option<&str>, _>("reason")?
        .map(FailureReason::from_stored);
    summary.conflict_count = u64::try_from(conflict_count).unwrap_or(0);
    summary.last_conflict_at = time("last_conflict_at_us")?;
    Ok(summary)
}

fn attempts(stored: i32) -> Result<u32, PgError> {
    u32::try_from(stored).map_err(|_| PgError::Damaged {
        detail: format!("it has {stored} attempts"),
    })
}

/// Reads a failed attempt.
pub(crate) fn failed_attempt(row: &PgRow) -> Result<FailedAttempt, PgError> {
    let details = row.try_get::<Option<&[u8]>, _>("details")?;
    let details = details.map(Bytes::copy_from_slice);
    Ok(FailedAttempt::new(
        attempt(row.try_get("attempt")?)?,
        microseconds::time(row.try_get("ended_at_us")?),
        FailureReason::from_stored_with(row.try_get::<&str, _>("reason")?, details),
    ))
}

/// Reads the number of a stored attempt.
pub(crate) fn attempt(stored: i32) -> Result<Attempt, PgError> {
    let number = u32::try_from(stored).ok().and_then(NonZeroU32::new);
    number.map(Attempt::new).ok_or_else(|| PgError::Damaged {
        detail: format!("its attempt has number {stored}"),
    })
}

/// How many failed attempts of an event are kept, as a parameter of statements.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a handful"
)]
pub(crate) const FAILED_ATTEMPT_SLOTS: i32 = MAX_FAILED_ATTEMPTS as i32;

/// Reads stored headers, which were checked before they were stored; null for none.
pub(crate) fn headers(stored: Option<&[u8]>) -> Result<Headers, PgError> {
    let Some(stored) = stored else {
        return Ok(Headers::new());
    };
    Headers::from_encoded(Bytes::copy_from_slice(stored)).map_err(|error| PgError::Damaged {
        detail: format!("its headers: {error}"),
    })
}

/// Reads a stored event type, which was checked before it was stored; null for none.
pub(crate) fn event_type(stored: Option<&str>) -> Result<Option<EventType>, PgError> {
    let checked = stored.map(EventType::new).transpose();
    checked.map_err(|error| PgError::Damaged {
        detail: format!("its event type {error}"),
    })
}

/// Reads a stored key, which was checked before it was stored.
pub(crate) fn key(stored: &str) -> Result<Key, PgError> {
    Key::new(stored).map_err(|error| PgError::Damaged {
        detail: format!("its key {error}"),
    })
}

/// Reads a stored kind, which was checked before it was stored.
pub(crate) fn kind(stored: String) -> Result<Kind, PgError> {
    Kind::new(stored).map_err(|error| PgError::Damaged {
        detail: format!("its kind {error}"),
    })
}
