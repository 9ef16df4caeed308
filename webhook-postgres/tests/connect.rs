//! Connecting: what stands between is found out, and what goes wrong is said.

mod inbox;

use std::error::Error as _;
use std::time::{Duration, Instant};

use inbox::{DEADLINE, Inbox, event, reference};
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use webhook_core::{Accepted, Store};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgError, PgOptions, PgStore, Pooler, sqlx};

#[tokio::test]
async fn a_pooler_is_found_out() {
    let inbox = Inbox::direct().await;
    assert_eq!(inbox.store.pooler(), Pooler::None);
    let pooled = PgStore::connect(inbox.database.pooler_url()).await.unwrap();
    assert_eq!(pooled.pooler(), Pooler::Transaction);
    pooled.close().await;
    inbox.close().await;
}

/// Told to expect a pooler, a store keeps to what one allows, also where there is none.
#[tokio::test]
async fn a_pooler_may_be_named_in_the_url() {
    let database = TestDatabase::create().await;
    let mark = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    for parameter in ["pooler=transaction", "pgbouncer=true"] {
        let url = format!("{}{mark}{parameter}", database.url());
        let store = PgStore::connect(&url).await.unwrap();
        assert_eq!(store.pooler(), Pooler::Transaction);
        store.migrate().await.unwrap();
        store.accept(&[event(parameter)]).await.unwrap();
        store.close().await;
    }
    database.drop_database().await;
}

/// URLs as SQLAlchemy has them.
#[tokio::test]
async fn urls_of_other_languages_connect() {
    let database = TestDatabase::create().await;
    let (_, rest) = database.url().split_once("://").unwrap();
    for scheme in ["postgresql+psycopg2", "postgresql+asyncpg", "postgres"] {
        let store = PgStore::connect(&format!("{scheme}://{rest}"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    }
    database.drop_database().await;
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_that_names_it() {
    // Bound and dropped: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgresql://app:hunter2@127.0.0.1:{port}/inbox");
    let error = PgStore::connect(&url).await.unwrap_err();
    assert!(matches!(error, PgError::Connect { .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("127.0.0.1:{port}/inbox")),
        "{error}"
    );
    assert!(error.source().is_some());
    assert!(!format!("{error:?}").contains("hunter2"));
}

/// A server that takes the connection and says nothing.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    let url = format!("postgresql://app:hunter2@127.0.0.1:{port}/inbox?connect_timeout=1");
    let started = Instant::now();
    let error = PgStore::connect(&url).await.unwrap_err();
    assert!(matches!(error, PgError::Connect { .. }), "{error:?}");
    assert!(started.elapsed() < DEADLINE);
    silent.abort();
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_repeat_it() {
    let database = TestDatabase::create().await;
    let mut options: PgOptions = database.url().parse().unwrap();
    options.connection = options
        .connection
        .username("nobody_by_this_name")
        .password("hunter2");
    let error = PgStore::connect_with(options).await.unwrap_err();
    let told = format!("{error:?} {error}");
    assert!(matches!(error, PgError::Connect { .. }), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    database.drop_database().await;
}

/// A pool that the app has made: its settings may be anything.
#[tokio::test]
async fn a_store_may_share_the_apps_pool() {
    let inbox = Inbox::direct().await;
    let options: PgOptions = inbox.database.url().parse().unwrap();
    let odd = options.connection.options([
        ("default_transaction_isolation", "serializable"),
        ("synchronous_commit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(odd)
        .await
        .unwrap();
    let shared = PgStore::from_pool(pool.clone(), Pooler::Detect)
        .await
        .unwrap();
    assert_eq!(shared.pooler(), Pooler::None);
    assert_eq!(shared.accept(&[event("a")]).await.unwrap(), [Accepted::New]);
    assert_eq!(
        shared.accept(&[event("a")]).await.unwrap(),
        [Accepted::Duplicate]
    );
    assert!(shared.find(&[reference("a")]).await.unwrap()[0].is_some());
    assert_eq!(inbox.claim_one().await.key.as_str(), "a");
    // The app's sessions are as they were.
    let row = sqlx::query(
        "SELECT current_setting('enable_seqscan'), current_setting('synchronous_commit')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(
        (row.get::<&str, _>(0), row.get::<&str, _>(1)),
        ("on", "off")
    );
    pool.close().await;
    inbox.close().await;
}

/// Where the database's default is to lose the last commits in a crash, a store's sessions do not.
#[tokio::test]
async fn what_is_accepted_is_durable_whatever_the_database_prefers() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql(
        "DO $$ BEGIN
           EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
         END $$;
         CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO public.seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END'",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    for url in [database.url(), database.pooler_url()] {
        let store = PgStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        sqlx::raw_sql(
            "TRUNCATE seen, webhook.events, webhook.queue;
             CREATE OR REPLACE TRIGGER see AFTER INSERT ON webhook.events EXECUTE FUNCTION see()",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        store.accept(&[event("a")]).await.unwrap();
        let seen = sqlx::query("SELECT setting FROM seen")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(seen.get::<&str, _>(0), "on");
        store.close().await;
        // A migration refuses triggers that are not its own.
        sqlx::raw_sql("DROP TRIGGER see ON webhook.events")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    drop(connection);
    database.drop_database().await;
}

/// TLS by `sslmode`, to the server of `scripts/test`, whose certificate its own authority signed.
#[tokio::test]
async fn tls_is_as_sslmode_says() {
    let authority = std::env::var("TEST_DATABASE_CA")
        .expect("TEST_DATABASE_CA names no certificate: run the tests by scripts/test");
    let database = TestDatabase::create().await;
    let base = database.url().split('?').next().unwrap().to_owned();
    let encrypted = async |query: &str| -> Result<bool, PgError> {
        let options: PgOptions = format!("{base}?{query}").parse()?;
        let store = PgStore::connect_with(options.clone()).await?;
        let mut connection = sqlx::ConnectOptions::connect(&options.connection).await?;
        let row = sqlx::query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        store.close().await;
        Ok(row.get(0))
    };
    assert!(!encrypted("sslmode=disable").await.unwrap());
    assert!(encrypted("sslmode=require").await.unwrap());
    assert!(encrypted("ssl=require").await.unwrap());
    let trusted = format!("sslmode=verify-full&sslrootcert={authority}");
    assert!(encrypted(&trusted).await.unwrap());
    // Nobody else has signed it.
    let error = encrypted("sslmode=verify-full").await.unwrap_err();
    assert!(matches!(error, PgError::Connect { .. }), "{error:?}");
    database.drop_database().await;
}

/// Once closed, a store is unavailable, at once.
#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let inbox = Inbox::direct().await;
    inbox.store.close().await;
    let started = Instant::now();
    let error = inbox.store.accept(&[event("a")]).await.unwrap_err();
    assert!(
        matches!(error, webhook_core::Error::Unavailable { .. }),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    inbox.database.drop_database().await;
}
