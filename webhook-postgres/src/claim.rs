//! Claims due events: takes a lease on each.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{Claim, Claimed, ClaimedEvent, EventId, FailureReason, Fence, Lease};

use crate::accept::index;
use crate::claim_cursor::{ClaimCursors, Found, START_US};
use crate::error::PgError;
use crate::microseconds;
use crate::record::{self, key};
use crate::session::{Engine, Query, Session};

/// Runs one statement for all kinds, and a second one for the kinds whose cursor was not at the start and
/// that did not get enough events. If a kind is named twice, only its first claim gets events. The answer
/// for a paused kind is `None`.
pub(crate) async fn claim(
    session: &mut Session<'_>,
    cursors: &ClaimCursors,
    claims: &[Claim],
) -> Result<Vec<Option<Claimed>>, PgError> {
    let now = Instant::now();
    let mut requests: Vec<Request<'_>> = claims
        .iter()
        .enumerate()
        .map(|(place, claim)| Request {
            place,
            claim,
            limit: claim.limit.get(),
            from_us: cursors.start(&claim.kind, now),
        })
        .collect();
    requests.sort_by(|one, other| one.claim.kind.cmp(&other.claim.kind));
    requests.dedup_by(|later, first| later.claim.kind == first.claim.kind);

    let mut answers = vec![None; claims.len()];
    claim_from(session, cursors, &requests, &mut answers).await?;
    let mut incomplete: Vec<Request<'_>> = Vec::new();
    for request in requests {
        let Some(claimed) = &mut answers[request.place] else {
            continue;
        };
        let found = claimed.events.len() + claimed.exhausted.len();
        if request.from_us == START_US || found >= request.limit {
            continue;
        }
        let rest = cursors.until_full(&request.claim.kind, Instant::now());
        // Events before the cursor are not known yet: come back when they may be looked for.
        claimed.next_due = Some(claimed.next_due.map_or(rest, |due| due.min(rest)));
        if rest.is_zero() {
            incomplete.push(Request {
                limit: request.limit - found,
                from_us: START_US,
                ..request
            });
        }
    }
    if !incomplete.is_empty() {
        let mut found = vec![None; claims.len()];
        match claim_from(session, cursors, &incomplete, &mut found).await {
            Ok(()) => {
                for request in incomplete {
                    // A kind that was paused in between has nothing to add.
                    if let (Some(claimed), Some(earlier)) =
                        (&mut answers[request.place], found[request.place].take())
                    {
                        merge(claimed, earlier);
                    }
                }
            }
            // The events that are leased already must be returned; the error will come again.
            Err(error) => {
                tracing::debug!(%error, "second claim, from the start of the queue, failed")
            }
        }
    }
    Ok(answers)
}

/// What one statement asks for one kind.
#[derive(Clone, Copy)]
struct Request<'a> {
    /// Its place among the claims.
    place: usize,
    claim: &'a Claim,
    limit: usize,
    /// The due time at which to begin.
    from_us: i64,
}

/// Adds the events of a claim from the start, which also knows when the next event falls due.
fn merge(claimed: &mut Claimed, earlier: Claimed) {
    claimed.next_due = earlier.next_due;
    claimed.exhausted.extend(earlier.exhausted);
    claimed.events.extend(earlier.events);
    claimed
        .events
        .sort_by_key(|event| std::cmp::Reverse(event.lag));
}

/// Runs the statement for `requests`, which are in order of their kinds, and writes each answer to its
/// place in `answers`, which stays `None` for a paused kind.
async fn claim_from(
    session: &mut Session<'_>,
    cursors: &ClaimCursors,
    requests: &[Request<'_>],
    answers: &mut [Option<Claimed>],
) -> Result<(), PgError> {
    let started = Instant::now();
    let mut firsts_us = vec![None; requests.len()];
    match session.engine().await? {
        Engine::Postgres => {
            let rows = run(session, requests).await?;
            read(&rows, requests, answers, &mut firsts_us)?;
        }
        Engine::Citus => {
            let rows = run_unheld(session, requests).await?;
            let left_out = read(&rows, requests, answers, &mut firsts_us)?;
            claim_left_out(session, requests, &left_out, answers, &mut firsts_us).await;
        }
    }
    // The share of one kind.
    let took = started.elapsed() / u32::try_from(requests.len().max(1)).unwrap_or(u32::MAX);
    for (request, first_us) in requests.iter().zip(firsts_us) {
        let Some(claimed) = &answers[request.place] else {
            // Leases that expire during the pause stand before the cursor.
            cursors.reset(&request.claim.kind);
            continue;
        };
        let found = Found {
            started,
            took,
            lease: request.claim.lease,
            first_us,
            events: claimed.events.len() + claimed.exhausted.len(),
        };
        cursors.note(&request.claim.kind, request.from_us, found);
    }
    Ok(())
}

/// Claims events that `citus/claim.sql` has left out: `left_out` says how many there are for each request.
async fn claim_left_out(
    session: &mut Session<'_>,
    requests: &[Request<'_>],
    left_out: &[usize],
    answers: &mut [Option<Claimed>],
    firsts_us: &mut [Option<i64>],
) {
    let (numbers, rest): (Vec<usize>, Vec<Request<'_>>) = requests
        .iter()
        .zip(left_out)
        .enumerate()
        .filter(|(_, (_, left_out))| **left_out > 0)
        .map(|(number, (request, &limit))| (number, Request { limit, ..*request }))
        .unzip();
    if rest.is_empty() {
        return;
    }
    let mut found = vec![None; answers.len()];
    let mut found_first_us = vec![None; rest.len()];
    let rows = run(session, &rest).await;
    let read = rows.and_then(|rows| read(&rows, &rest, &mut found, &mut found_first_us));
    // The events that are leased already must be returned; the error will come again.
    if let Err(error) = read {
        tracing::debug!(%error, "second claim, of events that were leased before, failed");
        return;
    }
    for ((number, request), first_us) in numbers.into_iter().zip(rest).zip(found_first_us) {
        let first = [firsts_us[number], first_us].into_iter().flatten().min();
        firsts_us[number] = first;
        if let (Some(claimed), Some(earlier)) =
            (&mut answers[request.place], found[request.place].take())
        {
            let next_due = claimed.next_due;
            merge(claimed, earlier);
            claimed.next_due = claimed.next_due.into_iter().chain(next_due).min();
        }
    }
}

/// Runs `claim.sql`.
async fn run(session: &mut Session<'_>, requests: &[Request<'_>]) -> Result<Vec<PgRow>, PgError> {
    session
        .rows(include_str!("claim.sql"), |query| {
            bind(query, requests)
                .bind(FailureReason::Exhausted.as_str())
                .bind(FailureReason::Lost.as_str())
                .bind(record::FAILED_ATTEMPT_SLOTS)
        })
        .await
}

/// Runs `citus/claim.sql`.
async fn run_unheld(
    session: &mut Session<'_>,
    requests: &[Request<'_>],
) -> Result<Vec<PgRow>, PgError> {
    session
        .rows(include_str!("citus/claim.sql"), |query| {
            bind(query, requests)
        })
        .await
}

/// Adds the arguments that the statements have in common.
fn bind(query: Query, requests: &[Request<'_>]) -> Query {
    let limit = |request: &Request<'_>| i64::try_from(request.limit).unwrap_or(i64::MAX);
    let max_attempts =
        |request: &Request<'_>| i32::try_from(request.claim.max_attempts.get()).unwrap_or(i32::MAX);
    query
        .bind(requests.iter().map(|it| it.claim.kind.as_str()).bind_iter())
        .bind(requests.iter().map(limit).bind_iter())
        .bind(
            requests
                .iter()
                .map(|it| microseconds::of(it.claim.lease))
                .bind_iter(),
        )
        .bind(requests.iter().map(max_attempts).bind_iter())
        .bind(requests.iter().map(|it| it.from_us).bind_iter())
}

/// Reads rows into the places of `requests` in `answers`, and the due time of the first event of each request. Returns
/// how many events were left out for each request.
fn read(
    rows: &[PgRow],
    requests: &[Request<'_>],
    answers: &mut [Option<Claimed>],
    firsts_us: &mut [Option<i64>],
) -> Result<Vec<usize>, PgError> {
    let mut left_out = vec![0; requests.len()];
    for row in rows {
        let request = index(row.try_get("place")?)?;
        let claimed = answers[requests[request].place].get_or_insert_default();
        let Some(id) = row.try_get::<Option<i64>, _>("id")? else {
            let next_due_us: Option<i64> = row.try_get("next_due_us")?;
            claimed.next_due = next_due_us.map(microseconds::duration);
            let number: i64 = row.try_get("left_out")?;
            left_out[request] = usize::try_from(number).unwrap_or(0);
            continue;
        };
        if firsts_us[request].is_none() {
            firsts_us[request] = Some(row.try_get("due_us")?);
        }
        if row.try_get("spent")? {
            claimed.exhausted.push(key(row.try_get("key")?)?);
        } else {
            claimed.events.push(event(row, id)?);
        }
    }
    Ok(left_out)
}

fn event(row: &PgRow, id: i64) -> Result<ClaimedEvent, PgError> {
    let lag: Duration = microseconds::duration(row.try_get("lag_us")?);
    let lease = Lease::new(
        EventId::new(id),
        record::attempt(row.try_get("attempt")?)?,
        Fence::new(row.try_get("fence")?),
    );
    let key = key(row.try_get("key")?)?;
    let body = Bytes::copy_from_slice(row.try_get("body")?);
    let accepted_at = microseconds::time(row.try_get("accepted_at_us")?);
    let event = ClaimedEvent::new(lease, key, body, accepted_at);
    Ok(event
        .with_event_type(record::event_type(row.try_get("event_type")?)?)
        .with_headers(record::headers(row.try_get("headers")?)?)
        .with_lag(lag)
        .with_age(microseconds::duration(row.try_get("age_us")?)))
}
