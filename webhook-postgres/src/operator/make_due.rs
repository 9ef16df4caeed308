//! Makes events due now.

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{EventRef, MadeDue, RunningLeases};

use crate::accept::index;
use crate::error::PgError;
use crate::session::Session;

pub(crate) async fn make_due(
    session: &mut Session<'_>,
    events: &[EventRef],
    leases: RunningLeases,
) -> Result<Vec<MadeDue>, PgError> {
    let mut answers = vec![MadeDue::NotFound; events.len()];
    if events.is_empty() {
        return Ok(answers);
    }
    let rows = session
        .rows(include_str!("make_due.sql"), |query| {
            query
                .bind(events.iter().map(|event| event.kind.as_str()).bind_iter())
                .bind(events.iter().map(|event| event.key.as_str()).bind_iter())
                .bind(leases == RunningLeases::End)
        })
        .await?;
    for row in &rows {
        answers[index(row.try_get("place")?)?] = if row.try_get("applied")? {
            MadeDue::Applied
        } else if row.try_get("settled")? {
            MadeDue::Settled
        } else if row.try_get("kept")? {
            MadeDue::Leased
        } else {
            MadeDue::AlreadyDue
        };
    }
    Ok(answers)
}
