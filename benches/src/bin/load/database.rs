//! The databases of the measurements, one per setting, and what is asked of them.

mod postgres;
pub(crate) mod sqlite;

pub(crate) use postgres::Cluster;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use serde::Serialize;

use crate::backend::Backend;
use crate::progress::Progress;
use crate::recording::Point;

/// One database. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) backend: Backend,
    pub(crate) url: String,
    /// Its URL through a pooler, if there is one.
    pub(crate) pooler_url: Option<String>,
    /// `None` in memory.
    tables: Option<Arc<dyn Tables>>,
}

impl Database {
    /// The memory of the server that gets this URL, which nobody else can look into.
    pub(crate) fn in_memory() -> Self {
        Self {
            backend: Backend::Memory,
            url: "memory:".to_owned(),
            pooler_url: None,
            tables: None,
        }
    }

    /// Returns the tables, for scenarios that are not run in memory.
    pub(crate) fn tables(&self) -> anyhow::Result<&dyn Tables> {
        let tables = self.tables.as_deref();
        tables.context("the memory of a server has no tables to look into")
    }
}

/// The tables of the inbox in one database, read beside the servers that use it.
#[async_trait]
pub(crate) trait Tables: fmt::Debug + Send + Sync {
    async fn counts(&self) -> anyhow::Result<Counts>;

    async fn table_sizes(&self) -> anyhow::Result<Vec<TableSize>>;

    /// Returns how much write-ahead log was written so far, if the database counts it.
    async fn wal_bytes(&self) -> anyhow::Result<Option<i64>>;

    /// Returns how many transactions ended so far, if the database counts them.
    async fn transactions(&self) -> anyhow::Result<Option<i64>>;

    /// Returns the age of the oldest due event in seconds, or zero if none is due.
    async fn lag_seconds(&self) -> anyhow::Result<f64>;

    /// Counts the events that are due and not yet settled.
    async fn due(&self) -> anyhow::Result<i64>;

    /// Counts the events that are not yet settled.
    async fn queued(&self) -> anyhow::Result<i64>;

    /// Reads the database's clock, for queries about what happens from now on.
    async fn now_micros(&self) -> anyhow::Result<i64>;

    /// Returns how long past their due time events were settled, for those that fell due from
    /// `since_micros` on, `delay` after they were accepted.
    async fn lateness(&self, since_micros: i64, delay: Duration) -> anyhow::Result<Lateness>;

    /// Returns how long past their due time the handlers of those events began, from the keys and
    /// times in the log.
    async fn pick_up(
        &self,
        since_micros: i64,
        delay: Duration,
        keys: &[String],
        times: &[String],
    ) -> anyhow::Result<Lateness>;

    /// Returns the rate at which events were settled since then, from the first to the last, with
    /// one point per `interval`.
    async fn settled(&self, since_micros: i64, interval: Duration) -> anyhow::Result<Settled>;

    /// Writes `count` events; call it at most once per database.
    async fn preload(
        &self,
        progress: &Progress,
        preload: Preload,
        count: u64,
    ) -> anyhow::Result<()>;

    /// Spreads all events, which must be in the queue, over `kinds` kinds: `kind-0` and so on.
    async fn spread_over_kinds(&self, kinds: usize) -> anyhow::Result<()>;

    /// Makes events due that are due within `delay`, while no server is running.
    async fn make_due(&self, delay: Duration) -> anyhow::Result<()>;

    /// Waits until no more than `waiting` events are queued, which should be when `due` more have
    /// ended.
    async fn await_processed(
        &self,
        progress: &Progress,
        due: i64,
        waiting: i64,
        patience: Duration,
    ) -> anyhow::Result<()>;

    /// Closes the connections, and removes the database.
    async fn remove(&self) -> anyhow::Result<()>;
}

/// The number of events in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Counts {
    pub(crate) events: i64,
    pub(crate) queued: i64,
    pub(crate) processed: i64,
    pub(crate) failed: i64,
}

/// A table with its indexes, or a file.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub(crate) struct TableSize {
    pub(crate) name: String,
    pub(crate) table_bytes: i64,
    pub(crate) index_bytes: i64,
    pub(crate) live_rows: i64,
    pub(crate) dead_rows: i64,
}

impl TableSize {
    pub(crate) fn title(&self) -> String {
        match self.index_bytes {
            0 => self.name.clone(),
            _ => format!("{} and its indexes", self.name),
        }
    }
}

/// How long past their due time events reached some point, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Lateness {
    pub(crate) events: i64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Negative if an event reached it before it was due.
    pub(crate) min: f64,
}

impl Lateness {
    /// Summarises times in microseconds.
    fn of(mut late: Vec<i64>) -> Self {
        late.sort_unstable();
        let millis = |micros: Option<&i64>| micros.map_or(0.0, |micros| float(*micros) / 1000.0);
        let at = |thousandths: usize| {
            let last = late.len().saturating_sub(1);
            millis(late.get(last * thousandths / 1000))
        };
        Self {
            events: i64::try_from(late.len()).unwrap_or(i64::MAX),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            max: millis(late.last()),
            min: millis(late.first()),
        }
    }
}

/// The state of preloaded events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preload {
    /// Due since a minute ago.
    Due,
    /// Due long after the run.
    Waiting,
    /// Processed an hour ago.
    Processed,
}

impl Preload {
    /// How far from now these events are due, or were settled.
    fn distance(self) -> Duration {
        match self {
            Self::Due => Duration::from_mins(1),
            Self::Waiting => Duration::from_hours(24),
            Self::Processed => Duration::from_hours(1),
        }
    }
}

/// The course of processing.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The time from the first settled event to the last.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) points: Vec<Point>,
}

impl Settled {
    /// Makes it of rows: the number of an interval, how many events were settled in it, and the time
    /// from the first settled event to the last in seconds.
    fn of(rows: &[(i64, i64, f64)], interval: Duration) -> Self {
        let total: i64 = rows.iter().map(|(_, count, _)| count).sum();
        let seconds = rows.first().map_or(0.0, |(_, _, seconds)| *seconds);
        let per_second = if seconds > 0.0 {
            float(total) / seconds
        } else {
            0.0
        };
        Self {
            seconds,
            per_second,
            points: rows
                .iter()
                .map(|(index, count, _)| Point {
                    at: (float(*index) + 1.0) * interval.as_secs_f64(),
                    per_second: float(*count) / interval.as_secs_f64(),
                    p50: 0.0,
                    p99: 0.0,
                    max: 0.0,
                })
                .collect(),
        }
    }
}

/// How much a number that the database may not count has grown since `before`.
pub(crate) fn grown(before: Option<i64>, now: Option<i64>) -> Option<i64> {
    Some(now? - before?)
}

#[expect(clippy::cast_precision_loss, reason = "no count here reaches 2^52")]
pub(crate) fn float(count: i64) -> f64 {
    count as f64
}
