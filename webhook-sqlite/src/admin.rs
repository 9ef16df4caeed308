//! The operations of [`Admin`](webhook_core::Admin).

pub(crate) mod actions;
pub(crate) mod search;

use std::slice;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{Row, SqliteExecutor, SqlitePool};
use webhook_core::{
    ConflictRecord, Counts, DeleteBodies, Deleted, Erased, EventRef, EventSummary, EventType,
    FailedAttempt, Kind, MadeDue, Page, Prune, Requeued, RunningLeases, SettledCounts, State,
    TerminalState,
};

use crate::accept::requeue_failed;
use crate::error::SqliteError;
use crate::key_index::RecentKeys;
use crate::lent::Transaction;
use crate::query::query;
use crate::{microseconds, record};

pub(crate) async fn kinds(readers: impl SqliteExecutor<'_>) -> Result<Vec<Kind>, SqliteError> {
    let rows = sqlx::query(include_str!("admin/kinds.sql"))
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| record::kind(row.try_get(0)?))
        .collect()
}

/// Reads all guards.
pub(crate) async fn guarded_kinds(
    readers: impl SqliteExecutor<'_>,
) -> Result<Vec<Kind>, SqliteError> {
    let rows = sqlx::query(include_str!("admin/guarded_kinds.sql"))
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| record::kind(row.try_get(0)?))
        .collect()
}

pub(crate) async fn counts(
    readers: &SqlitePool,
    now_us: i64,
    kind: &Kind,
) -> Result<Counts, SqliteError> {
    let row = sqlx::query(include_str!("admin/counts.sql"))
        .bind(kind.as_str())
        .bind(now_us)
        .fetch_one(readers)
        .await?;
    let count = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(Counts::default()
        .with_leased(count(0)?)
        .with_due(count(1)?)
        .with_waiting(count(2)?)
        .with_processed(count(3)?)
        .with_failed(count(4)?))
}

pub(crate) async fn lag(
    readers: &SqlitePool,
    now_us: i64,
    kind: &Kind,
) -> Result<Option<Duration>, SqliteError> {
    let row = sqlx::query(include_str!("admin/lag.sql"))
        .bind(kind.as_str())
        .bind(now_us)
        .fetch_optional(readers)
        .await?;
    let due_us: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(due_us.map(|due_us| microseconds::duration(now_us - due_us)))
}

pub(crate) async fn settled(
    readers: &SqlitePool,
    now_us: i64,
    kind: &Kind,
    within: Duration,
) -> Result<SettledCounts, SqliteError> {
    let row = sqlx::query(include_str!("admin/settled.sql"))
        .bind(kind.as_str())
        .bind(now_us.saturating_sub(microseconds::of(within)))
        .fetch_one(readers)
        .await?;
    let count = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(SettledCounts::default()
        .with_processed(count(0)?)
        .with_failed(count(1)?))
}

/// What lists select of events and conflicts, beside the page.
macro_rules! listed {
    ($page:literal) => {
        concat!(
            "WITH page AS MATERIALIZED (",
            $page,
            ")
             SELECT page.*, event.key, event.fingerprint, event.event_type, event.headers,
                    event.accepted_us,
                    conflict.count AS conflict_count, conflict.last_us AS last_conflict_us
             FROM page
             CROSS JOIN events AS event ON event.id = page.id
             LEFT JOIN conflicts AS conflict ON conflict.id = page.id
             ORDER BY page.id"
        )
    };
}

/// Parameters of the lists: kind, last id of the page before, length, null or the shortest time until the events can
/// be claimed, now, null or the event type. Settled events never match the fourth.
const LIST_PROCESSING: &str = listed!(
    "SELECT id, NULL AS failed, 0 AS body_deleted, attempts, reason, NULL AS settled_us, due_us,
            CASE WHEN leased_until_us > ?5 THEN leased_until_us END AS leased_until_us
     FROM queue
     WHERE id > ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1)
       AND (?4 IS NULL OR max(due_us, coalesce(leased_until_us, due_us)) > ?5 + ?4)
       AND (?6 IS NULL OR EXISTS (
         SELECT 1 FROM events WHERE events.id = queue.id AND event_type = ?6))
     ORDER BY id LIMIT ?3"
);

const LIST_PROCESSED: &str = listed!(
    "SELECT id, failed, body_deleted, attempts, reason, settled_us, NULL AS due_us,
            NULL AS leased_until_us
     FROM outcomes
     WHERE id > ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1) AND failed = 0
       AND ?4 IS NULL AND ?5 IS NOT NULL AND ?6 IS NULL
     ORDER BY id LIMIT ?3"
);

/// A statement of its own, since the partial index of failed events is used only for a literal.
const LIST_FAILED: &str = listed!(
    "SELECT id, failed, body_deleted, attempts, reason, settled_us, NULL AS due_us,
            NULL AS leased_until_us
     FROM outcomes INDEXED BY outcomes_failed
     WHERE id > ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1) AND failed = 1
       AND ?4 IS NULL AND ?5 IS NOT NULL
       AND (?6 IS NULL OR EXISTS (
         SELECT 1 FROM events WHERE events.id = outcomes.id AND event_type = ?6))
     ORDER BY id LIMIT ?3"
);

/// The events of one type, by the index of types. ?7 is what the column `failed` holds in the state of the page, null
/// for PROCESSING.
const LIST_OF_TYPE: &str = listed!(
    "SELECT event.id, outcome.failed, coalesce(outcome.body_deleted, 0) AS body_deleted,
            coalesce(outcome.attempts, item.attempts) AS attempts,
            coalesce(outcome.reason, item.reason) AS reason, outcome.settled_us, item.due_us,
            CASE WHEN item.leased_until_us > ?5 THEN item.leased_until_us END AS leased_until_us
     FROM events AS event INDEXED BY events_of_type
     LEFT JOIN queue AS item ON item.id = event.id
     LEFT JOIN outcomes AS outcome ON outcome.id = event.id
     WHERE event.kind = (SELECT kind FROM kinds WHERE name = ?1) AND event.event_type = ?6
       AND event.id > ?2 AND outcome.failed IS ?7
       AND (?4 IS NULL
         OR max(item.due_us, coalesce(item.leased_until_us, item.due_us)) > ?5 + ?4)
     ORDER BY event.id LIMIT ?3"
);

/// Up to how many events of a state are read to find those of one type among them. If there are more, the index of
/// types is read, which has the events of all states.
const FEW: i64 = 100_000;

pub(crate) async fn list(
    readers: &SqlitePool,
    now_us: i64,
    page: &Page,
) -> Result<Vec<EventSummary>, SqliteError> {
    let after = page.after.map_or(0, |after| after.get());
    let (of_state, more_than_few) = match page.state {
        State::Processing => (
            LIST_PROCESSING,
            "SELECT 1 FROM queue WHERE id > ?1 LIMIT 1 OFFSET ?2",
        ),
        // Most events are processed.
        State::Processed => (LIST_PROCESSED, "SELECT 1"),
        State::Failed => (
            LIST_FAILED,
            "SELECT 1 FROM outcomes INDEXED BY outcomes_failed
             WHERE failed = 1 AND id > ?1 LIMIT 1 OFFSET ?2",
        ),
    };
    let by_type = page.event_type.is_some() && {
        let more = sqlx::query(more_than_few).bind(after).bind(FEW);
        more.fetch_optional(readers).await?.is_some()
    };
    let statement = if by_type { LIST_OF_TYPE } else { of_state };
    let failed = match page.state {
        State::Processing => None,
        state => Some(state == State::Failed),
    };
    let mut query = sqlx::query(statement)
        .bind(page.kind.as_str())
        .bind(after)
        .bind(i64::try_from(page.limit.get()).unwrap_or(i64::MAX))
        .bind(page.held_for_over.map(microseconds::of))
        .bind(now_us)
        .bind(page.event_type.as_ref().map(EventType::as_str));
    if by_type {
        query = query.bind(failed);
    }
    let rows = query.fetch_all(readers).await?;
    let summaries = rows.iter().map(|row| {
        let kind = page.kind.clone();
        let key = record::key(row.try_get("key")?)?;
        record::summary(row, EventRef { kind, key })
    });
    summaries.collect()
}

pub(crate) async fn conflicts(
    readers: &SqlitePool,
    keys: &RecentKeys,
    event: &EventRef,
) -> Result<Vec<ConflictRecord>, SqliteError> {
    let candidates = keys.candidates(readers, slice::from_ref(event)).await?;
    let rows = sqlx::query(include_str!("admin/conflicts.sql"))
        .bind(event.kind.as_str())
        .bind(event.key.as_str())
        .bind(record::json(&candidates.concat()))
        .fetch_all(readers)
        .await?;
    let records = rows.iter().map(|row| {
        Ok(ConflictRecord::new(
            microseconds::time(row.try_get(0)?),
            record::fingerprint(row.try_get(1)?)?,
            Bytes::copy_from_slice(row.try_get(2)?),
            row.try_get::<i64, _>(3)?.unsigned_abs(),
        ))
    });
    records.collect()
}

pub(crate) async fn failed_attempts(
    readers: &SqlitePool,
    keys: &RecentKeys,
    event: &EventRef,
) -> Result<Vec<FailedAttempt>, SqliteError> {
    let candidates = keys.candidates(readers, slice::from_ref(event)).await?;
    let rows = sqlx::query(include_str!("admin/failed_attempts.sql"))
        .bind(event.kind.as_str())
        .bind(event.key.as_str())
        .bind(record::json(&candidates.concat()))
        .fetch_all(readers)
        .await?;
    rows.iter().map(record::failed_attempt).collect()
}

async fn id(
    transaction: &mut Transaction<'_>,
    event: &EventRef,
) -> Result<Option<i64>, SqliteError> {
    let kind = transaction
        .kinds
        .number(&mut transaction.connection, &event.kind);
    let Some(kind) = kind.await? else {
        return Ok(None);
    };
    let hash = record::key_hash(&event.kind, &event.key);
    let connection = &mut transaction.connection;
    let (_, recent) = transaction.keys.not_indexed(connection, &[hash]).await?;
    let row = query(include_str!("admin/id.sql"))
        .bind(hash)
        .bind(record::json(&recent))
        .bind(event.key.as_str())
        .bind(kind)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

pub(crate) async fn requeue(
    transaction: &mut Transaction<'_>,
    events: &[EventRef],
) -> Result<Vec<Requeued>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        answers.push(match id(transaction, event).await? {
            None => Requeued::NotFound,
            Some(id) if requeue_failed(transaction, id, 0).await? => Requeued::Applied,
            Some(id) => match outcome(transaction, id).await? {
                Some(Outcome { failed: true, .. }) => Requeued::Erased,
                _ => Requeued::NotFailed,
            },
        });
    }
    Ok(answers)
}

/// How an event ended.
struct Outcome {
    failed: bool,
    body_deleted: bool,
}

async fn outcome(
    transaction: &mut Transaction<'_>,
    id: i64,
) -> Result<Option<Outcome>, SqliteError> {
    let row = query("SELECT failed, body_deleted FROM outcomes WHERE id = ?1")
        .bind(id)
        .fetch_optional(&mut transaction.connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Outcome {
        failed: row.try_get(0)?,
        body_deleted: row.try_get(1)?,
    }))
}

pub(crate) async fn delete(
    transaction: &mut Transaction<'_>,
    events: &[EventRef],
) -> Result<Vec<Deleted>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        let Some(id) = id(transaction, event).await? else {
            answers.push(Deleted::NotFound);
            continue;
        };
        let leased = query("SELECT 1 FROM queue WHERE id = ?1 AND leased_until_us > ?2")
            .bind(id)
            .bind(transaction.now_us)
            .fetch_optional(&mut transaction.connection)
            .await?;
        if leased.is_some() {
            answers.push(Deleted::Leased);
            continue;
        }
        delete_all(transaction, &[id]).await?;
        answers.push(Deleted::Applied);
    }
    Ok(answers)
}

pub(crate) async fn erase(
    transaction: &mut Transaction<'_>,
    events: &[EventRef],
) -> Result<Vec<Erased>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        let Some(id) = id(transaction, event).await? else {
            answers.push(Erased::NotFound);
            continue;
        };
        answers.push(match outcome(transaction, id).await? {
            None => Erased::Unsettled,
            Some(Outcome {
                body_deleted: true, ..
            }) => Erased::AlreadyErased,
            Some(_) => {
                delete_bodies_of(transaction, &[id]).await?;
                Erased::Applied
            }
        });
    }
    Ok(answers)
}

/// Deletes events with all their records.
async fn delete_all(transaction: &mut Transaction<'_>, ids: &[i64]) -> Result<(), SqliteError> {
    run_for(
        transaction,
        ids,
        &[
            "DELETE FROM failed_attempts WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM conflict_bodies WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM conflicts WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM queue WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM outcomes WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM guards WHERE id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM key_index WHERE (hash, id) IN ( \
               SELECT key_hash, id FROM events WHERE id IN (SELECT value FROM json_each(?1)))",
            "UPDATE key_index_state SET deleted_id = (SELECT max(value) FROM json_each(?1)) \
             WHERE deleted_id < (SELECT max(value) FROM json_each(?1))",
            "DELETE FROM events WHERE id IN (SELECT value FROM json_each(?1))",
        ],
    )
    .await
}

/// Deletes the headers and bodies of settled events, and what may quote them.
async fn delete_bodies_of(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
) -> Result<(), SqliteError> {
    run_for(
        transaction,
        ids,
        &[
            "DELETE FROM conflict_bodies WHERE id IN (SELECT value FROM json_each(?1))",
            "UPDATE failed_attempts SET details = NULL \
             WHERE id IN (SELECT value FROM json_each(?1)) AND details IS NOT NULL",
            "UPDATE outcomes SET body_deleted = 1 WHERE id IN (SELECT value FROM json_each(?1))",
            "UPDATE events SET headers = NULL, body = x'' \
             WHERE id IN (SELECT value FROM json_each(?1))",
        ],
    )
    .await
}

/// Runs each of the statements for these events.
async fn run_for(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    statements: &[&'static str],
) -> Result<(), SqliteError> {
    let ids = record::json(ids);
    for statement in statements {
        query(statement)
            .bind(ids.as_str())
            .execute(&mut transaction.connection)
            .await?;
    }
    Ok(())
}

pub(crate) async fn make_due(
    transaction: &mut Transaction<'_>,
    events: &[EventRef],
    leases: RunningLeases,
) -> Result<Vec<MadeDue>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        answers.push(match id(transaction, event).await? {
            None => MadeDue::NotFound,
            Some(id) => make_one_due(transaction, id, leases).await?,
        });
    }
    Ok(answers)
}

async fn make_one_due(
    transaction: &mut Transaction<'_>,
    id: i64,
    leases: RunningLeases,
) -> Result<MadeDue, SqliteError> {
    let now_us = transaction.now_us;
    let row = query("SELECT due_us, leased_until_us FROM queue WHERE id = ?1")
        .bind(id)
        .fetch_optional(&mut transaction.connection)
        .await?;
    let Some(row) = row else {
        return Ok(MadeDue::Settled);
    };
    let due_us: i64 = row.try_get(0)?;
    let is_leased = row
        .try_get::<Option<i64>>(1)?
        .is_some_and(|until| until > now_us);
    if is_leased && leases == RunningLeases::Keep {
        return Ok(MadeDue::Leased);
    }
    if !is_leased && due_us <= now_us {
        return Ok(MadeDue::AlreadyDue);
    }
    query(include_str!("admin/make_due.sql"))
        .bind(id)
        .bind(now_us)
        .execute(&mut transaction.connection)
        .await?;
    Ok(MadeDue::Applied)
}

pub(crate) async fn prune(
    transaction: &mut Transaction<'_>,
    prune: &Prune,
) -> Result<usize, SqliteError> {
    let failed = match prune.state {
        TerminalState::Processed => 0,
        TerminalState::Failed => 1,
    };
    let limit = prune.limit.get();
    let mut ids = Vec::new();
    // Bodies are deleted in the same order as events: those without bodies are the oldest.
    for body_deleted in [1, 0] {
        if ids.len() < limit {
            let more = limit - ids.len();
            let older = (&prune.kind, prune.older_than);
            ids.extend(oldest(transaction, older, failed, body_deleted, more).await?);
        }
    }
    delete_all(transaction, &ids).await?;
    Ok(ids.len())
}

pub(crate) async fn delete_bodies(
    transaction: &mut Transaction<'_>,
    delete: &DeleteBodies,
) -> Result<usize, SqliteError> {
    let older = (&delete.kind, delete.older_than);
    let ids = oldest(transaction, older, 0, 0, delete.limit.get()).await?;
    delete_bodies_of(transaction, &ids).await?;
    Ok(ids.len())
}

/// The ids of the events that were settled first.
async fn oldest(
    transaction: &mut Transaction<'_>,
    (kind, older_than): (&Kind, Duration),
    failed: i64,
    body_deleted: i64,
    limit: usize,
) -> Result<Vec<i64>, SqliteError> {
    let kind = transaction.kinds.number(&mut transaction.connection, kind);
    let Some(kind) = kind.await? else {
        return Ok(Vec::new());
    };
    let rows = query(include_str!("admin/oldest.sql"))
        .bind(kind)
        .bind(failed)
        .bind(body_deleted)
        .bind(
            transaction
                .now_us
                .saturating_sub(microseconds::of(older_than)),
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut transaction.connection)
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Returns whether the kind was not paused before.
pub(crate) async fn pause(
    transaction: &mut Transaction<'_>,
    kind: &Kind,
) -> Result<bool, SqliteError> {
    let inserted =
        query("INSERT INTO paused_kinds (name, paused_us) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .bind(kind.as_str())
            .bind(transaction.now_us)
            .execute(&mut transaction.connection)
            .await?;
    Ok(inserted.rows > 0)
}

/// Returns whether the kind was paused before.
pub(crate) async fn resume(
    transaction: &mut Transaction<'_>,
    kind: &Kind,
) -> Result<bool, SqliteError> {
    let deleted = query("DELETE FROM paused_kinds WHERE name = ?1")
        .bind(kind.as_str())
        .execute(&mut transaction.connection)
        .await?;
    Ok(deleted.rows > 0)
}

pub(crate) async fn paused(readers: &SqlitePool) -> Result<Vec<Kind>, SqliteError> {
    let rows = sqlx::query("SELECT name FROM paused_kinds ORDER BY name")
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| record::kind(row.try_get(0)?))
        .collect()
}
