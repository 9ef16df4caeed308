//! Runs the inbox's statements inside a transaction of the app, with the inbox's settings.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::settings::{self, STATEMENTS};
use super::{Database, Session};
use crate::error::PgError;
use crate::options::Durability;

/// Runs `work` in the transaction that is open on `connection`, or in one of its own if there is none.
///
/// The settings of the app are restored afterwards, except that its transaction commits durably.
pub(crate) async fn within<T>(
    database: &Database,
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, PgError>,
) -> Result<T, PgError> {
    if enter(connection, database.durability).await? {
        let result = work(&mut Session::App(connection, database.schema())).await;
        // After an error of the database, only a rollback is possible, which restores the settings as well.
        let left = leave(connection).await;
        let value = result?;
        left?;
        return Ok(value);
    }
    let mut transaction = connection
        .begin_with(database.begin_on_any_session())
        .await?;
    let value = work(&mut Session::App(&mut transaction, database.schema())).await?;
    transaction.commit().await?;
    Ok(value)
}

/// Sets the inbox's settings. Returns whether a transaction is open; otherwise the settings end with this call.
async fn enter(connection: &mut PgConnection, durability: Durability) -> Result<bool, PgError> {
    let mut sql = String::new();
    for (name, value) in STATEMENTS {
        sql.push_str(&format!(
            "SELECT pg_catalog.set_config('webhook.saved_{name}', \
             pg_catalog.current_setting('{name}'), true); SET LOCAL {name} = {value};"
        ));
    }
    match durability {
        Durability::Synchronous => sql.push_str(settings::once_per_transaction(durability)),
        // The app decides on its own transaction.
        Durability::Asynchronous => {}
    }
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut *connection)
        .await?;
    // Also false if the app has sent BEGIN as a plain statement.
    if connection.is_in_transaction() {
        return Ok(true);
    }
    let row = sqlx::raw_sql(
        "SELECT coalesce(pg_catalog.current_setting('webhook.saved_search_path', true), '') \
         OPERATOR(pg_catalog.<>) ''",
    )
    .fetch_one(connection)
    .await?;
    Ok(row.try_get(0)?)
}

/// Restores the settings of the app.
async fn leave(connection: &mut PgConnection) -> Result<(), PgError> {
    let sql: String = STATEMENTS
        .iter()
        .map(|(name, _)| {
            format!(
                "SELECT pg_catalog.set_config('{name}', \
                 pg_catalog.current_setting('webhook.saved_{name}'), true);"
            )
        })
        .collect();
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}
