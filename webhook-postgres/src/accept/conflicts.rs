//! Records conflicts: deliveries with a taken key and other content.

use sqlx::postgres::PgBindIterExt;
use webhook_core::{Accepted, Envelope, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES, NewEvent};

use super::{Deliveries, Holder, look, stored};
use crate::error::PgError;
use crate::session::Session;

/// The conflicts with one event.
struct Conflicts<'e> {
    id: i64,
    count: i64,
    /// The conflicts whose bodies are kept, the latest first.
    kept: Vec<&'e Envelope>,
}

/// Runs one statement, if there are conflicts: one row per event and body, in order of the events' ids.
pub(super) async fn record(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &[Deliveries<'_>],
    holders: &[Holder],
    answers: &[Accepted],
) -> Result<(), PgError> {
    let mut found = Vec::new();
    let mut of_new = Vec::new();
    for (deliveries, holder) in keys.iter().zip(holders) {
        let conflicting = || {
            let is = |place: &&usize| answers[**place] == Accepted::Conflict;
            deliveries
                .iter()
                .filter(is)
                .map(|&place| &events[place].envelope)
        };
        let count = i64::try_from(conflicting().count()).unwrap_or(i64::MAX);
        if count == 0 {
            continue;
        }
        let kept = conflicting().rev().take(MAX_CONFLICT_BODIES).collect();
        match *holder {
            Holder::Stored { id, .. } => found.push(Conflicts { id, count, kept }),
            Holder::New => of_new.push((&events[deliveries[0]], count, kept)),
        }
    }
    if !of_new.is_empty() {
        // An insert that took every key does not return ids.
        let new: Vec<_> = of_new.iter().map(|(event, ..)| *event).collect();
        for row in &look(session, &new).await? {
            if let Some((place, Holder::Stored { id, .. })) = stored(row)? {
                let (_, count, kept) = &of_new[place];
                found.push(Conflicts {
                    id,
                    count: *count,
                    kept: kept.clone(),
                });
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    found.sort_by_key(|conflicts| conflicts.id);
    write(session, &found).await
}

async fn write(session: &mut Session<'_>, found: &[Conflicts<'_>]) -> Result<(), PgError> {
    let bodies = || {
        found.iter().flat_map(|conflicts| {
            let kept = conflicts.kept.iter().zip(0_i64..);
            kept.map(|(envelope, later)| (conflicts.id, later, *envelope))
        })
    };
    let slots = i32::try_from(MAX_CONFLICT_BODIES).expect("a handful");
    session
        .rows(include_str!("record_conflicts.sql"), |query| {
            query
                .bind(found.iter().map(|conflicts| conflicts.id).bind_iter())
                .bind(found.iter().map(|conflicts| conflicts.count).bind_iter())
                .bind(bodies().map(|(id, ..)| id).bind_iter())
                .bind(bodies().map(|(_, later, _)| later).bind_iter())
                .bind(
                    bodies()
                        .map(|(.., envelope)| envelope.fingerprint.as_bytes().as_slice())
                        .bind_iter(),
                )
                .bind(
                    bodies()
                        .map(|(.., envelope)| start(&envelope.body))
                        .bind_iter(),
                )
                .bind(
                    bodies()
                        .map(|(.., envelope)| length(&envelope.body))
                        .bind_iter(),
                )
                .bind(slots)
        })
        .await?;
    Ok(())
}

fn start(body: &[u8]) -> &[u8] {
    &body[..body.len().min(MAX_CONFLICT_BODY_BYTES)]
}

fn length(body: &[u8]) -> i64 {
    i64::try_from(body.len()).unwrap_or(i64::MAX)
}
