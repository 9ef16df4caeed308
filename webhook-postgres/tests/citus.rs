//! Runs the statements for Citus on PostgreSQL, which takes them as well, in databases that claim to have the extension.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use sqlx::Row;
use webhook_core::conformance::{self, Backend, Case};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgStore, sqlx};

/// The themes of the conformance suite that run statements of `src/citus`.
const THEMES: [&str; 8] = [
    "accept", "together", "claim", "kinds", "lease", "budget", "settle", "pipeline",
];

/// A new database with an extension of this name, without anything in it.
async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql(
        "SET allow_system_table_mods = on;
         INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
         SELECT 1, 'citus', 10, 'pg_catalog'::regnamespace, false, '0'",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    database
}

fn run(case: &Case) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = database().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        let result = case.run(Backend::new(Arc::new(store.clone()))).await;
        store.close().await;
        database.drop_database().await;
        result.map_err(|failure| format!("{case:?}: {failure}"))
    })
}

#[test]
fn statements_for_citus_pass_the_conformance_suite_on_postgresql() {
    let mut chosen: Vec<&Case> = conformance::cases()
        .iter()
        .filter(|case| THEMES.contains(&case.theme()))
        .collect();
    assert!(chosen.len() > 50, "{}", chosen.len());
    chosen.reverse();
    let (open, failed) = (Mutex::new(chosen), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get) * 2;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = { open.lock().unwrap().pop() } {
                    if let Err(failure) = run(case) {
                        failed.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Citus cannot move a schema with an unlogged table while it is used.
#[tokio::test]
async fn all_tables_are_logged() {
    let database = database().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let unlogged = "SELECT count(*) FROM pg_class
                    WHERE relnamespace = 'webhook'::regnamespace AND relpersistence <> 'p'";
    let row = sqlx::raw_sql(unlogged)
        .fetch_one(&mut database.connection().await)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
    store.close().await;
    database.drop_database().await;
}
