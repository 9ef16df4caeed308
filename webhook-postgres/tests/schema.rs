//! Tests of several inboxes in one database, each in its own schema.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::time::Duration;

use sqlx::{Connection, Row};
use tokio::time::timeout;
use webhook_core::{
    Accepted, ActionPage, ActionRecord, Admin, MAX_ACTIONS, Outcome, Scheduler, Settlement, Store,
};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{MigrationLine, PgOptions, PgStore, Pooler, Schema, sqlx};

use inbox::{DEADLINE, claim, event, kind, reference};

const LINE: MigrationLine = MigrationLine::new(
    "reports",
    &[(
        "create_keys_view",
        "CREATE VIEW webhook.keys AS SELECT key FROM webhook.events",
    )],
);

async fn store_in(database: &TestDatabase, schema: &str) -> PgStore {
    let mut options: PgOptions = database.url().parse().unwrap();
    options.schema = Schema::new(schema).unwrap();
    let store = PgStore::connect_with(options).await.unwrap();
    store.migrate_with(&[LINE]).await.unwrap();
    store
}

async fn settle(store: &PgStore) {
    let claimed = inbox::claim_up_to(store, 9).await;
    let settlements: Vec<_> = claimed
        .events
        .iter()
        .map(|event| Settlement::new(event.lease, Outcome::Processed))
        .collect();
    store.settle(&settlements).await.unwrap();
}

#[tokio::test]
async fn inboxes_in_one_database_know_nothing_of_each_other() {
    let database = TestDatabase::create().await;
    let stores = [
        store_in(&database, "webhook").await,
        store_in(&database, "orders").await,
        store_in(&database, "table").await,
    ];
    // A key that another inbox uses is free.
    for (count, store) in (1..).zip(&stores) {
        for number in 0..count {
            let answers = store.accept(&[event(&format!("key-{number}"))]).await;
            assert_eq!(answers.unwrap(), [Accepted::New]);
        }
    }
    for (count, store) in (1..).zip(&stores) {
        let counts = store.counts(&kind()).await.unwrap();
        assert_eq!((counts.due, counts.processed), (count, 0));
    }
    settle(&stores[1]).await;
    let processed = stores
        .each_ref()
        .map(async |store| store.counts(&kind()).await.unwrap().processed);
    let mut counts = Vec::new();
    for processed in processed {
        counts.push(processed.await);
    }
    assert_eq!(counts, [0, 2, 0]);
    // Each inbox has the objects of its line, with its own rows in them.
    let mut connection = database.connection().await;
    for (schema, expected) in [("webhook", 1_i64), ("orders", 2), ("\"table\"", 3)] {
        let sql = format!("SELECT count(*) FROM {schema}.keys");
        let row = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        let row = row.fetch_one(&mut connection).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), expected, "{schema}");
    }
    for store in stores {
        store.close().await;
    }
    drop(connection);
    database.drop_database().await;
}

#[tokio::test]
async fn sizes_are_those_of_the_tables_of_the_schema_and_connections_are_counted() {
    let database = TestDatabase::create().await;
    let (store, other) = (
        store_in(&database, "orders").await,
        store_in(&database, "webhook").await,
    );
    let mut connection = database.connection().await;
    sqlx::raw_sql("CREATE TABLE orders.of_the_app (id bigint PRIMARY KEY)")
        .execute(&mut connection)
        .await
        .unwrap();
    let tables = store.table_sizes().await.unwrap();
    let sizes: Vec<u64> = tables.iter().map(|it| it.bytes).collect();
    assert!(sizes.is_sorted_by(|one, next| one >= next), "{tables:?}");
    for name in ["events", "queue", "outcomes", "of_the_app"] {
        let found: Vec<_> = tables.iter().filter(|it| it.name == name).collect();
        assert!(found.len() == 1 && found[0].bytes > 0, "{tables:?}");
    }
    let connections = store.connections();
    assert_eq!(connections.limit, 8);
    assert!(
        (1..=8).contains(&(connections.in_use + connections.idle)),
        "{connections:?}"
    );
    for store in [store, other] {
        store.close().await;
    }
    drop(connection);
    database.drop_database().await;
}

#[tokio::test]
async fn the_oldest_audit_records_make_room_for_new_ones() {
    let database = TestDatabase::create().await;
    let store = store_in(&database, "orders").await;
    let action = ActionRecord::new("ana", "pause", "order");
    let first = store.record_action(&action).await.unwrap();
    // As if as many had been recorded as are kept.
    let latest = i64::try_from(MAX_ACTIONS).unwrap();
    let mut connection = database.connection().await;
    let sql = format!(
        "INSERT INTO orders.actions OVERRIDING SYSTEM VALUE
         SELECT {latest}, at, actor, action, target, details, count, result FROM orders.actions;
         SELECT setval(pg_get_serial_sequence('orders.actions', 'id'), {latest})"
    );
    let copied = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    copied.execute(&mut connection).await.unwrap();
    let newest = store.record_action(&action).await.unwrap();
    assert_eq!((first.get(), newest.get()), (1, latest + 1));
    let kept = store.actions(&ActionPage::new(NonZeroUsize::MAX)).await;
    let kept: Vec<_> = kept.unwrap().iter().map(|it| it.id.get()).collect();
    assert_eq!(kept, [latest + 1, latest]);
    store.close().await;
    drop(connection);
    database.drop_database().await;
}

#[tokio::test]
async fn wake_ups_stay_within_an_inbox() {
    let database = TestDatabase::create().await;
    let waiting = store_in(&database, "orders").await;
    let (same, other) = (
        store_in(&database, "orders").await,
        store_in(&database, "webhook").await,
    );
    let kinds = [kind()];
    waiting.claim(&[claim(1)]).await.unwrap();
    // A listener begins with one wake-up, for notifications that it may have missed.
    let _ = timeout(Duration::from_secs(1), waiting.wait_for_work(&kinds)).await;
    waiting.claim(&[claim(1)]).await.unwrap();
    other.accept(&[event("a")]).await.unwrap();
    let woken = timeout(Duration::from_millis(500), waiting.wait_for_work(&kinds)).await;
    assert!(woken.is_err(), "woken by another inbox");
    same.accept(&[event("a")]).await.unwrap();
    let woken = timeout(DEADLINE, waiting.wait_for_work(&kinds)).await;
    assert_eq!(woken.unwrap(), [0]);
    for store in [waiting, same, other] {
        store.close().await;
    }
    database.drop_database().await;
}

#[tokio::test]
async fn an_inbox_takes_part_in_an_apps_transaction() {
    let database = TestDatabase::create().await;
    let options = database.url().parse().unwrap();
    let pool = sqlx::PgPool::connect_lazy_with(options);
    let schema: Schema = "orders".parse().unwrap();
    let store = PgStore::from_pool_in(pool.clone(), Pooler::None, schema);
    let store = store.await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    store
        .accept_all_in(&mut transaction, &[event("a")])
        .await
        .unwrap();
    assert_eq!(store.find(&[reference("a")]).await.unwrap(), [None]);
    transaction.commit().await.unwrap();
    let claimed = inbox::claim_up_to(&store, 1).await;
    let lease = claimed.events[0].lease;
    let mut transaction = connection.begin().await.unwrap();
    let settled = store.settle_processed_in(&mut transaction, lease).await;
    settled.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(store.counts(&kind()).await.unwrap().processed, 1);
    drop(connection);
    store.close().await;
    pool.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn foreign_objects_are_refused_in_a_schema_of_any_name() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let sql = "CREATE SCHEMA orders; CREATE TABLE orders.parcels ()";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    let mut options: PgOptions = database.url().parse().unwrap();
    options.schema = Schema::new("orders").unwrap();
    let store = PgStore::connect_with(options).await.unwrap();
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(error.contains("\"orders\".parcels"), "{error}");
    store.close().await;
    drop(connection);
    database.drop_database().await;
}
