//! Guards: at most one stored event of a kind has each.

use std::collections::HashSet;

use webhook_core::{Fingerprint, NewEvent};

use super::First;
use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::query::{execute_each, query};
use crate::record;

const INSERT: &str = "INSERT INTO guards (id, kind, guard, guard_hash) VALUES (?1, ?2, ?3, ?4)";

/// The guard of an event that is stored with this id.
pub(crate) struct Guard<'e> {
    pub(crate) id: i64,
    pub(crate) kind: i64,
    pub(crate) guard: &'e Fingerprint,
    pub(crate) hash: i64,
}

/// Finds out which of `events` are duplicates because of their guards, and chooses the first of the others for each
/// free key. Returns an empty list if no guard matters.
pub(super) async fn judge<'e>(
    transaction: &mut Transaction<'_>,
    events: &[&'e NewEvent],
    places: &[usize],
    firsts: &mut [First<'e>],
) -> Result<Vec<bool>, SqliteError> {
    let hashes: Vec<i64> = events
        .iter()
        .zip(places)
        .filter(|(_, place)| firsts[**place].stored.is_none())
        .filter_map(|(event, _)| {
            let envelope = &event.envelope;
            let guard = envelope.guard.as_ref()?;
            Some(record::guard_hash(&envelope.kind, guard))
        })
        .collect();
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query(include_str!("look_up_guards.sql"))
        .bind(record::json(&hashes))
        .fetch_all(&mut transaction.connection)
        .await?;
    let mut known: HashSet<(i64, Fingerprint)> = HashSet::with_capacity(rows.len());
    for row in &rows {
        known.insert((row.try_get(0)?, record::fingerprint(row.try_get(1)?)?));
    }
    let mut chosen = vec![false; firsts.len()];
    let mut duplicates = Vec::with_capacity(events.len());
    for (event, place) in events.iter().zip(places) {
        let first = &mut firsts[*place];
        if first.stored.is_some() || chosen[*place] {
            duplicates.push(false);
            continue;
        }
        let guard = event.envelope.guard;
        let is_known = guard.is_some_and(|guard| !known.insert((first.kind, guard)));
        if !is_known {
            first.event = event;
            chosen[*place] = true;
        }
        duplicates.push(is_known);
    }
    for (first, chosen) in firsts.iter_mut().zip(chosen) {
        first.is_duplicate = first.stored.is_none() && !chosen;
    }
    Ok(duplicates)
}

/// Stores guards.
pub(crate) async fn insert(
    transaction: &mut Transaction<'_>,
    guards: &[Guard<'_>],
) -> Result<(), SqliteError> {
    let rows = guards.iter().map(|row| {
        let guard = &row.guard.as_bytes()[..];
        [
            row.id.into(),
            row.kind.into(),
            guard.into(),
            row.hash.into(),
        ]
    });
    execute_each(&mut transaction.connection, INSERT, rows).await?;
    Ok(())
}
