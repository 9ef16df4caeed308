//! Tests of a schema `webhook` that others have created or changed, of sequences that are behind,
//! and of the probe.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use inbox::{Inbox, event, until};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use webhook_core::{Accepted, Store, StoreError};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgError, PgOptions, PgStore, sqlx};

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Returns the error of `migrate` in a database where `sql` was run before.
async fn refused_after(sql: &str) -> String {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(&mut connection, sql).await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
    store.close().await;
    database.drop_database().await;
    error.to_string()
}

#[tokio::test]
async fn migrate_refuses_and_names_foreign_objects() {
    let table = "CREATE SCHEMA webhook; CREATE TABLE webhook.events (id bigint);";
    for (sql, named) in [
        (
            "CREATE SCHEMA webhook; CREATE TABLE webhook.orders (id bigint)",
            "webhook.orders",
        ),
        (
            "CREATE SCHEMA webhook; CREATE FUNCTION webhook.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function webhook.f",
        ),
        (
            &format!(
                "{table} CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                 CREATE TRIGGER swallow BEFORE INSERT ON webhook.events FOR EACH ROW EXECUTE FUNCTION public.t()"
            ),
            "trigger swallow",
        ),
        (
            &format!("{table} CREATE RULE drop_all AS ON INSERT TO webhook.events DO INSTEAD NOTHING"),
            "rule drop_all",
        ),
        (
            &format!("{table} CREATE POLICY hidden ON webhook.events USING (false)"),
            "policy hidden",
        ),
        (
            &format!("{table} ALTER TABLE webhook.events ENABLE ROW LEVEL SECURITY"),
            "row security is enabled",
        ),
        (
            "CREATE SCHEMA webhook; CREATE TABLE webhook.migrations (id bigint)",
            "webhook.migrations is another program's",
        ),
        (
            "CREATE SCHEMA webhook; CREATE VIEW webhook.paused_kinds AS SELECT ''::text AS kind",
            "webhook.paused_kinds is another program's",
        ),
        (
            "CREATE SCHEMA webhook; CREATE TABLE webhook.inbox (id bigint)",
            "webhook.inbox is another program's",
        ),
        (
            &format!("{table} CREATE TABLE public.child () INHERITS (webhook.events)"),
            "inherits from webhook.events",
        ),
    ] {
        let message = refused_after(sql).await;
        assert!(message.contains(named), "{named}: {message}");
    }
}

/// Objects that were added to a migrated schema are refused even if no migration is pending.
#[tokio::test]
async fn migrate_refuses_foreign_objects_in_a_migrated_schema() {
    let function = "CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS
                    'BEGIN RETURN NULL; END';";
    for (add, remove, named) in [
        (
            format!(
                "{function} CREATE TRIGGER swallow BEFORE INSERT ON webhook.events
                 FOR EACH ROW EXECUTE FUNCTION public.t()"
            ),
            "DROP TRIGGER swallow ON webhook.events",
            "trigger swallow",
        ),
        (
            "ALTER TABLE webhook.queue ENABLE ROW LEVEL SECURITY".to_owned(),
            "ALTER TABLE webhook.queue DISABLE ROW LEVEL SECURITY",
            "row security is enabled on webhook.queue",
        ),
        (
            "CREATE RULE nothing AS ON INSERT TO webhook.queue DO INSTEAD NOTHING".to_owned(),
            "DROP RULE nothing ON webhook.queue",
            "rule nothing",
        ),
    ] {
        let inbox = Inbox::direct().await;
        let mut connection = inbox.database.connection().await;
        run(&mut connection, &add).await;
        let error = inbox.store.migrate().await.unwrap_err();
        assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
        run(&mut connection, remove).await;
        inbox.store.migrate().await.unwrap();
        drop(connection);
        inbox.close().await;
    }
}

/// A role named `webhook` creates its own tables in the schema of that name.
#[tokio::test]
async fn tables_that_the_app_makes_in_a_migrated_schema_are_left_alone() {
    let inbox = Inbox::direct().await;
    let mut connection = inbox.database.connection().await;
    run(
        &mut connection,
        "CREATE TABLE webhook.orders (id bigint);
         CREATE FUNCTION webhook.total() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN RETURN NULL; END';
         CREATE TRIGGER total AFTER INSERT ON webhook.orders EXECUTE FUNCTION webhook.total()",
    )
    .await;
    inbox.store.migrate().await.unwrap();
    drop(connection);
    inbox.close().await;
}

/// A role that may create schemas has to create the schema itself; one that may not can use a
/// schema that an administrator has created for it.
#[tokio::test]
async fn migrate_refuses_a_schema_of_another_role_but_takes_one_made_for_it() {
    let id = std::process::id();
    let (us, them) = (
        format!("webhook_test_us_{id}"),
        format!("webhook_test_them_{id}"),
    );
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        &format!(
            "CREATE ROLE {us} LOGIN PASSWORD 'secret'; CREATE ROLE {them};
             CREATE SCHEMA webhook AUTHORIZATION {them};
             GRANT ALL ON SCHEMA webhook TO {us}"
        ),
    )
    .await;
    let mut options: PgOptions = database.url().parse().unwrap();
    options.connection = options.connection.username(&us).password("secret");
    let store = PgStore::connect_with(options).await.unwrap();
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(
        error.contains(&them) && error.contains("ALTER SCHEMA"),
        "{error}"
    );
    // The administrator in these tests is a superuser.
    run(
        &mut connection,
        "ALTER SCHEMA webhook OWNER TO CURRENT_USER",
    )
    .await;
    run(
        &mut connection,
        &format!("GRANT ALL ON SCHEMA webhook TO {us}"),
    )
    .await;
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    store.close().await;
    run(
        &mut connection,
        &format!("DROP OWNED BY {us}, {them}; DROP ROLE {us}, {them}"),
    )
    .await;
    drop(connection);
    database.drop_database().await;
}

/// Another role has already created the whole schema at the current version, and opened it to
/// everybody.
#[tokio::test]
async fn look_alike_of_a_migrated_schema_is_refused_by_a_role_that_would_have_made_it() {
    let id = std::process::id();
    let (us, them) = (
        format!("webhook_test_migrator_{id}"),
        format!("webhook_test_squatter_{id}"),
    );
    let database = TestDatabase::create().await;
    let mut admin = database.connection().await;
    run(
        &mut admin,
        &format!(
            "CREATE ROLE {us} LOGIN PASSWORD 'secret'; CREATE ROLE {them} LOGIN PASSWORD 'secret';
             DO $$ BEGIN
               EXECUTE format('GRANT CREATE ON DATABASE %I TO {us}, {them}', current_database());
             END $$"
        ),
    )
    .await;
    let connect = async |role: &str| {
        let mut options: PgOptions = database.url().parse().unwrap();
        options.connection = options.connection.username(role).password("secret");
        PgStore::connect_with(options).await.unwrap()
    };
    let theirs = connect(&them).await;
    theirs.migrate().await.unwrap();
    run(
        &mut admin,
        "GRANT USAGE ON SCHEMA webhook TO PUBLIC;
         GRANT ALL ON ALL TABLES IN SCHEMA webhook TO PUBLIC;
         GRANT ALL ON ALL SEQUENCES IN SCHEMA webhook TO PUBLIC",
    )
    .await;
    let ours = connect(&us).await;
    let error = ours.migrate().await.unwrap_err();
    assert!(matches!(error, PgError::ForeignSchema { .. }), "{error:?}");
    assert!(error.to_string().contains(&them), "{error}");
    // A single object that still belongs to that role is refused as well.
    run(
        &mut admin,
        &format!(
            "GRANT {us} TO CURRENT_USER; REASSIGN OWNED BY {them} TO {us};
             ALTER TABLE webhook.events OWNER TO {them}"
        ),
    )
    .await;
    let error = ours.migrate().await.unwrap_err().to_string();
    assert!(
        error.contains("webhook.events") && error.contains(&them),
        "{error}"
    );
    run(
        &mut admin,
        &format!("ALTER TABLE webhook.events OWNER TO {us}"),
    )
    .await;
    ours.migrate().await.unwrap();
    // A role that only uses the tables accepts any owner, whom its administrator chose.
    run(
        &mut admin,
        &format!("REASSIGN OWNED BY {us} TO {them}; DROP OWNED BY {us}"),
    )
    .await;
    let user = connect(&us).await;
    user.migrate().await.unwrap();
    user.accept(&[event("a")]).await.unwrap();
    for store in [theirs, ours, user] {
        store.close().await;
    }
    run(
        &mut admin,
        &format!("DROP OWNED BY {us}, {them}; DROP ROLE {us}, {them}"),
    )
    .await;
    drop(admin);
    database.drop_database().await;
}

#[tokio::test]
async fn sequence_that_is_behind_is_unavailable_until_migrate_repairs_it() {
    let inbox = Inbox::direct().await;
    for key in ["a", "b", "c"] {
        inbox.accept(key).await;
    }
    let mut connection = inbox.database.connection().await;
    run(
        &mut connection,
        "SELECT setval('webhook.events_id_seq', 1, false)",
    )
    .await;
    let error = inbox.store.accept(&[event("d")]).await.unwrap_err();
    let StoreError::Unavailable { source } = &error else {
        panic!("{error:?}");
    };
    let source = source.downcast_ref::<PgError>().unwrap();
    assert!(
        matches!(source, PgError::SequenceBehind { .. }),
        "{source:?}"
    );
    assert!(
        source.to_string().contains("webhook-server migrate"),
        "{source}"
    );
    let (one, two) = tokio::join!(inbox.store.migrate(), inbox.store.migrate());
    one.unwrap();
    two.unwrap();
    let answers = inbox.store.accept(&[event("e"), event("a")]).await.unwrap();
    assert_eq!(answers, [Accepted::New, Accepted::Duplicate]);
    inbox.close().await;
}

/// In Citus, the highest 16 bits of an id are the number of the node that gave it.
#[tokio::test]
async fn sequence_is_not_moved_past_the_ids_of_another_node() {
    let inbox = Inbox::direct().await;
    inbox.accept("a").await;
    let mut connection = inbox.database.connection().await;
    let insert =
        "INSERT INTO webhook.events (id, kind, key, fingerprint, body, accepted_at, due_at)
                  OVERRIDING SYSTEM VALUE
                  SELECT (3::bigint << 48) + 1, kind, 'b', fingerprint, body, accepted_at, due_at
                  FROM webhook.events";
    run(&mut connection, insert).await;
    inbox.store.migrate().await.unwrap();
    inbox.accept("c").await;
    let row = sqlx::raw_sql("SELECT id FROM webhook.events WHERE key = 'c'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 2);
    inbox.close().await;
}

/// All connections of the pool are in use, and that of the probe has died once.
#[tokio::test]
async fn ping_uses_a_connection_of_its_own_and_replaces_a_dead_one() {
    let inbox = Inbox::direct().await;
    let mut options: PgOptions = inbox.database.url().parse().unwrap();
    options.max_connections = 1;
    let store = PgStore::connect_with(options).await.unwrap();
    let mut connection = inbox.database.connection().await;
    run(&mut connection, "BEGIN; LOCK TABLE webhook.events").await;
    let accepting = tokio::spawn({
        let store = store.clone();
        async move { store.accept(&[event("a")]).await }
    });
    let mut watcher = inbox.database.connection().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("an accept that waits", async || {
        let row = sqlx::raw_sql(waiting)
            .fetch_one(&mut watcher)
            .await
            .unwrap();
        row.get::<i64, _>(0) == 1
    })
    .await;
    store.ping().await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'idle' AND pid <> pg_backend_pid()";
    run(&mut watcher, kill).await;
    store.ping().await.unwrap();
    run(&mut connection, "COMMIT").await;
    accepting.await.unwrap().unwrap();
    store.close().await;
    assert!(store.ping().await.is_err(), "it is closed");
    inbox.close().await;
}
