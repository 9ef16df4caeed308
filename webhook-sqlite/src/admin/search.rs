//! Searches and samples: reads that are bounded, however many events there are.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use webhook_core::{
    EventId, EventRef, EventSummary, Key, Kind, KindSample, Pattern, Search, SearchPage,
    SearchScan, SearchStep, State,
};

use crate::error::SqliteError;
use crate::key_index::RecentKeys;
use crate::{microseconds, record};

/// Parameters: the id before which events are looked at, the least id, how many are looked at, and those of
/// `matching.sql`.
macro_rules! searched {
    ($seen:literal) => {
        concat!(
            "WITH seen AS MATERIALIZED (",
            $seen,
            ")\n",
            include_str!("search/matching.sql")
        )
    };
}

const ALL: &str =
    searched!("SELECT id FROM events WHERE id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3");

const PROCESSING: &str =
    searched!("SELECT id FROM queue WHERE id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3");

/// A statement of its own, since the partial index of failed events is used only for a literal.
const FAILED: &str = searched!(
    "SELECT id FROM outcomes INDEXED BY outcomes_failed
     WHERE failed = 1 AND id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3"
);

/// The third parameter is a JSON list of ids, which were found by an index.
const OF_IDS: &str =
    searched!("SELECT value AS id FROM json_each(?3) WHERE value < ?1 AND value >= ?2");

/// Which events a search looks at.
enum Among<'s> {
    /// Those of a statement.
    Statement(&'static str),
    /// Those with this key, of any kind.
    Key(&'s str),
    /// Those of this type, of any kind.
    EventType(&'s str),
}

impl<'s> Among<'s> {
    fn of(search: &'s Search) -> Self {
        let exact = |pattern: &'s Option<Pattern>| pattern.as_ref().and_then(Pattern::exact);
        match (exact(&search.key), search.state, exact(&search.event_type)) {
            (Some(key), ..) => Self::Key(key),
            // Few events are failed or processing, seen from all that are stored.
            (_, Some(State::Failed), _) => Self::Statement(FAILED),
            (_, Some(State::Processing), _) => Self::Statement(PROCESSING),
            (_, _, Some(event_type)) => Self::EventType(event_type),
            _ => Self::Statement(ALL),
        }
    }
}

/// Each step is a read transaction of its own.
pub(crate) async fn search(
    readers: &SqlitePool,
    keys: &RecentKeys,
    now_us: i64,
    search: &Search,
) -> Result<SearchPage, SqliteError> {
    let mut scan = SearchScan::new(search);
    let among = Among::of(search);
    let mut bounds = None;
    let mut kinds = None;
    while let Some(step) = scan.next_step() {
        let (least, end) = match bounds {
            Some(bounds) => bounds,
            None => *bounds.insert(find_bounds(readers, search).await?),
        };
        if kinds.is_none() && !matches!(among, Among::Statement(_)) {
            kinds = Some(kinds_of(readers, search).await?);
        }
        let before = step.before.map_or(end, |before| before.get().min(end));
        let kinds = kinds.as_ref().into_iter().flatten();
        let ids = match among {
            Among::Statement(_) => None,
            Among::Key(key) => Some(ids_of_key(readers, keys, kinds, key, &step).await?),
            Among::EventType(event_type) => {
                let range = (before, least);
                Some(ids_of_type(readers, kinds, event_type, range, &step).await?)
            }
        };
        let rows = match (&among, ids) {
            (Among::Statement(sql), _) => {
                let query = sqlx::query(*sql).bind(before).bind(least);
                take_step(
                    readers,
                    now_us,
                    search,
                    &step,
                    query.bind(as_i64(step.examine.get())),
                )
                .await?
            }
            (_, ids) => {
                let ids = record::json(&ids.unwrap_or_default());
                let query = sqlx::query(OF_IDS).bind(before).bind(least).bind(ids);
                take_step(readers, now_us, search, &step, query).await?
            }
        };
        let Some(first) = rows.first() else { break };
        let examined = usize::try_from(first.try_get::<i64, _>("examined")?).unwrap_or(0);
        let last: Option<i64> = first.try_get("last_id")?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.extend(summary(row)?);
        }
        scan.add(step, examined, last.map(EventId::new), events);
    }
    Ok(scan.page())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Runs a statement that has its first three parameters.
async fn take_step<'q>(
    readers: &SqlitePool,
    now_us: i64,
    search: &'q Search,
    step: &SearchStep,
    query: Query<'q>,
) -> Result<Vec<SqliteRow>, SqliteError> {
    let kinds = search.kinds.as_ref();
    let kinds = kinds.map(|kinds| {
        let names: Vec<_> = kinds.iter().map(Kind::as_str).collect();
        record::json(&names)
    });
    let exact = |pattern: &'q Option<Pattern>| pattern.as_ref().and_then(Pattern::exact);
    let prefix = |pattern: &'q Option<Pattern>| match pattern {
        Some(Pattern::Prefix(prefix)) => Some(prefix.as_str()),
        _ => None,
    };
    let rows = query
        .bind(as_i64(step.limit.get()))
        .bind(now_us)
        .bind(kinds)
        .bind(search.state.map(State::as_str))
        .bind(exact(&search.key))
        .bind(exact(&search.event_type))
        .bind(prefix(&search.key))
        .bind(prefix(&search.event_type))
        .bind(search.reason.as_deref().map(str::to_ascii_lowercase))
        .bind(search.received_since.map(ceiling_us))
        .bind(search.received_until.map(ceiling_us))
        .fetch_all(readers)
        .await?;
    Ok(rows)
}

/// The event of a row; `None` if the row only says how many events were looked at.
fn summary(row: &SqliteRow) -> Result<Option<EventSummary>, SqliteError> {
    if row.try_get::<Option<i64>, _>("id")?.is_none() {
        return Ok(None);
    }
    let event = EventRef {
        kind: record::kind(row.try_get("kind")?)?,
        key: record::key(row.try_get("key")?)?,
    };
    record::summary(row, event).map(Some)
}

/// The kinds that events of the search may have.
async fn kinds_of(readers: &SqlitePool, search: &Search) -> Result<BTreeSet<Kind>, SqliteError> {
    if let Some(kinds) = &search.kinds {
        return Ok(kinds.iter().cloned().collect());
    }
    let rows = sqlx::query("SELECT name FROM kinds")
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| record::kind(row.try_get(0)?))
        .collect()
}

/// The events with this key, in descending order: at most one of each kind. There are few kinds.
async fn ids_of_key(
    readers: &SqlitePool,
    keys: &RecentKeys,
    kinds: impl Iterator<Item = &Kind>,
    key: &str,
    step: &SearchStep,
) -> Result<Vec<i64>, SqliteError> {
    // No event has a key that is not valid.
    let Ok(key) = Key::new(key) else {
        return Ok(Vec::new());
    };
    let events: Vec<EventRef> = kinds
        .map(|kind| EventRef {
            kind: kind.clone(),
            key: key.clone(),
        })
        .collect();
    let mut ids = Vec::new();
    let candidates = keys.candidates(readers, &events).await?;
    for (event, candidates) in events.iter().zip(candidates) {
        let row = sqlx::query(include_str!("search/of_key.sql"))
            .bind(event.kind.as_str())
            .bind(event.key.as_str())
            .bind(record::json(&candidates))
            .fetch_optional(readers)
            .await?;
        if let Some(row) = row {
            let id: i64 = row.try_get(0)?;
            ids.extend(Some(id).filter(|id| step.before.is_none_or(|before| *id < before.get())));
        }
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.truncate(step.examine.get());
    Ok(ids)
}

/// The newest events of a type in this range, in descending order, as many as a step examines.
async fn ids_of_type(
    readers: &SqlitePool,
    kinds: impl Iterator<Item = &Kind>,
    event_type: &str,
    (before, least): (i64, i64),
    step: &SearchStep,
) -> Result<Vec<i64>, SqliteError> {
    let mut ids = Vec::new();
    for kind in kinds {
        let rows = sqlx::query(include_str!("search/of_type.sql"))
            .bind(before)
            .bind(least)
            .bind(as_i64(step.examine.get()))
            .bind(kind.as_str())
            .bind(event_type)
            .fetch_all(readers)
            .await?;
        for row in &rows {
            ids.push(row.try_get(0)?);
        }
        // So that it stays short, however many kinds there are.
        ids.sort_unstable_by(|one: &i64, other| other.cmp(one));
        ids.truncate(step.examine.get());
    }
    Ok(ids)
}

/// The least id that is looked at, and the one before which that ends, by the bounds of the time of acceptance.
async fn find_bounds(readers: &SqlitePool, search: &Search) -> Result<(i64, i64), SqliteError> {
    let (since, until) = search.widened_bounds();
    let least = match since {
        Some(since) => first_since(readers, ceiling_us(since)).await?,
        None => 0,
    };
    let end = match until {
        Some(until) => first_since(readers, ceiling_us(until)).await?,
        None => i64::MAX,
    };
    Ok((least, end))
}

/// The least id of an event that was accepted at this time or later; an id greater than all if there is none.
///
/// Ids ascend with these times, so each look-up halves the ids among which it is. There is no index of times, which
/// every accept would have to write.
async fn first_since(readers: &SqlitePool, since_us: i64) -> Result<i64, SqliteError> {
    let newest = sqlx::query("SELECT max(id) FROM events")
        .fetch_one(readers)
        .await?;
    let newest: Option<i64> = newest.try_get(0)?;
    let (mut low, mut high) = (0, newest.unwrap_or(0) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let probe =
            sqlx::query("SELECT id, accepted_us FROM events WHERE id >= ?1 ORDER BY id LIMIT 1")
                .bind(middle)
                .fetch_optional(readers)
                .await?;
        let mut before = None;
        if let Some(probe) = probe {
            let (id, accepted_us): (i64, i64) = (probe.try_get(0)?, probe.try_get(1)?);
            before = Some(id).filter(|id| *id < high && accepted_us < since_us);
        }
        match before {
            Some(id) => low = id + 1,
            None => high = middle,
        }
    }
    Ok(low)
}

/// The least number of microseconds since 1970 that is not before `time`.
fn ceiling_us(time: SystemTime) -> i64 {
    let rounded_up = time.checked_add(Duration::from_nanos(999));
    microseconds::of_time(rounded_up.unwrap_or(time))
}

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) async fn sample(
    readers: &SqlitePool,
    now_us: i64,
    kinds: &[Kind],
    cap: NonZeroUsize,
) -> Result<Vec<KindSample>, SqliteError> {
    let mut samples = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let row = sqlx::query(include_str!("sample.sql"))
            .bind(kind.as_str())
            .bind(now_us)
            .bind(as_i64(cap.get()))
            .fetch_one(readers)
            .await?;
        let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let (due, leased) = (count("due")?, count("leased")?);
        let (waiting, failed) = (count("waiting")?, count("failed")?);
        let oldest: Option<i64> = row.try_get("oldest_due_us")?;
        samples.push(
            KindSample::new(kind.clone())
                .with_waiting(waiting)
                .with_due(due)
                .with_leased(leased)
                .with_failed(failed)
                .capped_at(cap)
                .with_oldest_due(oldest.map(|due_us| microseconds::duration(now_us - due_us)))
                .with_paused(row.try_get("paused")?),
        );
    }
    Ok(samples)
}
