//! Deletes settled events.

use sqlx::Row;
use webhook_core::{Prune, TerminalState};

use super::batches::Batches;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn prune(session: &mut Session<'_>, prune: &Prune) -> Result<usize, PgError> {
    let mut batches = Batches::up_to(prune.limit.get());
    while let Some(most) = batches.next() {
        let rows = session
            .rows(include_str!("prune.sql"), |query| {
                query
                    .bind(prune.kind.as_str().to_owned())
                    .bind(prune.state == TerminalState::Failed)
                    .bind(microseconds::of(prune.older_than))
                    .bind(most)
            })
            .await?;
        let deleted = rows.first().map(|row| row.try_get("deleted"));
        batches.note(deleted.transpose()?.unwrap_or(0), most);
    }
    Ok(batches.changed())
}
