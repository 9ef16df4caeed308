//! Audit records.

use sqlx::Row;
use sqlx::postgres::PgRow;
use webhook_core::{ActionId, ActionPage, ActionRecord, MAX_ACTIONS, StoredAction};

use super::count;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn record(
    session: &mut Session<'_>,
    action: &ActionRecord,
) -> Result<ActionId, PgError> {
    let count = action.count;
    let rows = session
        .rows(include_str!("record_action.sql"), |query| {
            query
                .bind(action.actor.as_str().to_owned())
                .bind(action.action.as_str().to_owned())
                .bind(action.target.as_str().to_owned())
                .bind(action.details.as_str().to_owned())
                .bind(count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
                .bind(action.result.as_str().to_owned())
                .bind(i64::try_from(MAX_ACTIONS).expect("a bounded number"))
        })
        .await?;
    let row = rows.first().ok_or_else(|| PgError::Damaged {
        detail: "the statement that records an action returned no row".to_owned(),
    })?;
    Ok(ActionId::new(row.try_get("id")?))
}

pub(crate) async fn list(
    session: &mut Session<'_>,
    page: &ActionPage,
) -> Result<Vec<StoredAction>, PgError> {
    let rows = session
        .rows(include_str!("actions.sql"), |query| {
            query
                .bind(page.before.map_or(i64::MAX, ActionId::get))
                .bind(i64::try_from(page.records()).unwrap_or(i64::MAX))
        })
        .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &PgRow) -> Result<StoredAction, PgError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let of = row.try_get::<Option<i64>, _>("count")?;
    let record = ActionRecord::new(text("actor")?, text("action")?, text("target")?)
        .with_details(text("details")?)
        .with_count(of.map(count))
        .with_result(text("result")?);
    Ok(StoredAction::new(
        ActionId::new(row.try_get("id")?),
        microseconds::time(row.try_get("at_us")?),
        record,
    ))
}
