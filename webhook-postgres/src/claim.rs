//! Leases due events.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};
use webhook_core::{Claim, Claimed, ClaimedEvent, EventId, FailureReason, Fence, Lease};

use crate::accept::index;
use crate::error::PgError;
use crate::floor::{BOTTOM_US, Floors, Found};
use crate::microseconds;
use crate::record::{self, key};
use crate::session::Session;

/// One statement for all kinds; a second one for those of which the first began above the bottom and
/// did not find enough. Of a kind that is named twice, the first claim alone brings something. `None` for
/// a kind that is paused.
pub(crate) async fn claim(
    session: &mut Session<'_>,
    floors: &Floors,
    claims: &[Claim],
) -> Result<Vec<Option<Claimed>>, PgError> {
    let now = Instant::now();
    let mut wishes: Vec<Wish<'_>> = claims
        .iter()
        .enumerate()
        .map(|(place, claim)| Wish {
            place,
            claim,
            limit: claim.limit.get(),
            from_us: floors.start(&claim.kind, now),
        })
        .collect();
    wishes.sort_by(|one, other| one.claim.kind.cmp(&other.claim.kind));
    wishes.dedup_by(|later, first| later.claim.kind == first.claim.kind);

    let mut answers = vec![None; claims.len()];
    claim_from(session, floors, &wishes, &mut answers).await?;
    let mut below: Vec<Wish<'_>> = Vec::new();
    for wish in wishes {
        let Some(claimed) = &mut answers[wish.place] else {
            continue;
        };
        let found = claimed.events.len() + claimed.exhausted.len();
        if wish.from_us == BOTTOM_US || found >= wish.limit {
            continue;
        }
        let rest = floors.until_bottom(&wish.claim.kind, Instant::now());
        // Nothing is known of what is below: come back when it may be looked at.
        claimed.next_due = Some(claimed.next_due.map_or(rest, |due| due.min(rest)));
        if rest.is_zero() {
            below.push(Wish {
                limit: wish.limit - found,
                from_us: BOTTOM_US,
                ..wish
            });
        }
    }
    if !below.is_empty() {
        let mut found = vec![None; claims.len()];
        match claim_from(session, floors, &below, &mut found).await {
            Ok(()) => {
                for wish in below {
                    // Nothing is merged where the kind was paused meanwhile.
                    if let (Some(claimed), Some(from_below)) =
                        (&mut answers[wish.place], found[wish.place].take())
                    {
                        merge(claimed, from_below);
                    }
                }
            }
            // What is leased already is worth more than the error, which will come again.
            Err(error) => tracing::debug!(%error, "claim from the bottom failed"),
        }
    }
    Ok(answers)
}

/// A claim of one kind.
#[derive(Clone, Copy)]
struct Wish<'a> {
    /// Its place among the claims.
    place: usize,
    claim: &'a Claim,
    limit: usize,
    /// Where to begin.
    from_us: i64,
}

/// Adds what a claim from the bottom brought, which knows when the next event falls due.
fn merge(claimed: &mut Claimed, below: Claimed) {
    claimed.next_due = below.next_due;
    claimed.exhausted.extend(below.exhausted);
    claimed.events.extend(below.events);
    claimed
        .events
        .sort_by_key(|event| std::cmp::Reverse(event.lag));
}

/// Runs the statement for `wishes`, which are in order of their kinds, and puts what it brings where
/// their places are in `answers`: `None` stays where a kind is paused.
async fn claim_from(
    session: &mut Session<'_>,
    floors: &Floors,
    wishes: &[Wish<'_>],
    answers: &mut [Option<Claimed>],
) -> Result<(), PgError> {
    let limit = |wish: &Wish<'_>| i64::try_from(wish.limit).unwrap_or(i64::MAX);
    let max_attempts =
        |wish: &Wish<'_>| i32::try_from(wish.claim.max_attempts.get()).unwrap_or(i32::MAX);
    let started = Instant::now();
    let rows = session
        .rows(include_str!("claim.sql"), |query| {
            query
                .bind(wishes.iter().map(|it| it.claim.kind.as_str()).bind_iter())
                .bind(wishes.iter().map(limit).bind_iter())
                .bind(
                    wishes
                        .iter()
                        .map(|it| microseconds::of(it.claim.lease))
                        .bind_iter(),
                )
                .bind(wishes.iter().map(max_attempts).bind_iter())
                .bind(wishes.iter().map(|it| it.from_us).bind_iter())
                .bind(FailureReason::Exhausted.as_str())
                .bind(FailureReason::Lost.as_str())
                .bind(record::FAILED_ATTEMPT_SLOTS)
        })
        .await?;
    // What it took for one of the kinds.
    let took = started.elapsed() / u32::try_from(wishes.len().max(1)).unwrap_or(u32::MAX);

    let mut firsts_us = vec![None; wishes.len()];
    for row in &rows {
        let wish = index(row.try_get("place")?)?;
        let claimed = answers[wishes[wish].place].get_or_insert_default();
        let Some(id) = row.try_get::<Option<i64>, _>("id")? else {
            let next_due_us: Option<i64> = row.try_get("next_due_us")?;
            claimed.next_due = next_due_us.map(microseconds::duration);
            continue;
        };
        if firsts_us[wish].is_none() {
            firsts_us[wish] = Some(row.try_get("due_us")?);
        }
        if row.try_get("spent")? {
            claimed.exhausted.push(key(row.try_get("key")?)?);
        } else {
            claimed.events.push(event(row, id)?);
        }
    }
    for (wish, first_us) in wishes.iter().zip(firsts_us) {
        let Some(claimed) = &answers[wish.place] else {
            // After the resume, leases that ran out meanwhile stand below the floor.
            floors.forget(&wish.claim.kind);
            continue;
        };
        let found = Found {
            started,
            took,
            lease: wish.claim.lease,
            first_us,
            events: claimed.events.len() + claimed.exhausted.len(),
        };
        floors.note(&wish.claim.kind, wish.from_us, found);
    }
    Ok(())
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
        .with_headers(record::headers(row.try_get("headers")?)?)
        .with_lag(lag))
}
