//! The numbers of kinds.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use webhook_core::Kind;

use crate::error::SqliteError;

/// The numbers that are known. They never change once they are committed.
#[derive(Debug, Default)]
pub(crate) struct Kinds(HashMap<Kind, i64>);

impl Kinds {
    /// The number of `kind`, if it has one.
    pub(crate) async fn number(
        &mut self,
        connection: &mut SqliteConnection,
        kind: &Kind,
    ) -> Result<Option<i64>, SqliteError> {
        if let Some(number) = self.0.get(kind) {
            return Ok(Some(*number));
        }
        let row = sqlx::query("SELECT kind FROM kinds WHERE name = ?1")
            .bind(kind.as_str())
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let number = row.try_get(0)?;
        self.0.insert(kind.clone(), number);
        Ok(Some(number))
    }

    /// The number of `kind`, which gets one if it has none. Runs in a write transaction.
    pub(crate) async fn number_or_new(
        &mut self,
        connection: &mut SqliteConnection,
        kind: &Kind,
    ) -> Result<i64, SqliteError> {
        if let Some(number) = self.number(connection, kind).await? {
            return Ok(number);
        }
        let row = sqlx::query("INSERT INTO kinds (name) VALUES (?1) RETURNING kind")
            .bind(kind.as_str())
            .fetch_one(connection)
            .await?;
        let number = row.try_get(0)?;
        self.0.insert(kind.clone(), number);
        Ok(number)
    }
}
