//! Checks the health of the database, on a connection of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::PgError;
use crate::session::Database;
use crate::{microseconds, migrate};

/// What a database says about itself, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The time of its clock.
    pub clock: SystemTime,
    /// Whether commits survive a crash of its machine: `fsync` and `full_page_writes` are on.
    pub survives_crashes: bool,
    /// After which time it ends a statement of a session of the store; `None` if it does not.
    pub statement_timeout: Option<Duration>,
}

/// Runs one check at a time, so that checks never use more than one connection.
#[derive(Default)]
pub(crate) struct Probe {
    connection: Mutex<Option<PgConnection>>,
    /// Whether a crash of the server's machine may lose commits: `fsync` or `full_page_writes` is off.
    unsafe_settings: AtomicBool,
}

impl Probe {
    /// Checks that the database answers, accepts writes and has the schema.
    pub(crate) async fn ping(&self, database: &Database) -> Result<(), PgError> {
        let work = async {
            database.reach().await?;
            let mut kept = self.connection.lock().await;
            if database.is_closed() {
                return Err(sqlx::Error::PoolClosed.into());
            }
            // Taken out, so that a check that is dropped does not leave a connection in the middle of a
            // statement.
            if let Some(mut connection) = kept.take()
                && self.look(database, &mut connection).await.is_ok()
            {
                *kept = Some(connection);
                return Ok(());
            }
            let mut connection = database.connect_options().connect().await?;
            self.look(database, &mut connection).await?;
            *kept = Some(connection);
            Ok(())
        };
        let limit = database.answer_timeout();
        timeout(limit, work)
            .await
            .unwrap_or(Err(PgError::TimedOut { after: limit }))
    }

    /// Asks the database for [`Facts`], on a connection of its own.
    pub(crate) async fn facts(&self, database: &Database) -> Result<Facts, PgError> {
        let work = async {
            database.reach().await?;
            let mut connection = database.connect_options().connect().await?;
            let sql = "SELECT (date_part('epoch', clock_timestamp()) * 1000000)::bigint AS now_us, \
                       current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS safe, \
                       (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout') AS limit_ms";
            let mut transaction = connection.begin_with(database.begin()).await?;
            let row = sqlx::raw_sql(sql).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            let facts = Facts {
                clock: microseconds::time(row.try_get("now_us")?),
                survives_crashes: row.try_get("safe")?,
                statement_timeout: u64::try_from(row.try_get::<i64, _>("limit_ms")?)
                    .ok()
                    .filter(|limit_ms| *limit_ms > 0)
                    .map(Duration::from_millis),
            };
            let _ = connection.close().await;
            Ok(facts)
        };
        let limit = database.answer_timeout();
        timeout(limit, work)
            .await
            .unwrap_or(Err(PgError::TimedOut { after: limit }))
    }

    /// Closes the connection, if there is one.
    pub(crate) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            // The connection is closed also after an error.
            let _ = connection.close().await;
        }
    }

    async fn look(
        &self,
        database: &Database,
        connection: &mut PgConnection,
    ) -> Result<(), PgError> {
        let sql = format!(
            "SELECT {} AS version, current_setting('transaction_read_only') = 'on' AS read_only, \
             current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS safe",
            migrate::VERSION
        );
        let mut transaction = connection.begin_with(database.begin()).await?;
        let row = sqlx::raw_sql(database.schema().sql_of(sql))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.note_safety(row.try_get("safe")?);
        migrate::check_version(row.try_get("version")?)?;
        if row.try_get("read_only")? {
            return Err(PgError::ReadOnly { source: None });
        }
        Ok(())
    }

    /// Logs only changes.
    fn note_safety(&self, safe: bool) {
        if self.unsafe_settings.swap(!safe, Ordering::Relaxed) != safe {
            return;
        }
        if safe {
            tracing::info!("PostgreSQL has fsync and full_page_writes on again");
        } else {
            tracing::warn!(
                "PostgreSQL has fsync or full_page_writes off: a crash of its machine loses \
                 acknowledged events or damages the database; turn both on"
            );
        }
    }
}
