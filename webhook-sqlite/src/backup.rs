//! Copies the database while it is in use.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};

use crate::error::SqliteError;
#[cfg(unix)]
use crate::file::folder_of;
use crate::file::{check_folder, private, real_path};
use crate::open;
use crate::store::SqliteStore;

/// What [`SqliteStore::back_up`] does with a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingBackup {
    /// Leaves it as it is, and fails.
    Keep,
    /// Replaces it once the copy is complete.
    Replace,
}

impl SqliteStore {
    /// Refuses what [`back_up`](Self::back_up) would refuse before it writes anything, and writes nothing itself: for
    /// programs that copy several files, or none of them.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Backup`] as of [`back_up`](Self::back_up). A backup may still fail after the check.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn check_back_up(
        &self,
        to: impl AsRef<Path>,
        existing: ExistingBackup,
    ) -> Result<(), SqliteError> {
        let path = to.as_ref().to_owned();
        let (database, target) = (self.options().path.clone(), path.clone());
        let checking = move || check(&database, &target, existing);
        let checked = blocking(checking).await;
        checked.map_err(|source| SqliteError::Backup { path, source })
    }

    /// Writes a copy of the database into the file `to`, as it is at one moment: it contains every event that was
    /// accepted before the call. The store, and other processes, may use the database meanwhile and do not wait.
    /// The write-ahead log is not shortened until the copy is complete.
    ///
    /// The copy is a database that can be [opened](Self::open). It is written to `to` with `.partial` behind
    /// its name, made durable, and renamed. Only its owner can read it. What was in the way of the partial file is
    /// overwritten.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Backup`] if `to` exists and is to be kept, if it is the database itself, if another
    /// backup is writing to it, or if it cannot be created. [`SqliteError::Full`] if the disk is full.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, `to` is as it was, or complete. The partial file may stay there.
    pub async fn back_up(
        &self,
        to: impl AsRef<Path>,
        existing: ExistingBackup,
    ) -> Result<(), SqliteError> {
        let to = to.as_ref().to_owned();
        let options = self.options().clone();
        let failed = |source| SqliteError::Backup {
            path: to.clone(),
            source,
        };
        let target = to.clone();
        let begin = move || Partial::begin(&options.path, target, existing);
        let partial = blocking(begin).await.map_err(failed)?;
        // A connection of its own: the snapshot that it reads stays until the copy is complete.
        let mut connection = open::reader(self.options())
            .connect()
            .await
            .map_err(|error| SqliteError::opening(&self.options().path, error))?;
        sqlx::query("VACUUM INTO ?1")
            .bind(partial.path.to_str())
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        blocking(|| partial.finish()).await.map_err(failed)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// The file that the copy is written to, until it is complete.
struct Partial {
    /// Locked, so that no other backup writes to it.
    file: File,
    path: PathBuf,
    target: PathBuf,
    existing: ExistingBackup,
}

impl Partial {
    fn begin(database: &Path, target: PathBuf, existing: ExistingBackup) -> io::Result<Self> {
        check(database, &target, existing)?;
        let path = partial_path(&target);
        let file = private(OpenOptions::new().write(true).create(true)).open(&path)?;
        lock(&file)?;
        // What an interrupted backup has left. SQLite copies only into an empty file.
        file.set_len(0)?;
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Self {
            file,
            path,
            target,
            existing,
        })
    }

    fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.existing == ExistingBackup::Keep && self.target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(&self.path, &self.target)?;
        sync_folder(&self.target)
    }
}

fn partial_path(target: &Path) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(".partial");
    path.into()
}

fn lock(partial: &File) -> io::Result<()> {
    match partial.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another backup is writing to it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Checks that a backup can begin, and changes nothing.
fn check(database: &Path, target: &Path, existing: ExistingBackup) -> io::Result<()> {
    let partial = partial_path(target);
    if partial.to_str().is_none() {
        return Err(io::Error::other("its name is not UTF-8"));
    }
    if target.symlink_metadata().is_ok() {
        if existing == ExistingBackup::Keep {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !target.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
    }
    let database = database.canonicalize()?;
    if [target, &partial].iter().any(|it| is_used(&database, it)) {
        return Err(io::Error::other("it is the database, or belongs to it"));
    }
    match OpenOptions::new().write(true).open(&partial) {
        Ok(partial) => lock(&partial),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_folder(&partial),
        Err(error) => Err(error),
    }
}

/// Whether a file is the database, or has a name that SQLite or the server gives to a file beside it.
fn is_used(database: &Path, file: &Path) -> bool {
    let real = real_path(file);
    ["", "-wal", "-shm", "-lock"].iter().any(|suffix| {
        let mut used = OsString::from(database);
        used.push(suffix);
        real == used
    })
}

/// Makes the renaming of a file durable.
#[cfg(unix)]
fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

/// Folders cannot be opened there.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
