//! Databases that are SQLite files.

mod preload;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, query, query_as, query_scalar};
use testkit::folder::Folder;

use super::{Counts, Database, Lateness, Preload, Settled, TableSize, Tables};
use crate::backend::Backend;
use crate::process;
use crate::progress::Progress;

/// Events that are due within this time are processed by the run; those of [`Preload::Waiting`] are
/// due later.
const SOON: Duration = Duration::from_hours(12);

/// How long a query waits for a server that writes.
const BUSY: Duration = Duration::from_secs(60);

/// Selects from the events that were settled from `?1` on. The index is the one for pruning: there
/// may be millions of events from before.
macro_rules! settled_since {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM outcomes AS outcome INDEXED BY outcomes_settled
              CROSS JOIN events AS event ON event.id = outcome.id
              WHERE outcome.kind IN (SELECT kind FROM kinds) AND outcome.failed IN (0, 1)
                AND outcome.body_deleted IN (0, 1) AND outcome.settled_us >= ?1"
        )
    };
}

/// Creates a file, without tables, in a folder of its own.
pub(crate) fn create(purpose: &str) -> anyhow::Result<Database> {
    // Beside the build, which is on a disk. The system's folder for temporary files may be in
    // memory, where a commit costs nothing.
    let folder = Folder::create(&process::build_folder()?, &format!("load-{purpose}"), None)?;
    let path = folder.path().join("webhook.db");
    Ok(Database {
        backend: Backend::Sqlite,
        url: format!("sqlite:{}", path.display()),
        pooler_url: None,
        tables: Some(Arc::new(SqliteTables {
            path,
            folder: Mutex::new(Some(folder)),
        })),
    })
}

/// Returns the version of SQLite in this program, which the server has, too.
pub(crate) async fn version() -> anyhow::Result<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    Ok(query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await?)
}

/// The tables of one file. Each question opens it anew, so that nothing is held open while a server
/// starts or stops.
#[derive(Debug)]
struct SqliteTables {
    path: PathBuf,
    folder: Mutex<Option<Folder>>,
}

#[async_trait]
impl Tables for SqliteTables {
    async fn counts(&self) -> anyhow::Result<Counts> {
        Ok(query_as(
            "SELECT (SELECT count(*) FROM events) AS events,
                    (SELECT count(*) FROM queue) AS queued,
                    (SELECT count(*) FROM outcomes WHERE failed = 0) AS processed,
                    (SELECT count(*) FROM outcomes WHERE failed = 1) AS failed",
        )
        .fetch_one(&mut self.read().await?)
        .await?)
    }

    async fn table_sizes(&self) -> anyhow::Result<Vec<TableSize>> {
        ["", "-wal"]
            .into_iter()
            .map(|ending| {
                let bytes = file_bytes(&self.path, ending);
                Ok(TableSize {
                    name: format!("webhook.db{ending}"),
                    table_bytes: i64::try_from(bytes)?,
                    index_bytes: 0,
                    live_rows: 0,
                    dead_rows: 0,
                })
            })
            .collect()
    }

    async fn wal_bytes(&self) -> anyhow::Result<Option<i64>> {
        Ok(None)
    }

    async fn transactions(&self) -> anyhow::Result<Option<i64>> {
        Ok(None)
    }

    async fn lag_seconds(&self) -> anyhow::Result<f64> {
        // Each kind has its first due time at the beginning of its part of the index.
        let first: Option<i64> = query_scalar(
            "SELECT min((SELECT min(due_us) FROM queue WHERE queue.kind = kinds.kind)) FROM kinds",
        )
        .fetch_one(&mut self.read().await?)
        .await?;
        let now = wall_micros();
        let late = first.map_or(0, |first| (now - first).max(0));
        Ok(super::float(late) / 1e6)
    }

    async fn due(&self) -> anyhow::Result<i64> {
        Ok(
            query_scalar("SELECT count(*) FROM queue WHERE due_us <= ?1")
                .bind(wall_micros())
                .fetch_one(&mut self.read().await?)
                .await?,
        )
    }

    async fn queued(&self) -> anyhow::Result<i64> {
        Ok(query_scalar("SELECT count(*) FROM queue")
            .fetch_one(&mut self.read().await?)
            .await?)
    }

    /// A store sets its clock from the host's when it creates the file, and both run at the same
    /// speed.
    async fn now_micros(&self) -> anyhow::Result<i64> {
        Ok(wall_micros())
    }

    async fn lateness(&self, since_micros: i64, delay: Duration) -> anyhow::Result<Lateness> {
        const SETTLED: &str = concat!(
            settled_since!("outcome.settled_us - event.accepted_us - ?2"),
            " AND event.accepted_us + ?2 >= ?1"
        );
        let late: Vec<i64> = query_scalar(SETTLED)
            .bind(since_micros)
            .bind(i64::try_from(delay.as_micros())?)
            .fetch_all(&mut self.read().await?)
            .await?;
        Ok(Lateness::of(late))
    }

    async fn pick_up(
        &self,
        since_micros: i64,
        delay: Duration,
        keys: &[String],
        times: &[String],
    ) -> anyhow::Result<Lateness> {
        const SETTLED: &str = concat!(
            settled_since!("event.key, event.accepted_us + ?2"),
            " AND event.accepted_us + ?2 >= ?1"
        );
        let mut begun: HashMap<&str, i64> = HashMap::with_capacity(keys.len());
        for (key, time) in keys.iter().zip(times) {
            let micros = time.parse::<jiff::Timestamp>()?.as_microsecond();
            let first = begun.entry(key).or_insert(micros);
            *first = micros.min(*first);
        }
        let due: Vec<(String, i64)> = query_as(SETTLED)
            .bind(since_micros)
            .bind(i64::try_from(delay.as_micros())?)
            .fetch_all(&mut self.read().await?)
            .await?;
        let late = due
            .iter()
            .filter_map(|(key, due)| Some(begun.get(key.as_str())? - due));
        Ok(Lateness::of(late.collect()))
    }

    async fn settled(&self, since_micros: i64, interval: Duration) -> anyhow::Result<Settled> {
        let mut times: Vec<i64> = query_scalar(settled_since!("outcome.settled_us"))
            .bind(since_micros)
            .fetch_all(&mut self.read().await?)
            .await?;
        times.sort_unstable();
        let first = times.first().copied().unwrap_or(0);
        let seconds = super::float(times.last().map_or(0, |last| last - first)) / 1e6;
        let micros = i64::try_from(interval.as_micros())?;
        let intervals =
            times.chunk_by(|one, next| (one - first) / micros == (next - first) / micros);
        let rows: Vec<_> = intervals
            .map(|part| {
                Ok((
                    (part[0] - first) / micros,
                    i64::try_from(part.len())?,
                    seconds,
                ))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Settled::of(&rows, interval))
    }

    async fn preload(
        &self,
        progress: &Progress,
        preload: Preload,
        count: u64,
    ) -> anyhow::Result<()> {
        let mut connection = self.write(SqliteSynchronous::Off).await?;
        preload::write(&mut connection, progress, preload, count).await?;
        Ok(connection.close().await?)
    }

    /// The hashes of the keys stay those of the other kind, which only accepting looks at.
    async fn spread_over_kinds(&self, kinds: usize) -> anyhow::Result<()> {
        let mut connection = self.write(SqliteSynchronous::Full).await?;
        let mut transaction = connection.begin().await?;
        query("DELETE FROM kinds")
            .execute(&mut *transaction)
            .await?;
        for number in 0..kinds {
            query("INSERT INTO kinds (kind, name) VALUES (?1, 'kind-' || ?1)")
                .bind(i64::try_from(number)?)
                .execute(&mut *transaction)
                .await?;
        }
        for table in ["events", "queue"] {
            let spread = format!("UPDATE {table} SET kind = id % {kinds}");
            query(AssertSqlSafe(spread))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(connection.close().await?)
    }

    async fn make_due(&self, delay: Duration) -> anyhow::Result<()> {
        let mut connection = self.write(SqliteSynchronous::Full).await?;
        let now = wall_micros();
        query("UPDATE queue SET due_us = due_us - ?1 WHERE due_us BETWEEN ?2 AND ?2 + ?1")
            .bind(i64::try_from(delay.as_micros())?)
            .bind(now)
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    async fn await_processed(
        &self,
        progress: &Progress,
        due: i64,
        _waiting: i64,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        progress.begin("until all are processed", u64::try_from(due).unwrap_or(1));
        loop {
            // It looks at one entry of the index per kind, and so costs the same however many
            // events there are.
            let is_one_due: bool = query_scalar(
                "SELECT EXISTS (SELECT 1 FROM kinds CROSS JOIN queue ON queue.kind = kinds.kind
                                WHERE queue.due_us <= ?1)",
            )
            .bind(wall_micros() + i64::try_from(SOON.as_micros())?)
            .fetch_one(&mut self.read().await?)
            .await?;
            if !is_one_due {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "some of {due} events were still queued after {patience:?}",
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn remove(&self) -> anyhow::Result<()> {
        let folder = self.folder.lock();
        folder.expect("nothing panics under the lock").take();
        Ok(())
    }
}

impl SqliteTables {
    async fn read(&self) -> anyhow::Result<SqliteConnection> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(BUSY);
        SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("failed to read {}", self.path.display()))
    }

    /// No server may be running.
    async fn write(&self, synchronous: SqliteSynchronous) -> anyhow::Result<SqliteConnection> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .synchronous(synchronous)
            .pragma("cache_size", "-262144")
            .busy_timeout(BUSY);
        SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("failed to write {}", self.path.display()))
    }
}

/// The length of the file with this ending, zero if there is none.
fn file_bytes(path: &Path, ending: &str) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    std::fs::metadata(name).map_or(0, |file| file.len())
}

fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use webhook_core::{Accepted, NewEvent, Store as _};
    use webhook_sqlite::SqliteStore;

    use super::*;

    #[tokio::test]
    async fn preloaded_events_are_those_that_a_store_writes() {
        const COUNT: u64 = 1_234;
        for (preload, queued) in [
            (Preload::Due, 1_234),
            (Preload::Waiting, 1_234),
            (Preload::Processed, 0),
        ] {
            let database = create("test").unwrap();
            let path = database.url.strip_prefix("sqlite:").unwrap().to_owned();
            SqliteStore::open(&path).await.unwrap().close().await;
            let tables = database.tables().unwrap();
            tables
                .preload(&Progress::new(), preload, COUNT)
                .await
                .unwrap();
            let counts = tables.counts().await.unwrap();
            assert_eq!(
                (counts.events, counts.queued),
                (1_234, queued),
                "{preload:?}"
            );

            let store = SqliteStore::open(&path).await.unwrap();
            let again: Vec<NewEvent> = (0..COUNT)
                .map(|number| NewEvent::new(preload::envelope(number).unwrap(), Duration::ZERO))
                .collect();
            let answers = store.accept(&again).await.unwrap();
            assert!(
                answers.iter().all(|it| *it == Accepted::Duplicate),
                "{answers:?}"
            );
            store.close().await;
        }
    }
}
