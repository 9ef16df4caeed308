//! Throw-away databases for tests: each its own, on a server that is there already.
//!
//! The server is that of the environment variable `TEST_DATABASE_URL`, and `TEST_POOLER_URL`
//! names a transaction-mode PgBouncer in front of it, which passes any database name on.
//! `scripts/test` and `scripts/with-postgres` start both and set them.
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

/// A fresh database, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
    url: String,
    pooler_url: Option<String>,
    dropped: bool,
}

impl TestDatabase {
    /// Makes a database with a name of its own.
    ///
    /// # Panics
    ///
    /// When `TEST_DATABASE_URL` is missing, or its server cannot be reached: a test that has no
    /// database fails.
    pub async fn create() -> Self {
        let base = variable("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL names no server to test with: run the tests by scripts/test",
        );
        let server = base
            .parse::<PgOptions>()
            .expect("TEST_DATABASE_URL is a database URL")
            .connection;
        let name = unique_name();
        let mut connection = connect(&server).await;
        run(
            &mut connection,
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"),
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

    /// Where it is, without anything between.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, through the pooler.
    ///
    /// # Panics
    ///
    /// When `TEST_POOLER_URL` is missing.
    pub fn pooler_url(&self) -> &str {
        self.pooler_url
            .as_deref()
            .expect("TEST_POOLER_URL names no pooler to test with: run the tests by scripts/test")
    }

    /// A connection to it, for tests that look behind the store.
    ///
    /// # Panics
    ///
    /// When it cannot be reached.
    pub async fn connection(&self) -> PgConnection {
        connect(&self.server.clone().database(&self.name)).await
    }

    /// Drops it, with whoever is connected to it.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn drop_database(mut self) {
        self.dropped = true;
        drop_by_name(&self.server, &self.name).await;
    }
}

/// Drops the database, as far as that succeeds, where a failed test did not.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // In a thread of its own: the test's runtime may be this very thread's.
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

/// Unique among the processes and machines that share a server.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().hash_one(std::process::id());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("webhook_test_{random:016x}_{count}")
}

/// `base` with another database's name.
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
        .expect("the server of TEST_DATABASE_URL can be reached")
}

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .expect("the role of TEST_DATABASE_URL may make and drop databases");
}

async fn close(connection: PgConnection) {
    // Whatever it says, the connection is gone.
    let _ = connection.close().await;
}
