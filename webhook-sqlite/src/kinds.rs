//! The numbers of kinds.

use std::collections::HashMap;

use webhook_core::Kind;

use crate::error::SqliteError;
use crate::query::{Connection, query};
use crate::record;

/// The numbers that are known. They never change once they are committed.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    numbers: HashMap<Kind, i64>,
    names: HashMap<i64, Kind>,
}

impl Kinds {
    /// The number of `kind`, if it has one.
    pub(crate) async fn number(
        &mut self,
        connection: &mut Connection<'_>,
        kind: &Kind,
    ) -> Result<Option<i64>, SqliteError> {
        if let Some(number) = self.numbers.get(kind) {
            return Ok(Some(*number));
        }
        let row = query("SELECT kind FROM kinds WHERE name = ?1")
            .bind(kind.as_str())
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let number = row.try_get(0)?;
        self.learn(number, kind);
        Ok(Some(number))
    }

    /// The number of `kind`, which gets one if it has none. Runs in a write transaction.
    pub(crate) async fn number_or_new(
        &mut self,
        connection: &mut Connection<'_>,
        kind: &Kind,
    ) -> Result<i64, SqliteError> {
        if let Some(number) = self.number(connection, kind).await? {
            return Ok(number);
        }
        let row = query("INSERT INTO kinds (name) VALUES (?1) RETURNING kind")
            .bind(kind.as_str())
            .fetch_one(connection)
            .await?;
        let number = row.try_get(0)?;
        self.learn(number, kind);
        Ok(number)
    }

    /// The kind with this number, which some row has.
    pub(crate) async fn name(
        &mut self,
        connection: &mut Connection<'_>,
        number: i64,
    ) -> Result<Kind, SqliteError> {
        if let Some(kind) = self.names.get(&number) {
            return Ok(kind.clone());
        }
        let row = query("SELECT name FROM kinds WHERE kind = ?1")
            .bind(number)
            .fetch_one(connection)
            .await?;
        let kind = record::kind(row.try_get(0)?)?;
        self.learn(number, &kind);
        Ok(kind)
    }

    fn learn(&mut self, number: i64, kind: &Kind) {
        self.numbers.insert(kind.clone(), number);
        self.names.insert(number, kind.clone());
    }
}
