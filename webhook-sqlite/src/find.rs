//! Finds events.

use sqlx::{Row, SqlitePool};
use webhook_core::{EventRecord, EventRef};

use crate::error::SqliteError;
use crate::record;

/// The records of `events`, from one snapshot.
pub(crate) async fn find(
    readers: &SqlitePool,
    now_us: i64,
    events: &[EventRef],
) -> Result<Vec<Option<EventRecord>>, SqliteError> {
    let names: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind.as_str(), event.key.as_str()))
        .collect();
    let rows = sqlx::query(
        "SELECT wanted.key AS place, event.id, event.fingerprint, event.headers, event.body,
                event.accepted_us, item.due_us,
                CASE WHEN item.leased_until_us > ?2 THEN item.leased_until_us END AS leased_until_us,
                outcome.failed, coalesce(outcome.body_deleted, 0) AS body_deleted,
                coalesce(outcome.attempts, item.attempts, 0) AS attempts,
                coalesce(outcome.reason, item.reason) AS reason,
                outcome.settled_us, conflict.count AS conflict_count,
                conflict.last_us AS last_conflict_us
         FROM json_each(?1) AS wanted
         CROSS JOIN kinds ON kinds.name = wanted.value ->> 0
         CROSS JOIN events AS event
           ON event.key = wanted.value ->> 1 AND event.kind = kinds.kind
         LEFT JOIN queue AS item ON item.id = event.id
         LEFT JOIN outcomes AS outcome ON outcome.id = event.id
         LEFT JOIN conflicts AS conflict ON conflict.id = event.id",
    )
    .bind(record::json(&names))
    .bind(now_us)
    .fetch_all(readers)
    .await?;
    let mut found = vec![None; events.len()];
    for row in &rows {
        let place: i64 = row.try_get("place")?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if let (Some(found), Some(event)) = (found.get_mut(place), events.get(place)) {
            *found = Some(record::record(row, event.clone())?);
        }
    }
    Ok(found)
}
