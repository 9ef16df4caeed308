//! Deletes bodies, and keeps keys.

use sqlx::Row;
use webhook_core::DeleteBodies;

use super::batches::Batches;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn delete_bodies(
    session: &mut Session<'_>,
    delete: &DeleteBodies,
) -> Result<usize, PgError> {
    let mut batches = Batches::up_to(delete.limit.get());
    while let Some(most) = batches.next() {
        let rows = session
            .rows(include_str!("delete_bodies.sql"), |query| {
                query
                    .bind(delete.kind.as_str().to_owned())
                    .bind(microseconds::of(delete.older_than))
                    .bind(most)
            })
            .await?;
        let deleted = rows.first().map(|row| row.try_get("deleted"));
        batches.note(deleted.transpose()?.unwrap_or(0), most);
    }
    Ok(batches.changed())
}
