//! Searches and samples: reads that are bounded, however many events there are.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{
    EventId, EventRef, EventSummary, Kind, KindSample, Pattern, Search, SearchPage, SearchScan,
    SearchStep, State,
};

use super::{count, kinds};
use crate::accept::index;
use crate::error::PgError;
use crate::microseconds;
use crate::record;
use crate::session::Session;

/// How long one statement may run. A step of a search takes a few milliseconds unless the database is busy or its disk
/// slow.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The last time that bounds are compared with: the end of the year 9999.
const LAST_US: i64 = 253_402_300_799_000_000;

/// The least number of events of each kind that a step looks at to find those of a type.
const LEAST_OF_TYPE: NonZeroUsize = NonZeroUsize::new(20).expect("not zero");

macro_rules! search_sql {
    ($beginning:literal) => {
        concat!(
            include_str!(concat!("search/", $beginning, ".sql")),
            include_str!("search/matching.sql")
        )
    };
}

pub(crate) const ALL: &str = search_sql!("all");
pub(crate) const FAILED: &str = search_sql!("failed");
pub(crate) const PROCESSING: &str = search_sql!("processing");
pub(crate) const OF_KEY: &str = search_sql!("of_key");
pub(crate) const OF_TYPE: &str = search_sql!("of_type");

pub(crate) async fn search(
    session: &mut Session<'_>,
    search: &Search,
) -> Result<SearchPage, PgError> {
    let mut scan = SearchScan::new(search);
    let sql = statement(search);
    let mut window = None;
    let mut of_type = None;
    while let Some(mut step) = scan.next_step() {
        let window = match window {
            Some(window) => window,
            None => *window.insert(find_window(session, search).await?),
        };
        if sql == OF_TYPE && of_type.is_none() {
            let kinds = match &search.kinds {
                Some(kinds) => kinds.clone(),
                None => kinds(session).await?,
            };
            of_type = Some(BTreeSet::from_iter(kinds));
        }
        if let Some(kinds) = &of_type {
            // So many events of each kind are looked at.
            let share = step.examine.get() / kinds.len().max(1);
            let share = NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN);
            step.examine = share.max(LEAST_OF_TYPE).min(step.examine);
        }
        let rows = match take_step(session, sql, search, &step, window, of_type.as_ref()).await {
            Err(error) if error.is_statement_timeout() && scan.stop_for_time() => break,
            rows => rows?,
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

/// The statement that looks at the fewest events.
fn statement(search: &Search) -> &'static str {
    let is_exact = |pattern: &Option<Pattern>| matches!(pattern, Some(Pattern::Exact(_)));
    if is_exact(&search.key) {
        return OF_KEY;
    }
    match search.state {
        // Few events are failed or processing, seen from all that are stored.
        Some(State::Failed) => FAILED,
        Some(State::Processing) => PROCESSING,
        _ if is_exact(&search.event_type) => OF_TYPE,
        Some(State::Processed) | None => ALL,
    }
}

async fn take_step(
    session: &mut Session<'_>,
    sql: &'static str,
    search: &Search,
    step: &SearchStep,
    (least, end): (i64, i64),
    of_type: Option<&BTreeSet<Kind>>,
) -> Result<Vec<PgRow>, PgError> {
    let before = step.before.map_or(end, |before| before.get().min(end));
    let names = |kinds: &mut dyn Iterator<Item = &Kind>| -> Vec<String> {
        kinds.map(|kind| kind.as_str().to_owned()).collect()
    };
    let kinds = match (of_type, &search.kinds) {
        (Some(kinds), _) => Some(names(&mut kinds.iter())),
        (None, Some(kinds)) => Some(names(&mut kinds.iter())),
        (None, None) => None,
    };
    let exact = |pattern: &Option<Pattern>| {
        let exact = pattern.as_ref().and_then(Pattern::exact);
        exact.map(str::to_owned)
    };
    let prefix = |pattern: &Option<Pattern>| match pattern {
        Some(Pattern::Prefix(prefix)) => Some(prefix.clone()),
        _ => None,
    };
    let reason = search.reason.as_deref().map(str::to_ascii_lowercase);
    let times = [search.received_since, search.received_until].map(|it| it.map(ceiling_us));
    session
        .rows_within(STATEMENT_TIMEOUT, sql, |query| {
            query
                .bind(before)
                .bind(least)
                .bind(as_i64(step.examine.get()))
                .bind(as_i64(step.limit.get()))
                .bind(kinds.clone())
                .bind(search.state.map(State::as_str))
                .bind(exact(&search.key))
                .bind(exact(&search.event_type))
                .bind(prefix(&search.key))
                .bind(prefix(&search.event_type))
                .bind(reason.clone())
                .bind(times.to_vec())
        })
        .await
}

/// The event of a row; `None` if the row only says how many events were looked at.
fn summary(row: &PgRow) -> Result<Option<EventSummary>, PgError> {
    if row.try_get::<Option<i64>, _>("id")?.is_none() {
        return Ok(None);
    }
    let event = EventRef {
        kind: record::kind(row.try_get("kind")?)?,
        key: record::key(row.try_get("key")?)?,
    };
    record::summary(row, event).map(Some)
}

/// The least id that is looked at, and the one before which that ends, by the bounds of the time of acceptance.
async fn find_window(session: &mut Session<'_>, search: &Search) -> Result<(i64, i64), PgError> {
    let (since, until) = search.widened_bounds();
    let times: Vec<i64> = [since, until]
        .iter()
        .flatten()
        .map(|it| ceiling_us(*it))
        .collect();
    let mut window = (0, i64::MAX);
    if times.is_empty() {
        return Ok(window);
    }
    let rows = session
        .rows_within(
            STATEMENT_TIMEOUT,
            include_str!("search/first_since.sql"),
            |query| query.bind(times.clone()),
        )
        .await?;
    for row in &rows {
        let id = row.try_get("id")?;
        match index(row.try_get("place")?)? {
            0 if since.is_some() => window.0 = id,
            _ => window.1 = id,
        }
    }
    Ok(window)
}

/// The least number of microseconds since 1970 that is not before `time`.
fn ceiling_us(time: SystemTime) -> i64 {
    let rounded_up = time.checked_add(Duration::from_nanos(999));
    microseconds::of_time(rounded_up.unwrap_or(time)).clamp(0, LAST_US)
}

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) async fn sample(
    session: &mut Session<'_>,
    kinds: &[Kind],
    cap: NonZeroUsize,
) -> Result<Vec<KindSample>, PgError> {
    let samples = kinds.iter().cloned().map(KindSample::new);
    let mut samples: Vec<_> = samples.collect();
    if kinds.is_empty() {
        return Ok(samples);
    }
    let rows = session
        .rows_within(STATEMENT_TIMEOUT, include_str!("sample.sql"), |query| {
            query
                .bind(kinds.iter().map(Kind::as_str).bind_iter())
                .bind(as_i64(cap.get()))
        })
        .await?;
    for row in &rows {
        let place = index(row.try_get("place")?)?;
        let oldest: Option<i64> = row.try_get("oldest_due_us")?;
        samples[place] = KindSample::new(kinds[place].clone())
            .with_waiting(count(row.try_get("waiting")?))
            .with_due(count(row.try_get("due")?))
            .with_leased(count(row.try_get("leased")?))
            .with_failed(count(row.try_get("failed")?))
            .capped_at(cap)
            .with_oldest_due(oldest.map(microseconds::duration))
            .with_paused(row.try_get("paused")?);
    }
    Ok(samples)
}
