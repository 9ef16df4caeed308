//! [`SqliteOptions`].

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which file a store uses, and how.
///
/// ```
/// use webhook_sqlite::SqliteOptions;
///
/// let options = SqliteOptions::new("webhook.db").with_cache_bytes(256 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The file. It is created if it does not exist; its folder must exist. SQLite keeps two more files
    /// beside it, with `-wal` and `-shm` after its name, which belong to it.
    pub path: PathBuf,
    /// The most memory for the page cache of the connection that writes, in bytes. Default: 64 MiB. A larger one helps
    /// if millions of events are kept. While the file is smaller than 1 GiB, 4 MiB are used: more would be slower.
    pub cache_bytes: u64,
    /// How many pages of 4 KiB the write-ahead log has before they are copied into the file, by a thread of their
    /// own. Default: 12,288 (48 MiB). The log becomes somewhat longer before it starts again, and much longer while
    /// somebody reads an old state of the database.
    pub checkpoint_pages: u32,
    /// How many keys of new events are in memory, at least, before they are written to the index of keys together.
    /// Default: 8,192. In a file with many events it is a sixteenth of them, but at most 524,288 (25 MB with those that
    /// are being written). Their events are read again after a restart.
    pub recent_keys: usize,
    /// How long a write waits for another process that writes. Default: 10 s.
    pub busy_timeout: Duration,
    /// How many connections read at the same time. Default: 4.
    pub readers: u32,
}

impl SqliteOptions {
    /// The defaults, for this file.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            cache_bytes: 64 << 20,
            checkpoint_pages: 12_288,
            recent_keys: 8_192,
            busy_timeout: Duration::from_secs(10),
            readers: 4,
        }
    }

    /// The same with this size of the page cache, in bytes.
    #[must_use]
    pub fn with_cache_bytes(self, cache_bytes: u64) -> Self {
        Self {
            cache_bytes,
            ..self
        }
    }

    /// The same with this many pages of the write-ahead log between two checkpoints.
    #[must_use]
    pub fn with_checkpoint_pages(self, checkpoint_pages: u32) -> Self {
        Self {
            checkpoint_pages,
            ..self
        }
    }

    /// The same with at least this many keys in memory before they are written to the index together.
    #[must_use]
    pub fn with_recent_keys(self, recent_keys: usize) -> Self {
        Self {
            recent_keys,
            ..self
        }
    }

    /// The same with this time to wait for another process that writes.
    #[must_use]
    pub fn with_busy_timeout(self, busy_timeout: Duration) -> Self {
        Self {
            busy_timeout,
            ..self
        }
    }

    /// The same with this many connections that read.
    #[must_use]
    pub fn with_readers(self, readers: u32) -> Self {
        Self { readers, ..self }
    }
}
