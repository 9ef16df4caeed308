//! Opens and closes a store.

use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::time::timeout;

use crate::error::PgError;
use crate::options::{PgOptions, Pooler};
use crate::schema::Schema;
use crate::session::{Database, probe};
use crate::store::PgStore;

/// How long closing waits for statements under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl PgStore {
    /// Connects to the database of `url`, see [`PgOptions`].
    ///
    /// This does not create the schema: call [`migrate`](PgStore::migrate).
    ///
    /// # Errors
    ///
    /// [`PgError::Url`], or an error of [`connect_with`](PgStore::connect_with).
    pub async fn connect(url: &str) -> Result<Self, PgError> {
        Self::connect_with(url.parse()?).await
    }

    /// Connects with `options`. Opens one connection to check that it works, and whether there is a pooler.
    /// Further connections are opened when they are needed.
    ///
    /// # Errors
    ///
    /// [`PgError::TlsFile`] if a certificate or key that the URL names cannot be used. [`PgError::Connect`] if the database
    /// cannot be reached, refuses the connection, or does not answer within [`PgOptions::acquire_timeout`].
    /// There is no second try.
    pub async fn connect_with(options: PgOptions) -> Result<Self, PgError> {
        let store = Self::connect_lazy(options);
        store.inner.database.reach().await?;
        Ok(store)
    }

    /// Returns a store that connects when it is first used, for an app that starts without its database. Until the
    /// database is reached, each call tries to connect, and returns an error like those of
    /// [`connect_with`](Self::connect_with).
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub fn connect_lazy(options: PgOptions) -> Self {
        Self::over(Database::own(options))
    }

    /// Uses a connection pool of the app, which the app may continue to use.
    ///
    /// The settings of its sessions are unknown, so every statement is wrapped in a transaction that sets what
    /// it needs: a few more round trips than with a pool of its own. `pooler` says what is between the pool and
    /// the database.
    ///
    /// # Errors
    ///
    /// The same as for [`connect_with`](PgStore::connect_with).
    pub async fn from_pool(pool: PgPool, pooler: Pooler) -> Result<Self, PgError> {
        Self::from_pool_in(pool, pooler, Schema::default()).await
    }

    /// Like [`from_pool`](Self::from_pool), for an inbox in another schema.
    ///
    /// # Errors
    ///
    /// The same as for [`connect_with`](PgStore::connect_with).
    pub async fn from_pool_in(
        pool: PgPool,
        pooler: Pooler,
        schema: Schema,
    ) -> Result<Self, PgError> {
        let connection = pool.connect_options();
        let acquire_timeout = pool.options().get_acquire_timeout();
        let found = probe(&connection, pooler, acquire_timeout).await?;
        let statement_timeout = PgOptions::new((*connection).clone()).statement_timeout;
        let database = Database::shared(pool, acquire_timeout, statement_timeout, schema, found);
        Ok(Self::over(database))
    }

    /// Closes all connections, and waits a few seconds at most until they are free. Later calls of the store
    /// return [`StoreError::Unavailable`](webhook_core::StoreError::Unavailable).
    pub async fn close(&self) {
        self.inner.wakeups.flush().await;
        let closing = async {
            self.inner.database.close().await;
            self.inner.probe.close().await;
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("store closed while connections to PostgreSQL were still busy");
        }
        // Last: a notification under way holds a connection until it is sent.
        self.inner.wakeups.stop();
    }
}
