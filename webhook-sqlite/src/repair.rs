//! Repairs the write-ahead log after a crash, and after a failed sync.
//!
//! Linux reports a failed sync once, and counts the pages that it could not write as written: they are in memory
//! only, and no later sync writes them. SQLite trusts a sync that succeeds after one that failed, in two places:
//!
//! - A checkpoint that does not reach the end of the log copies pages into the database file and does not sync
//!   them; the next one goes on behind them. If its sync fails, they are lost, and it is not known which. So
//!   [`copy_again`] has SQLite forget what it has copied.
//! - After a crash, SQLite takes all valid frames of the log for committed, also those whose sync had failed. The
//!   commits that follow are behind them, and are lost with them when power is lost. So [`rewrite_after_crash`]
//!   writes the log once more.
//!
//! Both change files that SQLite uses, under the lock that keeps everybody from writing to the log. They rely on the
//! file formats at <https://sqlite.org/walformat.html> and <https://sqlite.org/fileformat2.html#walformat>.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Executor, Row};

use crate::checkpoint;
use crate::error::SqliteError;

/// The bytes of a write-ahead log before its first frame, and of a frame before its page.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// The header of the shared memory. There are two copies of it, one behind the other.
const INDEX_HEADER: usize = 48;

/// The bytes that are rewritten at once.
const CHUNK: u64 = 1 << 20;

/// Has SQLite copy the whole log into the database file again, from its first frame.
///
/// SQLite keeps the number of the frames that it has copied in the shared memory of all connections. When the header
/// of that memory is not valid, the next connection that looks, of any process, reads the log anew, and the number
/// is 0 again. No connection has to be closed for that.
pub(crate) async fn copy_again(connection: &mut SqliteConnection) -> Result<(), SqliteError> {
    locked(connection, |database| {
        with_index(database, |index| {
            let header = IndexHeader::read(index)?;
            rewrite(database, header.frames)?;
            index.rewind()?;
            index.write_all(&[0; 2 * INDEX_HEADER])
        })
    })
    .await?;
    let log = checkpoint::look(connection).await?;
    if log.copied > 0 {
        // Another process began to copy at once, or the memory is not what was written to.
        return Err(disk(io::Error::other(
            "SQLite still counts a part of the write-ahead log as copied",
        )));
    }
    Ok(())
}

/// Writes the log once more, if nobody has written to it since SQLite read it after a crash.
pub(crate) async fn rewrite_after_crash(
    connection: &mut SqliteConnection,
) -> Result<(), SqliteError> {
    locked(connection, |database| {
        with_index(database, |index| {
            let header = IndexHeader::read(index)?;
            if header.changes == 0 {
                rewrite(database, header.frames)?;
            }
            Ok(())
        })
    })
    .await
}

/// Does `work` while nobody writes to the log. It gets the path of the database as SQLite uses it.
///
/// `work` blocks the thread, so that the lock cannot be lost before it is done: not even if the future is dropped.
async fn locked(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), SqliteError> {
    let row = sqlx::query("SELECT file FROM pragma_database_list WHERE name = 'main'")
        .fetch_one(&mut *connection)
        .await?;
    let database: String = row.try_get(0)?;
    connection.execute("BEGIN IMMEDIATE").await?;
    let done = work(Path::new(&database)).map_err(disk);
    // It has changed nothing, so SQLite writes neither to the log nor to the shared memory.
    connection.execute("COMMIT").await?;
    done
}

fn disk(error: io::Error) -> SqliteError {
    SqliteError::Disk(Arc::new(sqlx::Error::Io(error)))
}

/// Writes the committed frames of the log once more where they are, so that the sync writes all of them. Cuts off what
/// is behind them: a transaction that failed, and that SQLite would take for committed when it reads the log anew.
fn rewrite(database: &Path, frames: u32) -> io::Result<()> {
    let path = beside(database, "-wal");
    let mut log = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && frames == 0 => return Ok(()),
        opened => opened?,
    };
    let length = log.metadata()?.len();
    if length < LOG_HEADER && frames == 0 {
        return Ok(());
    }
    let mut header = [0; 32];
    log.read_exact(&mut header)?;
    let page_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    let end = LOG_HEADER + u64::from(frames) * (FRAME_HEADER + u64::from(page_bytes));
    if length < end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut chunk = Vec::new();
    let mut at = 0;
    while at < end {
        chunk.clear();
        log.seek(SeekFrom::Start(at))?;
        (&log).take(CHUNK.min(end - at)).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        log.seek(SeekFrom::Start(at))?;
        log.write_all(&chunk)?;
        at += chunk.len() as u64;
    }
    if length > end {
        log.set_len(end)?;
    }
    log.sync_all()
}

/// What the header of the shared memory says.
struct IndexHeader {
    /// The number of transactions since the log was read after a crash.
    changes: u32,
    /// The number of committed frames in the log.
    frames: u32,
}

impl IndexHeader {
    fn read(index: &mut File) -> io::Result<Self> {
        let mut copies = [0; 2 * INDEX_HEADER];
        index.rewind()?;
        index.read_exact(&mut copies)?;
        let (first, second) = copies.split_at(INDEX_HEADER);
        let number = |at: usize| {
            u32::from_ne_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
        };
        let is_initialized = first[12] == 1;
        if first != second || !is_initialized {
            return Err(io::Error::other(
                "the shared memory beside the database is not SQLite's",
            ));
        }
        Ok(Self {
            changes: number(8),
            frames: number(16),
        })
    }
}

pub(crate) fn beside(database: &Path, suffix: &str) -> OsString {
    let mut path = OsString::from(database);
    path.push(suffix);
    path
}

fn open_index(path: &OsString) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Does `work` with the shared memory of the database.
///
/// The file stays open. When a process closes any descriptor of a file, it loses all its POSIX locks on it, and
/// SQLite's locks of all connections are on this one.
#[cfg(unix)]
fn with_index(database: &Path, work: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    use std::sync::{Mutex, PoisonError};

    static OPEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

    let path = beside(database, "-shm");
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    // The last connection deletes the file when it is closed.
    open.retain(|file| !file.metadata().is_ok_and(|it| it.nlink() == 0));
    let wanted = std::fs::metadata(&path)?;
    let same = open.iter_mut().find(|file| {
        file.metadata()
            .is_ok_and(|it| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino()))
    });
    if let Some(index) = same {
        return work(index);
    }
    let mut index = open_index(&path)?;
    let done = work(&mut index);
    open.push(index);
    done
}

#[cfg(not(unix))]
fn with_index(database: &Path, work: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    work(&mut open_index(&beside(database, "-shm"))?)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use bytes::Bytes;
    use sqlx::{ConnectOptions, Connection};
    use tempfile::TempDir;
    use webhook_core::{Envelope, Fingerprint, Key, Kind, NewEvent, Store};

    use super::*;
    use crate::checkpoint::{Doubt, copy, look};
    use crate::{SqliteOptions, SqliteStore, open};

    fn folder() -> (TempDir, SqliteOptions) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(folder.path().join("webhook.db"));
        (folder, options)
    }

    fn events(from: u32) -> Vec<NewEvent> {
        let kind = Kind::from_static("k");
        let events = (from..from + 50).map(|number| {
            let key = Key::new(number.to_string()).unwrap();
            let body = Bytes::from(vec![b'x'; 3_000]);
            let envelope = Envelope::new(kind.clone(), key, Fingerprint::of(["content"]), body);
            NewEvent::new(envelope, Duration::ZERO)
        });
        events.collect()
    }

    fn log_of(options: &SqliteOptions) -> PathBuf {
        beside(&options.path, "-wal").into()
    }

    /// The log without the zeros behind its end.
    async fn committed(options: &SqliteOptions) -> Vec<u8> {
        let mut connection = open::beside_writer(options).await.unwrap();
        let frames = u64::from(look(&mut connection).await.unwrap().pages);
        let mut log = std::fs::read(log_of(options)).unwrap();
        let end = usize::try_from(LOG_HEADER + frames * (FRAME_HEADER + 4096)).unwrap();
        assert!(0 < frames && end < log.len());
        log.truncate(end);
        log
    }

    async fn count(connection: &mut SqliteConnection) -> i64 {
        let row = sqlx::query("SELECT count(*) FROM events")
            .fetch_one(connection)
            .await;
        row.unwrap().get(0)
    }

    async fn assert_whole(connection: &mut SqliteConnection) {
        let row = sqlx::query("PRAGMA integrity_check")
            .fetch_one(connection)
            .await;
        assert_eq!(row.unwrap().get::<String, _>(0), "ok");
    }

    #[tokio::test]
    async fn log_is_copied_again_from_its_beginning_while_others_use_it() {
        let (_folder, options) = folder();
        let store = SqliteStore::open_with(options.clone()).await.unwrap();
        store.accept(&events(0)).await.unwrap();
        // It keeps the log from being copied beyond this state.
        let mut old = open::reader(&options).connect().await.unwrap();
        let mut old = old.begin().await.unwrap();
        assert_eq!(count(&mut old).await, 50);
        store.accept(&events(50)).await.unwrap();

        let mut connection = open::beside_writer(&options).await.unwrap();
        copy(&mut connection, &Doubt::default()).await.unwrap();
        let before = look(&mut connection).await.unwrap();
        assert!(
            0 < before.copied && before.copied < before.pages,
            "{before:?}"
        );
        copy_again(&mut connection).await.unwrap();
        let after = look(&mut connection).await.unwrap();
        assert_eq!((after.copied, after.pages), (0, before.pages));

        assert_eq!(count(&mut old).await, 50);
        old.rollback().await.unwrap();
        store.accept(&events(100)).await.unwrap();
        copy(&mut connection, &Doubt::default()).await.unwrap();
        let all = look(&mut connection).await.unwrap();
        assert!(
            all.copied == all.pages && all.pages > before.pages,
            "{all:?}"
        );
        assert_eq!(count(&mut connection).await, 150);
        assert_whole(&mut connection).await;
        store.close().await;
    }

    #[tokio::test]
    async fn transaction_that_failed_is_cut_off_the_log() {
        let (_folder, options) = folder();
        let store = SqliteStore::open_with(options.clone()).await.unwrap();
        store.accept(&events(0)).await.unwrap();
        let log = committed(&options).await;
        std::fs::write(log_of(&options), [&log[..], &[7; 9_000]].concat()).unwrap();
        let mut connection = open::beside_writer(&options).await.unwrap();
        copy_again(&mut connection).await.unwrap();
        assert_eq!(std::fs::read(log_of(&options)).unwrap(), log);
        store.accept(&events(50)).await.unwrap();
        assert_eq!(count(&mut connection).await, 100);
        assert_whole(&mut connection).await;
        store.close().await;
    }

    #[tokio::test]
    async fn log_is_rewritten_once_after_a_crash() {
        let (crashed, options) = folder();
        let store = SqliteStore::open_with(options.clone()).await.unwrap();
        store.accept(&events(0)).await.unwrap();
        let (_folder, after) = folder();
        for suffix in ["", "-wal"] {
            std::fs::copy(beside(&options.path, suffix), beside(&after.path, suffix)).unwrap();
        }
        let log = committed(&options).await;
        store.close().await;
        drop(crashed);
        std::fs::write(log_of(&after), [&log[..], &[7; 9_000]].concat()).unwrap();

        let store = SqliteStore::open_with(after.clone()).await.unwrap();
        let repaired = std::fs::read(log_of(&after)).unwrap();
        assert!(repaired.starts_with(&log) && !repaired.ends_with(&[7; 9_000]));
        store.accept(&events(50)).await.unwrap();
        // The log belongs to the first store now.
        let log = std::fs::read(log_of(&after)).unwrap();
        std::fs::write(log_of(&after), [&log[..], &[7; 9_000]].concat()).unwrap();
        let other = SqliteStore::open_with(after.clone()).await.unwrap();
        assert!(std::fs::read(log_of(&after)).unwrap().ends_with(&[7; 900]));
        let mut connection = open::beside_writer(&after).await.unwrap();
        assert_eq!(count(&mut connection).await, 100);
        assert_whole(&mut connection).await;
        other.close().await;
        store.close().await;
    }

    #[tokio::test]
    async fn log_can_be_left_as_it_is_when_the_file_is_closed() {
        let (_folder, options) = folder();
        let store = SqliteStore::open_with(options.clone()).await.unwrap();
        store.accept(&events(0)).await.unwrap();
        let connection = open::beside_writer(&options).await.unwrap();
        store.close().await;
        let log = std::fs::read(log_of(&options)).unwrap();
        let database = std::fs::read(&options.path).unwrap();
        open::close_without_copy(connection, &options)
            .await
            .unwrap();
        assert!(!log.is_empty());
        assert_eq!(std::fs::read(log_of(&options)).unwrap(), log);
        assert_eq!(std::fs::read(&options.path).unwrap(), database);
        let mut connection = open::beside_writer(&options).await.unwrap();
        assert_eq!(look(&mut connection).await.unwrap().copied, 0);
        assert_eq!(count(&mut connection).await, 50);
    }
}
