//! Audit records.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use webhook_core::{ActionId, ActionPage, ActionRecord, MAX_ACTIONS, StoredAction};

use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::microseconds;
use crate::query::query;

/// Keeps a record, and deletes those that are too many.
pub(crate) async fn record(
    transaction: &mut Transaction<'_>,
    action: &ActionRecord,
) -> Result<ActionId, SqliteError> {
    let inserted = query(
        "INSERT INTO actions (at_us, actor, action, target, details, count, result)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(transaction.now_us)
    .bind(action.actor.as_str())
    .bind(action.action.as_str())
    .bind(action.target.as_str())
    .bind(action.details.as_str())
    .bind(
        action
            .count
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
    )
    .bind(action.result.as_str())
    .execute(&mut transaction.connection)
    .await?;
    let id = inserted.last_id;
    let kept = i64::try_from(MAX_ACTIONS).expect("a bounded number");
    query("DELETE FROM actions WHERE id <= ?1")
        .bind(id - kept)
        .execute(&mut transaction.connection)
        .await?;
    Ok(ActionId::new(id))
}

pub(crate) async fn list(
    readers: &SqlitePool,
    page: &ActionPage,
) -> Result<Vec<StoredAction>, SqliteError> {
    let rows = sqlx::query(
        "SELECT id, at_us, actor, action, target, details, count, result FROM actions
         WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )
    .bind(page.before.map_or(i64::MAX, ActionId::get))
    .bind(i64::try_from(page.records()).unwrap_or(i64::MAX))
    .fetch_all(readers)
    .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &SqliteRow) -> Result<StoredAction, SqliteError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let count = row.try_get::<Option<i64>, _>("count")?;
    let record = ActionRecord::new(text("actor")?, text("action")?, text("target")?)
        .with_details(text("details")?)
        .with_count(count.map(i64::unsigned_abs))
        .with_result(text("result")?);
    Ok(StoredAction::new(
        ActionId::new(row.try_get("id")?),
        microseconds::time(row.try_get("at_us")?),
        record,
    ))
}
