//! Pages through the events of a state.

use sqlx::Row;
use webhook_core::{EventId, EventRecord, Page, State};

use crate::error::PgError;
use crate::record::{key, record};
use crate::session::Session;

pub(crate) async fn list(
    session: &mut Session<'_>,
    page: &Page,
) -> Result<Vec<EventRecord>, PgError> {
    let sql = match page.state {
        State::Processing => include_str!("list_processing.sql"),
        State::Processed => include_str!("list_processed.sql"),
        State::Failed => include_str!("list_failed.sql"),
    };
    let EventId(after) = page.after.unwrap_or(EventId(0));
    let rows = session
        .rows(sql, |query| {
            query
                .bind(page.kind.as_str().to_owned())
                .bind(after)
                .bind(i64::try_from(page.limit.get()).unwrap_or(i64::MAX))
        })
        .await?;
    rows.iter()
        .map(|row| record(row, page.kind.clone(), key(row.try_get("key")?)?))
        .collect()
}
