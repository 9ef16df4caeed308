//! Opens the file: checks that it is ours, creates or updates its tables, and sets what the connections need.

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use crate::error::{SqliteError, as_sqlx};
use crate::file;
use crate::file_system;
use crate::options::SqliteOptions;
use crate::repair;

/// Identifies the files of this program (`PRAGMA application_id`): "WHin" in ASCII.
const APPLICATION_ID: i64 = 0x5748_696e;

/// The migrations in their order. The number of those that a file has is its `PRAGMA user_version`. A released
/// migration never changes.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/create_inbox.sql"),
    include_str!("migrations/keep_event_types.sql"),
    include_str!("migrations/keep_guards.sql"),
    include_str!("migrations/keep_details.sql"),
    include_str!("migrations/keep_actions.sql"),
    include_str!("migrations/mark_partitions.sql"),
    include_str!("migrations/index_keys_later.sql"),
];

/// The first version of SQLite without the WAL-reset bug (<https://sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

/// The most statements that a connection keeps prepared. A statement for many rows is prepared in each size.
const STATEMENTS: usize = 256;

/// How much of the write-ahead log stays on the disk after a checkpoint.
const JOURNAL_BYTES: u64 = 64 << 20;

/// The page cache of the connection that writes, while the file is small, and of those beside it.
const SMALL_CACHE_BYTES: u64 = 4 << 20;

/// The page of 4 KiB at 1 GiB.
const PENDING_BYTE_PAGE: i64 = (1 << 30) / 4096;

/// The page cache of a connection that reads.
const READER_CACHE_BYTES: u64 = 4 << 20;

/// The rows that are buffered between SQLite's thread and its caller.
const BUFFERED_ROWS: usize = 1_024;

fn connect_options(path: &Path, busy_timeout: Duration, cache_bytes: u64) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(busy_timeout)
        .statement_cache_capacity(STATEMENTS)
        .row_buffer_size(BUFFERED_ROWS)
        .pragma("cache_size", cache_size(cache_bytes).to_string())
        .pragma("temp_store", "MEMORY")
        // A commit must not copy the log: it would not report that this failed.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
}

/// The options of connections that read.
pub(crate) fn reader(options: &SqliteOptions) -> SqliteConnectOptions {
    connect_options(&options.path, options.busy_timeout, READER_CACHE_BYTES).read_only(true)
}

/// Opens the connection that writes. The file must be [prepared](prepare).
pub(crate) fn writer(options: &SqliteOptions) -> Result<rusqlite::Connection, SqliteError> {
    let SqliteOptions {
        path, busy_timeout, ..
    } = options;
    let connect = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(*busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(&format!(
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; \
             PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {JOURNAL_BYTES};"
        ))?;
        set_cache(&connection, options)?;
        Ok(connection)
    };
    connect().map_err(|error| SqliteError::opening(path, as_sqlx(error)))
}

/// Opens a connection beside [that which writes](writer): one that copies the write-ahead log, or that is lent to apps.
pub(crate) async fn beside_writer(
    options: &SqliteOptions,
) -> Result<SqliteConnection, SqliteError> {
    connect_options(&options.path, options.busy_timeout, SMALL_CACHE_BYTES)
        .pragma("journal_size_limit", JOURNAL_BYTES.to_string())
        .connect()
        .await
        .map_err(|error| SqliteError::opening(&options.path, error))
}

/// Closes the last connection that can write, and leaves the write-ahead log as it is. The last one to close copies it
/// into the file, which needs a lock that one that can only read cannot get: so that one is closed last.
pub(crate) async fn close_without_copy(
    last_but_one: SqliteConnection,
    options: &SqliteOptions,
) -> Result<(), SqliteError> {
    let last = match reading(options).await {
        Ok(last) => last,
        Err(error) => {
            // It stays open until the process ends, which copies nothing.
            std::mem::forget(last_but_one);
            return Err(error);
        }
    };
    last_but_one.close().await?;
    // The lock that it cannot get is no failure.
    let _ = last.close().await;
    Ok(())
}

async fn reading(options: &SqliteOptions) -> Result<SqliteConnection, SqliteError> {
    let mut connection = reader(options).connect().await?;
    // A connection opens the log when it first reads.
    pragma(&mut connection, "user_version").await?;
    Ok(connection)
}

/// Gives the connection that writes the cache that suits the size of the file.
///
/// When a page of an index is split, SQLite numbers a page for a moment as the one at the first byte that it locks
/// (`PENDING_BYTE`, 1 GiB). While the file is smaller, each such commit then looks through the whole cache for
/// pages behind the end of the file: 0.5 ms for one of 64 MiB.
pub(crate) fn set_cache(
    connection: &rusqlite::Connection,
    options: &SqliteOptions,
) -> rusqlite::Result<()> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let bytes = if pages > PENDING_BYTE_PAGE {
        options.cache_bytes
    } else {
        options.cache_bytes.min(SMALL_CACHE_BYTES)
    };
    connection.pragma_update(None, "cache_size", cache_size(bytes))
}

/// The value of the pragma `cache_size`: a negative number is a size in KiB.
fn cache_size(bytes: u64) -> i64 {
    i64::try_from(bytes.div_ceil(1024)).map_or(i64::MIN, |kib| -kib)
}

/// Creates the file, or updates its tables, and checks all that durability depends on. Returns a connection that must
/// stay open until the one that writes is: the last one to close copies the write-ahead log.
pub(crate) async fn prepare(options: &SqliteOptions) -> Result<SqliteConnection, SqliteError> {
    let path = &options.path;
    let opening = |error| SqliteError::opening(path, error);
    file_system::check(path)?;
    file::prepare(path)?;
    let origin = check_origin(options).await?;
    let mut connection = connect_options(path, options.busy_timeout, SMALL_CACHE_BYTES)
        // A link may lead to a file that does not exist.
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await
        .map_err(opening)?;
    check_settings(&mut connection, path).await?;
    migrate(&mut connection, path).await?;
    if let Some(origin) = origin {
        origin.close().await.map_err(opening)?;
    }
    Ok(connection)
}

/// Refuses a file that is not ours, before anything in it is changed. Repairs the log of one that is, and returns the
/// connection to it.
async fn check_origin(options: &SqliteOptions) -> Result<Option<SqliteConnection>, SqliteError> {
    let path = &options.path;
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) || !path.exists() {
        return Ok(None);
    }
    let opening = |error| SqliteError::opening(path, error);
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(options.busy_timeout)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(opening)?;
    if let Err(error) = check_application(&mut connection, path).await {
        connection.close().await.map_err(opening)?;
        return Err(error);
    }
    let mode: String = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(opening)?;
    if mode == "wal" {
        // Before anything is committed: the settings of the next connection are written to the file.
        repair::rewrite_after_crash(&mut connection).await?;
    }
    Ok(Some(connection))
}

/// Refuses a file of another program.
pub(crate) async fn check_application(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), SqliteError> {
    let opening = |error| SqliteError::opening(path, error);
    let application_id = pragma(connection, "application_id")
        .await
        .map_err(opening)?;
    let tables: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(opening)?;
    if application_id != APPLICATION_ID && (application_id != 0 || tables > 0) {
        let path = path.to_owned();
        return Err(SqliteError::Foreign { path });
    }
    Ok(())
}

/// The version of the tables of this program.
pub(crate) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// Refuses tables of a newer version.
pub(crate) fn check_version(found: i64, path: &Path) -> Result<(), SqliteError> {
    let known = known_version();
    if found > known {
        let path = path.to_owned();
        return Err(SqliteError::Newer { path, found, known });
    }
    Ok(())
}

async fn check_settings(connection: &mut SqliteConnection, path: &Path) -> Result<(), SqliteError> {
    let row = sqlx::query("SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode), (SELECT synchronous FROM pragma_synchronous)")
        .fetch_one(connection)
        .await?;
    let version: String = row.try_get(0)?;
    let numbers: Vec<u32> = version
        .split('.')
        .filter_map(|it| it.parse().ok())
        .collect();
    if numbers.as_slice() < OLDEST_SQLITE.as_slice() {
        return Err(SqliteError::OldSqlite { version });
    }
    let mode: String = row.try_get(1)?;
    if mode != "wal" {
        let path = path.to_owned();
        return Err(SqliteError::NoWal { path, mode });
    }
    let synchronous: i64 = row.try_get(2)?;
    if synchronous < 2 {
        return Err(SqliteError::Damaged {
            detail: format!("SQLite did not set `synchronous = FULL`, but {synchronous}"),
        });
    }
    Ok(())
}

/// Applies the migrations that the file does not have, under the lock of a write transaction.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), SqliteError> {
    let known = known_version();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = pragma(&mut transaction, "user_version").await?;
    check_version(found, path)?;
    if found < known {
        let applied = usize::try_from(found).unwrap_or(0);
        for migration in MIGRATIONS.into_iter().skip(applied) {
            transaction.execute(sqlx::raw_sql(migration)).await?;
        }
        let mark =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known};");
        transaction
            .execute(sqlx::raw_sql(AssertSqlSafe(mark)))
            .await?;
    }
    Ok(transaction.commit().await?)
}

pub(crate) async fn pragma(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<i64, sqlx::Error> {
    let row = connection
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA {name}"))))
        .await?;
    row.try_get(0)
}
