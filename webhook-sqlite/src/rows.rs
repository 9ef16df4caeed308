//! Statements for many rows.

use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

/// How many rows the statements have.
const SIZES: [usize; 14] = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, MAX_SIZE];

/// The most rows of one statement.
pub(crate) const MAX_SIZE: usize = 512;

/// A statement in several sizes, each of which stays prepared. Any number of rows up to [`MAX_SIZE`] is one statement,
/// and so one message to the thread of the connection: the statement must skip rows of nulls.
pub(crate) struct ForRows(Vec<Arc<str>>);

/// A part of the rows, and the statement for them.
pub(crate) struct Part<'s, T> {
    pub(crate) statement: AssertSqlSafe<Arc<str>>,
    pub(crate) rows: &'s [T],
    /// How many more rows the statement has.
    pub(crate) spare: usize,
}

impl ForRows {
    /// `statement` writes the statement for a number of rows. No data may be part of it.
    pub(crate) fn new(statement: impl Fn(usize) -> String) -> Self {
        Self(SIZES.iter().map(|size| statement(*size).into()).collect())
    }

    /// Splits `rows` among statements.
    pub(crate) fn split<'s, T>(&'s self, rows: &'s [T]) -> impl Iterator<Item = Part<'s, T>> {
        rows.chunks(MAX_SIZE).map(|rows| {
            let place = SIZES.partition_point(|size| *size < rows.len());
            Part {
                statement: AssertSqlSafe(self.0[place].clone()),
                rows,
                spare: SIZES[place] - rows.len(),
            }
        })
    }
}

/// `row`, separated by commas, `rows` times.
pub(crate) fn repeat(row: &str, rows: usize) -> String {
    vec![row; rows].join(", ")
}

/// Binds this many nulls.
pub(crate) fn bind_nulls<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    count: usize,
) -> Query<'q, Sqlite, SqliteArguments> {
    (0..count).fold(query, |query, _| query.bind(None::<i64>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_among_the_smallest_statements_that_hold_them() {
        let statement = ForRows::new(|rows| rows.to_string());
        for (rows, expected) in [
            (0, &[][..]),
            (1, &[("1", 1, 0)]),
            (3, &[("4", 3, 1)]),
            (33, &[("48", 33, 15)]),
            (512, &[("512", 512, 0)]),
            (515, &[("512", 512, 0), ("4", 3, 1)]),
        ] {
            let rows = vec![(); rows];
            let parts: Vec<_> = statement
                .split(&rows)
                .map(|part| (part.statement.0.to_string(), part.rows.len(), part.spare))
                .collect();
            let parts: Vec<_> = parts
                .iter()
                .map(|(statement, rows, spare)| (statement.as_str(), *rows, *spare))
                .collect();
            assert_eq!(parts, expected);
        }
    }
}
