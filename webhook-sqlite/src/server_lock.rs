//! [`ServerLock`]: at most one server uses a file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::SqliteError;
use crate::file::{check_folder, private, real_path};

/// Marks a file as used by one server. Another process that tries to acquire it gets
/// [`SqliteError::InUse`].
///
/// It does not protect the file: whoever does not ask for the lock can open the file, and the events are safe
/// all the same. It protects operators from two servers that are started by mistake, and lets tools find out
/// whether a server is running.
///
/// The operating system releases the lock when this is dropped, or when the process ends in any way. The lock is
/// on a file of its own, `webhook.db-lock` for `webhook.db`, which holds the id of the process and stays after
/// the release. It is not on the database file, since closing that would release the locks that SQLite has on
/// it.
///
/// ```no_run
/// use webhook_sqlite::{ServerLock, SqliteError, SqliteStore};
///
/// # async fn serve() -> Result<(), SqliteError> {
/// let lock = ServerLock::acquire("webhook.db")?;
/// let store = SqliteStore::open("webhook.db").await?;
/// // … and when the server has stopped:
/// drop((store, lock));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ServerLock {
    _locked: File,
}

impl ServerLock {
    /// Acquires the lock of the database file at `path`, which need not exist yet. Does not wait.
    ///
    /// # Errors
    ///
    /// [`SqliteError::InUse`] if another process holds it, [`SqliteError::Lock`] if the file of the lock cannot be
    /// created or locked, as in a folder that is missing or cannot be written.
    pub fn acquire(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let path = path.as_ref();
        let opened =
            private(OpenOptions::new().read(true).write(true).create(true)).open(lock_path(path));
        Self::lock(path, opened.map_err(|source| Self::failed(path, source))?)
    }

    /// Like [`acquire`](Self::acquire), and creates no file: returns `None` if there is none to lock, since nobody has
    /// acquired the lock so far. `acquire` can create it then.
    ///
    /// # Errors
    ///
    /// As of [`acquire`](Self::acquire).
    pub fn acquire_existing(path: impl AsRef<Path>) -> Result<Option<Self>, SqliteError> {
        let path = path.as_ref();
        match OpenOptions::new()
            .read(true)
            .write(true)
            .open(lock_path(path))
        {
            Ok(file) => Self::lock(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let checked = check_folder(&lock_path(path));
                checked.map_err(|source| Self::failed(path, source))?;
                Ok(None)
            }
            Err(error) => Err(Self::failed(path, error)),
        }
    }

    fn lock(path: &Path, mut file: File) -> Result<Self, SqliteError> {
        let failed = |source| Self::failed(path, source);
        match file.try_lock() {
            Ok(()) => {
                note_process(&mut file).map_err(failed)?;
                Ok(Self { _locked: file })
            }
            Err(TryLockError::WouldBlock) => Err(SqliteError::InUse {
                path: path.to_owned(),
                pid: noted_process(&mut file),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn failed(path: &Path, source: io::Error) -> SqliteError {
        SqliteError::Lock {
            path: lock_path(path),
            source,
        }
    }
}

/// The file beside the database file, whatever links lead to that.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(real_path(path));
    name.push("-lock");
    name.into()
}

fn note_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The id of the process that holds the lock. `None` if it has not written it yet.
fn noted_process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A pid has few digits, and anybody may have written into the file.
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
