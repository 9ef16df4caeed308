//! Accepts batches in which events have guards.

use std::collections::HashSet;

use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{Accepted, Envelope, EventType, Fingerprint, Kind, NewEvent};

use super::{Deliveries, Holder, index, judge, look, record, stored};
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

/// How many times a batch is tried whose keys or guards another transaction takes after they were looked up. Each
/// time, another batch that has some of them was stored.
const MAX_TRIES: usize = 50;

/// The events with one key, by their indices in the batch.
struct Key {
    /// In the order of the batch.
    deliveries: Vec<usize>,
    /// Those that are judged by the key; the others are duplicates because of their guards. If the key is free, the
    /// first one is to be stored.
    judged: Vec<usize>,
    holder: Option<Holder>,
}

/// Looks up keys and guards, and stores what is new. If another transaction was faster, it rolls that back and looks
/// again.
pub(super) async fn accept(
    session: &mut Session<'_>,
    events: &[NewEvent],
    deliveries: &[Deliveries<'_>],
) -> Result<Vec<Accepted>, PgError> {
    let mut keys: Vec<Key> = deliveries
        .iter()
        .map(|deliveries| Key {
            deliveries: deliveries.to_vec(),
            judged: Vec::new(),
            holder: None,
        })
        .collect();
    for _ in 0..MAX_TRIES {
        look_keys_up(session, events, &mut keys).await?;
        let guards = look_guards_up(session, events, &keys).await?;
        choose(events, &mut keys, guards);
        let new: Vec<&NewEvent> = keys
            .iter()
            .filter(|key| matches!(key.holder, Some(Holder::New)))
            .map(|key| &events[key.judged[0]])
            .collect();
        if new.is_empty() || insert(session, &new).await? {
            return finish(session, events, &keys).await;
        }
    }
    Err(PgError::Contended)
}

async fn look_keys_up(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &mut [Key],
) -> Result<(), PgError> {
    let firsts: Vec<&NewEvent> = keys.iter().map(|key| &events[key.deliveries[0]]).collect();
    let rows = look(session, &firsts).await?;
    for key in &mut *keys {
        key.holder = None;
    }
    for row in &rows {
        if let Some((place, stored)) = stored(row)? {
            keys[place].holder = Some(stored);
        }
    }
    Ok(())
}

/// Returns the known guards of the events whose keys are free.
async fn look_guards_up<'e>(
    session: &mut Session<'_>,
    events: &'e [NewEvent],
    keys: &[Key],
) -> Result<HashSet<(&'e Kind, Fingerprint)>, PgError> {
    let guards: Vec<(&Kind, Fingerprint)> = keys
        .iter()
        .filter(|key| key.holder.is_none())
        .flat_map(|key| &key.deliveries)
        .filter_map(|&place| {
            let envelope = &events[place].envelope;
            Some((&envelope.kind, envelope.guard?))
        })
        .collect();
    if guards.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = session
        .rows(include_str!("look_guards.sql"), |query| {
            query
                .bind(guards.iter().map(|(kind, _)| kind.as_str()).bind_iter())
                .bind(
                    guards
                        .iter()
                        .map(|(_, it)| it.as_bytes().as_slice())
                        .bind_iter(),
                )
        })
        .await?;
    rows.iter()
        .map(|row| Ok(guards[index(row.try_get("place")?)?]))
        .collect()
}

/// Decides in the order of the batch which events are stored, and which ones are duplicates because of their guards.
fn choose<'e>(
    events: &'e [NewEvent],
    keys: &mut [Key],
    mut guards: HashSet<(&'e Kind, Fingerprint)>,
) {
    let mut of_event = vec![0; events.len()];
    for (number, key) in keys.iter_mut().enumerate() {
        key.judged.clear();
        for &place in &key.deliveries {
            of_event[place] = number;
        }
    }
    for (place, number) in of_event.into_iter().enumerate() {
        let key = &mut keys[number];
        if key.holder.is_none() {
            let Envelope { kind, guard, .. } = &events[place].envelope;
            if guard.is_some_and(|guard| !guards.insert((kind, guard))) {
                continue;
            }
            key.holder = Some(Holder::New);
        }
        key.judged.push(place);
    }
}

/// Stores events in one transaction. Returns `false`, and stores nothing, if a key or a guard is taken.
async fn insert(session: &mut Session<'_>, events: &[&NewEvent]) -> Result<bool, PgError> {
    let envelopes = || events.iter().map(|event| &event.envelope);
    let guards = envelopes().filter(|it| it.guard.is_some()).count();
    let all_inserted = |rows: &[PgRow]| {
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let inserted = (row.try_get("events")?, row.try_get("guards")?);
        Ok(inserted == (length(events.len()), length(guards)))
    };
    session
        .commit_if(include_str!("insert_guarded.sql"), all_inserted, |query| {
            query
                .bind(envelopes().map(|it| it.kind.as_str()).bind_iter())
                .bind(envelopes().map(|it| it.key.as_str()).bind_iter())
                .bind(
                    envelopes()
                        .map(|it| it.fingerprint.as_bytes().as_slice())
                        .bind_iter(),
                )
                .bind(envelopes().map(|it| &*it.body).bind_iter())
                .bind(
                    events
                        .iter()
                        .map(|event| microseconds::of(event.delay))
                        .bind_iter(),
                )
                .bind(
                    envelopes()
                        .map(|it| {
                            (!it.headers.is_empty()).then(|| it.headers.as_encoded().as_ref())
                        })
                        .bind_iter(),
                )
                .bind(
                    envelopes()
                        .map(|it| it.event_type.as_ref().map(EventType::as_str))
                        .bind_iter(),
                )
                .bind(
                    envelopes()
                        .map(|it| it.guard.as_ref().map(|it| it.as_bytes().as_slice()))
                        .bind_iter(),
                )
        })
        .await
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Answers the events, and records conflicts and requeues.
async fn finish(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &[Key],
) -> Result<Vec<Accepted>, PgError> {
    let held = keys
        .iter()
        .filter_map(|key| Some((key.judged.as_slice(), key.holder?)));
    let (judged, holders): (Vec<Deliveries<'_>>, Vec<Holder>) = held.unzip();
    let mut answers = judge(events, &judged, &holders);
    record(session, events, &judged, &holders, &mut answers).await?;
    Ok(answers)
}
