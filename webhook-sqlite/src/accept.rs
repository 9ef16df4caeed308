//! Accepts events.

pub(crate) mod guards;

use std::collections::HashMap;

use webhook_core::{
    Accepted, Envelope, EventType, Fingerprint, Key, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES,
    NewEvent, OnFailed,
};

use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::microseconds;
use crate::query::{Parameter, execute_each, query};
use crate::record;

/// The parameters of [`INSERT_EVENT`] are those of [`EventRow::parameters`].
const INSERT_EVENT: &str = "INSERT INTO events \
     (id, kind, key, key_hash, fingerprint, headers, body, accepted_us, event_type) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const INSERT_ITEM: &str = "INSERT INTO queue (id, kind, due_us) VALUES (?1, ?2, ?3)";

/// Inserts events, and has their keys found.
pub(crate) async fn insert_events<'e>(
    transaction: &mut Transaction<'_>,
    rows: impl ExactSizeIterator<Item = EventRow<'e>>,
) -> Result<(), SqliteError> {
    let keys = &mut *transaction.keys;
    let rows = rows.map(|row| {
        keys.add(row.key_hash, row.id);
        row.parameters()
    });
    execute_each(&mut transaction.connection, INSERT_EVENT, rows).await?;
    Ok(())
}

/// A new row of `events`.
pub(crate) struct EventRow<'e> {
    pub(crate) id: i64,
    pub(crate) kind: i64,
    pub(crate) key_hash: i64,
    pub(crate) envelope: &'e Envelope,
    pub(crate) accepted_us: i64,
}

impl<'e> EventRow<'e> {
    fn parameters(&self) -> [Parameter<'e>; 9] {
        let Envelope {
            key,
            fingerprint,
            event_type,
            headers,
            body,
            ..
        } = self.envelope;
        [
            self.id.into(),
            self.kind.into(),
            key.as_str().into(),
            self.key_hash.into(),
            (&fingerprint.as_bytes()[..]).into(),
            (!headers.is_empty())
                .then(|| &headers.as_encoded()[..])
                .into(),
            (&body[..]).into(),
            self.accepted_us.into(),
            event_type.as_ref().map(EventType::as_str).into(),
        ]
    }
}

/// An event that is stored, or will be by this transaction.
#[derive(Clone, Copy)]
struct Stored {
    id: i64,
    fingerprint: Fingerprint,
    is_new: bool,
}

/// The first event of a key in the batch.
struct First<'e> {
    event: &'e NewEvent,
    kind: i64,
    key_hash: i64,
    stored: Option<Stored>,
    /// Whether all events of the key are duplicates because of their guards, so that none is stored.
    is_duplicate: bool,
}

pub(crate) async fn accept(
    transaction: &mut Transaction<'_>,
    events: &[&NewEvent],
) -> Result<Vec<Accepted>, SqliteError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut names: HashMap<(i64, &Key), usize> = HashMap::with_capacity(events.len());
    let mut firsts: Vec<First<'_>> = Vec::with_capacity(events.len());
    // The place in `firsts` of each event.
    let mut places = Vec::with_capacity(events.len());
    for event in events {
        let Envelope { kind, key, .. } = &event.envelope;
        let key_hash = record::key_hash(kind, key);
        let kind = transaction
            .kinds
            .number_or_new(&mut transaction.connection, kind)
            .await?;
        places.push(*names.entry((kind, key)).or_insert_with(|| {
            firsts.push(First {
                event,
                kind,
                key_hash,
                stored: None,
                is_duplicate: false,
            });
            firsts.len() - 1
        }));
    }
    let last_id = look_up(transaction, &names, &mut firsts).await?;
    let duplicates = guards::judge(transaction, events, &places, &mut firsts).await?;
    insert(transaction, &mut firsts, last_id).await?;
    judge(transaction, events, &places, &mut firsts, &duplicates).await
}

/// Finds the events whose keys are taken. Returns the last id that was ever given out.
async fn look_up(
    transaction: &mut Transaction<'_>,
    names: &HashMap<(i64, &Key), usize>,
    firsts: &mut [First<'_>],
) -> Result<i64, SqliteError> {
    let hashes: Vec<i64> = firsts.iter().map(|first| first.key_hash).collect();
    let (last_id, taken) = taken(transaction, &hashes).await?;
    for Taken {
        id,
        kind,
        key,
        fingerprint,
    } in taken
    {
        // Another key may have the same hash.
        if let Some(place) = names.get(&(kind, &key)) {
            firsts[*place].stored = Some(Stored {
                id,
                fingerprint,
                is_new: false,
            });
        }
    }
    Ok(last_id)
}

/// A stored event whose key has a hash that was looked up.
pub(crate) struct Taken {
    pub(crate) id: i64,
    pub(crate) kind: i64,
    pub(crate) key: Key,
    pub(crate) fingerprint: Fingerprint,
}

/// Looks hashes of keys up. Returns the last id that was ever given out as well.
pub(crate) async fn taken(
    transaction: &mut Transaction<'_>,
    hashes: &[i64],
) -> Result<(i64, Vec<Taken>), SqliteError> {
    let connection = &mut transaction.connection;
    let (last_id, recent) = transaction.keys.not_indexed(connection, hashes).await?;
    let rows = query(include_str!("accept/look_up.sql"))
        .bind(record::json(hashes))
        .bind(record::json(&recent))
        .fetch_all(connection)
        .await?;
    let taken = rows.iter().map(|row| {
        Ok(Taken {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            key: record::key(row.try_get(2)?)?,
            fingerprint: record::fingerprint(row.try_get(3)?)?,
        })
    });
    Ok((last_id, taken.collect::<Result<_, SqliteError>>()?))
}

/// Inserts the events whose keys are free.
async fn insert(
    transaction: &mut Transaction<'_>,
    firsts: &mut [First<'_>],
    last_id: i64,
) -> Result<(), SqliteError> {
    let free = firsts
        .iter_mut()
        .filter(|first| first.stored.is_none() && !first.is_duplicate);
    let new: Vec<(i64, &First<'_>)> = (last_id + 1..)
        .zip(free)
        .map(|(id, first)| {
            first.stored = Some(Stored {
                id,
                fingerprint: first.event.envelope.fingerprint,
                is_new: true,
            });
            (id, &*first)
        })
        .collect();
    let guards = new.iter().filter_map(|(id, first)| {
        let envelope = &first.event.envelope;
        let guard = envelope.guard.as_ref()?;
        Some(guards::Guard {
            id: *id,
            kind: first.kind,
            guard,
            hash: record::guard_hash(&envelope.kind, guard),
        })
    });
    let guards: Vec<guards::Guard<'_>> = guards.collect();
    let now_us = transaction.now_us;
    let events = new.iter().map(|(id, first)| EventRow {
        id: *id,
        kind: first.kind,
        key_hash: first.key_hash,
        envelope: &first.event.envelope,
        accepted_us: now_us,
    });
    insert_events(transaction, events).await?;
    let items = new.iter().map(|(id, first)| {
        let due_us = now_us + microseconds::of(first.event.delay);
        [(*id).into(), first.kind.into(), due_us.into()]
    });
    execute_each(&mut transaction.connection, INSERT_ITEM, items).await?;
    guards::insert(transaction, &guards).await
}

/// Answers the events in their order, and records conflicts and requeues. `duplicates` says which events are
/// duplicates because of their guards; it is empty if none has one.
async fn judge(
    transaction: &mut Transaction<'_>,
    events: &[&NewEvent],
    places: &[usize],
    firsts: &mut [First<'_>],
    duplicates: &[bool],
) -> Result<Vec<Accepted>, SqliteError> {
    let mut answers = Vec::with_capacity(events.len());
    for (number, (event, place)) in events.iter().zip(places).enumerate() {
        if duplicates.get(number).is_some_and(|it| *it) {
            answers.push(Accepted::Duplicate);
            continue;
        }
        let stored = firsts[*place].stored.as_mut();
        let stored = stored.expect("an event is either found or inserted");
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
    let row = query(include_str!("accept/count_conflict.sql"))
        .bind(id)
        .bind(transaction.now_us)
        .fetch_one(&mut transaction.connection)
        .await?;
    let number: i64 = row.try_get(0)?;
    let body = &delivery.body;
    query(include_str!("accept/keep_conflict.sql"))
        .bind(id)
        .bind(number)
        .bind(i64::try_from(MAX_CONFLICT_BODIES).expect("a handful"))
        .bind(transaction.now_us)
        .bind(&delivery.fingerprint.as_bytes()[..])
        .bind(&body[..body.len().min(MAX_CONFLICT_BODY_BYTES)])
        .bind(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// Schedules a failed event again, with all its attempts. Returns whether it had failed, and has its body.
pub(crate) async fn requeue_failed(
    transaction: &mut Transaction<'_>,
    id: i64,
    delay_us: i64,
) -> Result<bool, SqliteError> {
    let queued = query(include_str!("accept/requeue_failed.sql"))
        .bind(id)
        .bind(transaction.now_us + delay_us)
        .execute(&mut transaction.connection)
        .await?;
    if queued.rows == 0 {
        return Ok(false);
    }
    query("DELETE FROM outcomes WHERE id = ?1")
        .bind(id)
        .execute(&mut transaction.connection)
        .await?;
    Ok(true)
}
