//! Pauses kinds, resumes them, and says which are paused.

use sqlx::Row;
use webhook_core::Kind;

use crate::error::PgError;
use crate::record;
use crate::session::Session;

/// Says whether the kind was not paused before.
pub(crate) async fn pause(session: &mut Session<'_>, kind: &Kind) -> Result<bool, PgError> {
    has_changed(session, include_str!("pause.sql"), kind).await
}

/// Says whether the kind was paused.
pub(crate) async fn resume(session: &mut Session<'_>, kind: &Kind) -> Result<bool, PgError> {
    has_changed(session, include_str!("resume.sql"), kind).await
}

async fn has_changed(
    session: &mut Session<'_>,
    sql: &'static str,
    kind: &Kind,
) -> Result<bool, PgError> {
    let rows = session
        .rows(sql, |query| query.bind(kind.as_str().to_owned()))
        .await?;
    Ok(!rows.is_empty())
}

pub(crate) async fn paused(session: &mut Session<'_>) -> Result<Vec<Kind>, PgError> {
    let rows = session
        .rows(include_str!("paused.sql"), |query| query)
        .await?;
    let kinds = rows.iter().map(|row| record::kind(row.try_get("kind")?));
    kinds.collect()
}
