//! Reads and writes whole events, for moves from and to other backends.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use bytes::Bytes;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteExecutor, SqlitePool};
use webhook_core::transfer::{MoveMark, StoredEvent};
use webhook_core::{
    ConflictRecord, Envelope, EventId, EventRef, FailureReason, Fence, Key, MAX_CONFLICT_BODIES,
    State,
};

use crate::accept::guards::{self, Guard};
use crate::accept::{EventRow, insert_events, taken};
use crate::claim::{self, record_failed_attempt};
use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::microseconds;
use crate::query::query;
use crate::record;

pub(crate) async fn export(
    readers: &SqlitePool,
    after: Option<EventId>,
    limit: NonZeroUsize,
    max_bytes: usize,
) -> Result<Vec<StoredEvent>, SqliteError> {
    let rows = sqlx::query(include_str!("transfer/export.sql"))
        .bind(after.map_or(0, EventId::get))
        .bind(i64::try_from(limit.get()).unwrap_or(i64::MAX))
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .fetch_all(readers)
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        let record = record::record(row, event_ref(row)?)?;
        let fence = Fence::new(row.try_get("fence")?);
        let guard = row.try_get::<Option<&[u8]>, _>("guard")?;
        let guard = guard.map(record::fingerprint).transpose()?;
        events.push(StoredEvent::new(record).with_fence(fence).with_guard(guard));
    }
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(events);
    };
    let (first, last) = (first.record.id.get(), last.record.id.get());
    let kept = async |sql: &'static str| {
        let rows = sqlx::query(sql).bind(first).bind(last).fetch_all(readers);
        rows.await
    };
    for row in &kept(include_str!("transfer/export_conflicts.sql")).await? {
        if let Some(event) = of_row(&mut events, row)? {
            event.conflicts.push(conflict(row)?);
        }
    }
    for row in &kept(include_str!("transfer/export_failed_attempts.sql")).await? {
        if let Some(event) = of_row(&mut events, row)? {
            let fence = Fence::new(row.try_get("fence")?);
            let failed = record::failed_attempt(row)?;
            event.failed_attempts.push((fence, failed));
        }
    }
    Ok(events)
}

fn event_ref(row: &SqliteRow) -> Result<EventRef, SqliteError> {
    Ok(EventRef {
        kind: record::kind(row.try_get("kind")?)?,
        key: record::key(row.try_get("key")?)?,
    })
}

/// The event that a row belongs to. `events` are in order of their ids.
fn of_row<'e>(
    events: &'e mut [StoredEvent],
    row: &SqliteRow,
) -> Result<Option<&'e mut StoredEvent>, SqliteError> {
    let id = EventId::new(row.try_get("id")?);
    let place = events.binary_search_by_key(&id, |event| event.record.id);
    Ok(place.ok().map(|place| &mut events[place]))
}

fn conflict(row: &SqliteRow) -> Result<(u64, ConflictRecord), SqliteError> {
    let conflict = ConflictRecord::new(
        microseconds::time(row.try_get("received_us")?),
        record::fingerprint(row.try_get("fingerprint")?)?,
        Bytes::copy_from_slice(row.try_get("body")?),
        row.try_get::<i64, _>("body_bytes")?.unsigned_abs(),
    );
    Ok((row.try_get::<i64, _>("number")?.unsigned_abs(), conflict))
}

/// An event whose key is free.
struct New<'e> {
    id: i64,
    kind: i64,
    key_hash: i64,
    event: &'e StoredEvent,
}

/// Stores the events whose keys are free, and returns how many these are.
pub(crate) async fn import(
    transaction: &mut Transaction<'_>,
    events: &[StoredEvent],
) -> Result<usize, SqliteError> {
    let new = free(transaction, events).await?;
    let rows = new.iter().map(|new| EventRow {
        id: new.id,
        kind: new.kind,
        key_hash: new.key_hash,
        envelope: &new.event.record.envelope,
        accepted_us: microseconds::of_time(new.event.record.accepted_at),
    });
    insert_events(transaction, rows).await?;
    let guards = new.iter().filter_map(|new| {
        let guard = new.event.guard.as_ref()?;
        Some(Guard {
            id: new.id,
            kind: new.kind,
            guard,
            hash: record::guard_hash(&new.event.record.envelope.kind, guard),
        })
    });
    let guarded: Vec<Guard<'_>> = guards.collect();
    guards::insert(transaction, &guarded).await?;
    let mut batch = Batch::default();
    for new in &new {
        import_conflict_bodies(transaction, new).await?;
        import_failed_attempts(transaction, new).await?;
        batch.add(new);
    }
    batch.write(transaction).await?;
    Ok(new.len())
}

/// The events whose keys are free, with the ids that they get.
async fn free<'e>(
    transaction: &mut Transaction<'_>,
    events: &'e [StoredEvent],
) -> Result<Vec<New<'e>>, SqliteError> {
    let mut new = Vec::with_capacity(events.len());
    for event in events {
        let Envelope { kind, key, .. } = &event.record.envelope;
        let key_hash = record::key_hash(kind, key);
        let kind = transaction
            .kinds
            .number_or_new(&mut transaction.connection, kind)
            .await?;
        new.push(New {
            id: 0,
            kind,
            key_hash,
            event,
        });
    }
    let hashes: Vec<i64> = new.iter().map(|new| new.key_hash).collect();
    let (last_id, taken) = taken(transaction, &hashes).await?;
    let taken: HashSet<(i64, &Key)> = taken.iter().map(|it| (it.kind, &it.key)).collect();
    new.retain(|new| !taken.contains(&(new.kind, &new.event.record.envelope.key)));
    for (id, new) in (last_id + 1..).zip(&mut new) {
        new.id = id;
    }
    Ok(new)
}

async fn import_conflict_bodies(
    transaction: &mut Transaction<'_>,
    new: &New<'_>,
) -> Result<(), SqliteError> {
    for (number, conflict) in &new.event.conflicts {
        query(include_str!("accept/keep_conflict.sql"))
            .bind(new.id)
            .bind(integer(*number))
            .bind(i64::try_from(MAX_CONFLICT_BODIES).expect("a handful"))
            .bind(microseconds::of_time(conflict.received_at))
            .bind(&conflict.fingerprint.as_bytes()[..])
            .bind(&conflict.body[..])
            .bind(integer(conflict.body_bytes))
            .execute(&mut transaction.connection)
            .await?;
    }
    Ok(())
}

async fn import_failed_attempts(
    transaction: &mut Transaction<'_>,
    new: &New<'_>,
) -> Result<(), SqliteError> {
    for (fence, failed) in &new.event.failed_attempts {
        record_failed_attempt(
            transaction,
            &claim::FailedAttempt {
                id: new.id,
                fence: fence.get(),
                attempt: failed.attempt.number(),
                ended_us: microseconds::of_time(failed.ended_at),
                reason: failed.reason.as_str(),
                details: failed.reason.details().map(AsRef::as_ref),
            },
        )
        .await?;
    }
    Ok(())
}

/// The rows of the tables without bodies and details: one statement writes all of a table.
#[derive(Default)]
struct Batch<'e> {
    queue: Vec<Queued<'e>>,
    outcomes: Vec<Ended<'e>>,
    /// Event, number of its conflicts, when the last one was received.
    conflicts: Vec<(i64, i64, i64)>,
}

/// Event, kind, when it is due, end of its lease, attempts, fencing token, reason.
type Queued<'e> = (i64, i64, i64, Option<i64>, u32, i64, Option<&'e str>);

/// Event, kind, 1 if it failed, 1 if its body is deleted, attempts, fencing token, when it was settled, reason.
type Ended<'e> = (i64, i64, u8, u8, u32, i64, i64, Option<&'e str>);

impl<'e> Batch<'e> {
    fn add(&mut self, new: &New<'e>) {
        let New {
            id, kind, event, ..
        } = *new;
        let record = &event.record;
        let fence = event.fence.get();
        let reason = record.reason.as_ref().map(FailureReason::as_str);
        let or_accepted =
            |time: Option<_>| microseconds::of_time(time.unwrap_or(record.accepted_at));
        if record.state == State::Processing {
            let leased_until = record.leased_until.map(microseconds::of_time);
            let due = or_accepted(record.due_at);
            let item = (id, kind, due, leased_until, record.attempts, fence, reason);
            self.queue.push(item);
        } else {
            let failed = u8::from(record.state == State::Failed);
            let body_deleted = u8::from(record.body_deleted);
            let settled = or_accepted(record.settled_at);
            let attempts = record.attempts;
            let ended = (
                id,
                kind,
                failed,
                body_deleted,
                attempts,
                fence,
                settled,
                reason,
            );
            self.outcomes.push(ended);
        }
        if record.conflict_count > 0 {
            let last = or_accepted(record.last_conflict_at);
            self.conflicts
                .push((id, integer(record.conflict_count), last));
        }
    }

    async fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), SqliteError> {
        let connection = &mut transaction.connection;
        for (sql, rows) in [
            (include_str!("transfer/import_queue.sql"), rows(&self.queue)),
            (
                include_str!("transfer/import_outcomes.sql"),
                rows(&self.outcomes),
            ),
            (
                include_str!("transfer/import_conflicts.sql"),
                rows(&self.conflicts),
            ),
        ] {
            if let Some(rows) = rows {
                query(sql).bind(rows).execute(connection).await?;
            }
        }
        Ok(())
    }
}

/// The rows as JSON, if there are any.
fn rows<T: Serialize>(rows: &[T]) -> Option<String> {
    (!rows.is_empty()).then(|| record::json(rows))
}

/// SQLite has no unsigned integers.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) async fn newest(readers: &SqlitePool) -> Result<Option<EventRef>, SqliteError> {
    let row = sqlx::query(include_str!("transfer/newest.sql"))
        .fetch_optional(readers)
        .await?;
    row.as_ref().map(event_ref).transpose()
}

pub(crate) async fn mark(
    readers: impl SqliteExecutor<'_>,
) -> Result<Option<MoveMark>, SqliteError> {
    let row = sqlx::query("SELECT part, other FROM move_mark")
        .fetch_optional(readers)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let part: &str = row.try_get("part")?;
    let mark = MoveMark::from_stored(part, row.try_get("other")?);
    let mark = mark.ok_or_else(|| SqliteError::Damaged {
        detail: format!("its part in a move is {part}"),
    })?;
    Ok(Some(mark))
}

/// Returns whether anything changed.
pub(crate) async fn set_mark(
    transaction: &mut Transaction<'_>,
    mark: Option<&MoveMark>,
) -> Result<bool, SqliteError> {
    let set = match mark.map(MoveMark::as_stored) {
        None => query("DELETE FROM move_mark"),
        Some((part, other)) => query(include_str!("transfer/set_mark.sql"))
            .bind(part)
            .bind(other)
            .bind(transaction.now_us),
    };
    let done = set.execute(&mut transaction.connection).await?;
    Ok(done.rows > 0)
}
