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
    let names: Vec<(&str, &str, i64)> = events
        .iter()
        .map(|EventRef { kind, key }| (kind.as_str(), key.as_str(), record::key_hash(kind, key)))
        .collect();
    let rows = sqlx::query(include_str!("find.sql"))
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
