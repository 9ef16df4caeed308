//! What rows hold, as the types of the core.

use std::num::NonZeroU32;

use bytes::Bytes;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use webhook_core::{
    Attempt, EventId, EventRecord, EventRef, EventSummary, EventType, FailedAttempt, FailureReason,
    Fingerprint, Headers, Key, Kind, State,
};

use crate::error::SqliteError;
use crate::microseconds;

/// `items` as JSON text, for `json_each`: numbers and text, or tuples of them.
pub(crate) fn json<T: Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).expect("numbers and text can be written as JSON")
}

/// What the index of keys holds in place of the key: the first 64 bits of a digest of both.
pub(crate) fn key_hash(kind: &Kind, key: &Key) -> i64 {
    first_64_bits(Fingerprint::of([kind.as_str(), key.as_str()]))
}

/// The same for the index of guards.
pub(crate) fn guard_hash(kind: &Kind, guard: &Fingerprint) -> i64 {
    first_64_bits(Fingerprint::of([
        kind.as_str().as_bytes(),
        guard.as_bytes(),
    ]))
}

fn first_64_bits(digest: Fingerprint) -> i64 {
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has 32 bytes");
    i64::from_be_bytes(*first)
}

/// A record out of a row of the columns that `find` and lists select.
pub(crate) fn record(row: &SqliteRow, event: EventRef) -> Result<EventRecord, SqliteError> {
    let body = Bytes::copy_from_slice(row.try_get("body")?);
    Ok(summary(row, event)?.with_body(body))
}

pub(crate) fn summary(row: &SqliteRow, event: EventRef) -> Result<EventSummary, SqliteError> {
    let state = match row.try_get::<Option<bool>, _>("failed")? {
        None => State::Processing,
        Some(false) => State::Processed,
        Some(true) => State::Failed,
    };
    let time = |column: &str| -> Result<_, SqliteError> {
        Ok(row
            .try_get::<Option<i64>, _>(column)?
            .map(microseconds::time))
    };
    let mut summary = EventSummary::new(
        EventId::new(row.try_get("id")?),
        event,
        fingerprint(row.try_get("fingerprint")?)?,
        state,
        microseconds::time(row.try_get("accepted_us")?),
    );
    summary.event_type = event_type(row.try_get("event_type")?)?;
    summary.headers = headers(row.try_get("headers")?)?;
    summary.body_deleted = row.try_get("body_deleted")?;
    summary.attempts = row.try_get("attempts")?;
    summary.due_at = time("due_us")?;
    summary.leased_until = time("leased_until_us")?;
    summary.settled_at = time("settled_us")?;
    summary.reason = row
        .try_get::<Option<&str>, _>("reason")?
        .map(FailureReason::from_stored);
    summary.conflict_count = row
        .try_get::<Option<i64>, _>("conflict_count")?
        .map_or(0, i64::unsigned_abs);
    summary.last_conflict_at = time("last_conflict_us")?;
    Ok(summary)
}

pub(crate) fn fingerprint(stored: &[u8]) -> Result<Fingerprint, SqliteError> {
    let bytes = <[u8; 32]>::try_from(stored).map_err(|_| SqliteError::Damaged {
        detail: format!("its fingerprint has {} bytes", stored.len()),
    })?;
    Ok(Fingerprint::from_bytes(bytes))
}

/// Reads a failed attempt.
pub(crate) fn failed_attempt(row: &SqliteRow) -> Result<FailedAttempt, SqliteError> {
    let details = row.try_get::<Option<&[u8]>, _>("details")?;
    let details = details.map(Bytes::copy_from_slice);
    Ok(FailedAttempt::new(
        attempt(row.try_get("attempt")?)?,
        microseconds::time(row.try_get("ended_us")?),
        FailureReason::from_stored_with(row.try_get::<&str, _>("reason")?, details),
    ))
}

/// The number of a stored attempt.
pub(crate) fn attempt(stored: u32) -> Result<Attempt, SqliteError> {
    let number = NonZeroU32::new(stored).ok_or_else(|| SqliteError::Damaged {
        detail: "its attempt has number 0".to_owned(),
    })?;
    Ok(Attempt::new(number))
}

/// Stored headers, which were checked before they were stored; null for none.
pub(crate) fn headers(stored: Option<&[u8]>) -> Result<Headers, SqliteError> {
    let Some(stored) = stored else {
        return Ok(Headers::new());
    };
    Headers::from_encoded(Bytes::copy_from_slice(stored)).map_err(|error| SqliteError::Damaged {
        detail: format!("its headers: {error}"),
    })
}

/// A stored event type, which was checked before it was stored; null for none.
pub(crate) fn event_type(stored: Option<&str>) -> Result<Option<EventType>, SqliteError> {
    let checked = stored.map(EventType::new).transpose();
    checked.map_err(|error| SqliteError::Damaged {
        detail: format!("its event type {error}"),
    })
}

/// A stored key, which was checked before it was stored.
pub(crate) fn key(stored: &str) -> Result<Key, SqliteError> {
    Key::new(stored).map_err(|error| SqliteError::Damaged {
        detail: format!("its key {error}"),
    })
}

/// A stored kind, which was checked before it was stored.
pub(crate) fn kind(stored: String) -> Result<Kind, SqliteError> {
    Kind::new(stored).map_err(|error| SqliteError::Damaged {
        detail: format!("its kind {error}"),
    })
}
