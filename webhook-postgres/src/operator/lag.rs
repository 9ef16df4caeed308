//! The age of the oldest event that is due and that nobody holds.

use std::time::Duration;

use sqlx::Row;
use webhook_core::Kind;

use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn lag(
    session: &mut Session<'_>,
    kind: &Kind,
) -> Result<Option<Duration>, PgError> {
    let rows = session
        .rows(include_str!("lag.sql"), |query| {
            query.bind(kind.as_str().to_owned())
        })
        .await?;
    match rows.first() {
        Some(row) => Ok(Some(microseconds::duration(row.try_get("lag_us")?))),
        None => Ok(None),
    }
}
