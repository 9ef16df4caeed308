//! Deletes settled events.

use sqlx::Row;
use webhook_core::{Prune, TerminalState};

use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

/// How many events one statement deletes, so that each is short and the next may begin anew.
const STATEMENT: usize = 1_000;

pub(crate) async fn prune(session: &mut Session<'_>, prune: &Prune) -> Result<usize, PgError> {
    let mut deleted = 0;
    while deleted < prune.limit.get() {
        let limit = STATEMENT.min(prune.limit.get() - deleted);
        let rows = session
            .rows(include_str!("prune.sql"), |query| {
                query
                    .bind(prune.kind.as_str().to_owned())
                    .bind(prune.state == TerminalState::Failed)
                    .bind(microseconds::of(prune.older_than))
                    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            })
            .await?;
        let count: i64 = match rows.first() {
            Some(row) => row.try_get("deleted")?,
            None => 0,
        };
        let count = usize::try_from(count).unwrap_or(0);
        deleted += count;
        if count < limit {
            break;
        }
    }
    Ok(deleted)
}
