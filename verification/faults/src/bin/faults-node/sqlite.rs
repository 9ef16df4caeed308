//! A node on an SQLite file: how it opens it, and how its handlers write to the app's own table.

use async_trait::async_trait;
use sqlx::query;
use webhook_core::{Lease, Outcome, Settled, Settlement};
use webhook_sqlite::{SqliteOptions, SqliteStore};

use crate::store::{Books, Database};

/// Opens or creates the file, and the app's table in it.
pub(crate) async fn open(options: SqliteOptions) -> anyhow::Result<Database> {
    let store = SqliteStore::open_with(options).await?;
    let mut transaction = store.begin().await?;
    // The table has no constraint that prevents a second effect.
    query("CREATE TABLE IF NOT EXISTS effects (event INTEGER NOT NULL, fence INTEGER NOT NULL)")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Database::new(store.clone(), SqliteBooks(store)))
}

struct SqliteBooks(SqliteStore);

#[async_trait]
impl Books for SqliteBooks {
    async fn book(&self, lease: Lease) -> anyhow::Result<Settled> {
        let mut transaction = self.0.begin().await?;
        query("INSERT INTO effects (event, fence) VALUES (?1, ?2)")
            .bind(lease.event.get())
            .bind(lease.fence.get())
            .execute(&mut *transaction)
            .await?;
        let settlement = Settlement::new(lease, Outcome::Processed);
        let settled = self.0.settle_in(&mut transaction, &[settlement]).await?;
        match settled[..] {
            [Settled::Applied] => {
                transaction.commit().await?;
                Ok(Settled::Applied)
            }
            // The transaction is rolled back when it is dropped.
            _ => Ok(Settled::LeaseLost),
        }
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
