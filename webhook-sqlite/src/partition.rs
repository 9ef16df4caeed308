//! Keeps the mark that says which partition of which inbox this file is.

use sqlx::{Row, SqliteExecutor};

use crate::error::SqliteError;
use crate::lent::Transaction;
use crate::query::query;

pub(crate) async fn mark(readers: impl SqliteExecutor<'_>) -> Result<Option<String>, SqliteError> {
    let row = sqlx::query("SELECT mark FROM partition_mark")
        .fetch_optional(readers)
        .await?;
    Ok(row.map(|row| row.try_get("mark")).transpose()?)
}

/// Returns whether the mark was `expected`, and is replaced.
pub(crate) async fn replace_mark(
    transaction: &mut Transaction<'_>,
    expected: Option<&str>,
    mark: &str,
) -> Result<bool, SqliteError> {
    let replace = match expected {
        None => {
            query("INSERT INTO partition_mark (only, mark) VALUES (1, ?1) ON CONFLICT DO NOTHING")
        }
        Some(expected) => {
            query("UPDATE partition_mark SET mark = ?2 WHERE mark = ?1").bind(expected)
        }
    };
    let done = replace
        .bind(mark)
        .execute(&mut transaction.connection)
        .await?;
    Ok(done.rows > 0)
}
