//! An SQLite file.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _, query_as, query_scalar};
use testkit::folder::Folder;

use crate::stored::{Outcome, Stored};
use crate::tools::Tools;

use super::Backend;

/// A file that nodes create when they first open it.
#[derive(Clone, Debug)]
pub(crate) struct SqliteFile {
    path: PathBuf,
}

impl SqliteFile {
    /// The file of this name in `folder`.
    pub(crate) fn within(folder: &Path) -> Self {
        Self {
            path: folder.join("webhook.db"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file beside it that holds what is not yet copied into it.
    pub(crate) fn wal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    /// Connects as another program does that may write.
    pub(crate) async fn connect_to_write(&self) -> anyhow::Result<SqliteConnection> {
        Ok(self.options().connect().await?)
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .disable_statement_logging()
    }
}

impl Backend for SqliteFile {
    type Connection = SqliteConnection;

    async fn start(tools: &Tools) -> anyhow::Result<(Folder, Self)> {
        let folder = tools.folder("run")?;
        let file = Self::within(folder.path());
        Ok((folder, file))
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// The connection cannot write, so that it does not copy the write-ahead log of a process that
    /// was killed into the file when it is closed.
    async fn connect(&self) -> anyhow::Result<SqliteConnection> {
        Ok(self.options().read_only(true).connect().await?)
    }

    async fn stored(connection: &mut SqliteConnection) -> anyhow::Result<Vec<Stored>> {
        let rows = sqlx::query(
            "SELECT event.id, event.key, event.body, event.accepted_us,
                    item.id IS NOT NULL AS is_queued,
                    outcome.failed, outcome.attempts, outcome.fence, outcome.reason,
                    outcome.settled_us,
                    coalesce(conflict.count, 0) AS conflicts
             FROM events AS event
             LEFT JOIN queue AS item USING (id)
             LEFT JOIN outcomes AS outcome USING (id)
             LEFT JOIN conflicts AS conflict USING (id)
             ORDER BY event.id",
        )
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let failed: Option<bool> = row.try_get("failed")?;
                let outcome = match failed {
                    Some(failed) => Some(Outcome {
                        failed,
                        attempts: row.try_get("attempts")?,
                        fence: row.try_get("fence")?,
                        settled_at_us: row.try_get("settled_us")?,
                        reason: row.try_get("reason")?,
                    }),
                    None => None,
                };
                Ok(Stored {
                    id: row.try_get("id")?,
                    key: row.try_get("key")?,
                    body: row.try_get("body")?,
                    accepted_at_us: row.try_get("accepted_us")?,
                    // It is not kept: a retry changes the queue's, and the end deletes it.
                    first_due_at_us: None,
                    is_queued: row.try_get("is_queued")?,
                    outcome,
                    conflicts: row.try_get("conflicts")?,
                })
            })
            .collect()
    }

    async fn effects(connection: &mut SqliteConnection) -> anyhow::Result<Vec<(i64, i64)>> {
        // A node creates the table after it has created the file.
        let tables = query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'effects'");
        let tables: i64 = tables.fetch_one(&mut *connection).await?;
        if tables == 0 {
            return Ok(Vec::new());
        }
        let effects = query_as("SELECT event, fence FROM effects");
        Ok(effects.fetch_all(connection).await?)
    }

    async fn strays(connection: &mut SqliteConnection) -> anyhow::Result<i64> {
        let strays = query_scalar(
            "SELECT (SELECT count(*) FROM queue WHERE id NOT IN (SELECT id FROM events))
                  + (SELECT count(*) FROM outcomes WHERE id NOT IN (SELECT id FROM events))",
        );
        Ok(strays.fetch_one(connection).await?)
    }

    async fn queued(connection: &mut SqliteConnection) -> anyhow::Result<i64> {
        let queued = query_scalar("SELECT count(*) FROM queue");
        Ok(queued.fetch_one(connection).await?)
    }

    async fn ended(connection: &mut SqliteConnection, keys: &[String]) -> anyhow::Result<i64> {
        let ended = query_scalar(
            "SELECT count(*) FROM outcomes JOIN events USING (id)
             WHERE key IN (SELECT value FROM json_each(?1))",
        );
        let keys = serde_json::to_string(keys)?;
        Ok(ended.bind(keys).fetch_one(connection).await?)
    }

    async fn damage(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
        let checked: Vec<String> = query_scalar("PRAGMA integrity_check")
            .fetch_all(&mut *connection)
            .await?;
        let mut damage: Vec<String> = checked.into_iter().filter(|line| line != "ok").collect();
        let (missing, left): (i64, i64) = query_as(include_str!(
            "../../../../webhook-sqlite/tests/check_key_index.sql"
        ))
        .fetch_one(connection)
        .await?;
        if missing > 0 || left > 0 {
            damage.push(format!(
                "the index of keys lacks {missing} events, and has {left} that are gone"
            ));
        }
        Ok(damage.iter().map(|it| format!("DAMAGED: {it}")).collect())
    }

    fn last_words(&self) -> String {
        String::new()
    }
}
