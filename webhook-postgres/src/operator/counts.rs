//! How many events stand where.

use sqlx::Row;
use webhook_core::{Counts, Kind};

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
    let count = |name: &str| -> Result<u64, PgError> {
        let count: i64 = row.try_get(name)?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    Ok(Counts {
        waiting: count("waiting")?,
        due: count("due")?,
        leased: count("leased")?,
        processed: count("processed")?,
        failed: count("failed")?,
    })
}
