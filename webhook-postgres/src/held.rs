//! [`Held`]: a transaction that holds locks for as long as its owner likes.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr};
use tokio::time::timeout;

use crate::error::PgError;
use crate::session::Database;

/// How long a connection, or a statement that waits for no lock, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// An open transaction on a connection of its own. A pooler has no other place for locks that outlive a statement.
///
/// Dropping it ends the transaction.
pub(crate) struct Held {
    connection: PgConnection,
    lock_timeout: Duration,
}

impl Held {
    /// Connects, and begins the transaction, which waits for each lock for up to `lock_timeout`.
    pub(crate) async fn begin(
        database: &Database,
        lock_timeout: Duration,
    ) -> Result<Self, PgError> {
        database.reach().await?;
        let connect = async { Ok(database.connect_options().connect().await?) };
        let mut connection = within(ANSWER_TIMEOUT, connect).await?;
        // A session of a pooler may have any settings.
        let begin = format!(
            "{}; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = 0; \
             SET LOCAL idle_in_transaction_session_timeout = 0",
            database.begin_on_any_session().0,
            lock_timeout.as_millis(),
        );
        let begin = async {
            sqlx::raw_sql(AssertSqlSafe(begin))
                .execute(&mut connection)
                .await?;
            Ok(())
        };
        within(ANSWER_TIMEOUT, begin).await?;
        Ok(Self {
            connection,
            lock_timeout,
        })
    }

    /// Runs `sql`, which may wait for a lock, and returns all rows.
    pub(crate) async fn rows(&mut self, sql: impl SqlSafeStr) -> Result<Vec<PgRow>, PgError> {
        let rows = async { Ok(sqlx::raw_sql(sql).fetch_all(&mut self.connection).await?) };
        within(self.lock_timeout + ANSWER_TIMEOUT, rows).await
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    let done = timeout(limit, work).await;
    done.unwrap_or(Err(PgError::TimedOut { after: limit }))
}
