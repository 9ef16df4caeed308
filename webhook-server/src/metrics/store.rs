//! The connections of the store, and how much room its events take.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use webhook_core::metrics::Metric;
use webhook_postgres::{Connections, PgStore};
use webhook_sqlite::SqliteStore;

use super::{Exporter, as_f64};

const CONNECTIONS: &str = "webhook_store_connections";
const CONNECTIONS_LIMIT: &str = "webhook_store_connections_limit";
const SIZE: &str = "webhook_store_size_bytes";

/// The metrics of stores.
pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        CONNECTIONS,
        &["state"],
        "Connections of this process to PostgreSQL, by state: in_use or idle. Missing with other backends.",
    ),
    Metric::gauge(
        CONNECTIONS_LIMIT,
        &[],
        "How many connections to PostgreSQL this process may have, beside one for health checks and one for \
         notifications; missing with other backends.",
    ),
    Metric::gauge(
        SIZE,
        &["table"],
        "Room on disk: of each table with its indexes in PostgreSQL, of the file (database) and its write-ahead log \
         (wal) with SQLite. Sampled with webhook_events; missing in memory.",
    ),
];

/// What can be measured of a backend beside its events.
#[derive(Clone, Debug)]
pub(crate) enum MeasuredStore {
    Postgres(PgStore),
    Sqlite(SqliteStore),
}

impl MeasuredStore {
    /// The sizes of the tables by their names.
    pub(super) async fn sizes(&self) -> Result<BTreeMap<String, u64>, SampleError> {
        match self {
            Self::Postgres(database) => {
                let tables = database.table_sizes().await?.into_iter();
                Ok(tables.map(|it| (it.name, it.bytes)).collect())
            }
            Self::Sqlite(file) => {
                let path = file.path().to_owned();
                let sizes = tokio::task::spawn_blocking(move || file_sizes(&path));
                Ok(sizes.await??)
            }
        }
    }
}

/// Why a store does not answer a sample.
pub(super) type SampleError = Box<dyn std::error::Error + Send + Sync>;

/// The sizes of an SQLite file and its log, which is not there before the first commit.
fn file_sizes(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let wal = fs::metadata(PathBuf::from(wal)).map_or(0, |file| file.len());
    let sizes = [("database", fs::metadata(path)?.len()), ("wal", wal)];
    Ok(sizes.map(|(name, bytes)| (name.to_owned(), bytes)).into())
}

/// Sets the metrics of connections, from memory. A process with several databases has the sums.
pub(super) fn show_connections(stores: &[MeasuredStore], exporter: &Exporter) {
    let pools = stores.iter().filter_map(|store| match store {
        MeasuredStore::Postgres(database) => Some(database.connections()),
        MeasuredStore::Sqlite(_) => None,
    });
    let pools: Vec<_> = pools.collect();
    if pools.is_empty() {
        return;
    }
    let sum = |of: fn(&Connections) -> u32| pools.iter().map(of).map(f64::from).sum();
    exporter.set(CONNECTIONS, &[("state", "in_use")], sum(|it| it.in_use));
    exporter.set(CONNECTIONS, &[("state", "idle")], sum(|it| it.idle));
    exporter.set(CONNECTIONS_LIMIT, &[], sum(|it| it.limit));
}

/// The sizes that are shown, so that those of tables that are gone can be removed.
#[derive(Debug, Default)]
pub(super) struct ShownSizes(BTreeMap<String, u64>);

impl ShownSizes {
    /// Shows these sizes in place of the former ones.
    pub(super) fn show(&mut self, sizes: BTreeMap<String, u64>, exporter: &Exporter) {
        for table in self.0.keys().filter(|it| !sizes.contains_key(*it)) {
            exporter.remove(SIZE, &[("table", table)]);
        }
        for (table, bytes) in &sizes {
            exporter.set(SIZE, &[("table", table)], as_f64(*bytes));
        }
        self.0 = sizes;
    }
}

/// Adds up the sizes of the tables of several databases.
pub(super) fn add(total: &mut BTreeMap<String, u64>, sizes: BTreeMap<String, u64>) {
    for (table, bytes) in sizes {
        *total.entry(table).or_default() += bytes;
    }
}

#[cfg(test)]
mod tests {
    use webhook_postgres::PgOptions;

    use super::*;
    use crate::metrics::Format;

    #[tokio::test]
    async fn a_database_that_was_not_reached_yet_has_the_metrics_of_others() {
        let mut options: PgOptions = "postgres://app@127.0.0.1:1/inbox".parse().unwrap();
        options.max_connections = 3;
        let store = || MeasuredStore::Postgres(PgStore::connect_lazy(options.clone()));
        let exporter = Exporter::of_process();
        show_connections(&[store(), store()], exporter);
        let metrics = exporter.text(Format::Prometheus).unwrap();
        for line in [
            "webhook_store_connections_limit 6.0",
            "webhook_store_connections{state=\"in_use\"} 0.0",
            "webhook_store_connections{state=\"idle\"} 0.0",
        ] {
            assert!(metrics.lines().any(|it| it == line), "{metrics}");
        }
        assert!(store().sizes().await.is_err());
    }

    #[test]
    fn sizes_are_those_of_the_file_and_of_its_log() {
        let folder = std::env::temp_dir().join(format!("webhook-sizes-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("webhook.db");
        assert!(file_sizes(&path).is_err());
        fs::write(&path, [0; 5]).unwrap();
        let sizes = |wal| [("database".to_owned(), 5), ("wal".to_owned(), wal)].into();
        assert_eq!(file_sizes(&path).unwrap(), sizes(0));
        fs::write(folder.join("webhook.db-wal"), [0; 7]).unwrap();
        assert_eq!(file_sizes(&path).unwrap(), sizes(7));
        fs::remove_dir_all(folder).unwrap();
    }
}
