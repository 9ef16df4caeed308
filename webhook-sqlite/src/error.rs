//! What can go wrong with the file.

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::error::{DatabaseError, ErrorKind};
use webhook_core::StoreError;

/// Why the file did not do what was asked. This is the source of every [`StoreError`] of this backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The file cannot be opened or created.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// Another server uses the file.
    #[error(
        "another server{} uses {}",
        pid.map_or_else(String::new, |pid| format!(" (process {pid})")),
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The id of the other process, if it is known.
        pid: Option<u32>,
    },
    /// The file beside it, which is locked, cannot be created or locked.
    #[error("cannot create or lock {}", path.display())]
    Lock {
        /// The file that is locked.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is on a network file system, where SQLite's write-ahead log does not work.
    #[error(
        "{} is on a network file system ({file_system}), on which SQLite would damage it: choose a \
         file on a local disk",
        path.display()
    )]
    NetworkFileSystem {
        /// The file.
        path: PathBuf,
        /// The name of the file system.
        file_system: &'static str,
    },
    /// The file cannot be created, read or written.
    #[error("cannot open or create {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The copy of the database cannot be written.
    #[error("cannot write a backup to {}", path.display())]
    Backup {
        /// The file of the copy.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is an SQLite database of another program.
    #[error("{} is a database of another program: choose another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is no SQLite database, or it is damaged.
    #[error(
        "{} is damaged or no SQLite database: restore a backup, or recover what is left with \
         `sqlite3 FILE .recover`",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Other processes kept opening and closing the file while it was read.
    #[error("cannot read {}, since other processes keep opening and closing it", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The file was migrated by a newer version of this program.
    #[error(
        "{} has version {found}, and this program knows versions up to {known}: install a newer version of the \
         program",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// A newer version of a program has migrated its tables in the file.
    #[error(
        "the tables of {line} in the file have version {found}, and this program knows versions up to \
         {known}: install a newer version of the program"
    )]
    NewerLine {
        /// The [line](crate::MigrationLine) of migrations.
        line: &'static str,
        /// The version of the line in the file.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// A migration of a program failed.
    #[error("migration {name} failed")]
    Migration {
        /// The name of the migration.
        name: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// SQLite cannot use a write-ahead log here.
    #[error(
        "SQLite cannot use a write-ahead log for {} (its journal mode is `{mode}`): put the file on a local disk, not \
         on a network file system",
        path.display()
    )]
    NoWal {
        /// The file.
        path: PathBuf,
        /// The journal mode that SQLite uses instead.
        mode: String,
    },
    /// The SQLite in this build has a bug that may damage files.
    #[error("SQLite {version} may damage files (WAL-reset bug): build with SQLite 3.51.3 or newer")]
    OldSqlite {
        /// Its version.
        version: String,
    },
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] Arc<sqlx::Error>),
    /// The file, its folder or its file system is read-only.
    #[error("the file is read-only")]
    ReadOnly(#[source] Arc<sqlx::Error>),
    /// Another process wrote for longer than this one waits.
    #[error("another process locks the file")]
    Locked(#[source] Arc<sqlx::Error>),
    /// The file turned out to be damaged while it was in use.
    #[error(
        "the file is damaged: stop the program, and restore a backup, or recover what is left with \
         `sqlite3 FILE .recover`"
    )]
    Malformed(#[source] Arc<sqlx::Error>),
    /// The disk or the file system failed.
    #[error("the disk failed")]
    Disk(#[source] Arc<sqlx::Error>),
    /// SQLite failed otherwise.
    #[error("SQLite failed")]
    Database(#[source] sqlx::Error),
    /// A stored row is not what this program writes.
    #[error("stored event is damaged: {detail}")]
    Damaged {
        /// What is wrong with it.
        detail: String,
    },
    /// The thread that writes panicked while it did what was asked for, and opens the file again.
    #[error("the thread that writes to the file panicked: its log has the reason")]
    Panicked,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// SQLite's primary result codes (<https://sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const NOTADB: i32 = 26;
}

/// The primary result code of an error of SQLite.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}

impl From<sqlx::Error> for SqliteError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(code::FULL) => Self::Full(error.into()),
            Some(code::READONLY) => Self::ReadOnly(error.into()),
            Some(code::BUSY) => Self::Locked(error.into()),
            Some(code::IOERR) => Self::Disk(error.into()),
            Some(code::CORRUPT | code::NOTADB) => Self::Malformed(error.into()),
            _ => Self::Database(error),
        }
    }
}

/// An error of the thread that writes, which uses rusqlite, as one of sqlx: callers know one sort of error only.
pub(crate) fn as_sqlx(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let message = message.unwrap_or_else(|| failure.to_string());
            sqlx::Error::Database(Box::new(Failure {
                code: failure.extended_code,
                message,
            }))
        }
        error => sqlx::Error::Protocol(error.to_string()),
    }
}

/// An error that SQLite reports.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {message}")]
struct Failure {
    /// The extended result code.
    code: i32,
    message: String,
}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        Self::unavailable(error)
    }
}

impl SqliteError {
    /// An error of the thread that writes. No `From`, so that rusqlite is no part of what this crate promises.
    pub(crate) fn of_rusqlite(error: rusqlite::Error) -> Self {
        Self::from(as_sqlx(error))
    }

    /// The error of opening `path`.
    pub(crate) fn opening(path: &std::path::Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match primary_code(&source) {
            Some(code::CORRUPT | code::NOTADB) => Self::Corrupt { path, source },
            Some(code::BUSY) => Self::Locked(source.into()),
            _ => Self::Open { path, source },
        }
    }

    /// The same error once more, if it does not depend on what was asked for: each of the requests that failed together
    /// would fail with it alone.
    pub(crate) fn of_every_request(&self) -> Option<Self> {
        Some(match self {
            Self::Full(source) => Self::Full(Arc::clone(source)),
            Self::ReadOnly(source) => Self::ReadOnly(Arc::clone(source)),
            Self::Locked(source) => Self::Locked(Arc::clone(source)),
            Self::Malformed(source) => Self::Malformed(Arc::clone(source)),
            Self::Disk(source) => Self::Disk(Arc::clone(source)),
            _ => return None,
        })
    }

    /// The same error for another request that cannot be done because of it.
    pub(crate) fn again(&self) -> Self {
        self.of_every_request()
            .unwrap_or_else(|| Self::Database(sqlx::Error::Protocol(self.to_string())))
    }

    /// Whether the connection should be opened anew. After an error of the disk SQLite's view of the file may
    /// differ from the file itself. A connection that was opened while the file was read-only stays so.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Disk(_) | Self::ReadOnly(_) => true,
            Self::Database(error) => !matches!(error, sqlx::Error::Database(_)),
            _ => false,
        }
    }
}
