//! Opens an SQLite file.

use std::path::{Path, PathBuf, absolute};

use tracing::{info, warn};
use webhook_sqlite::{ServerLock, SqliteStore};

use super::OpenError;
use crate::config::{Config, Migrate};
use crate::transaction;

/// Opens the file for a server, which is then the only one that uses it. Creates it if it does not exist, and
/// updates its tables.
pub(super) async fn serving(
    path: &Path,
    config: &Config,
) -> Result<(SqliteStore, ServerLock), OpenError> {
    if config.migrate == Migrate::Off {
        warn!(
            "MIGRATE=off has no effect on an SQLite file, which is updated whenever it is opened"
        );
    }
    let path = from_root(path);
    let opened = open_alone(&path).await?;
    info!(file = %path.display(), "events are kept in an SQLite file");
    Ok(opened)
}

/// Creates the file, or updates its tables. No server may use it.
pub(super) async fn migrate(path: &Path) -> Result<(), OpenError> {
    let path = from_root(path);
    let (store, _lock) = open_alone(&path).await?;
    store.close().await;
    info!(file = %path.display(), "the tables of the SQLite file are up to date");
    Ok(())
}

/// Opens the file of a server, beside which a command runs.
pub(super) async fn existing(path: &Path) -> Result<SqliteStore, OpenError> {
    let path = there(path)?;
    let opened = SqliteStore::open(&path).await;
    opened.map_err(|source| OpenError::Sqlite { path, source })
}

/// Opens the file, which must exist. No server may use it.
pub(super) async fn existing_alone(path: &Path) -> Result<(SqliteStore, ServerLock), OpenError> {
    open_alone(&there(path)?).await
}

/// The path from the root of a file that exists.
fn there(path: &Path) -> Result<PathBuf, OpenError> {
    let path = from_root(path);
    if path.exists() {
        Ok(path)
    } else {
        Err(OpenError::NoSqliteFile { path })
    }
}

pub(super) async fn open_alone(path: &Path) -> Result<(SqliteStore, ServerLock), OpenError> {
    let failed = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let lock = ServerLock::acquire(path).map_err(failed)?;
    let store = SqliteStore::open(path).await.map_err(failed)?;
    let migrated = store.migrate_with(&[transaction::SQLITE_VIEW]).await;
    migrated.map_err(failed)?;
    Ok((store, lock))
}

/// The path from the root: the log and errors name files by it.
pub(crate) fn from_root(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_owned())
}
