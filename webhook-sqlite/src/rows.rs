//! Statements for many rows.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

/// The most rows of one statement, as a power of two.
const MAX_LOG: u32 = 7;

/// A statement for 1, 2, 4, … rows: any number of rows is done with few statements, each of which stays prepared.
pub(crate) struct ForRows(Vec<Arc<str>>);

impl ForRows {
    /// `statement` writes the statement for a number of rows. No data may be part of it.
    pub(crate) fn new(statement: impl Fn(usize) -> String) -> Self {
        Self(
            (0..=MAX_LOG)
                .map(|log| statement(1 << log).into())
                .collect(),
        )
    }

    /// Splits `items` among statements, the longest first.
    pub(crate) fn split<'s, T>(
        &'s self,
        mut items: &'s [T],
    ) -> impl Iterator<Item = (AssertSqlSafe<Arc<str>>, &'s [T])> {
        std::iter::from_fn(move || {
            let log = items.len().checked_ilog2()?.min(MAX_LOG);
            let (first, rest) = items.split_at(1 << log);
            items = rest;
            Some((AssertSqlSafe(self.0[log as usize].clone()), first))
        })
    }
}

/// `row`, separated by commas, `rows` times.
pub(crate) fn repeat(row: &str, rows: usize) -> String {
    vec![row; rows].join(", ")
}
