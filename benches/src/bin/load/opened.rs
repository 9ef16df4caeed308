//! Backends that are used in this process.

use std::sync::Arc;

use anyhow::Context as _;
use webhook_core::{Scheduler, Store};
use webhook_memory::{MemoryOptions, MemoryStore};
use webhook_postgres::PgStore;
use webhook_sqlite::SqliteStore;

use crate::backend::Backend;
use crate::database::Database;

/// An open backend.
#[derive(Clone, Debug)]
pub(crate) enum Opened {
    Postgres(PgStore),
    Sqlite(SqliteStore),
    Memory(MemoryStore),
}

impl Opened {
    /// Opens a database, and creates its tables if it has none. One in memory is new, and has room for
    /// everything.
    pub(crate) async fn open(database: &Database) -> anyhow::Result<Self> {
        match database.backend {
            Backend::Postgres => {
                let store = PgStore::connect(&database.url).await?;
                store.migrate().await?;
                Ok(Self::Postgres(store))
            }
            Backend::Sqlite => {
                let path = database.url.strip_prefix("sqlite:");
                let path = path.context("the URL names a file")?;
                Ok(Self::Sqlite(SqliteStore::open(path).await?))
            }
            Backend::Memory => Ok(Self::Memory(MemoryStore::new(
                MemoryOptions::default()
                    .with_capacity(usize::MAX)
                    .with_max_bytes(usize::MAX),
            ))),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Memory(store) => Arc::new(store.clone()),
        }
    }

    pub(crate) fn scheduler(&self) -> Arc<dyn Scheduler> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Memory(store) => Arc::new(store.clone()),
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
            Self::Memory(_) => {}
        }
    }
}
