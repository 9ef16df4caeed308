//! How many events were settled of late.

use std::time::Duration;

use sqlx::Row;
use webhook_core::{Kind, SettledCounts};

use super::count;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn settled(
    session: &mut Session<'_>,
    kind: &Kind,
    within: Duration,
) -> Result<SettledCounts, PgError> {
    let rows = session
        .rows(include_str!("settled.sql"), |query| {
            query
                .bind(kind.as_str().to_owned())
                .bind(microseconds::of(within))
        })
        .await?;
    let Some(row) = rows.first() else {
        return Ok(SettledCounts::default());
    };
    Ok(SettledCounts::default()
        .with_processed(count(row.try_get("processed")?))
        .with_failed(count(row.try_get("failed")?)))
}
