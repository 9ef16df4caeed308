//! Tests of migration lines that apps add to the library's own.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use inbox::event;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;
use webhook_core::Store;
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{MigrationLine, PgError, PgOptions, PgStore, sqlx};

/// A line whose name and migration contain quotes.
const KEYS: MigrationLine = MigrationLine::new("app's keys", &[CREATE_KEYS]);

/// The same line in a newer program.
const MORE_KEYS: MigrationLine = MigrationLine::new(
    "app's keys",
    &[
        CREATE_KEYS,
        (
            "create_count",
            "CREATE VIEW webhook.key_count AS SELECT count(*) FROM webhook.keys",
        ),
    ],
);

const CREATE_KEYS: (&str, &str) = (
    "create the view of all 'keys'",
    "CREATE VIEW webhook.keys AS SELECT key, current_setting('search_path') AS path
     FROM webhook.events",
);

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Returns the recorded lines, as `line/version/name`.
async fn recorded(connection: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT concat_ws('/', line, version, name) FROM webhook.line_migrations ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

async fn exists(connection: &mut PgConnection, relation: &str) -> bool {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(relation)
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_may_migrate_a_line_at_once() {
    let database = TestDatabase::create().await;
    let mut migrating = JoinSet::new();
    for number in 0..10 {
        let url = if number % 2 == 0 {
            database.url()
        } else {
            database.pooler_url()
        };
        let store = PgStore::connect(url).await.unwrap();
        migrating.spawn(async move {
            store.migrate_with(&[KEYS]).await.unwrap();
            store.close().await;
        });
    }
    migrating.join_all().await;
    let mut connection = database.connection().await;
    let expected = ["app's keys/1/create the view of all 'keys'"];
    assert_eq!(recorded(&mut connection).await, expected);
    database.drop_database().await;
}

#[tokio::test]
async fn line_may_be_added_to_a_migrated_database_and_grow() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    assert!(!exists(&mut connection, "webhook.line_migrations").await);
    store.migrate_with(&[KEYS]).await.unwrap();
    let row: (String, String) = sqlx::query_as("SELECT key, path FROM webhook.keys")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.0, "a");
    store.migrate_with(&[MORE_KEYS]).await.unwrap();
    assert!(exists(&mut connection, "webhook.key_count").await);
    assert_eq!(recorded(&mut connection).await.len(), 2);
    // Programs that do not know the line use the same schema.
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn line_of_a_newer_program_is_refused() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate_with(&[MORE_KEYS]).await.unwrap();
    let error = store.migrate_with(&[KEYS]).await.unwrap_err();
    assert!(
        matches!(
            error,
            PgError::NewerLine {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("`app's keys`"), "{error}");
    store.close().await;
    database.drop_database().await;
}

/// The library's own migrations are rolled back together with the line.
#[tokio::test]
async fn line_that_fails_leaves_nothing_behind() {
    const BROKEN: MigrationLine = MigrationLine::new(
        "broken",
        &[CREATE_KEYS, ("select_nothing", "SELECT nothing")],
    );
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let error = store.migrate_with(&[BROKEN]).await.unwrap_err();
    assert!(
        matches!(
            error,
            PgError::Migration {
                name: "select_nothing",
                ..
            }
        ),
        "{error:?}"
    );
    let mut connection = database.connection().await;
    assert!(!exists(&mut connection, "webhook.migrations").await);
    store.close().await;
    database.drop_database().await;
}

/// The search path of a role or database may contain operators with a different meaning.
#[tokio::test]
async fn lines_run_with_the_settings_of_the_library() {
    const PATH: MigrationLine = MigrationLine::new(
        "path",
        &[(
            "note_the_path",
            "CREATE TABLE webhook.path AS SELECT current_setting('search_path') AS path",
        )],
    );
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "DO $$ BEGIN
           EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
         END $$",
    )
    .await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate_with(&[PATH]).await.unwrap();
    let path: String = sqlx::query_scalar("SELECT path FROM webhook.path")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(path.starts_with("pg_catalog"), "{path}");
    store.close().await;
    database.drop_database().await;
}

/// When no migration is pending, a role only needs the rights to use the tables.
#[tokio::test]
async fn migrated_line_needs_no_rights_to_change_the_schema() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate_with(&[KEYS]).await.unwrap();
    let mut connection = database.connection().await;
    let role = format!("webhook_test_line_role_{}", std::process::id());
    run(
        &mut connection,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret';
             GRANT USAGE ON SCHEMA webhook TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA webhook TO {role}"
        ),
    )
    .await;
    let mut options: PgOptions = database.url().parse().unwrap();
    options.connection = options.connection.username(&role).password("secret");
    let app = PgStore::connect_with(options).await.unwrap();
    app.migrate_with(&[KEYS]).await.unwrap();
    app.accept(&[event("a")]).await.unwrap();
    let error = app.migrate_with(&[MORE_KEYS]).await.unwrap_err();
    assert!(matches!(error, PgError::Migration { .. }), "{error:?}");
    app.close().await;
    store.close().await;
    run(
        &mut connection,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    )
    .await;
    drop(connection);
    database.drop_database().await;
}

/// A view with the name of one that a line would create belongs to the app and is kept.
#[tokio::test]
async fn line_does_not_replace_what_the_app_has_made() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE TABLE webhook.keys (id bigint); INSERT INTO webhook.keys VALUES (7)",
    )
    .await;
    let error = store.migrate_with(&[KEYS]).await.unwrap_err();
    assert!(matches!(error, PgError::Migration { .. }), "{error:?}");
    let kept: i64 = sqlx::query_scalar("SELECT id FROM webhook.keys")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 7);
    store.migrate().await.unwrap();
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn trigger_on_the_record_of_lines_is_refused() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate_with(&[KEYS]).await.unwrap();
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER swallow BEFORE INSERT ON webhook.line_migrations
         FOR EACH ROW EXECUTE FUNCTION public.t()",
    )
    .await;
    let error = store.migrate_with(&[MORE_KEYS]).await.unwrap_err();
    assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
    assert!(error.to_string().contains("trigger swallow"), "{error}");
    store.close().await;
    database.drop_database().await;
}
