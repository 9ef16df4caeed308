//! Schedules failed events afresh.

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{EventRef, Requeued};

use crate::accept::index;
use crate::error::PgError;
use crate::session::Session;

pub(crate) async fn requeue(
    session: &mut Session<'_>,
    events: &[EventRef],
) -> Result<Vec<Requeued>, PgError> {
    let mut answers = vec![Requeued::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("requeue.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
        })
        .await?;
    for row in &rows {
        answers[index(row.try_get("place")?)?] = if row.try_get("applied")? {
            Requeued::Applied
        } else {
            Requeued::NotFailed
        };
    }
    Ok(answers)
}
