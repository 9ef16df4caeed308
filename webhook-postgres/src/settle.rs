//! Settles attempts.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{Kind, Outcome, Reason, Settled, Settlement};

use crate::accept::index;
use crate::error::PgError;
use crate::microseconds;
use crate::record;
use crate::session::{Engine, Session, Then};

pub(crate) struct Answers {
    /// Answer *i* belongs to settlement *i*.
    pub(crate) answers: Vec<Settled>,
    /// The kinds with events that are due again, and how soon the first of them is due.
    pub(crate) due_again: Vec<(Kind, Duration)>,
}

pub(crate) async fn settle(
    session: &mut Session<'_>,
    settlements: &[Settlement],
) -> Result<Answers, PgError> {
    let mut answers = vec![Settled::LeaseLost; settlements.len()];
    let mut due_again = Vec::new();
    if settlements.is_empty() {
        return Ok(Answers { answers, due_again });
    }
    // In order of ids, so that concurrent calls lock rows in the same order. Of several settlements of one
    // lease, the first applies.
    let lease = |place: usize| {
        (
            settlements[place].lease.event,
            settlements[place].lease.fence,
        )
    };
    let mut order: Vec<usize> = (0..settlements.len()).collect();
    order.sort_by_key(|&place| (lease(place), place));
    order.dedup_by_key(|place| lease(*place));

    let sorted = || order.iter().map(|&place| &settlements[place]);
    if session.engine().await? == Engine::Citus && sorted().all(|it| reason(it).is_none()) {
        let sorted: Vec<&Settlement> = sorted().collect();
        let mut soonest: HashMap<Kind, Duration> = HashMap::new();
        for row in &settle_in_two(session, &sorted).await? {
            answers[order[index(row.try_get("place")?)?]] = Settled::Applied;
            if row.try_get::<i16, _>("ending")? != PROCESSED {
                let delay = microseconds::duration(row.try_get("delay_us")?);
                let kind = record::kind(row.try_get("kind")?)?;
                let known = soonest.entry(kind).or_insert(delay);
                *known = delay.min(*known);
            }
        }
        let due_again = soonest.into_iter().collect();
        return Ok(Answers { answers, due_again });
    }
    let has_details = sorted().any(|it| details(it).is_some());
    let rows = session
        .rows(include_str!("settle.sql"), |query| {
            query
                .bind(sorted().map(|it| it.lease.event.get()).bind_iter())
                .bind(sorted().map(|it| it.lease.fence.get()).bind_iter())
                .bind(sorted().map(|it| ending(&it.outcome)).bind_iter())
                .bind(sorted().map(|it| delay_us(&it.outcome)).bind_iter())
                .bind(
                    sorted()
                        .map(|it| reason(it).map(Reason::as_str))
                        .bind_iter(),
                )
                .bind(record::FAILED_ATTEMPT_SLOTS)
                .bind(sorted().filter(|_| has_details).map(details).bind_iter())
        })
        .await?;
    for row in &rows {
        for place in row.try_get::<Vec<i64>, _>("places")? {
            answers[order[index(place)?]] = Settled::Applied;
        }
        if let Some(due_in_us) = row.try_get::<Option<i64>, _>("due_in_us")? {
            let kind = record::kind(row.try_get("kind")?)?;
            due_again.push((kind, microseconds::duration(due_in_us)));
        }
    }
    Ok(Answers { answers, due_again })
}

/// Settles attempts none of which failed: one statement ends their leases, and another one records which events are
/// processed. Returns the rows of `citus/settle.sql`.
async fn settle_in_two(
    session: &mut Session<'_>,
    sorted: &[&Settlement],
) -> Result<Vec<PgRow>, PgError> {
    let record = Then {
        sql: include_str!("citus/insert_outcomes.sql"),
        bind: &|query, rows| {
            let mut processed = Vec::new();
            for row in rows {
                if row.try_get::<i16, _>("ending")? == PROCESSED {
                    processed.push(row);
                }
            }
            if processed.is_empty() {
                return Ok(None);
            }
            let ids = processed.iter().map(|row| row.try_get("id"));
            let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
            let kinds = processed.iter().map(|row| row.try_get("kind"));
            let kinds: Vec<String> = kinds.collect::<Result<_, _>>()?;
            let attempts = processed.iter().map(|row| row.try_get("attempts"));
            let attempts: Vec<i32> = attempts.collect::<Result<_, _>>()?;
            let fences = processed.iter().map(|row| row.try_get("fence"));
            let fences: Vec<i64> = fences.collect::<Result<_, _>>()?;
            Ok(Some(
                query.bind(ids).bind(kinds).bind(attempts).bind(fences),
            ))
        },
    };
    session
        .rows_and_then(
            include_str!("citus/settle.sql"),
            |query| {
                let sorted = || sorted.iter().copied();
                query
                    .bind(sorted().map(|it| it.lease.event.get()).bind_iter())
                    .bind(sorted().map(|it| it.lease.fence.get()).bind_iter())
                    .bind(sorted().map(|it| ending(&it.outcome)).bind_iter())
                    .bind(sorted().map(|it| delay_us(&it.outcome)).bind_iter())
            },
            record,
        )
        .await
}

/// The number of [`Outcome::Processed`] in the statements.
const PROCESSED: i16 = 0;

/// The number of an outcome in `settle.sql`.
fn ending(outcome: &Outcome) -> i16 {
    match outcome {
        Outcome::Processed => PROCESSED,
        Outcome::Failed { .. } => 1,
        Outcome::Retry { .. } => 2,
        Outcome::Release => 3,
        Outcome::Postpone { .. } => 4,
    }
}

fn delay_us(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Retry { after, .. } | Outcome::Postpone { after } => microseconds::of(*after),
        Outcome::Processed | Outcome::Failed { .. } | Outcome::Release => 0,
    }
}

fn reason(settlement: &Settlement) -> Option<&Reason> {
    match &settlement.outcome {
        Outcome::Retry { reason, .. } | Outcome::Failed { reason } => Some(reason),
        Outcome::Processed | Outcome::Release | Outcome::Postpone { .. } => None,
    }
}

fn details(settlement: &Settlement) -> Option<&[u8]> {
    reason(settlement)?.details().map(AsRef::as_ref)
}
