//! [`WriteLock`]: keeps others from changing the inbox, and tells who tries to.

use std::fmt;
use std::time::Duration;

use sqlx::Row;

use crate::error::PgError;
use crate::held::Held;
use crate::schema::Schema;
use crate::session::Database;
use crate::store::PgStore;

/// How long to wait for transactions that are changing the inbox.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// A lock on the tables of the inbox: nobody else changes them while it is held. Readers do not wait for it.
///
/// A server or an app that uses the inbox tries to change it, if only to look for work, and waits for the lock
/// then. Locks are visible to every role and through every pooler, so [`waiting`](Self::waiting) finds servers
/// that are running wherever they are. A process that only accepts events is seen once it accepts one.
///
/// Dropping it releases it.
pub struct WriteLock {
    transaction: Held,
    schema: Schema,
}

/// A session that waits for a [`WriteLock`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingSession {
    /// The process id of the session on the database server.
    pub pid: i32,
    /// The role that it belongs to.
    pub role: String,
    /// The name that its program gave; empty if it gave none.
    pub application_name: String,
}

impl PgStore {
    /// Keeps every other session from changing the inbox, until the lock is dropped.
    ///
    /// # Errors
    ///
    /// An error of the database: for example if a transaction has changed the inbox for 20 s without an end, or
    /// if the role may neither update nor delete rows.
    pub async fn lock_writes(&self) -> Result<WriteLock, PgError> {
        WriteLock::take(&self.inner.database).await
    }
}

impl WriteLock {
    async fn take(database: &Database) -> Result<Self, PgError> {
        let mut transaction = Held::begin(database, LOCK_TIMEOUT).await?;
        let schema = database.schema().clone();
        let lock = schema.sql(include_str!("lock_writes.sql"));
        transaction.rows(lock).await?;
        Ok(Self {
            transaction,
            schema,
        })
    }

    /// Returns the sessions that wait for this lock, and makes sure that it is still held.
    ///
    /// # Errors
    ///
    /// An error of the database, also if its server has ended the session: the lock is lost then.
    pub async fn waiting(&mut self) -> Result<Vec<WaitingSession>, PgError> {
        // Within a transaction, the list of sessions stays as it was when it was read first.
        let clear = "SELECT pg_catalog.pg_stat_clear_snapshot()";
        self.transaction.rows(clear).await?;
        let waiting = self.schema.sql(include_str!("waiting.sql"));
        let rows = self.transaction.rows(waiting).await?;
        let sessions = rows.iter().map(|row| {
            Ok(WaitingSession {
                pid: row.try_get("pid")?,
                role: row.try_get("role")?,
                application_name: row.try_get("application_name")?,
            })
        });
        sessions.collect()
    }
}

impl fmt::Debug for WriteLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteLock").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use testkit::wait::until;
    use webhook_core::{Claim, Kind, Scheduler, Store};

    use super::*;
    use crate::testing::TestDatabase;

    /// A worker that looks for work changes nothing if there is none, and is seen all the same.
    async fn a_worker_is_seen(database: TestDatabase, url: String) {
        let mover = PgStore::connect(&url).await.unwrap();
        mover.migrate().await.unwrap();
        let mut lock = mover.lock_writes().await.unwrap();
        assert_eq!(lock.waiting().await.unwrap(), []);
        let worker = PgStore::connect(&url).await.unwrap();
        assert_eq!(worker.find(&[]).await.unwrap(), []);
        let claiming = tokio::spawn(async move {
            let kind = Kind::from_static("test");
            let lease = Duration::from_secs(60);
            let claim = Claim::new(kind, NonZeroUsize::MIN, lease, NonZeroU32::MIN);
            worker.claim(&[claim]).await
        });
        until("the worker waits", async || {
            !lock.waiting().await.unwrap().is_empty()
        })
        .await;
        let sessions = lock.waiting().await.unwrap();
        assert_eq!(sessions.len(), 1);
        assert!(sessions[0].pid > 0 && !sessions[0].role.is_empty());
        drop(lock);
        claiming.await.unwrap().unwrap();
        mover.close().await;
        database.drop_database().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_waits_for_the_lock_and_is_seen() {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        a_worker_is_seen(database, url).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_is_seen_through_a_pooler() {
        let database = TestDatabase::create().await;
        let url = database.pooler_url().to_owned();
        a_worker_is_seen(database, url).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lost_lock_is_an_error() {
        let database = TestDatabase::create().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        let mut lock = store.lock_writes().await.unwrap();
        lock.waiting().await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                   WHERE mode = 'ShareLock' AND relation = 'webhook.events'::regclass";
        let mut connection = database.connection().await;
        sqlx::raw_sql(end).execute(&mut connection).await.unwrap();
        until("the lock is lost", async || lock.waiting().await.is_err()).await;
        store.close().await;
        database.drop_database().await;
    }
}
