//! [`Migration`]: brings the tables of an inbox up to date, without using it.

use std::path::PathBuf;

use webhook_postgres::PgStore;
use webhook_sqlite::ServerLock;

use super::partitions::{self, Places};
use super::{OpenError, backend_url, beside, partition, postgres, sqlite};
use crate::config::{BackendUrl, Config};

/// An inbox whose tables can be brought up to date, as far as can be told. Nothing has been created or changed yet.
pub(crate) enum Migration<'c> {
    /// A file that may not exist yet, with its lock if that is held already.
    File {
        path: PathBuf,
        lock: Option<ServerLock>,
    },
    Database(PgStore),
    Partitions(Places<'c>),
}

impl<'c> Migration<'c> {
    /// Looks at the inbox of `config`, and refuses what a start of the server would refuse.
    pub(crate) async fn plan(config: &'c Config) -> Result<Self, OpenError> {
        match backend_url(config).await? {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_MIGRATED)),
            BackendUrl::Sqlite(path) => {
                let path = sqlite::from_root(&path);
                let lock = sqlite::existing_lock(&path)?;
                let found = sqlite::look(&path).await?;
                partition::check_found(&found)?;
                beside::check_file_alone(&found, &path).await?;
                Ok(Self::File { path, lock })
            }
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let found = postgres::look(&database).await?;
                partition::check_found(&found)?;
                beside::check_database_alone(&found, &database, &url, config).await?;
                postgres::check_migration(&database).await?;
                Ok(Self::Database(database))
            }
            BackendUrl::Partitions(urls) => {
                let places = partitions::migration(urls, config).await?;
                Ok(Self::Partitions(places))
            }
        }
    }

    /// Creates the tables, or updates them.
    pub(crate) async fn run(self) -> Result<(), OpenError> {
        match self {
            Self::File { path, lock } => sqlite::migrate(&path, lock).await,
            Self::Database(database) => {
                let migrated = postgres::migrate(&database).await;
                database.close().await;
                migrated
            }
            Self::Partitions(places) => places.migrate().await,
        }
    }
}

/// Why `migrate` refuses `memory:`.
pub(crate) const NOT_MIGRATED: &str =
    "migrate needs a database, and DATABASE_URL (--database-url) is `memory:`";
