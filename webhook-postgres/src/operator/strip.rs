//! Forgets bodies, and keeps keys.

use sqlx::Row;
use webhook_core::Strip;

use super::batches::Batches;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn strip(session: &mut Session<'_>, strip: &Strip) -> Result<usize, PgError> {
    let mut batches = Batches::up_to(strip.limit.get());
    while let Some(most) = batches.next() {
        let rows = session
            .rows(include_str!("strip.sql"), |query| {
                query
                    .bind(strip.kind.as_str().to_owned())
                    .bind(microseconds::of(strip.older_than))
                    .bind(most)
            })
            .await?;
        let forgotten = rows.first().map(|row| row.try_get("forgotten"));
        batches.note(forgotten.transpose()?.unwrap_or(0), most);
    }
    Ok(batches.changed())
}
