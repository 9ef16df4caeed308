//! The conflicting deliveries kept of an event.

use bytes::Bytes;
use sqlx::Row;
use webhook_core::{ConflictRecord, EventRef};

use crate::accept::fingerprint;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn conflicts(
    session: &mut Session<'_>,
    event: &EventRef,
) -> Result<Vec<ConflictRecord>, PgError> {
    let rows = session
        .rows(include_str!("conflicts.sql"), |query| {
            query
                .bind(event.kind.as_str().to_owned())
                .bind(event.key.as_str().to_owned())
        })
        .await?;
    rows.iter()
        .map(|row| {
            let body_bytes: i64 = row.try_get("body_bytes")?;
            Ok(ConflictRecord::new(
                microseconds::time(row.try_get("received_at_us")?),
                fingerprint(row.try_get("fingerprint")?)?,
                Bytes::copy_from_slice(row.try_get("body")?),
                u64::try_from(body_bytes).unwrap_or(0),
            ))
        })
        .collect()
}
