//! A node on PostgreSQL: how it connects, and how its handlers write to the app's own table.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, query};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use webhook_core::{Lease, Settled};
use webhook_postgres::{PgOptions, PgStore};
use webhook_server::config::Migrate;
use webhook_server::transaction::VIEW;

use crate::store::{Books, Database};

/// The maximum number of concurrent transactions.
const CONNECTIONS: usize = 2;

/// The time-out of a transaction, so that a network that drops everything cannot hold a handler for
/// ever.
const LIMIT: Duration = Duration::from_secs(1);

/// When the network drops everything, PostgreSQL ends the transaction, which locks the event.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Connects and migrates as the server does.
pub(crate) async fn open(
    url: &str,
    max_connections: u32,
    migrate: Migrate,
) -> anyhow::Result<Database> {
    let mut options: PgOptions = url.parse()?;
    options.max_connections = max_connections;
    let connection = options.connection.clone();
    let store = PgStore::connect_with(options).await?;
    if migrate == Migrate::Auto {
        store.migrate_with(&[VIEW]).await?;
    }
    Ok(Database::new(
        store.clone(),
        PgBooks::new(store, connection),
    ))
}

struct PgBooks {
    store: PgStore,
    options: PgConnectOptions,
    permits: Semaphore,
    /// Connections whose last transaction succeeded, for reuse.
    idle: Mutex<Vec<PgConnection>>,
}

#[async_trait]
impl Books for PgBooks {
    async fn book(&self, lease: Lease) -> anyhow::Result<Settled> {
        let _permit = self.permits.acquire().await?;
        timeout(LIMIT, async {
            let idle = self.idle().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let settled = self.book_on(&mut connection, lease).await?;
            self.idle().push(connection);
            Ok(settled)
        })
        .await
        .context("the transaction timed out")?
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

impl PgBooks {
    fn new(store: PgStore, options: PgConnectOptions) -> Self {
        Self {
            store,
            // A transaction-mode pooler requires this.
            options: options.extra_float_digits(None).statement_cache_capacity(0),
            permits: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    async fn book_on(
        &self,
        connection: &mut PgConnection,
        lease: Lease,
    ) -> anyhow::Result<Settled> {
        let mut transaction = connection.begin_with(BEGIN).await?;
        query("INSERT INTO public.effects (event, fence) VALUES ($1, $2)")
            .bind(lease.event.get())
            .bind(lease.fence.get())
            .persistent(false)
            .execute(&mut *transaction)
            .await?;
        let settled = self
            .store
            .settle_processed_in(&mut transaction, lease)
            .await?;
        match settled {
            Settled::Applied => transaction.commit().await?,
            Settled::LeaseLost => transaction.rollback().await?,
        }
        Ok(settled)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
