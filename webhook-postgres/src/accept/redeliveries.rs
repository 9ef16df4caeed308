//! Requeues failed events that were delivered again.

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{Accepted, NewEvent, OnFailed};

use super::{Deliveries, Holder};
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

/// Runs one statement, if a delivery asks for it. For each event, its first such delivery counts.
pub(super) async fn requeue(
    session: &mut Session<'_>,
    events: &[NewEvent],
    keys: &[Deliveries<'_>],
    holders: &[Holder],
    answers: &mut [Accepted],
) -> Result<(), PgError> {
    let mut asking: Vec<(i64, usize)> = keys
        .iter()
        .zip(holders)
        .filter_map(|(deliveries, holder)| {
            let Holder::Stored { id, .. } = *holder else {
                return None;
            };
            let asks = |&&place: &&usize| {
                answers[place] == Accepted::Duplicate
                    && events[place].on_failed == OnFailed::Requeue
            };
            deliveries.iter().find(asks).map(|&place| (id, place))
        })
        .collect();
    if asking.is_empty() {
        return Ok(());
    }
    asking.sort_unstable();
    let rows = session
        .rows(include_str!("requeue_failed.sql"), |query| {
            let delays = asking.iter().map(|&(_, place)| events[place].delay);
            query
                .bind(asking.iter().map(|&(id, _)| id).bind_iter())
                .bind(delays.map(microseconds::of).bind_iter())
        })
        .await?;
    for row in &rows {
        let id: i64 = row.try_get("id")?;
        if let Ok(found) = asking.binary_search_by_key(&id, |&(id, _)| id) {
            answers[asking[found].1] = Accepted::Requeued;
        }
    }
    Ok(())
}
