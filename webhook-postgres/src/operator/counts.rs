//! How many events stand where.

use sqlx::Row;
use webhook_core::{Counts, Kind};

use super::count;
use crate::error::PgError;
use crate::session::Session;

pub(crate) async fn counts(session: &mut Session<'_>, kind: &Kind) -> Result<Counts, PgError> {
    let rows = session
        .rows(include_str!("counts.sql"), |query| {
            query.bind(kind.as_str().to_owned())
        })
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Counts::default());
    };
    Ok(Counts::default()
        .with_waiting(count(row.try_get("waiting")?))
        .with_due(count(row.try_get("due")?))
        .with_leased(count(row.try_get("leased")?))
        .with_processed(count(row.try_get("processed")?))
        .with_failed(count(row.try_get("failed")?)))
}
