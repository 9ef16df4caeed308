//! Tests of migrating, which is explicit and happens once, whichever process comes first.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::error::Error as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use inbox::{event, reference};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use webhook_core::transfer::{MoveMark, Transfer};
use webhook_core::{
    Admin, DeleteBodies, EventRef, Fingerprint, FoundInbox, Key, Kind, Partition, State, Store,
    StoreError,
};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgError, PgOptions, PgStore, sqlx};

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql)
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

/// Ten stores migrate at once, each with its own pool, as ten processes would.
async fn ten_at_once(database: &TestDatabase, url: &str) {
    let mut stores = Vec::new();
    for _ in 0..10 {
        stores.push(PgStore::connect(url).await.unwrap());
    }
    let migrating: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| tokio::spawn(async move { store.migrate().await }))
        .collect();
    for migrated in migrating {
        migrated.await.unwrap().unwrap();
    }
    let mut connection = database.connection().await;
    let recorded = "SELECT count(*) FROM webhook.migrations";
    assert_eq!(number(&mut connection, recorded).await, 13);
    for store in stores {
        store.ping().await.unwrap();
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_may_migrate_at_once() {
    let database = TestDatabase::create().await;
    ten_at_once(&database, database.url()).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_may_migrate_at_once_through_a_pooler() {
    let database = TestDatabase::create().await;
    ten_at_once(&database, database.pooler_url()).await;
    database.drop_database().await;
}

#[tokio::test]
async fn new_database_has_one_view_and_no_functions() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await;
    let relations = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                     WHERE relnamespace = 'webhook'::regnamespace AND relkind NOT IN ('i', 'S')";
    let relations: String = sqlx::query_scalar(relations)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let expected = "actions conflict_bodies conflicts events failed_attempts guards inbox migrations move_mark nodes outcomes partition_mark paused_kinds queue";
    assert_eq!(relations, expected);
    let functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'webhook'::regnamespace";
    assert_eq!(number(&mut connection, functions).await, 0);
    store.close().await;
    database.drop_database().await;
}

/// All objects are in the schema `webhook`, and the app's own migrations table is untouched.
#[tokio::test]
async fn nothing_outside_the_schema_is_touched() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL);
         INSERT INTO _sqlx_migrations VALUES (1, 'the app''s own')",
    )
    .await;
    let elsewhere = "SELECT count(*) FROM pg_class
                     WHERE relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace)
                       AND relnamespace::regnamespace::text <> 'webhook'";
    let functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    let before = number(&mut connection, elsewhere).await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(number(&mut connection, elsewhere).await, before);
    assert_eq!(number(&mut connection, functions).await, 0);
    let own = "SELECT count(*) FROM _sqlx_migrations WHERE version = 1";
    assert_eq!(number(&mut connection, own).await, 1);
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn connecting_alone_changes_nothing() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    for error in [
        store.ping().await.unwrap_err(),
        store.accept(&[event("a")]).await.unwrap_err(),
        store.find(&[reference("a")]).await.unwrap_err(),
    ] {
        let StoreError::Unavailable { source } = &error else {
            panic!("{error:?}");
        };
        let source = source.downcast_ref::<PgError>().unwrap();
        assert!(matches!(source, PgError::NotMigrated { .. }), "{source:?}");
        assert!(source.to_string().contains("run the migration"), "{source}");
        assert!(error.source().is_some());
    }
    store.close().await;
    database.drop_database().await;
}

/// All schemas, and the objects in them that are not PostgreSQL's own.
async fn objects(connection: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT schema_name::text FROM information_schema.schemata
               UNION ALL
               SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
               WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
               ORDER BY 1";
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_look_and_a_check_of_the_migration_change_nothing() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let before = objects(&mut connection).await;
    assert_eq!(store.look().await.unwrap(), FoundInbox::default());
    assert_eq!(store.guarded_kinds().await.unwrap(), []);
    store.check_migration(&[]).await.unwrap();
    assert_eq!(objects(&mut connection).await, before);

    // A schema that is there, and has nothing in it.
    run(&mut connection, "CREATE SCHEMA webhook").await;
    let before = objects(&mut connection).await;
    assert_eq!(store.look().await.unwrap(), FoundInbox::default());
    store.check_migration(&[]).await.unwrap();
    assert_eq!(objects(&mut connection).await, before);

    store.migrate().await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    store.replace_partition_mark(None, "mark").await.unwrap();
    let moved = MoveMark::Moved { to: "other".into() };
    store.set_mark(Some(&moved)).await.unwrap();
    let found = store.look().await.unwrap();
    assert_eq!(found.partition_mark.as_deref(), Some("mark"));
    assert_eq!(found.move_mark, Some(moved));
    assert_eq!(found.kinds, [event("a").envelope.kind]);
    assert_eq!(store.guarded_kinds().await.unwrap(), []);
    let mut guarded = event("guarded");
    guarded.envelope.guard = Some(Fingerprint::of(["guard"]));
    store.accept(&[guarded]).await.unwrap();
    let kinds = store.guarded_kinds().await.unwrap();
    assert_eq!(kinds, [event("a").envelope.kind]);

    // An older version without marks of partitions.
    let older =
        "DROP TABLE webhook.partition_mark; DELETE FROM webhook.migrations WHERE version = 15";
    run(&mut connection, older).await;
    let before = objects(&mut connection).await;
    let found = store.look().await.unwrap();
    assert_eq!((found.partition_mark, found.kinds.len()), (None, 1));
    store.check_migration(&[]).await.unwrap();
    assert_eq!(objects(&mut connection).await, before);

    let newer = "INSERT INTO webhook.migrations (version, name) VALUES (1000, 'newer')";
    run(&mut connection, newer).await;
    let error = store.check_migration(&[]).await.unwrap_err();
    assert!(matches!(error, PgError::NewerSchema { .. }), "{error:?}");
    store.close().await;
    database.drop_database().await;
}

/// The check refuses what the migration would refuse.
#[tokio::test]
async fn a_migration_that_cannot_begin_is_found_before_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE SCHEMA webhook; CREATE VIEW webhook.move_mark AS SELECT 1 AS part",
    )
    .await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let error = store.check_migration(&[]).await.unwrap_err();
    assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
    let error = store.look().await.unwrap_err();
    assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
    run(&mut connection, "DROP SCHEMA webhook CASCADE").await;
    store.close().await;

    // A role that may not create the schema.
    let role = format!("webhook_test_reader_{}", std::process::id());
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    run(&mut connection, &create).await;
    let mut options: PgOptions = database.url().parse().unwrap();
    options.connection = options.connection.username(&role).password("secret");
    let store = PgStore::connect_with(options).await.unwrap();
    assert_eq!(store.look().await.unwrap(), FoundInbox::default());
    let error = store.check_migration(&[]).await.unwrap_err();
    let expected = "create_schema";
    assert!(
        matches!(error, PgError::Migration { name, .. } if name == expected),
        "{error:?}"
    );
    store.close().await;
    run(&mut connection, &format!("DROP ROLE {role}")).await;
    database.drop_database().await;
}

#[tokio::test]
async fn an_older_program_does_not_touch_a_newer_schema() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "INSERT INTO webhook.migrations (version, name) VALUES (999, 'from_the_future')",
    )
    .await;
    let error = store.migrate().await.unwrap_err();
    assert!(
        matches!(error, PgError::NewerSchema { found: 999, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("version 999"), "{error}");
    store.close().await;
    database.drop_database().await;
}

/// Citus refuses definitions that come with other statements in one message, and refuses to set how a column is stored.
#[tokio::test]
async fn migrations_run_one_statement_at_a_time_and_without_refused_storage_options() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        r"CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
          BEGIN
            IF current_query() LIKE '%SET STORAGE%'
               OR (current_query() NOT LIKE 'DO %'
                   AND current_query() ~ ';\s*(CREATE|ALTER|DROP|COMMENT|--)') THEN
              RAISE EXCEPTION 'refused' USING ERRCODE = 'feature_not_supported';
            END IF;
          END $$;
          CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION public.refuse()",
    )
    .await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    let storage = "SELECT attstorage = 'x' AND attcompression = '' FROM pg_attribute
                   WHERE attrelid = 'webhook.events'::regclass AND attname = 'body'";
    let is_default: bool = sqlx::query_scalar(storage)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(is_default);
    store.close().await;
    drop(connection);
    database.drop_database().await;
}

/// When no migration is pending, a role only needs the rights to use the tables.
#[tokio::test]
async fn a_migrated_schema_needs_no_rights_to_change_it() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await;
    let role = format!("webhook_test_role_{}", std::process::id());
    run(
        &mut connection,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret';
             GRANT USAGE ON SCHEMA webhook TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA webhook TO {role}"
        ),
    )
    .await;
    let mut options: webhook_postgres::PgOptions = database.url().parse().unwrap();
    options.connection = options.connection.username(&role).password("secret");
    let app = PgStore::connect_with(options).await.unwrap();
    app.migrate().await.unwrap();
    app.accept(&[event("a")]).await.unwrap();
    assert!(app.find(&[reference("a")]).await.unwrap()[0].is_some());
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

#[tokio::test]
async fn events_of_an_older_version_are_kept() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE SCHEMA webhook;
         CREATE TABLE webhook.migrations (
           version integer PRIMARY KEY, name text NOT NULL,
           applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
         INSERT INTO webhook.migrations (version, name) VALUES (1, 'create_inbox')",
    )
    .await;
    run(
        &mut connection,
        include_str!("../src/migrations/create_inbox.sql"),
    )
    .await;
    // Objects of another role would catch statements whose search path is not pinned.
    run(
        &mut connection,
        "CREATE FUNCTION public.look_alike(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.look_alike);
         DO $$ BEGIN
           EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
         END $$",
    )
    .await;
    run(
        &mut connection,
        "INSERT INTO webhook.events (kind, key, fingerprint, body, accepted_at, due_at)
         SELECT 'note', number::text, sha256('x'), 'x', now(), now() FROM generate_series(1, 3) number;
         INSERT INTO webhook.queue (id, kind, due_at) SELECT id, kind, due_at FROM webhook.events WHERE id > 2;
         INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at, reason)
         SELECT id, kind, id = 2, 1, 1, now(), CASE id WHEN 2 THEN 'broken' END
         FROM webhook.events WHERE id <= 2",
    )
    .await;
    let store = PgStore::connect(database.url()).await.unwrap();
    assert!(store.ping().await.is_err(), "it is older");
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.partition_mark().await.unwrap(), None);
    assert!(store.replace_partition_mark(None, "mark").await.unwrap());
    let kind = Kind::new("note").unwrap();
    let named = |key: &'static str| EventRef {
        kind: kind.clone(),
        key: Key::new(key).unwrap(),
    };
    let found = store.find(&[named("1"), named("2"), named("3")]).await;
    let states: Vec<_> = found.unwrap().into_iter().flatten().collect();
    let states: Vec<_> = states
        .iter()
        .map(|it| (it.state, it.body_deleted))
        .collect();
    let expected = [State::Processed, State::Failed, State::Processing];
    assert_eq!(states, expected.map(|state| (state, false)));
    let delete = DeleteBodies::new(kind.clone(), Duration::ZERO, NonZeroUsize::MAX);
    assert_eq!(store.delete_bodies(&delete).await.unwrap(), 1);
    let view = "SELECT pg_get_viewdef('webhook.inbox'::regclass)";
    let view: String = sqlx::query_scalar(view)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(!view.contains("public"), "{view}");
    store.close().await;
    database.drop_database().await;
}
