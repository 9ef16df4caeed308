//! How much room the tables take.

use std::time::Duration;

use sqlx::Row;

use crate::error::PgError;
use crate::session::Session;

/// How many tables are listed: the inbox has fewer, and an app may add its own to the schema.
const MAX_TABLES: i64 = 64;

/// How long it may take: a table that is being rebuilt is locked meanwhile.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// A table of the schema of an inbox: an item of [`PgStore::table_sizes`](crate::PgStore::table_sizes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSize {
    /// The name of the table, without its schema.
    pub name: String,
    /// The bytes that it takes on disk, with its indexes and what is stored out of line.
    pub bytes: u64,
}

pub(crate) async fn table_sizes(session: &mut Session<'_>) -> Result<Vec<TableSize>, PgError> {
    let sql = include_str!("table_sizes.sql");
    let rows = session
        .rows_within(STATEMENT_TIMEOUT, sql, |query| query.bind(MAX_TABLES))
        .await?;
    let sizes = rows.iter().map(|row| {
        Ok(TableSize {
            name: row.try_get("name")?,
            bytes: super::count(row.try_get("bytes")?),
        })
    });
    sizes.collect()
}
