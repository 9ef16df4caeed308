//! PostgreSQL and SQLite do what the memory backend does, operation by operation, and so do several
//! partitions of each.
//!
//! Random sequences of operations run against both; what they answer, what is found after each
//! operation, and what both hold in the end, must be the same. A sequence that differs is shrunk to the shortest that does.
//!
//! Both run on real clocks, so delays and leases are over at once, or not for an hour; and nothing
//! is due at the same instant as anything else, so that every order is the same.
//!
//! ```text
//! scripts/with-postgres --volatile cargo test -p simulation --test differential
//! PROPTEST_CASES=10000 scripts/with-postgres --volatile cargo test -p simulation --test differential
//! ```

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod operation;
mod pair;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use webhook_core::{Partition, PartitionOptions, Partitioned};
use webhook_memory::MemoryStore;
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgOptions, PgStore, Schema};
use webhook_sqlite::{SqliteOptions, SqliteStore};

use operation::Operation;
use pair::{Backend, Pair, new_kinds};

/// How many sequences, where `PROPTEST_CASES` says nothing else.
const CASES: u32 = 200;

/// The same for several partitions, whose operations are tested alone already.
const PARTITIONED_CASES: u32 = 30;

/// Longer than what is over at once.
const MOMENT: Duration = Duration::from_millis(3);

#[test]
fn postgres_answers_as_memory_does() {
    let runtime = runtime();
    let (database, store) = runtime.block_on(async {
        let database = TestDatabase::create().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        (database, store)
    });
    let ran = run(&runtime, &store);
    runtime.block_on(async {
        store.close().await;
        database.drop_database().await;
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

/// A file that writes keys to its index early, so that few events are enough.
fn open(runtime: &Runtime, file: &Path) -> SqliteStore {
    let options = SqliteOptions::new(file).with_recent_keys(3);
    runtime.block_on(SqliteStore::open_with(options)).unwrap()
}

#[test]
fn sqlite_answers_as_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let store = open(&runtime, &folder.path().join("webhook.db"));
    if let Err(error) = run(&runtime, &store) {
        panic!("{error}");
    }
}

#[test]
fn partitions_in_memory_answer_as_one_does() {
    let memory = || Arc::new(MemoryStore::default()) as Arc<dyn Partition>;
    let ran = run_partitioned(&runtime(), &[memory(), memory(), memory()]);
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[test]
fn partitions_in_sqlite_answer_as_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let open =
        |file: &str| -> Arc<dyn Partition> { Arc::new(open(&runtime, &folder.path().join(file))) };
    let ran = run_partitioned(&runtime, &[open("a.db"), open("b.db")]);
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[test]
fn partitions_in_postgres_answer_as_memory_does() {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::create());
    let stores = ["a", "b", "c"].map(|schema| {
        let mut options: PgOptions = database.url().parse().unwrap();
        options.schema = Schema::new(schema).unwrap();
        options.max_connections = 2;
        runtime.block_on(async {
            let store = PgStore::connect_with(options).await.unwrap();
            store.migrate().await.unwrap();
            Arc::new(store)
        })
    });
    let partitions = stores
        .each_ref()
        .map(|it| -> Arc<dyn Partition> { Arc::clone(it) as _ });
    let ran = run_partitioned(&runtime, &partitions);
    runtime.block_on(async {
        for store in stores {
            store.close().await;
        }
        database.drop_database().await;
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap()
}

/// Runs random sequences against `store` and a memory backend.
fn run(runtime: &Runtime, store: &impl Backend) -> Result<(), TestError<Vec<Operation>>> {
    run_cases(CASES, |sequence| {
        runtime.block_on(compare(Pair::new(store, new_kinds()), &sequence))
    })
}

/// Runs random sequences against all `partitions` together and a memory backend.
fn run_partitioned(
    runtime: &Runtime,
    partitions: &[Arc<dyn Partition>],
) -> Result<(), TestError<Vec<Operation>>> {
    run_cases(PARTITIONED_CASES, |sequence| {
        runtime.block_on(async {
            // One of the kinds has guards.
            let kinds = new_kinds();
            let options = PartitionOptions::default().with_whole_kinds([kinds[1].clone()]);
            let store = Partitioned::open(partitions.to_vec(), options)
                .await
                .unwrap();
            compare(Pair::new(&store, kinds), &sequence).await
        })
    })
}

fn run_cases(
    cases: u32,
    case: impl Fn(Vec<Operation>) -> Result<(), TestCaseError>,
) -> Result<(), TestError<Vec<Operation>>> {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    TestRunner::new(config).run(&operation::sequences(), case)
}

async fn compare(
    mut pair: Pair<'_, impl Backend>,
    sequence: &[Operation],
) -> Result<(), TestCaseError> {
    for (number, operation) in sequence.iter().enumerate() {
        let fail = |what: &str, (memory, other): (String, String)| {
            TestCaseError::fail(format!(
                "{what} {number}, {operation:?}\n  memory:   {memory}\n  other:  {other}"
            ))
        };
        let answers = pair.apply(operation).await;
        sleep(MOMENT).await;
        if answers.0 != answers.1 {
            return Err(fail("answers to operation", answers));
        }
        let views = pair.glance().await;
        if views.0 != views.1 {
            return Err(fail("what is found after operation", views));
        }
    }
    // Shrinking finds the operation from which on it differs.
    let views = pair.inspect().await;
    if views.0 != views.1 {
        let (memory, other) = views;
        return Err(TestCaseError::fail(format!(
            "what is held in the end\n  memory:   {memory}\n  other:  {other}"
        )));
    }
    Ok(())
}
