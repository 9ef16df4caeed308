//! Looks into a file before it is opened, and changes nothing.

use std::path::Path;
use std::time::SystemTime;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use webhook_core::{FoundInbox, Kind};

use crate::error::SqliteError;
use crate::open::{check_application, check_version, known_version, pragma};
use crate::options::SqliteOptions;
use crate::{admin, file, file_system, partition, repair, transfer};

/// How often a file is read anew because another process has written to it meanwhile.
const MAX_TRIES: u32 = 16;

/// The versions of the tables since which there are events and marks of moves, guards, and marks of partitions.
const HAS_EVENTS: i64 = 1;
const HAS_GUARDS: i64 = 3;
const HAS_PARTITION_MARK: i64 = 6;

/// What changes when a process uses the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: Option<SystemTime>,
    has_log: bool,
}

/// Reads what the file at `path` says of the inbox in it. It is neither created, nor repaired, nor updated.
pub(crate) async fn look(path: &Path) -> Result<FoundInbox, SqliteError> {
    looking(path, found).await
}

/// Reads which kinds have events with guards, in the same way.
pub(crate) async fn guarded_kinds(path: &Path) -> Result<Vec<Kind>, SqliteError> {
    looking(path, async |connection, version| match version {
        HAS_GUARDS.. => admin::guarded_kinds(connection).await,
        _ => Ok(Vec::new()),
    })
    .await
}

/// Whether the tables are those of an older version, in the same way.
pub(crate) async fn is_outdated(path: &Path) -> Result<bool, SqliteError> {
    looking(path, async |_, version| Ok(version < known_version())).await
}

/// Does `read` with a connection to the file and the version of its tables. Where there is no file, the answer is the
/// default.
async fn looking<T: Default>(
    path: &Path,
    read: impl AsyncFn(&mut SqliteConnection, i64) -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let opening = |error| SqliteError::opening(path, error);
    for _ in 0..MAX_TRIES {
        let Some(before) = state(path) else {
            return Ok(T::default());
        };
        file_system::check(path)?;
        file::check(path)?;
        // Without a log, the file has everything, and no process uses it. A connection that may read a log would leave
        // one behind.
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .immutable(!before.has_log)
            .busy_timeout(SqliteOptions::new(path).busy_timeout)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(opening)?;
        let found = match version(&mut connection, path).await {
            Ok(version) => read(&mut connection, version).await,
            Err(error) => Err(error),
        };
        // It may lack the locks to copy the log, which is no failure.
        let _ = connection.close().await;
        if before.has_log || state(path) == Some(before) {
            return found;
        }
    }
    let path = path.to_owned();
    Err(SqliteError::Changing { path })
}

/// `None` if there is no file, or an empty one.
fn state(path: &Path) -> Option<State> {
    let path = path.canonicalize().ok()?;
    let file = path.metadata().ok()?;
    (file.len() > 0).then(|| State {
        bytes: file.len(),
        modified: file.modified().ok(),
        has_log: Path::new(&repair::beside(&path, "-wal")).exists(),
    })
}

/// Refuses a file that is not ours, or newer.
async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64, SqliteError> {
    check_application(connection, path).await?;
    let version = pragma(connection, "user_version").await?;
    check_version(version, path)?;
    Ok(version)
}

async fn found(connection: &mut SqliteConnection, version: i64) -> Result<FoundInbox, SqliteError> {
    let mut found = FoundInbox::default();
    if version >= HAS_EVENTS {
        found.kinds = admin::kinds(&mut *connection).await?;
        found.move_mark = transfer::mark(&mut *connection).await?;
    }
    if version >= HAS_PARTITION_MARK {
        found.partition_mark = partition::mark(&mut *connection).await?;
    }
    Ok(found)
}
