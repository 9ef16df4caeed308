//! Makes room for the write-ahead log ahead of time.
//!
//! A commit that makes the file of the log longer also changes the file's length, which costs the file system a second
//! write to the disk for each sync. A commit into a part of the file that is there already does not. So when the log
//! has grown, it gets zeros behind its end. SQLite takes no frame of zeros for one that is committed
//! (<https://sqlite.org/fileformat2.html#walformat>), and writes over them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::repair::beside;

/// The zeros that a log gets when it has grown. The commit that follows writes them to the disk, so there are not many.
static ZEROS: [u8; 512 << 10] = [0; 512 << 10];

/// The file of the write-ahead log.
#[derive(Debug)]
pub(crate) struct LogSpace {
    path: PathBuf,
    /// `None` before the first transaction, and while the file cannot be opened.
    file: Option<File>,
    /// How long the file was when it was last looked at, with its zeros.
    length: u64,
}

impl LogSpace {
    /// That of the database that is open on `connection`.
    pub(crate) fn of(connection: &rusqlite::Connection) -> Self {
        // SQLite has followed all links.
        let database = connection.path().unwrap_or_default();
        Self {
            path: beside(Path::new(database), "-wal").into(),
            file: None,
            length: 0,
        }
    }

    /// Adds zeros if the log has grown. Only the connection with the write lock may call this, before it writes.
    ///
    /// If that fails, the log only grows more slowly. The commit reports an error of the disk.
    pub(crate) fn grow(&mut self) {
        if let Err(error) = self.try_grow() {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "cannot make room for the write-ahead log");
        }
    }

    fn try_grow(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self
                .file
                .insert(OpenOptions::new().write(true).open(&self.path)?),
        };
        let length = file.metadata()?.len();
        let has_grown = length > self.length;
        self.length = length;
        if !has_grown {
            return Ok(());
        }
        file.seek(SeekFrom::Start(length))?;
        if let Err(error) = file.write_all(&ZEROS) {
            // A disk that is almost full has room for the commit, not for zeros.
            file.set_len(length)?;
            return Err(error);
        }
        self.length = length + ZEROS.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// An empty log of a database.
    fn log() -> (TempDir, PathBuf, LogSpace) {
        let folder = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        let space = LogSpace::of(&connection);
        let path = folder.path().join("a.db-wal");
        File::create(&path).unwrap();
        (folder, path, space)
    }

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().len()
    }

    fn append(path: &Path, bytes: usize) {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&vec![1; bytes]).unwrap();
    }

    #[test]
    fn a_log_that_has_grown_gets_zeros_behind_its_end() {
        let (_folder, path, mut space) = log();
        space.grow();
        assert_eq!(length(&path), 0, "nothing was written to it");
        append(&path, 5_000);
        space.grow();
        let with_zeros = 5_000 + ZEROS.len() as u64;
        assert_eq!(length(&path), with_zeros);
        space.grow();
        assert_eq!(length(&path), with_zeros, "it has not grown since");
        append(&path, 1_000_000);
        space.grow();
        let end = with_zeros + 1_000_000 + ZEROS.len() as u64;
        assert_eq!(length(&path), end);
        let content = std::fs::read(&path).unwrap();
        let written = content.iter().filter(|byte| **byte == 1).count();
        assert_eq!(written, 1_005_000, "only zeros were added");
    }

    #[test]
    fn a_log_that_was_cut_off_gets_no_zeros_until_it_grows() {
        let (_folder, path, mut space) = log();
        append(&path, 5_000);
        space.grow();
        File::create(&path).unwrap();
        space.grow();
        assert_eq!(length(&path), 0);
        append(&path, 1);
        space.grow();
        assert_eq!(length(&path), 1 + ZEROS.len() as u64);
    }

    #[test]
    fn a_log_that_does_not_exist_is_left_alone() {
        let (_folder, path, mut space) = log();
        std::fs::remove_file(&path).unwrap();
        space.grow();
        assert!(!path.exists());
        File::create(&path).unwrap();
        append(&path, 1);
        space.grow();
        assert_eq!(length(&path), 1 + ZEROS.len() as u64);
    }
}
