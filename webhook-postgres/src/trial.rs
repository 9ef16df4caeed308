//! [`TrialSchemas`]: inboxes for a trial of a database.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::time::timeout;

use crate::error::PgError;
use crate::options::PgOptions;
use crate::schema::{InvalidSchema, Schema};
use crate::session::cannot_connect;
use crate::store::PgStore;

/// How long a statement may take: to drop a schema may wait for statements that others still run in it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes inboxes for a trial of a database, each in a schema of its own, and drops them again. Nothing else in
/// the database is changed. The names of the schemas are a prefix and a number.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use webhook_postgres::TrialSchemas;
///
/// let trial = TrialSchemas::new("postgresql://app@db.internal/app".parse()?, "trial_")?;
/// let store = trial.create(1).await?;
/// // …
/// store.close().await;
/// trial.drop_schema(1).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TrialSchemas {
    options: PgOptions,
    prefix: String,
}

/// The version and the extensions of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseVersion {
    /// What `version()` returns.
    pub version: String,
    /// The names and versions of the extensions in the database.
    pub extensions: Vec<(String, String)>,
}

impl TrialSchemas {
    /// Schemas whose names begin with `prefix`, in the database of `options`. The schema of the `options` is not
    /// used.
    ///
    /// # Errors
    ///
    /// [`InvalidSchema`] if no name of a schema can begin so, or the names would be too long.
    pub fn new(options: PgOptions, prefix: &str) -> Result<Self, InvalidSchema> {
        Schema::new(&format!("{prefix}{}", u32::MAX))?;
        Ok(Self {
            options,
            prefix: prefix.to_owned(),
        })
    }

    /// Returns the version and the extensions of the database.
    ///
    /// # Errors
    ///
    /// [`PgError::Connect`], [`PgError::TimedOut`], or an error of the database.
    pub async fn database_version(&self) -> Result<DatabaseVersion, PgError> {
        self.within(async |connection| {
            let version = sqlx::raw_sql("SELECT version()")
                .fetch_one(&mut *connection)
                .await?
                .try_get(0)?;
            let extensions = sqlx::raw_sql(
                "SELECT extname::text, extversion FROM pg_catalog.pg_extension ORDER BY extname",
            )
            .fetch_all(connection)
            .await?;
            let extensions = extensions
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?;
            Ok(DatabaseVersion {
                version,
                extensions,
            })
        })
        .await
    }

    /// Returns the schemas in the database whose names begin with `prefix`, such as those that a trial left
    /// behind whose process was killed.
    ///
    /// # Errors
    ///
    /// The same as for [`database_version`](Self::database_version).
    pub async fn existing(&self, prefix: &str) -> Result<Vec<String>, PgError> {
        let rows = self
            .within(async |connection| {
                let sql = "SELECT nspname::text FROM pg_catalog.pg_namespace ORDER BY nspname";
                Ok(sqlx::raw_sql(sql).fetch_all(connection).await?)
            })
            .await?;
        let names = rows.iter().map(|row| row.try_get(0));
        let mut names: Vec<String> = names.collect::<Result<_, _>>()?;
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// Creates a schema with an inbox in it.
    ///
    /// # Errors
    ///
    /// An error of [`PgStore::connect_with`] or [`PgStore::migrate`]. The schema may exist then.
    pub async fn create(&self, number: u32) -> Result<PgStore, PgError> {
        let mut options = self.options.clone();
        options.schema = self.schema(number);
        let store = PgStore::connect_with(options).await?;
        match store.migrate().await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// Drops a schema with everything in it, if it exists.
    ///
    /// # Errors
    ///
    /// The same as for [`database_version`](Self::database_version).
    pub async fn drop_schema(&self, number: u32) -> Result<(), PgError> {
        let schema = self.schema(number);
        self.within(async |connection| {
            let sql = format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE");
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    fn schema(&self, number: u32) -> Schema {
        let name = format!("{}{number}", self.prefix);
        Schema::new(&name).expect("`new` has checked the prefix with the longest number")
    }

    /// Runs `work` on a connection of its own, within a time limit.
    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, PgError>,
    ) -> Result<T, PgError> {
        let options = self.options.first_connection();
        let connecting = timeout(self.options.acquire_timeout, options.connect());
        let connected = connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let mut connection = connected.map_err(|error| cannot_connect(&options, error))?;
        let after = STATEMENT_TIMEOUT;
        let done = timeout(after, work(&mut connection)).await;
        let done = done.unwrap_or(Err(PgError::TimedOut { after }));
        // The connection is closed also after an error.
        let _ = timeout(self.options.acquire_timeout, connection.close()).await;
        done
    }
}
