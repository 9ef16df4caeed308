//! Statements of write transactions.
//!
//! The thread that writes runs them itself, by rusqlite. In a transaction of an app they run by sqlx, on the connection
//! that the app uses: there, each statement and each of its rows is a message to another thread or from it.

use std::borrow::Cow;

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ToSql};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteQueryResult, SqliteRow};
use sqlx::{Row as _, Sqlite, TypeInfo, ValueRef as _};

use crate::error::SqliteError;

/// The connection of a write transaction.
pub(crate) enum Connection<'c> {
    /// That of the thread that writes.
    Own(&'c mut rusqlite::Connection),
    /// One that is lent to an app.
    Lent(&'c mut SqliteConnection),
}

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Parameter<'q> {
    Null,
    Integer(i64),
    Text(Cow<'q, str>),
    Blob(&'q [u8]),
}

impl From<i64> for Parameter<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Parameter<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl<'q> From<&'q str> for Parameter<'q> {
    fn from(value: &'q str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Parameter<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl<'q> From<&'q [u8]> for Parameter<'q> {
    fn from(value: &'q [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'q, T: Into<Parameter<'q>>> From<Option<T>> for Parameter<'q> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// A statement that stays prepared, and its parameters.
#[derive(Debug)]
pub(crate) struct Query<'q> {
    sql: &'static str,
    parameters: Vec<Parameter<'q>>,
}

/// The effect of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// How many rows it inserted, changed or deleted.
    pub(crate) rows: u64,
    /// The id of the last row that was inserted.
    pub(crate) last_id: i64,
}

/// A statement without parameters so far.
pub(crate) fn query<'q>(sql: &'static str) -> Query<'q> {
    Query {
        sql,
        parameters: Vec::new(),
    }
}

impl<'q> Query<'q> {
    /// Sets the next parameter.
    pub(crate) fn bind(mut self, parameter: impl Into<Parameter<'q>>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    pub(crate) async fn execute(
        self,
        connection: &mut Connection<'_>,
    ) -> Result<Done, SqliteError> {
        match connection {
            Connection::Own(connection) => {
                let rows = execute_once(connection, self.sql, &self.parameters)
                    .map_err(SqliteError::of_rusqlite)?;
                let last_id = connection.last_insert_rowid();
                Ok(Done { rows, last_id })
            }
            Connection::Lent(connection) => {
                let done = execute_lent(connection, self.sql, self.parameters).await?;
                Ok(Done {
                    rows: done.rows_affected(),
                    last_id: done.last_insert_rowid(),
                })
            }
        }
    }

    pub(crate) async fn fetch_all(
        self,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<Row>, SqliteError> {
        match connection {
            Connection::Own(connection) => {
                fetch(connection, self.sql, &self.parameters).map_err(SqliteError::of_rusqlite)
            }
            Connection::Lent(connection) => {
                let query = with(sqlx::query(self.sql), self.parameters);
                let rows = query.fetch_all(&mut **connection).await?;
                rows.iter().map(Row::of).collect()
            }
        }
    }

    pub(crate) async fn fetch_optional(
        self,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Row>, SqliteError> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    pub(crate) async fn fetch_one(
        self,
        connection: &mut Connection<'_>,
    ) -> Result<Row, SqliteError> {
        let row = self.fetch_optional(connection).await?;
        Ok(row.ok_or(sqlx::Error::RowNotFound)?)
    }
}

/// Executes a statement for each of `all` lists of parameters, and returns for each how many rows it inserted, changed or
/// deleted.
pub(crate) async fn execute_each<const N: usize>(
    connection: &mut Connection<'_>,
    sql: &'static str,
    all: impl ExactSizeIterator<Item = [Parameter<'_>; N]>,
) -> Result<Vec<u64>, SqliteError> {
    let mut changed = Vec::with_capacity(all.len());
    if all.len() == 0 {
        return Ok(changed);
    }
    match connection {
        Connection::Own(connection) => {
            let mut statement = connection
                .prepare_cached(sql)
                .map_err(SqliteError::of_rusqlite)?;
            for parameters in all {
                let rows = execute(&mut statement, &parameters);
                changed.push(rows.map_err(SqliteError::of_rusqlite)?);
            }
        }
        Connection::Lent(connection) => {
            for parameters in all {
                let done = execute_lent(connection, sql, parameters).await?;
                changed.push(done.rows_affected());
            }
        }
    }
    Ok(changed)
}

fn execute_once(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> rusqlite::Result<u64> {
    execute(&mut connection.prepare_cached(sql)?, parameters)
}

fn fetch(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    bind(&mut statement, parameters)?;
    let rows = statement.raw_query();
    rows.mapped(|row| Row::read(row, columns)).collect()
}

fn execute(
    statement: &mut CachedStatement<'_>,
    parameters: &[Parameter<'_>],
) -> rusqlite::Result<u64> {
    bind(statement, parameters)?;
    let rows = statement.raw_execute()?;
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

fn bind(statement: &mut CachedStatement<'_>, parameters: &[Parameter<'_>]) -> rusqlite::Result<()> {
    for (number, parameter) in (1_usize..).zip(parameters) {
        statement.raw_bind_parameter(number, parameter)?;
    }
    Ok(())
}

async fn execute_lent<'q>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    parameters: impl IntoIterator<Item = Parameter<'q>>,
) -> Result<SqliteQueryResult, sqlx::Error> {
    with(sqlx::query(sql), parameters).execute(connection).await
}

/// `query` with `parameters`.
fn with<'s, 'q>(
    query: sqlx::query::Query<'s, Sqlite, SqliteArguments>,
    parameters: impl IntoIterator<Item = Parameter<'q>>,
) -> sqlx::query::Query<'s, Sqlite, SqliteArguments> {
    parameters
        .into_iter()
        .fold(query, |query, parameter| match parameter {
            Parameter::Null => query.bind(None::<i64>),
            Parameter::Integer(value) => query.bind(value),
            Parameter::Text(value) => query.bind(value.into_owned()),
            Parameter::Blob(value) => query.bind(value.to_vec()),
        })
}

/// A row of an answer.
#[derive(Debug)]
pub(crate) struct Row(Vec<Value>);

/// A value of a row.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Bytes),
    /// No column of ours has such values.
    Real,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<Self> {
        let values = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Real(_) => Value::Real,
                ValueRef::Text(_) => Value::Text(row.get(column)?),
                ValueRef::Blob(value) => Value::Blob(Bytes::copy_from_slice(value)),
            })
        });
        values.collect::<rusqlite::Result<_>>().map(Self)
    }

    fn of(row: &SqliteRow) -> Result<Self, SqliteError> {
        let values = (0..row.len()).map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(Value::Null);
            }
            Ok(match value.type_info().name() {
                "INTEGER" => Value::Integer(row.try_get(column)?),
                "TEXT" => Value::Text(row.try_get(column)?),
                "BLOB" => Value::Blob(row.try_get::<Vec<u8>, _>(column)?.into()),
                _ => Value::Real,
            })
        });
        values.collect::<Result<_, SqliteError>>().map(Self)
    }

    /// The value of a column, by its number.
    ///
    /// # Errors
    ///
    /// If it has another type, which means that the row is not what this program writes.
    pub(crate) fn try_get<'r, T: FromValue<'r>>(&'r self, column: usize) -> Result<T, SqliteError> {
        let value = self.0.get(column);
        value
            .and_then(T::from_value)
            .ok_or_else(|| SqliteError::Damaged {
                detail: format!("column {column} of an answer holds another type: {value:?}"),
            })
    }
}

/// A type that a column can be read as.
pub(crate) trait FromValue<'r>: Sized {
    /// `None` if the value has another type.
    fn from_value(value: &'r Value) -> Option<Self>;
}

impl FromValue<'_> for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }
}

impl FromValue<'_> for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue<'_> for bool {
    fn from_value(value: &Value) -> Option<Self> {
        Some(i64::from_value(value)? != 0)
    }
}

impl<'r> FromValue<'r> for &'r str {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: &Value) -> Option<Self> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'r> FromValue<'r> for &'r Bytes {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Blob(value) => Some(value),
            _ => None,
        }
    }
}

impl<'r> FromValue<'r> for &'r [u8] {
    fn from_value(value: &'r Value) -> Option<Self> {
        <&Bytes>::from_value(value).map(|bytes| &bytes[..])
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    /// Runs `work` on a connection of each sort.
    macro_rules! on_both {
        (|$connection:ident| $work:expr) => {{
            let mut own = rusqlite::Connection::open_in_memory().unwrap();
            let mut lent = SqliteConnection::connect("sqlite::memory:").await.unwrap();
            let mut answers = Vec::new();
            for $connection in [
                &mut Connection::Own(&mut own),
                &mut Connection::Lent(&mut lent),
            ] {
                answers.push($work);
            }
            assert_eq!(answers[0], answers[1]);
            answers.remove(0)
        }};
    }

    #[tokio::test]
    async fn both_connections_return_the_same_rows() {
        let rows = on_both!(|connection| {
            let values =
                query("SELECT ?1, ?2, ?3, ?4, ?5, 0.5 UNION ALL SELECT 2, '', x'', ?4, 1, 0.5")
                    .bind(i64::MIN)
                    .bind("a\0ä")
                    .bind(&[0_u8, 255][..])
                    .bind(None::<&str>)
                    .bind(7_u32);
            format!("{:?}", values.fetch_all(connection).await.unwrap())
        });
        let first = r#"[Integer(-9223372036854775808), Text("a\0ä"), Blob(b"\0\xff"), Null, Integer(7), Real]"#;
        assert!(rows.contains(first), "{rows}");
    }

    #[tokio::test]
    async fn both_connections_say_what_they_changed() {
        let changed = on_both!(|connection| {
            query("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
                .execute(connection)
                .await
                .unwrap();
            let rows = [4_i64, 5, 6].map(|number| [number.into()]);
            let insert = "INSERT INTO numbers SELECT ?1 WHERE ?1 <> 5";
            let each = execute_each(connection, insert, rows.into_iter()).await;
            let delete = query("DELETE FROM numbers WHERE number > ?1").bind(3_i64);
            let deleted = delete.execute(connection).await.unwrap();
            (each.unwrap(), deleted.rows, deleted.last_id)
        });
        assert_eq!(changed, (vec![1, 0, 1], 2, 6));
    }

    #[tokio::test]
    async fn both_connections_fail_alike() {
        let failures =
            on_both!(|connection| {
                let mut failures = Vec::new();
                for statement in [
                    "CREATE TABLE numbers (number INTEGER PRIMARY KEY)",
                    "INSERT INTO numbers VALUES (1)",
                    "INSERT INTO numbers VALUES (1)",
                    "no statement",
                ] {
                    let done = query(statement).execute(connection).await;
                    failures.push(done.err().map(|error| {
                        format!("{error:?}: {error}").replace("SqliteError", "Failure")
                    }));
                }
                failures
            });
        let failed: Vec<_> = failures.iter().map(Option::is_some).collect();
        assert_eq!(failed, [false, false, true, true]);
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        let row = Row(vec![Value::Null, Value::Text("text".to_owned())]);
        assert_eq!(row.try_get::<Option<i64>>(0).unwrap(), None);
        for error in [
            row.try_get::<i64>(0).unwrap_err(),
            row.try_get::<i64>(1).unwrap_err(),
            row.try_get::<i64>(2).unwrap_err(),
        ] {
            assert!(matches!(error, SqliteError::Damaged { .. }), "{error}");
        }
    }
}
