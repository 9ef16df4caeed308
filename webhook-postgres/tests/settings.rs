//! Tests that settings of the server, database, role and app change neither promises nor
//! statements.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::error::Error as _;

use inbox::{Inbox, event};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use webhook_core::{Accepted, State, Store, StoreError};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{MigrationLine, PgError, PgStore, sqlx};

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn text(connection: &mut PgConnection, sql: &str) -> String {
    let sql = AssertSqlSafe(sql.to_owned());
    let row = sqlx::raw_sql(sql).fetch_one(connection).await.unwrap();
    row.get(0)
}

/// Changes `settings` of the database for every new session.
async fn set_on_database(connection: &mut PgConnection, settings: &[(&str, &str)]) {
    let name = text(connection, "SELECT current_database()::text").await;
    for (setting, value) in settings {
        run(
            connection,
            &format!("ALTER DATABASE {name} SET {setting} = {value}"),
        )
        .await;
    }
}

const HOSTILE: [(&str, &str); 8] = [
    ("synchronous_commit", "off"),
    ("search_path", "public"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("intervalstyle", "sql_standard"),
    ("lock_timeout", "1"),
    ("default_transaction_isolation", "serializable"),
    ("enable_indexscan", "off"),
];

/// These operators and functions are chosen if `public` is searched first, and fail when they are
/// called.
const LOOK_ALIKES: &str = "
    GRANT CREATE ON SCHEMA public TO PUBLIC;
    CREATE FUNCTION public.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'look-alike operator ran'; END $$;
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap);
    CREATE FUNCTION public.trap(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'look-alike operator ran'; END $$;
    CREATE OPERATOR public.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.trap);
    CREATE FUNCTION public.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'look-alike function ran'; END $$;
    CREATE FUNCTION public.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'look-alike function ran'; END $$;";

async fn works_with(url: &str, database: &TestDatabase) {
    let mut connection = database.connection().await;
    run(&mut connection, LOOK_ALIKES).await;
    set_on_database(&mut connection, &HOSTILE).await;
    set_on_database(&mut connection, &[("search_path", "public, pg_catalog")]).await;
    let store = PgStore::connect(url).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(
        store.accept(&[event("a"), event("b")]).await.unwrap(),
        [Accepted::New; 2]
    );
    assert_eq!(
        store.accept(&[event("a")]).await.unwrap(),
        [Accepted::Duplicate]
    );
    let claimed = webhook_core::Scheduler::claim(&store, &[inbox::claim(2)]).await;
    assert_eq!(claimed.unwrap()[0].events.len(), 2);
    store.close().await;
}

#[tokio::test]
async fn settings_of_the_database_do_not_reach_own_sessions() {
    let database = TestDatabase::create().await;
    works_with(database.url(), &database).await;
    database.drop_database().await;
}

#[tokio::test]
async fn settings_of_the_database_do_not_reach_pooled_sessions() {
    let database = TestDatabase::create().await;
    works_with(database.pooler_url(), &database).await;
    database.drop_database().await;
}

/// The app's statements see the app's settings again, and the commit is durable.
#[tokio::test]
async fn settings_of_the_app_are_restored_after_accept_in() {
    let inbox = Inbox::direct().await;
    let mut app = inbox.database.connection().await;
    run(&mut app, LOOK_ALIKES).await;
    run(
        &mut app,
        "SET search_path = public, pg_catalog; SET synchronous_commit = off;
         SET transform_null_equals = on",
    )
    .await;
    for (key, by_hand) in [("a", false), ("b", true)] {
        let path = "SHOW search_path";
        if by_hand {
            run(&mut app, "BEGIN").await;
            inbox
                .store
                .accept_all_in(&mut app, &[event(key)])
                .await
                .unwrap();
            assert_eq!(text(&mut app, path).await, "public, pg_catalog");
            assert_eq!(text(&mut app, "SHOW synchronous_commit").await, "on");
            assert_eq!(text(&mut app, "SHOW transform_null_equals").await, "on");
            run(&mut app, "COMMIT").await;
        } else {
            let mut transaction = app.begin().await.unwrap();
            inbox
                .store
                .accept_all_in(&mut transaction, &[event(key)])
                .await
                .unwrap();
            assert_eq!(text(&mut transaction, path).await, "public, pg_catalog");
            let durable = text(&mut transaction, "SHOW synchronous_commit").await;
            assert_eq!(durable, "on");
            transaction.commit().await.unwrap();
        }
        assert_eq!(inbox.state(key).await, Some(State::Processing));
        assert_eq!(text(&mut app, "SHOW synchronous_commit").await, "off");
    }
    // Outside of a transaction it commits by itself.
    inbox
        .store
        .accept_all_in(&mut app, &[event("c")])
        .await
        .unwrap();
    assert_eq!(inbox.state("c").await, Some(State::Processing));
    assert_eq!(
        text(&mut app, "SHOW search_path").await,
        "public, pg_catalog"
    );
    inbox.close().await;
}

fn cause(error: &StoreError) -> &PgError {
    let StoreError::Unavailable { source } = error else {
        panic!("{error:?}");
    };
    source.downcast_ref::<PgError>().unwrap()
}

/// An operator makes the database read-only, and then writable again.
#[tokio::test]
async fn read_only_database_is_unavailable_until_it_is_writable_again() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let mut connection = database.connection().await;
    set_on_database(&mut connection, &[("default_transaction_read_only", "on")]).await;
    for url in [database.url(), database.pooler_url()] {
        let store = PgStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        let error = store.accept(&[event(url)]).await.unwrap_err();
        assert!(
            matches!(cause(&error), PgError::ReadOnly { .. }),
            "{error:?}"
        );
        store.close().await;
    }
    let store = PgStore::connect(database.url()).await.unwrap();
    store.accept(&[event("a")]).await.unwrap_err();
    set_on_database(&mut connection, &[("default_transaction_read_only", "off")]).await;
    assert_eq!(store.accept(&[event("a")]).await.unwrap(), [Accepted::New]);
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn database_errors_do_not_show_postgresqls_source_line() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let error = store.accept(&[event("a")]).await.unwrap_err();
    let mut next = error.source();
    let mut shown = Vec::new();
    while let Some(error) = next {
        shown.push(error.to_string());
        next = error.source();
    }
    assert!(
        shown.iter().any(|it| it.contains("does not exist")),
        "{shown:?}"
    );
    assert!(
        !shown.iter().any(|it| it.contains(" at line ")),
        "{shown:?}"
    );
    store.close().await;
    database.drop_database().await;
}

/// Policies that hide rows must cause an error, because a claim that finds nothing would look like
/// success.
#[tokio::test]
async fn row_security_is_an_error_and_hides_nothing() {
    let inbox = Inbox::direct().await;
    let mut connection = inbox.database.connection().await;
    let role = format!("webhook_test_policed_{}", std::process::id());
    run(
        &mut connection,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret';
             GRANT USAGE ON SCHEMA webhook TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA webhook TO {role};
             ALTER TABLE webhook.queue ENABLE ROW LEVEL SECURITY"
        ),
    )
    .await;
    let mut options: webhook_postgres::PgOptions = inbox.database.url().parse().unwrap();
    options.connection = options.connection.username(&role).password("secret");
    let app = PgStore::connect_with(options).await.unwrap();
    let error = webhook_core::Scheduler::claim(&app, &[inbox::claim(1)])
        .await
        .unwrap_err();
    assert!(
        format!("{error:?}").contains("row-level security"),
        "{error:?}"
    );
    app.close().await;
    run(
        &mut connection,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    )
    .await;
    inbox.close().await;
}

/// The same happens in a program whose runtime ends before its statics are dropped.
#[test]
fn store_may_be_dropped_after_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, store) = runtime.block_on(async {
        let database = TestDatabase::create().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        store.accept(&[event("a")]).await.unwrap();
        store.ping().await.unwrap();
        (database, store)
    });
    drop(runtime);
    drop(store);
    drop(database);
}

/// The line of `webhook-server`, whose view calls functions.
const TRANSACTIONS: MigrationLine = MigrationLine::new(
    "transactions",
    &[
        (
            "create_transactions_view",
            include_str!(
                "../../webhook-server/src/transaction/migrations/create_transactions_view.sql"
            ),
        ),
        (
            "read_marked_bodies",
            include_str!("../../webhook-server/src/transaction/migrations/read_marked_bodies.sql"),
        ),
    ],
);

/// A role without rights on the schema may create objects in `public`, as was the default before
/// PostgreSQL 15, and every role searches `public` first.
#[tokio::test]
async fn role_that_may_create_in_public_gets_no_code_run_by_ours() {
    let database = TestDatabase::create().await;
    let mut owner = database.connection().await;
    let mallory = format!("webhook_test_mallory_{}", std::process::id());
    run(
        &mut owner,
        &format!(
            "GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE ROLE {mallory};
             CREATE TABLE public.stolen (who text, what text); GRANT ALL ON public.stolen TO PUBLIC"
        ),
    )
    .await;
    set_on_database(&mut owner, &[("search_path", "public, pg_catalog")]).await;
    let mut traps = format!("SET ROLE {mallory};");
    for name in [
        "text",
        "bigint",
        "integer",
        "boolean",
        "timestamptz",
        "bytea",
    ] {
        traps.push_str(&format!(
            "CREATE FUNCTION public.steal(a {name}, b {name}) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO public.stolen VALUES (current_user, a::pg_catalog.text);
                  RETURN true; END $$;"
        ));
        for operator in ["=", "<", "<=", ">", ">=", "<>"] {
            traps.push_str(&format!(
                "CREATE OPERATOR public.{operator} (LEFTARG = {name}, RIGHTARG = {name},
                   FUNCTION = public.steal);"
            ));
        }
    }
    for name in ["now()", "statement_timestamp()", "clock_timestamp()"] {
        traps.push_str(&format!(
            "CREATE FUNCTION public.{name} RETURNS timestamptz LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO public.stolen VALUES (current_user, 'time');
                  RETURN pg_catalog.clock_timestamp(); END $$;"
        ));
    }
    traps.push_str("RESET ROLE");
    run(&mut owner, &traps).await;
    for (url, key) in [(database.url(), "a"), (database.pooler_url(), "b")] {
        let store = PgStore::connect(url).await.unwrap();
        store.migrate_with(&[TRANSACTIONS]).await.unwrap();
        store.accept(&[event(key)]).await.unwrap();
        store.accept(&[event(key)]).await.unwrap();
        store.find(&[inbox::reference(key)]).await.unwrap();
        webhook_core::Scheduler::claim(&store, &[inbox::claim(2)])
            .await
            .unwrap();
        webhook_core::Admin::kinds(&store).await.unwrap();
        store.ping().await.unwrap();
        store.close().await;
    }
    for view in ["transactions", "inbox"] {
        run(&mut owner, &format!("SELECT * FROM webhook.{view}")).await;
    }
    let stolen = "SELECT pg_catalog.count(*)::pg_catalog.text FROM public.stolen";
    assert_eq!(text(&mut owner, stolen).await, "0");
    // The traps work: a session with the database's search path runs into one.
    let mut victim = database.connection().await;
    run(&mut victim, "SELECT 'x'::text = 'y'::text").await;
    assert_eq!(text(&mut victim, stolen).await, "1");
    run(
        &mut owner,
        &format!("DROP OWNED BY {mallory}; DROP ROLE {mallory}"),
    )
    .await;
    drop((owner, victim));
    database.drop_database().await;
}
