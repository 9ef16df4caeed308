//! Creates the file, and checks that it can be used.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::SqliteError;

/// Creates the file if it does not exist, and checks that it can be written. SQLite says only that it cannot open
/// a file, and not why.
pub(crate) fn prepare(path: &Path) -> Result<(), SqliteError> {
    create(path).map_err(|source| failed(path, source))?;
    check(path)
}

/// Checks that a file can be read and written, if it exists.
pub(crate) fn check(path: &Path) -> Result<(), SqliteError> {
    check_access(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> SqliteError {
    SqliteError::File {
        path: path.to_owned(),
        source,
    }
}

/// Creates the file for its owner only. SQLite would let every user read it, and takes the permissions of the files
/// beside it from it.
fn create(path: &Path) -> io::Result<()> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Does not open the file: closing it would release the locks that SQLite has on it, if this process has opened
/// it before.
fn check_access(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    #[cfg(unix)]
    {
        use rustix::fs::Access;

        match rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
            // A link may lead to a file that does not exist.
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Checks that files can be created in the folder of a file. Creates none.
pub(crate) fn check_folder(file: &Path) -> io::Result<()> {
    let folder = folder_of(file);
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    #[cfg(unix)]
    rustix::fs::access(
        folder,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?;
    Ok(())
}

/// The path without links, also of a file that does not exist yet.
pub(crate) fn real_path(file: &Path) -> PathBuf {
    let real = file.canonicalize().or_else(|_| {
        let name = file.file_name().unwrap_or_default();
        let folder = folder_of(file).canonicalize();
        folder.map(|folder| folder.join(name))
    });
    real.unwrap_or_else(|_| file.to_owned())
}

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => file,
    }
}

/// The same options, for a file that only its owner may read and write.
#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) -> &OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    options.mode(0o600)
}

#[cfg(not(unix))]
pub(crate) fn private(options: &mut OpenOptions) -> &OpenOptions {
    options
}
