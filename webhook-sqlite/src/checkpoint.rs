//! The thread that copies the write-ahead log into the database, so that commits do not have to.
//!
//! It copies while the writer goes on, and so never reaches the end of a log that always grows. The log starts
//! again at its beginning only when all of it is copied: when it has become long, the writer is asked to copy
//! the short rest between two transactions.
//!
//! SQLite never copies by itself: it would not report a failure. If a copy fails, nobody copies until the writer has
//! [repaired](crate::repair) the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::SqliteError;
use crate::open;
use crate::options::SqliteOptions;
use crate::writer::WeakWriter;

/// The shortest time between two looks at the log while there are commits.
const INTERVAL: Duration = Duration::from_millis(20);

/// When the log has this many times the pages that make a checkpoint due, the writer copies the rest however long
/// it is.
const TOO_LONG: u32 = 4;

/// The rest of the log that the writer copies, in pages.
const SHORT_REST: u32 = 512;

/// The writer copies the log itself if it has this many times the pages that make a checkpoint due. It does not get
/// that long as long as the thread keeps up.
const BACKSTOP: u32 = 8;

/// Whether what was copied of the log may have been lost, since a copy failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_raised: AtomicBool,
    /// Whether the last copy failed, which is reported once.
    is_failing: AtomicBool,
}

impl Doubt {
    pub(crate) fn is_raised(&self) -> bool {
        self.0.is_raised.load(Ordering::Acquire)
    }

    /// Reports that a copy failed, and raises the doubt if the disk failed. If it is full, nothing is lost: SQLite has
    /// not counted the pages of this copy, and the kernel still has those of earlier ones.
    pub(crate) fn look_at(&self, copied: &Result<Log, SqliteError>) {
        let Err(error) = copied else {
            self.0.is_failing.store(false, Ordering::Relaxed);
            return;
        };
        let was_failing = self.0.is_failing.swap(true, Ordering::Relaxed);
        let is_lost = matches!(error, SqliteError::Disk(_));
        let error: &dyn std::error::Error = error;
        if is_lost {
            let was_raised = self.0.is_raised.swap(true, Ordering::AcqRel);
            if !was_raised {
                tracing::error!(
                    error,
                    "copying the write-ahead log into the database file failed: nothing is written until SQLite \
                     can copy it again from its beginning"
                );
            }
        } else if !was_failing {
            tracing::warn!(
                error,
                "the write-ahead log cannot be copied into the database file, and grows until it can"
            );
        }
    }

    /// Lowers it, since the log is going to be copied from its beginning.
    pub(crate) fn lower(&self) {
        self.0.is_raised.store(false, Ordering::Release);
        tracing::info!("SQLite copies the write-ahead log again from its beginning");
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    commits: mpsc::Sender<()>,
    /// Interrupts the thread's sleep when it is dropped.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Checkpointer {
    pub(crate) fn start(
        options: SqliteOptions,
        writer: WeakWriter,
        doubt: Doubt,
    ) -> Result<Self, SqliteError> {
        let (commits, committed) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(sqlx::Error::Io)?;
        thread::Builder::new()
            .name("webhook-sqlite-checkpoint".to_owned())
            .spawn(move || {
                runtime.block_on(run(options, writer, doubt, committed, stopped));
                let _ = end.send(());
            })
            .map_err(sqlx::Error::Io)?;
        Ok(Self {
            commits,
            stop,
            ended,
        })
    }

    /// Says that something was committed.
    pub(crate) fn committed(&self) {
        // One message is enough. If the thread is gone, the writer copies the log when it is very long.
        let _ = self.commits.try_send(());
    }

    /// Waits until the thread's connection is closed.
    pub(crate) async fn end(self) {
        drop((self.commits, self.stop));
        let _ = self.ended.await;
    }
}

/// The log in pages, and how many of them are in the database file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) pages: u32,
    pub(crate) copied: u32,
}

impl Log {
    fn rest(self) -> u32 {
        self.pages.saturating_sub(self.copied)
    }

    /// Whether the writer should copy it.
    pub(crate) fn is_too_long(self, options: &SqliteOptions) -> bool {
        self.rest() > 0 && self.pages >= due(options).saturating_mul(BACKSTOP)
    }
}

/// How many pages make a checkpoint due.
fn due(options: &SqliteOptions) -> u32 {
    options.checkpoint_pages.max(1)
}

async fn run(
    options: SqliteOptions,
    writer: WeakWriter,
    doubt: Doubt,
    mut committed: mpsc::Receiver<()>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connection = None;
    while committed.recv().await.is_some() {
        let done = copy_if_due(&options, &mut connection, &writer, &doubt).await;
        if let Err(error) = done {
            // The log is kept, and the next commit leads to another attempt.
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "the write-ahead log was not copied");
            connection = None;
        }
        if timeout(INTERVAL, &mut stopped).await.is_ok() {
            break;
        }
    }
    if let Some(connection) = connection {
        let _ = connection.close().await;
    }
}

async fn copy_if_due(
    options: &SqliteOptions,
    connection: &mut Option<SqliteConnection>,
    writer: &WeakWriter,
    doubt: &Doubt,
) -> Result<(), SqliteError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(open::beside_writer(options).await?),
    };
    let due = due(options);
    let mut log = look(connection).await?;
    while log.pages >= due && log.rest() > 0 && !doubt.is_raised() {
        let before = log;
        let copied = copy(connection, doubt).await;
        if doubt.is_raised() {
            // It repairs the log.
            writer.checkpoint().await;
        }
        copied?;
        // What a copy returns is the log as it was when it began: the writer may have written more since.
        log = look(connection).await?;
        if log.rest() == 0 {
            // The next commit writes to the beginning of the log.
            break;
        }
        if log.rest() <= SHORT_REST || log.pages >= due.saturating_mul(TOO_LONG) {
            writer.checkpoint().await;
            break;
        }
        if log.copied == before.copied {
            // Somebody reads an old state of the database, or another process copies.
            break;
        }
    }
    Ok(())
}

/// Returns the state of the log.
pub(crate) async fn look(connection: &mut SqliteConnection) -> Result<Log, SqliteError> {
    checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)").await
}

/// Copies what no reader needs to stay as it is, and waits for nobody.
pub(crate) async fn copy(
    connection: &mut SqliteConnection,
    doubt: &Doubt,
) -> Result<(), SqliteError> {
    let copied = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").await;
    doubt.look_at(&copied);
    copied.map(|_| ())
}

async fn checkpoint(
    connection: &mut SqliteConnection,
    pragma: &'static str,
) -> Result<Log, SqliteError> {
    let row = sqlx::query(pragma).fetch_one(connection).await?;
    // SQLite answers -1 where there is no log.
    let number = |column: usize| -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    };
    Ok(Log {
        pages: number(1)?,
        copied: number(2)?,
    })
}
