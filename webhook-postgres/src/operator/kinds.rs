//! The kinds of all events in the store.

use sqlx::Row;
use webhook_core::Kind;

use crate::error::PgError;
use crate::record::kind;
use crate::session::Session;

pub(crate) async fn kinds(session: &mut Session<'_>) -> Result<Vec<Kind>, PgError> {
    let rows = session
        .rows(include_str!("kinds.sql"), |query| query)
        .await?;
    rows.iter().map(|row| kind(row.try_get("kind")?)).collect()
}
