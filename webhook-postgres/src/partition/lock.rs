//! [`CreationLock`]: one process at a time makes an inbox with partitions in the same databases.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use crate::error::PgError;
use crate::held::Held;
use crate::store::PgStore;

/// The number of the advisory lock: the letters `inbox`.
const LOCK: i64 = 0x69_6e62_6f78;

/// How long to wait for another process: making an inbox creates the tables of all partitions.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);

/// A lock on several databases, in which no other process that asks for it makes an inbox meanwhile.
///
/// The first mark decides which process makes an inbox only among those that name the same first partition. A program
/// that makes an inbox from other partitions of the same databases, such as in another order, is kept out by this lock,
/// and then finds the partitions of the first one.
///
/// Dropping it releases it.
pub struct CreationLock {
    _transactions: Vec<Held>,
}

impl CreationLock {
    /// Waits for the lock on the databases of all `stores`, whatever their schemas are. Several of them may have the same
    /// database. All processes must name the databases in the same order, or else they may wait for each other until the
    /// time limit.
    ///
    /// # Errors
    ///
    /// An error of a database, also if another process has held the lock for two minutes.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn acquire(stores: impl IntoIterator<Item = &PgStore>) -> Result<Self, PgError> {
        // Tells whether a database is locked by this call already, since it may have several names.
        let token = RandomState::new().build_hasher().finish().cast_signed();
        let token = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({token}) AS is_new");
        let lock = format!("SELECT pg_catalog.pg_advisory_xact_lock({LOCK})");
        let mut transactions = Vec::new();
        for store in stores {
            let mut transaction = Held::begin(&store.inner.database, LOCK_TIMEOUT).await?;
            let rows = transaction.rows(AssertSqlSafe(token.clone())).await?;
            if rows[0].try_get("is_new")? {
                transaction.rows(AssertSqlSafe(lock.clone())).await?;
                transactions.push(transaction);
            }
        }
        Ok(Self {
            _transactions: transactions,
        })
    }
}

impl fmt::Debug for CreationLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreationLock").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDatabase;

    use super::*;

    #[tokio::test]
    async fn one_process_at_a_time_has_the_lock() {
        let (one, two) = tokio::join!(TestDatabase::create(), TestDatabase::create());
        let connect = async |database: &TestDatabase, schema: &str| {
            let url = format!("{}?schema={schema}", database.url());
            PgStore::connect(&url).await.unwrap()
        };
        let (first, second) = tokio::join!(connect(&one, "a_0"), connect(&two, "a_1"));
        let again = connect(&one, "a_2").await;
        let other = connect(&two, "b_0").await;
        let lock = CreationLock::acquire([&first, &second, &again])
            .await
            .unwrap();
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { CreationLock::acquire([&other]).await.map(drop) }
        });
        testkit::wait::until("another process waits", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            let mut connection = two.connection().await;
            let row = sqlx::raw_sql(waiting).fetch_one(&mut connection).await;
            row.unwrap().get::<i64, _>(0) == 1
        })
        .await;
        drop(lock);
        waiting.await.unwrap().unwrap();
        for store in [first, second, again, other] {
            store.close().await;
        }
        one.drop_database().await;
        two.drop_database().await;
    }
}
