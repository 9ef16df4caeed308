//! Finds events by kind and key.

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{EventRecord, EventRef};

use crate::accept::index;
use crate::error::PgError;
use crate::record::record;
use crate::session::Session;

pub(crate) async fn find(
    session: &mut Session<'_>,
    events: &[EventRef],
) -> Result<Vec<Option<EventRecord>>, PgError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session
        .rows(include_str!("find.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
        })
        .await?;
    let mut found = vec![None; events.len()];
    for row in &rows {
        let place = index(row.try_get("place")?)?;
        found[place] = Some(record(row, events[place].clone())?);
    }
    Ok(found)
}
