//! Temporary databases for tests, on an existing server.
//!
//! The environment variable `TEST_DATABASE_URL` names the server, and `TEST_POOLER_URL` a transaction-mode
//! PgBouncer in front of it, which must accept any database name. `scripts/test` and `scripts/with-postgres`
//! start both and set the variables.
//!
//! ```no_run
//! # async fn example() -> Result<(), webhook_postgres::PgError> {
//! let database = webhook_postgres::testing::TestDatabase::create().await;
//! let store = webhook_postgres::PgStore::connect(database.url()).await?;
//! store.migrate().await?;
//! // …
//! database.drop_database().await;
//! # Ok(()) }
//! ```

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::options::PgOptions;

/// A new database, which is dropped together with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
    url: String,
    pooler_url: Option<String>,
    dropped: bool,
}

impl TestDatabase {
    /// Creates a database with a unique name.
    ///
    /// # Panics
    ///
    /// Panics if `TEST_DATABASE_URL` is not set or its server cannot be reached: a test without a database
    /// fails.
    pub async fn create() -> Self {
        Self::create_of("template0 ENCODING 'UTF8' LOCALE 'C'").await
    }

    /// Creates a database with a unique name and the contents of this one, to which no connection may be open.
    ///
    /// # Panics
    ///
    /// Panics as [`create`](Self::create) does, and if there are connections to this database.
    pub async fn copy(&self) -> Self {
        Self::create_of(&self.name).await
    }

    async fn create_of(template: &str) -> Self {
        let base = variable("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL is not set: run the tests with scripts/test or scripts/with-postgres",
        );
        let server = base
            .parse::<PgOptions>()
            .expect("TEST_DATABASE_URL must be a database URL")
            .connection;
        let name = unique_name();
        let mut connection = connect(&server).await;
        run(
            &mut connection,
            format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        close(connection).await;
        Self {
            url: with_database(&base, &name),
            pooler_url: variable("TEST_POOLER_URL").map(|base| with_database(&base, &name)),
            name,
            server,
            dropped: false,
        }
    }

    /// Returns the URL of the database, without a pooler.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL of the database through the pooler.
    ///
    /// # Panics
    ///
    /// Panics if `TEST_POOLER_URL` is not set.
    pub fn pooler_url(&self) -> &str {
        self.pooler_url.as_deref().expect(
            "TEST_POOLER_URL is not set: run the tests with scripts/test or scripts/with-postgres",
        )
    }

    /// Opens a connection to the database, for tests that read or change tables directly.
    ///
    /// # Panics
    ///
    /// Panics if the database cannot be reached.
    pub async fn connection(&self) -> PgConnection {
        connect(&self.server.clone().database(&self.name)).await
    }

    /// Drops the database, and closes all connections to it.
    ///
    /// # Panics
    ///
    /// Panics if the server refuses.
    pub async fn drop_database(mut self) {
        self.dropped = true;
        drop_by_name(&self.server, &self.name).await;
    }
}

/// Tries to drop the database if the test has not, because it failed.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // In a thread of its own, since this thread may run the runtime of the test.
        let dropping = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                runtime.block_on(drop_by_name(&server, &name));
            }
        });
        let _ = dropping.join();
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns a name that is unique among all processes and machines that use the server.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().hash_one(std::process::id());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("webhook_test_{random:016x}_{count}")
}

/// Returns `base` with the name of another database.
fn with_database(base: &str, name: &str) -> String {
    let (address, query) = match base.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (base, String::new()),
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("postgresql", address));
    let authority = rest
        .split_once('/')
        .map_or(rest, |(authority, _)| authority);
    format!("{scheme}://{authority}/{name}{query}")
}

async fn drop_by_name(server: &PgConnectOptions, name: &str) {
    let mut connection = connect(server).await;
    run(
        &mut connection,
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
    )
    .await;
    close(connection).await;
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    options
        .clone()
        .connect()
        .await
        .expect("failed to connect to the server of TEST_DATABASE_URL")
}

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .expect("the role of TEST_DATABASE_URL must be allowed to create and drop databases");
}

async fn close(connection: PgConnection) {
    // The connection is closed also after an error.
    let _ = connection.close().await;
}
