//! Accepts events.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, Row};
use webhook_core::{
    Accepted, Envelope, Fingerprint, Key, Kind, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES,
    NewEvent, OnFailed,
};

use crate::error::SqliteError;
use crate::microseconds;
use crate::record;
use crate::writer::Transaction;

/// Inserts have 1, 2, 4, … rows, so that each of them is prepared once: the logarithm of the most.
const MAX_ROWS_LOG: u32 = 7;

/// The statement that inserts 2^n events, for each n. It returns the ids of those whose keys were free.
static INSERTS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
    let insert = |rows: usize| {
        let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
        format!(
            "INSERT INTO events (id, kind, key, fingerprint, headers, body, accepted_us) \
             VALUES {values} ON CONFLICT (key, kind) DO NOTHING RETURNING id"
        )
    };
    (0..=MAX_ROWS_LOG)
        .map(|log| insert(1 << log).into())
        .collect()
});

/// The statement that queues 2^n events, for each n.
static QUEUE_INSERTS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
    let insert = |rows: usize| {
        let values = vec!["(?, ?, ?)"; rows].join(", ");
        format!("INSERT INTO queue (id, kind, due_us) VALUES {values}")
    };
    (0..=MAX_ROWS_LOG)
        .map(|log| insert(1 << log).into())
        .collect()
});

/// Splits `items` into slices of 2^n items, with their n, the longest first.
fn in_powers<T>(mut items: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let log = items.len().checked_ilog2()?.min(MAX_ROWS_LOG);
        let (first, rest) = items.split_at(1 << log);
        items = rest;
        Some((log as usize, first))
    })
}

/// The first event of a key in the batch.
struct First<'e> {
    event: &'e NewEvent,
    kind: i64,
    /// The id that it gets if its key is free.
    id: i64,
}

/// An event that is stored.
#[derive(Clone, Copy)]
struct Stored {
    id: i64,
    fingerprint: Fingerprint,
    is_new: bool,
}

pub(crate) async fn accept(
    transaction: &mut Transaction<'_>,
    events: &[NewEvent],
) -> Result<Vec<Accepted>, SqliteError> {
    let mut names: HashMap<(&Kind, &Key), usize> = HashMap::with_capacity(events.len());
    let mut firsts: Vec<First<'_>> = Vec::with_capacity(events.len());
    // The place in `firsts` of each event.
    let mut places = Vec::with_capacity(events.len());
    let first_id = next_id(transaction).await?;
    for event in events {
        let Envelope { kind, key, .. } = &event.envelope;
        match names.entry((kind, key)) {
            Entry::Occupied(place) => places.push(*place.get()),
            Entry::Vacant(free) => {
                let place = firsts.len();
                free.insert(place);
                places.push(place);
                let number = transaction
                    .kinds
                    .number_or_new(transaction.connection, kind);
                firsts.push(First {
                    event,
                    kind: number.await?,
                    id: first_id + i64::try_from(place).expect("a batch has fewer events"),
                });
            }
        }
    }
    let stored = insert(transaction, &firsts, first_id).await?;
    judge(transaction, events, &places, stored).await
}

/// The id that comes after all that were ever given out.
async fn next_id(transaction: &mut Transaction<'_>) -> Result<i64, SqliteError> {
    let row = sqlx::query("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'events'")
        .fetch_optional(&mut *transaction.connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(1))
}

/// Inserts the events whose keys are free, and looks the others up.
async fn insert(
    transaction: &mut Transaction<'_>,
    firsts: &[First<'_>],
    first_id: i64,
) -> Result<Vec<Stored>, SqliteError> {
    let mut stored: Vec<Option<Stored>> = vec![None; firsts.len()];
    for (log, rows) in in_powers(firsts) {
        let mut insert = sqlx::query(AssertSqlSafe(INSERTS[log].clone()));
        for First { event, kind, id } in rows {
            let envelope = &event.envelope;
            let headers = &envelope.headers;
            insert = insert
                .bind(id)
                .bind(kind)
                .bind(envelope.key.as_str())
                .bind(&envelope.fingerprint.as_bytes()[..])
                .bind((!headers.is_empty()).then(|| &headers.as_encoded()[..]))
                .bind(&envelope.body[..])
                .bind(transaction.now_us);
        }
        for row in insert.fetch_all(&mut *transaction.connection).await? {
            let id: i64 = row.try_get(0)?;
            let place = usize::try_from(id - first_id)
                .ok()
                .filter(|it| *it < firsts.len());
            let place = place.ok_or_else(|| SqliteError::Damaged {
                detail: format!("an event got the id {id}, which it was not given"),
            })?;
            stored[place] = Some(Stored {
                id,
                fingerprint: firsts[place].event.envelope.fingerprint,
                is_new: true,
            });
        }
    }
    let new: Vec<&First<'_>> = firsts
        .iter()
        .zip(&stored)
        .filter_map(|(first, stored)| stored.is_some().then_some(first))
        .collect();
    for (log, rows) in in_powers(&new) {
        let mut insert = sqlx::query(AssertSqlSafe(QUEUE_INSERTS[log].clone()));
        for First { event, kind, id } in rows {
            let due_us = transaction.now_us + microseconds::of(event.delay);
            insert = insert.bind(id).bind(kind).bind(due_us);
        }
        insert.execute(&mut *transaction.connection).await?;
    }
    if new.len() < firsts.len() {
        look_up(transaction, firsts, &mut stored).await?;
    }
    let stored: Option<Vec<Stored>> = stored.into_iter().collect();
    stored.ok_or_else(|| SqliteError::Damaged {
        detail: "a key is neither free nor taken".to_owned(),
    })
}

/// Finds the events whose keys were taken.
async fn look_up(
    transaction: &mut Transaction<'_>,
    firsts: &[First<'_>],
    stored: &mut [Option<Stored>],
) -> Result<(), SqliteError> {
    let taken: Vec<(usize, i64, &str)> = firsts
        .iter()
        .enumerate()
        .filter(|(place, _)| stored[*place].is_none())
        .map(|(place, first)| (place, first.kind, first.event.envelope.key.as_str()))
        .collect();
    let rows = sqlx::query(include_str!("accept/look_up.sql"))
        .bind(record::json(&taken))
        .fetch_all(&mut *transaction.connection)
        .await?;
    for row in rows {
        let place: i64 = row.try_get(0)?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if let Some(stored) = stored.get_mut(place) {
            *stored = Some(Stored {
                id: row.try_get(1)?,
                fingerprint: record::fingerprint(row.try_get(2)?)?,
                is_new: false,
            });
        }
    }
    Ok(())
}

/// Answers the events in their order, and records conflicts and requeues.
async fn judge(
    transaction: &mut Transaction<'_>,
    events: &[NewEvent],
    places: &[usize],
    mut stored: Vec<Stored>,
) -> Result<Vec<Accepted>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for (event, place) in events.iter().zip(places) {
        let stored = &mut stored[*place];
        let answer = if std::mem::take(&mut stored.is_new) {
            Accepted::New
        } else if stored.fingerprint != event.envelope.fingerprint {
            record_conflict(transaction, stored.id, &event.envelope).await?;
            Accepted::Conflict
        } else if event.on_failed == OnFailed::Requeue
            && requeue_failed(transaction, stored.id, microseconds::of(event.delay)).await?
        {
            Accepted::Requeued
        } else {
            Accepted::Duplicate
        };
        answers.push(answer);
    }
    Ok(answers)
}

async fn record_conflict(
    transaction: &mut Transaction<'_>,
    id: i64,
    delivery: &Envelope,
) -> Result<(), SqliteError> {
    let row = sqlx::query(include_str!("accept/count_conflict.sql"))
        .bind(id)
        .bind(transaction.now_us)
        .fetch_one(&mut *transaction.connection)
        .await?;
    let number: i64 = row.try_get(0)?;
    let body = &delivery.body;
    sqlx::query(include_str!("accept/keep_conflict.sql"))
        .bind(id)
        .bind(number)
        .bind(i64::try_from(MAX_CONFLICT_BODIES).expect("a handful"))
        .bind(transaction.now_us)
        .bind(&delivery.fingerprint.as_bytes()[..])
        .bind(&body[..body.len().min(MAX_CONFLICT_BODY_BYTES)])
        .bind(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .execute(&mut *transaction.connection)
        .await?;
    Ok(())
}

/// Schedules a failed event again, with all its attempts. Returns whether it had failed.
pub(crate) async fn requeue_failed(
    transaction: &mut Transaction<'_>,
    id: i64,
    delay_us: i64,
) -> Result<bool, SqliteError> {
    let queued = sqlx::query(include_str!("accept/requeue_failed.sql"))
        .bind(id)
        .bind(transaction.now_us + delay_us)
        .execute(&mut *transaction.connection)
        .await?;
    if queued.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM outcomes WHERE id = ?1")
        .bind(id)
        .execute(&mut *transaction.connection)
        .await?;
    Ok(true)
}
