//! The thread that copies the write-ahead log into the database, so that commits do not have to.
//!
//! It copies while the writer goes on, and so never reaches the end of a log that always grows. The log starts
//! again at its beginning only when all of it is copied: when it has become long, the writer is asked to copy
//! the short rest between two transactions.

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

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    commits: mpsc::Sender<()>,
    /// Interrupts the thread's sleep when it is dropped.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Checkpointer {
    pub(crate) fn start(options: SqliteOptions, writer: WeakWriter) -> Result<Self, SqliteError> {
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
                runtime.block_on(run(options, writer, committed, stopped));
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
        // One message is enough. If the thread is gone, commits copy the log when it is very long.
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
struct Log {
    pages: u32,
    copied: u32,
}

impl Log {
    fn rest(self) -> u32 {
        self.pages.saturating_sub(self.copied)
    }
}

async fn run(
    options: SqliteOptions,
    writer: WeakWriter,
    mut committed: mpsc::Receiver<()>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connection = None;
    while committed.recv().await.is_some() {
        let done = copy_if_due(&options, &mut connection, &writer).await;
        if let Err(error) = done {
            // The disk may be full. The log is kept, and the next commit leads to another attempt.
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
) -> Result<(), SqliteError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(open::checkpointer(options).await?),
    };
    let due = options.checkpoint_pages.max(1);
    let mut log = checkpoint(connection, LOOK).await?;
    while log.pages >= due && log.rest() > 0 {
        let before = log;
        checkpoint(connection, COPY).await?;
        // What COPY returns is the log as it was when it began: the writer may have written more since.
        log = checkpoint(connection, LOOK).await?;
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

/// The state of the log.
const LOOK: &str = "PRAGMA wal_checkpoint(NOOP)";

/// Copies what no reader needs to stay as it is, and waits for nobody. Then as [`LOOK`].
pub(crate) const COPY: &str = "PRAGMA wal_checkpoint(PASSIVE)";

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
