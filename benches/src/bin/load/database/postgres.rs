//! Databases on the PostgreSQL that `scripts/with-postgres` started.

mod preload;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, query, query_as, query_scalar};

use super::{Counts, Database, Lateness, Preload, Settled, TableSize, Tables};
use crate::backend::Backend;
use crate::process;
use crate::progress::Progress;

/// The SQLSTATE of insufficient_privilege.
const FORBIDDEN: &str = "42501";

/// Up to this number of rows, counting them is faster than waiting for statistics about them.
const CHEAP_TO_COUNT: i64 = 50_000;

/// The server that `scripts/with-postgres` started.
#[derive(Debug)]
pub(crate) struct Cluster {
    url: String,
    pooler_url: Option<String>,
    /// The process id of its postmaster, if it runs on this machine.
    pub(crate) postmaster: Option<u32>,
    pub(crate) pooler: Option<u32>,
    created: u32,
}

impl Cluster {
    /// Reads its address from the environment.
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let url = std::env::var("TEST_DATABASE_URL").context("TEST_DATABASE_URL is not set")?;
        let mut connection = connect(&url).await?;
        let backend: i32 = query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        // Only roles that may read all settings see it. Without it no pooler is watched.
        let directory: Option<String> = query_scalar("SHOW data_directory")
            .fetch_one(&mut connection)
            .await
            .ok();
        let backend = u32::try_from(backend).unwrap_or_default();
        // A server elsewhere has process ids of its own.
        let is_here = process::name(backend).is_some_and(|name| name.starts_with("postgres"));
        let pid_file = directory.map(|it| Path::new(&it).with_file_name("pgbouncer.pid"));
        Ok(Self {
            url,
            pooler_url: std::env::var("TEST_POOLER_URL").ok(),
            postmaster: process::parent(backend).filter(|_| is_here),
            pooler: pid_file
                .and_then(|file| std::fs::read_to_string(file).ok())
                .and_then(|pid| pid.trim().parse().ok()),
            created: 0,
        })
    }

    /// Connects to the server's maintenance database, which nothing else here uses.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.url).await
    }

    /// Creates an empty database.
    pub(crate) async fn create(&mut self, purpose: &str) -> anyhow::Result<Database> {
        self.created += 1;
        let name = format!("load_{}_{purpose}", self.created);
        let mut admin = self.connect().await?;
        query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await?;
        let url = with_database(&self.url, &name);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_with(url.parse::<PgConnectOptions>()?)
            .await?;
        Ok(Database {
            backend: Backend::Postgres,
            pooler_url: self
                .pooler_url
                .as_deref()
                .map(|url| with_database(url, &name)),
            url,
            tables: Some(Arc::new(PgTables {
                cluster_url: self.url.clone(),
                name,
                pool,
            })),
        })
    }

    /// Writes back the dirty pages of earlier runs, so that every run begins alike.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<()> {
        match query("CHECKPOINT")
            .execute(&mut self.connect().await?)
            .await
        {
            // This role must not ask the server for a checkpoint; go on without one.
            Err(sqlx::Error::Database(error)) if error.code() == Some(FORBIDDEN.into()) => Ok(()),
            result => Ok(result.map(|_| ())?),
        }
    }
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(&with_plain_text(url))
        .await
        .context("failed to connect to PostgreSQL")
}

/// Returns the URL of another database of the same server. TLS is off: its cost within one machine
/// would say nothing about the inbox.
fn with_database(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let server = match address.rsplit_once('/') {
        Some((server, _)) if !server.ends_with('/') => server,
        _ => address,
    };
    let mark = if query.is_empty() { "" } else { "?" };
    with_plain_text(&format!("{server}/{name}{mark}{query}"))
}

fn with_plain_text(url: &str) -> String {
    if url.contains("sslmode=") {
        return url.to_owned();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}sslmode=disable")
}

/// The tables of one database.
#[derive(Debug)]
struct PgTables {
    /// The URL of the server's maintenance database.
    cluster_url: String,
    name: String,
    pool: PgPool,
}

/// Selects how long past their due time events reached `at`, for events that fell due since a
/// moment.
macro_rules! lateness {
    ($happened:literal, $joined:literal) => {
        concat!(
            "SELECT events, coalesce(p[1], 0) AS p50, coalesce(p[2], 0) AS p90,
                    coalesce(p[3], 0) AS p99, coalesce(p[4], 0) AS p999, max, min
             FROM (
               SELECT count(*) AS events, coalesce(max(late), 0) AS max, coalesce(min(late), 0) AS min,
                      percentile_cont(ARRAY[0.5, 0.9, 0.99, 0.999]) WITHIN GROUP (ORDER BY late) AS p
               FROM (
                 SELECT (extract(epoch FROM at - due_at) * 1000)::float8 AS late
                 FROM (",
            $happened,
            ") AS happened JOIN webhook.events ",
            $joined,
            "    WHERE due_at >= timestamptz 'epoch' + $1 * interval '1 microsecond'
               ) AS late
             ) AS figures"
        )
    };
}

#[async_trait]
impl Tables for PgTables {
    async fn counts(&self) -> anyhow::Result<Counts> {
        Ok(query_as(
            "SELECT (SELECT count(*) FROM webhook.events) AS events,
                    (SELECT count(*) FROM webhook.queue) AS queued,
                    (SELECT count(*) FROM webhook.outcomes WHERE NOT failed) AS processed,
                    (SELECT count(*) FROM webhook.outcomes WHERE failed) AS failed",
        )
        .fetch_one(&self.pool)
        .await?)
    }

    async fn table_sizes(&self) -> anyhow::Result<Vec<TableSize>> {
        Ok(query_as(
            "SELECT relname::text AS name, pg_table_size(relid) AS table_bytes,
                    pg_indexes_size(relid) AS index_bytes,
                    n_live_tup AS live_rows, n_dead_tup AS dead_rows
             FROM pg_stat_user_tables
             WHERE schemaname = 'webhook' AND pg_table_size(relid) > 65536
             ORDER BY 2 + 3 DESC",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    async fn wal_bytes(&self) -> anyhow::Result<Option<i64>> {
        let bytes =
            query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
                .fetch_one(&self.pool)
                .await?;
        Ok(Some(bytes))
    }

    async fn lag_seconds(&self) -> anyhow::Result<f64> {
        Ok(query_scalar(
            "SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(due_at)), 0), 0)::float8
             FROM webhook.queue WHERE kind = 'transaction'",
        )
        .fetch_one(&self.pool)
        .await?)
    }

    async fn due(&self) -> anyhow::Result<i64> {
        Ok(
            query_scalar("SELECT count(*) FROM webhook.queue WHERE due_at <= clock_timestamp()")
                .fetch_one(&self.pool)
                .await?,
        )
    }

    async fn now_micros(&self) -> anyhow::Result<i64> {
        Ok(
            query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&self.pool)
                .await?,
        )
    }

    async fn lateness(&self, since_micros: i64, _delay: Duration) -> anyhow::Result<Lateness> {
        const SETTLED: &str = lateness!(
            "SELECT id, settled_at AS at FROM webhook.outcomes",
            "USING (id)"
        );
        Ok(query_as(SETTLED)
            .bind(since_micros)
            .fetch_one(&self.pool)
            .await?)
    }

    async fn pick_up(
        &self,
        since_micros: i64,
        _delay: Duration,
        keys: &[String],
        times: &[String],
    ) -> anyhow::Result<Lateness> {
        const BEGUN: &str = lateness!(
            "SELECT key, min(at::timestamptz) AS at FROM unnest($2::text[], $3::text[]) AS log (key, at)
             GROUP BY key",
            "USING (key)"
        );
        Ok(query_as(BEGUN)
            .bind(since_micros)
            .bind(keys)
            .bind(times)
            .fetch_one(&self.pool)
            .await?)
    }

    async fn settled(&self, since_micros: i64, interval: Duration) -> anyhow::Result<Settled> {
        let rows: Vec<(i64, i64, f64)> = query_as(
            "WITH settled AS (
               SELECT extract(epoch FROM settled_at)::float8 AS at FROM webhook.outcomes
               -- As the index for pruning has them: there may be millions from before.
               WHERE kind = 'transaction' AND failed IN (false, true)
                 AND stripped IN (false, true)
                 AND settled_at >= timestamptz 'epoch' + $1 * interval '1 microsecond'
             ), range AS (SELECT min(at) AS first, max(at) - min(at) AS seconds FROM settled)
             SELECT floor((at - first) / $2)::bigint, count(*), max(seconds)
             FROM settled, range GROUP BY 1 ORDER BY 1",
        )
        .bind(since_micros)
        .bind(interval.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        Ok(Settled::of(&rows, interval))
    }

    async fn preload(
        &self,
        progress: &Progress,
        preload: Preload,
        count: u64,
    ) -> anyhow::Result<()> {
        preload::write(&self.pool, progress, preload, count).await
    }

    async fn spread_over_kinds(&self, kinds: usize) -> anyhow::Result<()> {
        let spread = format!(
            "UPDATE webhook.events SET kind = 'kind-' || id % {kinds};
             UPDATE webhook.queue SET kind = 'kind-' || id % {kinds}"
        );
        sqlx::raw_sql(AssertSqlSafe(spread))
            .execute(&self.pool)
            .await?;
        // Remove the rows that the update left dead.
        for table in ["webhook.events", "webhook.queue"] {
            let vacuum = format!("VACUUM (FULL, ANALYZE) {table}");
            query(AssertSqlSafe(vacuum)).execute(&self.pool).await?;
        }
        Ok(())
    }

    async fn queued(&self) -> anyhow::Result<i64> {
        Ok(query_scalar("SELECT count(*) FROM webhook.queue")
            .fetch_one(&self.pool)
            .await?)
    }

    async fn await_processed(
        &self,
        progress: &Progress,
        due: i64,
        waiting: i64,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let before = self.inserted_outcomes().await?;
        let mut last = (before, Instant::now());
        progress.begin("until all are processed", u64::try_from(due).unwrap_or(1));
        loop {
            // Statistics cost nothing, but they come late and prove nothing. Counting slows the
            // workers down.
            let inserted = self.inserted_outcomes().await?;
            if inserted != last.0 {
                last = (inserted, Instant::now());
            }
            let done = inserted - before;
            progress.at(u64::try_from(done).unwrap_or(0), String::new());
            let is_cheap = due + waiting < CHEAP_TO_COUNT;
            if is_cheap || done >= due || last.1.elapsed() > Duration::from_secs(2) {
                let queued = self.queued().await?;
                if queued <= waiting {
                    return Ok(());
                }
                ensure!(
                    Instant::now() < deadline,
                    "{queued} of {due} events were still queued after {patience:?}",
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn transactions(&self) -> anyhow::Result<Option<i64>> {
        // Asked from another database, since the question is a transaction, too.
        let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
        let transactions = query_scalar(count)
            .bind(&self.name)
            .fetch_one(&mut connect(&self.cluster_url).await?)
            .await?;
        Ok(Some(transactions))
    }

    /// Events that a server without a worker took fall due by themselves.
    async fn make_due(&self, delay: Duration) -> anyhow::Result<()> {
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn remove(&self) -> anyhow::Result<()> {
        self.pool.close().await;
        let mut admin = connect(&self.cluster_url).await?;
        // Even if sessions are still connected.
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        query(AssertSqlSafe(drop)).execute(&mut admin).await?;
        Ok(())
    }
}

impl PgTables {
    async fn inserted_outcomes(&self) -> anyhow::Result<i64> {
        Ok(query_scalar(
            "SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_user_tables
             WHERE schemaname = 'webhook' AND relname = 'outcomes'",
        )
        .fetch_one(&self.pool)
        .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_another_database() {
        assert_eq!(
            with_database("postgres://u:p@h:1/postgres", "x"),
            "postgres://u:p@h:1/x?sslmode=disable"
        );
        assert_eq!(
            with_database("postgres://h?sslmode=require", "x"),
            "postgres://h/x?sslmode=require"
        );
    }
}
