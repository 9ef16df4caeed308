//! Opens an SQLite file.

use std::path::{Path, PathBuf, absolute};

use tracing::{info, warn};
use webhook_core::{FoundInbox, Kind};
use webhook_sqlite::{ServerLock, SqliteStore};

use super::{DATABASE_URL, OpenError};
use crate::config::{Config, Migrate};
use crate::transaction;

/// Looks at the file before it is opened, and changes nothing.
pub(super) async fn look(path: &Path) -> Result<FoundInbox, OpenError> {
    let path = from_root(path);
    let found = SqliteStore::look(&path).await;
    found.map_err(|source| OpenError::sqlite(&path, source))
}

/// The kinds whose events have guards, by a look at the file before it is opened.
pub(super) async fn guarded_kinds(path: &Path) -> Result<Vec<Kind>, OpenError> {
    let kinds = SqliteStore::guarded_kinds(path).await;
    kinds.map_err(|source| OpenError::sqlite(path, source))
}

/// Whether the tables in the file are those of an older version, by a look at the file.
pub(super) async fn is_outdated(path: &Path) -> Result<bool, OpenError> {
    let path = from_root(path);
    let outdated = SqliteStore::is_outdated(&path).await;
    outdated.map_err(|source| OpenError::sqlite(&path, source))
}

/// Acquires the lock of a file that has been used before. Creates nothing.
pub(super) fn existing_lock(path: &Path) -> Result<Option<ServerLock>, OpenError> {
    let lock = ServerLock::acquire_existing(path);
    lock.map_err(|source| OpenError::sqlite(path, source))
}

/// Opens the file for a server, which is then the only one that uses it. Creates it if it does not exist, and
/// updates its tables. The lock may be held already.
pub(super) async fn serving(
    path: &Path,
    lock: Option<ServerLock>,
    config: &Config,
) -> Result<(SqliteStore, ServerLock), OpenError> {
    if config.migrate == Migrate::Off {
        warn!(
            "MIGRATE=off has no effect on an SQLite file, which is updated whenever it is opened"
        );
    }
    let path = from_root(path);
    let opened = open_alone(&path, lock).await?;
    info!(file = %path.display(), "events are kept in an SQLite file");
    Ok(opened)
}

/// Creates the file, or updates its tables. No server may use it. The lock may be held already.
pub(super) async fn migrate(path: &Path, lock: Option<ServerLock>) -> Result<(), OpenError> {
    let path = from_root(path);
    let (store, _lock) = open_alone(&path, lock).await?;
    store.close().await;
    info!(file = %path.display(), "the tables of the SQLite file are up to date");
    Ok(())
}

/// Opens the file of a server, beside which a command runs.
pub(super) async fn existing(path: &Path) -> Result<SqliteStore, OpenError> {
    let path = there(path)?;
    let opened = SqliteStore::open(&path).await;
    opened.map_err(|source| OpenError::sqlite(&path, source))
}

/// The path from the root of a file that exists.
pub(super) fn there(path: &Path) -> Result<PathBuf, OpenError> {
    let path = from_root(path);
    if path.exists() {
        Ok(path)
    } else {
        Err(OpenError::NoSqliteFile {
            setting: DATABASE_URL,
            path,
        })
    }
}

/// Opens the file, or creates it, and updates its tables. No server may use it. The lock may be held already.
pub(super) async fn open_alone(
    path: &Path,
    lock: Option<ServerLock>,
) -> Result<(SqliteStore, ServerLock), OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    let lock = match lock {
        Some(lock) => lock,
        None => ServerLock::acquire(path).map_err(failed)?,
    };
    let store = SqliteStore::open(path).await.map_err(failed)?;
    let migrated = store.migrate_with(&[transaction::SQLITE_VIEW]).await;
    migrated.map_err(failed)?;
    Ok((store, lock))
}

/// The path from the root: the log and errors name files by it.
pub(crate) fn from_root(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_owned())
}
