//! The planner keeps to the indexes, whatever it has seen of the tables.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::admin::search;
use crate::options::PgOptions;
use crate::session::{Database, Engine, Session};
use crate::store::PgStore;
use crate::testing::TestDatabase;

/// The statements whose plans are kept, with arguments for them.
const STATEMENTS: [(&str, &str, &str); 40] = [
    (
        "accept",
        include_str!("accept/insert.sql"),
        "ARRAY['k','k'], ARRAY['new-1','new-2'], ARRAY['','']::bytea[], ARRAY['','']::bytea[], \
         ARRAY[0,0]::bigint[], '{}'::bytea[], '{}'::text[]",
    ),
    (
        "look_guards",
        include_str!("accept/look_guards.sql"),
        "ARRAY['k','k'], ARRAY['1','2']::bytea[]",
    ),
    (
        "look",
        include_str!("accept/look.sql"),
        "ARRAY['k','k'], ARRAY['1','2']",
    ),
    (
        "find",
        include_str!("find.sql"),
        "ARRAY['k','k'], ARRAY['1','2']",
    ),
    (
        "claim",
        include_str!("claim.sql"),
        "ARRAY['j','k'], ARRAY[1,256]::bigint[], ARRAY[60000000,60000000]::bigint[], \
         ARRAY[10,10]::integer[], ARRAY[0,0]::bigint[], 'spent', 'lost', 16",
    ),
    (
        "extend",
        include_str!("extend.sql"),
        "ARRAY[1,2]::bigint[], ARRAY[1,1]::bigint[], 60000000",
    ),
    (
        "settle",
        include_str!("settle.sql"),
        "ARRAY[1,2,3]::bigint[], ARRAY[1,1,1]::bigint[], ARRAY[0,1,2]::smallint[], \
         ARRAY[0,0,0]::bigint[], ARRAY[NULL,'','']::text[], 16, '{}'::bytea[]",
    ),
    (
        "citus_claim",
        include_str!("citus/claim.sql"),
        "ARRAY['j','k'], ARRAY[1,256]::bigint[], ARRAY[60000000,60000000]::bigint[], \
         ARRAY[10,10]::integer[], ARRAY[0,0]::bigint[]",
    ),
    (
        "citus_settle",
        include_str!("citus/settle.sql"),
        "ARRAY[1,2]::bigint[], ARRAY[1,1]::bigint[], ARRAY[0,3]::smallint[], ARRAY[0,0]::bigint[]",
    ),
    (
        "citus_insert_queue",
        include_str!("citus/insert_queue.sql"),
        "ARRAY[1,2]::bigint[]",
    ),
    (
        "make_due",
        include_str!("admin/make_due.sql"),
        "ARRAY['k','k'], ARRAY['1','2'], true",
    ),
    (
        "requeue_failed",
        include_str!("accept/requeue_failed.sql"),
        "ARRAY[1,2]::bigint[], ARRAY[0,0]::bigint[]",
    ),
    (
        "record_conflicts",
        include_str!("accept/record_conflicts.sql"),
        "ARRAY[1,2]::bigint[], ARRAY[1,1]::bigint[], ARRAY[1,2]::bigint[], ARRAY[0,0]::bigint[], \
         ARRAY['','']::bytea[], ARRAY['','']::bytea[], ARRAY[0,0]::bigint[], 16",
    ),
    (
        "requeue",
        include_str!("admin/requeue.sql"),
        "ARRAY['k','k'], ARRAY['1','2']",
    ),
    (
        "delete_events",
        include_str!("admin/delete.sql"),
        "ARRAY['k','k'], ARRAY['1','2']",
    ),
    (
        "erase",
        include_str!("admin/erase.sql"),
        "ARRAY['k','k'], ARRAY['1','2']",
    ),
    ("conflicts", include_str!("admin/conflicts.sql"), "'k', '1'"),
    (
        "failed_attempts",
        include_str!("admin/failed_attempts.sql"),
        "'k', '1'",
    ),
    ("counts", include_str!("admin/counts.sql"), "'k'"),
    ("lag", include_str!("admin/lag.sql"), "'k'"),
    ("settled", include_str!("admin/settled.sql"), "'k', 1000"),
    (
        "delete_bodies",
        include_str!("admin/delete_bodies.sql"),
        "'k', 1000, 100",
    ),
    (
        "prune",
        include_str!("admin/prune.sql"),
        "'k', false, 1000, 100",
    ),
    ("kinds", include_str!("admin/kinds.sql"), ""),
    ("resume", include_str!("admin/resume.sql"), "'k'"),
    (
        "export",
        include_str!("transfer/export.sql"),
        "10, 100, 1000000",
    ),
    (
        "export_conflicts",
        include_str!("transfer/export_conflicts.sql"),
        "10, 100",
    ),
    (
        "export_failed_attempts",
        include_str!("transfer/export_failed_attempts.sql"),
        "10, 100",
    ),
    ("newest", include_str!("transfer/newest.sql"), ""),
    ("mark", include_str!("transfer/mark.sql"), ""),
    (
        "search_all",
        search::ALL,
        "1000000, 10, 2000, 51, ARRAY['k'], NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[NULL, NULL]::bigint[]",
    ),
    (
        "search_failed",
        search::FAILED,
        "1000000, 10, 2000, 51, ARRAY['k'], NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[NULL, NULL]::bigint[]",
    ),
    (
        "search_processing",
        search::PROCESSING,
        "1000000, 10, 2000, 51, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[NULL, NULL]::bigint[]",
    ),
    (
        "search_of_key",
        search::OF_KEY,
        "1000000, 10, 2000, 51, ARRAY['k'], NULL, '1', NULL, NULL, NULL, NULL, ARRAY[NULL, NULL]::bigint[]",
    ),
    (
        "search_of_type",
        search::OF_TYPE,
        "1000000, 10, 2000, 51, ARRAY['j','k'], NULL, NULL, 'frequent', NULL, NULL, NULL, ARRAY[NULL, NULL]::bigint[]",
    ),
    (
        "first_since",
        include_str!("admin/search/first_since.sql"),
        "ARRAY[0, 1]::bigint[]",
    ),
    (
        "sample",
        include_str!("admin/sample.sql"),
        "ARRAY['j','k'], 100001",
    ),
    (
        "list_failed",
        include_str!("admin/list_failed.sql"),
        "'k', 10, 100, NULL, 'rare'",
    ),
    (
        "list_processed",
        include_str!("admin/list_processed.sql"),
        "'k', 10, 100, NULL, 'rare'",
    ),
    (
        "list_processing",
        include_str!("admin/list_processing.sql"),
        "'k', 10, 100, NULL, 'rare'",
    ),
];

/// As many as make a scan of all of them a thousand times dearer than a batch.
const MANY: i64 = 300_000;

async fn migrated(database: &TestDatabase) -> PgConnection {
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let options: PgOptions = database.url().parse().unwrap();
    let connection: PgConnectOptions = options.connection;
    Database::set_up(connection, options.statement_timeout, Engine::Postgres)
        .connect()
        .await
        .unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Prepares the statements once, as the pool's connections do, and asserts on their plans.
async fn assert_plans(connection: &mut PgConnection, mode: &str) {
    run(connection, "DEALLOCATE ALL").await;
    run(connection, &format!("SET plan_cache_mode = {mode}")).await;
    for (name, sql, arguments) in STATEMENTS {
        run(connection, &format!("PREPARE {name} AS {sql}")).await;
        assert_plan(connection, name, arguments).await;
    }
}

async fn assert_plan(connection: &mut PgConnection, name: &str, arguments: &str) {
    let arguments = match arguments {
        "" => String::new(),
        arguments => format!("({arguments})"),
    };
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {name}{arguments}"));
    let rows = sqlx::raw_sql(explain).fetch_all(connection).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    for line in plan.lines() {
        // CTEs hold one batch or the kinds, work tables one kind, functions one array.
        let reads_a_table = line.contains(" Scan on ")
            && !line.contains("CTE Scan")
            && !line.contains("WorkTable Scan")
            && !line.contains("Function Scan")
            && !line.contains("Subquery Scan");
        assert!(!reads_a_table, "{name}: {line}\n{plan}");
    }
    // Every index scan is narrowed by a condition: by id, by kind and due time, by kind and key.
    let scans = ["Index Scan using", "Index Scan Backward", "Index Only Scan"];
    let scans = scans
        .map(|scan| plan.matches(scan).count())
        .iter()
        .sum::<usize>();
    assert_eq!(plan.matches("Index Cond").count(), scans, "{name}\n{plan}");
    assert!(scans > 0, "{name}\n{plan}");
    // A comparison of rows ends a scan by its first column only.
    assert!(!plan.contains("ROW("), "{name}\n{plan}");
}

async fn fill(connection: &mut PgConnection) {
    run(
        connection,
        &format!(
            "INSERT INTO webhook.events
               (kind, key, fingerprint, body, accepted_at, due_at, event_type)
             SELECT 'k', number::text, '', '', now(), now(),
                    CASE WHEN number % 1000 < 2 THEN 'rare' WHEN number % 3 = 0 THEN 'frequent' END
             FROM generate_series(1, {MANY}) number;
             INSERT INTO webhook.guards (id, kind, guard)
             SELECT id, kind, convert_to(key, 'UTF8') FROM webhook.events WHERE id % 3 = 0;
             INSERT INTO webhook.queue (id, kind, due_at, leased_until, fence, attempts)
             SELECT id, kind, due_at, CASE WHEN id < 5000 THEN now() + interval '1 h' END, 1, 1
             FROM webhook.events WHERE id % 2 = 0;
             INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at)
             SELECT id, kind, id % 100 = 1, 1, 1, now() FROM webhook.events WHERE id % 2 = 1;
             INSERT INTO webhook.paused_kinds (kind, paused_at)
             SELECT 'paused-' || number, now() FROM generate_series(1, 10000) number"
        ),
    )
    .await;
}

#[tokio::test]
async fn every_access_is_by_index_whatever_the_planner_has_seen() {
    let database = TestDatabase::create().await;
    let mut connection = migrated(&database).await;
    for mode in ["force_generic_plan", "force_custom_plan"] {
        assert_plans(&mut connection, mode).await;
    }
    // Analysed while empty, as an idle queue is.
    run(&mut connection, "VACUUM ANALYZE").await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        assert_plans(&mut connection, mode).await;
    }
    // The plans that were made for no rows, with many.
    fill(&mut connection).await;
    for (name, _, arguments) in STATEMENTS {
        assert_plan(&mut connection, name, arguments).await;
    }
    // Never analysed since, then analysed.
    assert_plans(&mut connection, "force_generic_plan").await;
    run(&mut connection, "VACUUM ANALYZE").await;
    for mode in ["force_generic_plan", "force_custom_plan"] {
        assert_plans(&mut connection, mode).await;
    }
    // Idle again: settled, and analysed after that.
    run(&mut connection, "DELETE FROM webhook.queue").await;
    run(&mut connection, "VACUUM ANALYZE").await;
    for mode in ["force_generic_plan", "force_custom_plan"] {
        assert_plans(&mut connection, mode).await;
    }
    drop(connection);
    database.drop_database().await;
}

/// A page of a rare kind is best found by that kind, one of a frequent kind by the ids.
#[tokio::test]
async fn plans_are_kept_but_for_statements_that_need_their_own() {
    const MODE: &str = "SELECT pg_catalog.current_setting('plan_cache_mode') AS mode";
    let database = TestDatabase::create().await;
    for (url, kept) in [
        (database.url(), "force_generic_plan"),
        // Nothing stays prepared there.
        (database.pooler_url(), "force_custom_plan"),
    ] {
        let store = PgStore::connect(url).await.unwrap();
        let mut session = Session::Pool(&store.inner.database);
        let mode = |rows: Vec<PgRow>| rows[0].get::<String, _>("mode");
        for _ in 0..2 {
            let rows = session.rows(MODE, |query| query).await.unwrap();
            assert_eq!(mode(rows), kept, "{url}");
            let rows = session
                .rows_planned_anew(MODE, |query| query)
                .await
                .unwrap();
            assert_eq!(mode(rows), "force_custom_plan", "{url}");
        }
        store.close().await;
    }
    database.drop_database().await;
}
