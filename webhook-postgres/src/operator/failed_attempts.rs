//! The attempts kept of an event that ended badly.

use sqlx::Row;
use webhook_core::{EventRef, FailedAttempt, FailureReason};

use crate::error::PgError;
use crate::microseconds;
use crate::record;
use crate::session::Session;

pub(crate) async fn failed_attempts(
    session: &mut Session<'_>,
    event: &EventRef,
) -> Result<Vec<FailedAttempt>, PgError> {
    let rows = session
        .rows(include_str!("failed_attempts.sql"), |query| {
            query
                .bind(event.kind.as_str().to_owned())
                .bind(event.key.as_str().to_owned())
        })
        .await?;
    rows.iter()
        .map(|row| {
            Ok(FailedAttempt::new(
                record::attempt(row.try_get("attempt")?)?,
                microseconds::time(row.try_get("ended_at_us")?),
                FailureReason::from_stored(row.try_get::<&str, _>("reason")?),
            ))
        })
        .collect()
}
