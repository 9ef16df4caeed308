//! Finds events.

use sqlx::{Row, SqlitePool};
use webhook_core::{EventRecord, EventRef};

use crate::error::SqliteError;
use crate::key_index::RecentKeys;
use crate::record;

/// The records of `events`, from one snapshot. An event that is deleted and accepted again meanwhile may be missing.
pub(crate) async fn find(
    readers: &SqlitePool,
    keys: &RecentKeys,
    now_us: i64,
    events: &[EventRef],
) -> Result<Vec<Option<EventRecord>>, SqliteError> {
    let candidates = keys.candidates(readers, events).await?;
    let wanted = events.iter().zip(candidates).enumerate();
    let wanted = wanted.flat_map(|(place, (EventRef { kind, key }, ids))| {
        let ids = ids.into_iter();
        ids.map(move |id| (place, kind.as_str(), key.as_str(), id))
    });
    let wanted: Vec<(usize, &str, &str, i64)> = wanted.collect();
    let rows = sqlx::query(include_str!("find.sql"))
        .bind(record::json(&wanted))
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
