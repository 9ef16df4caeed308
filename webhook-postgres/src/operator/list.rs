//! Pages through the events of a state.

use sqlx::Row;
use webhook_core::{EventId, EventRef, EventSummary, Page, State};

use crate::error::PgError;
use crate::microseconds;
use crate::record::{key, summary};
use crate::session::Session;

pub(crate) async fn list(
    session: &mut Session<'_>,
    page: &Page,
) -> Result<Vec<EventSummary>, PgError> {
    let sql = match page.state {
        State::Processing => include_str!("list_processing.sql"),
        State::Processed => include_str!("list_processed.sql"),
        State::Failed => include_str!("list_failed.sql"),
    };
    let after = page.after.map_or(0, EventId::get);
    let rows = session
        .rows_planned_anew(sql, |query| {
            query
                .bind(page.kind.as_str().to_owned())
                .bind(after)
                .bind(i64::try_from(page.limit.get()).unwrap_or(i64::MAX))
                .bind(page.held_for_over.map(microseconds::of))
        })
        .await?;
    rows.iter()
        .map(|row| {
            let event = EventRef {
                kind: page.kind.clone(),
                key: key(row.try_get("key")?)?,
            };
            summary(row, event)
        })
        .collect()
}
