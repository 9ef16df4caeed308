//! Stores events, once per (kind, key).

mod conflicts;
mod guards;
mod redeliveries;

use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{Accepted, EventType, Fingerprint, NewEvent};

use crate::error::PgError;
use crate::microseconds;
use crate::session::{Engine, Query, Session, Then};

/// How many times a key is tried that another transaction had inserted, and deleted again before this one could
/// read it.
const MAX_TRIES: usize = 5;

/// The event that has a key.
#[derive(Clone, Copy, Debug)]
enum Holder {
    /// The first delivery with the key in this batch.
    New,
    /// An earlier event.
    Stored { id: i64, fingerprint: Fingerprint },
}

/// The deliveries with one key, by their indices in the batch: at least one.
type Deliveries<'a> = &'a [usize];

/// Runs one statement if every key is free, or was taken before. There is one more statement for keys that are
/// taken meanwhile, one for conflicts, and one for failed events to be requeued. If events have guards, it runs two
/// statements to look keys and guards up, and a transaction that inserts what is new.
pub(crate) async fn accept(
    session: &mut Session<'_>,
    events: &[NewEvent],
) -> Result<Vec<Accepted>, PgError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    // In order of the keys, so that concurrent batches wait for each other in one order.
    let mut places: Vec<usize> = (0..events.len()).collect();
    places.sort_by_key(|&place| (name(&events[place]), place));
    let keys: Vec<Deliveries<'_>> = places
        .chunk_by(|&one, &next| name(&events[one]) == name(&events[next]))
        .collect();

    if events.iter().any(|event| event.envelope.guard.is_some()) {
        return guards::accept(session, events, &keys).await;
    }
    let holders = take(session, events, &keys).await?;
    let mut answers = judge(events, &keys, &holders);
    record(session, events, &keys, &holders, &mut answers).await?;
    Ok(answers)
}

/// Records conflicts and requeues, after the new events are committed.
async fn record(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &[Deliveries<'_>],
    holders: &[Holder],
    answers: &mut [Accepted],
) -> Result<(), PgError> {
    conflicts::record(session, events, keys, holders, answers)
        .await
        .map_err(PgError::after_a_commit)?;
    redeliveries::requeue(session, events, keys, holders, answers)
        .await
        .map_err(PgError::after_a_commit)
}

/// Kind and key, which are sorted in byte order, as `COLLATE "C"` sorts them.
fn name(event: &NewEvent) -> (&str, &str) {
    (event.envelope.kind.as_str(), event.envelope.key.as_str())
}

/// Inserts the first delivery of each free key, and reads the events that have the other keys.
///
/// The first statement commits every new event. Only a key that was taken then, and whose event was deleted before
/// this could read it, is inserted later.
async fn take(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &[Deliveries<'_>],
) -> Result<Vec<Holder>, PgError> {
    let first = |key: usize| &events[keys[key][0]];
    let firsts = |open: &[usize]| -> Vec<_> { open.iter().map(|&key| first(key)).collect() };
    let mut holders = vec![None; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    for tried in 0..MAX_TRIES {
        let rows = insert(session, &firsts(&open)).await;
        let rows = rows.map_err(|error| match tried {
            0 => error,
            _ => error.after_a_commit(),
        })?;
        let (returns_stored, all_are_new) = match session.engine().await? {
            Engine::Postgres => (true, rows.is_empty()),
            Engine::Citus => (false, rows.len() == open.len()),
        };
        if all_are_new {
            open.iter()
                .for_each(|&key| holders[key] = Some(Holder::New));
            break;
        }
        for row in &rows {
            if returns_stored && let Some((place, stored)) = stored(row)? {
                holders[open[place]] = Some(stored);
            } else if let Some(kind) = row.try_get::<Option<&str>, _>("kind")? {
                let new = (kind, row.try_get("key")?);
                if let Ok(place) = open.binary_search_by(|&key| name(first(key)).cmp(&new)) {
                    holders[open[place]] = Some(Holder::New);
                }
            }
        }
        open.retain(|&key| holders[key].is_none());
        if open.is_empty() {
            break;
        }
        // Keys that were taken while the insert ran are not in its snapshot: read them again.
        for row in &look(session, &firsts(&open)).await? {
            if let Some((place, stored)) = stored(row)? {
                holders[open[place]] = Some(stored);
            }
        }
        open.retain(|&key| holders[key].is_none());
        if open.is_empty() {
            break;
        }
    }
    holders
        .into_iter()
        .collect::<Option<_>>()
        .ok_or(PgError::Contended)
}

/// Returns the rows of `accept/insert.sql`, or of `citus/insert_events.sql`: the new events alone.
async fn insert(session: &mut Session<'_>, events: &[&NewEvent]) -> Result<Vec<PgRow>, PgError> {
    let envelopes = || events.iter().map(|event| &event.envelope);
    let headers = || envelopes().map(|e| e.headers.as_encoded().as_ref());
    let headers: Vec<Option<&[u8]>> = if headers().all(<[u8]>::is_empty) {
        Vec::new()
    } else {
        headers().map(|it| (!it.is_empty()).then_some(it)).collect()
    };
    let types = || envelopes().map(|e| e.event_type.as_ref().map(EventType::as_str));
    let types: Vec<Option<&str>> = if types().all(|it| it.is_none()) {
        Vec::new()
    } else {
        types().collect()
    };
    let bind = |query: Query| {
        query
            .bind(envelopes().map(|e| e.kind.as_str()).bind_iter())
            .bind(envelopes().map(|e| e.key.as_str()).bind_iter())
            .bind(
                envelopes()
                    .map(|e| e.fingerprint.as_bytes().as_slice())
                    .bind_iter(),
            )
            .bind(envelopes().map(|e| &*e.body).bind_iter())
            .bind(
                events
                    .iter()
                    .map(|event| microseconds::of(event.delay))
                    .bind_iter(),
            )
            .bind(headers.iter().copied().bind_iter())
            .bind(types.iter().copied().bind_iter())
    };
    match session.engine().await? {
        Engine::Postgres => session.rows(include_str!("accept/insert.sql"), bind).await,
        Engine::Citus => {
            let queue = Then {
                sql: include_str!("citus/insert_queue.sql"),
                bind: &|query, new| {
                    let ids = new.iter().map(|row| row.try_get("id"));
                    let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
                    Ok((!ids.is_empty()).then(|| query.bind(ids)))
                },
            };
            session
                .rows_and_then(include_str!("citus/insert_events.sql"), bind, queue)
                .await
        }
    }
}

/// Reads the places, ids and fingerprints of the `events` whose keys are taken.
async fn look(session: &mut Session<'_>, events: &[&NewEvent]) -> Result<Vec<PgRow>, PgError> {
    session
        .rows(include_str!("accept/look.sql"), |query| {
            query
                .bind(
                    events
                        .iter()
                        .map(|event| event.envelope.kind.as_str())
                        .bind_iter(),
                )
                .bind(
                    events
                        .iter()
                        .map(|event| event.envelope.key.as_str())
                        .bind_iter(),
                )
        })
        .await
}

/// Reads the stored event of a row; `None` if the row has none.
fn stored(row: &PgRow) -> Result<Option<(usize, Holder)>, PgError> {
    let Some(id) = row.try_get("id")? else {
        return Ok(None);
    };
    let place = row.try_get("place")?;
    let fingerprint = fingerprint(row.try_get("fingerprint")?)?;
    Ok(Some((index(place)?, Holder::Stored { id, fingerprint })))
}

pub(crate) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, PgError> {
    let bytes = bytes.try_into().map_err(|_| PgError::Damaged {
        detail: format!("its fingerprint has {} bytes", bytes.len()),
    })?;
    Ok(Fingerprint::from_bytes(bytes))
}

/// Converts a place, which SQL counts from 1, to an index.
pub(crate) fn index(place: i64) -> Result<usize, PgError> {
    usize::try_from(place - 1).map_err(|_| PgError::Damaged {
        detail: format!("place {place}"),
    })
}

/// Finds out for each delivery, in order, whether it is new, a duplicate or a conflict. A delivery that is in no list
/// of `keys` is a duplicate.
fn judge(events: &[NewEvent], keys: &[Deliveries<'_>], holders: &[Holder]) -> Vec<Accepted> {
    let mut answers = vec![Accepted::Duplicate; events.len()];
    for (deliveries, holder) in keys.iter().zip(holders) {
        let (fingerprint, repeats) = match holder {
            Holder::New => {
                answers[deliveries[0]] = Accepted::New;
                (events[deliveries[0]].envelope.fingerprint, &deliveries[1..])
            }
            Holder::Stored { fingerprint, .. } => (*fingerprint, *deliveries),
        };
        for &place in repeats {
            answers[place] = if events[place].envelope.fingerprint == fingerprint {
                Accepted::Duplicate
            } else {
                Accepted::Conflict
            };
        }
    }
    answers
}
