//! The app's own table, which handlers write in the transaction that settles their event.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, query};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use webhook_core::{Lease, Settled};
use webhook_postgres::PgStore;

/// The maximum number of concurrent transactions.
const CONNECTIONS: usize = 2;

/// The time-out of a transaction, so that a network that drops everything cannot hold a handler for
/// ever.
const LIMIT: Duration = Duration::from_secs(1);

/// When the network drops everything, PostgreSQL ends the transaction, which locks the event.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'";

pub(crate) struct Books {
    store: PgStore,
    options: PgConnectOptions,
    permits: Semaphore,
    /// Connections whose last transaction succeeded, for reuse.
    idle: Mutex<Vec<PgConnection>>,
}

impl Books {
    pub(crate) fn new(store: PgStore, options: PgConnectOptions) -> Self {
        Self {
            store,
            // A transaction-mode pooler requires this.
            options: options.extra_float_digits(None).statement_cache_capacity(0),
            permits: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    /// Writes the event's effect and settles it, both or neither. After an error, either may be the
    /// case.
    pub(crate) async fn book(&self, lease: Lease) -> anyhow::Result<Settled> {
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
