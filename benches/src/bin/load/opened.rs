//! Backends that are used in this process.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use webhook_core::{Admin, Partition, PartitionOptions, Partitioned, Scheduler, Store};
use webhook_memory::{MemoryOptions, MemoryStore};
use webhook_postgres::{PgOptions, PgStore, Schema};
use webhook_sqlite::SqliteStore;

use crate::backend::Backend;
use crate::database::Database;

/// An open backend.
#[derive(Clone, Debug)]
pub(crate) enum Opened {
    Postgres(PgStore),
    Sqlite(SqliteStore),
    Memory(MemoryStore),
    /// With its partitions, which are closed in the end.
    Partitioned(Partitioned, Vec<Self>),
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

    /// Opens an inbox with partitions: schemas of a database, or files beside its file, with the names that
    /// webhook-server gives them.
    pub(crate) async fn open_partitions(
        database: &Database,
        count: NonZeroUsize,
    ) -> anyhow::Result<Self> {
        let mut opened = Vec::new();
        for index in 0..count.get() {
            opened.push(match database.backend {
                Backend::Postgres => {
                    let mut options: PgOptions = database.url.parse()?;
                    options.schema = Schema::new(&format!("{}_{index}", options.schema))?;
                    let store = PgStore::connect_with(options).await?;
                    store.migrate().await?;
                    Self::Postgres(store)
                }
                Backend::Sqlite => {
                    let path = database.url.strip_prefix("sqlite:");
                    let path = Path::new(path.context("the URL names a file")?);
                    let path = path.with_file_name(format!("webhook-{index}.db"));
                    Self::Sqlite(SqliteStore::open(path).await?)
                }
                Backend::Memory => Self::open(database).await?,
            });
        }
        let partitions = opened
            .iter()
            .map(|it| -> anyhow::Result<Arc<dyn Partition>> {
                match it {
                    Self::Postgres(store) => Ok(Arc::new(store.clone())),
                    Self::Sqlite(store) => Ok(Arc::new(store.clone())),
                    Self::Memory(store) => Ok(Arc::new(store.clone())),
                    Self::Partitioned(..) => anyhow::bail!("a partition has no partitions"),
                }
            });
        let partitions = partitions.collect::<anyhow::Result<_>>()?;
        let inbox = Partitioned::open(partitions, PartitionOptions::default()).await?;
        Ok(Self::Partitioned(inbox, opened))
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Partitioned(inbox, _) => Arc::new(inbox.clone()),
        }
    }

    pub(crate) fn scheduler(&self) -> Arc<dyn Scheduler> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Partitioned(inbox, _) => Arc::new(inbox.clone()),
        }
    }

    pub(crate) fn admin(&self) -> Arc<dyn Admin> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Partitioned(inbox, _) => Arc::new(inbox.clone()),
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
            Self::Memory(_) => {}
            Self::Partitioned(_, partitions) => {
                for partition in partitions {
                    Box::pin(partition.close()).await;
                }
            }
        }
    }
}
