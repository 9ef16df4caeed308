//! Databases that a version made when the view `webhook.transactions` was part of the library's own
//! migrations, and databases that an app which embeds the inbox shares with the server.

use std::num::NonZeroUsize;
use std::time::Duration;

use webhook_core::{
    Accepted, Admin, DeleteBodies, EventRecord, EventRef, FailureReason, Key, Kind, Outcome,
    Requeued, Scheduler, Settled, Settlement, State, Store,
};
use webhook_postgres::sqlx::{self, AssertSqlSafe, PgConnection};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgStore, testing};
use webhook_server::transaction::VIEW;

use crate::inbox::{claim, delivery, event, reference};
use crate::node::server_on;
use crate::support::client::Client;
use crate::support::node::until_processed;
use crate::support::transaction;

/// All that such a version ran, in its order. Released migrations never change.
const FORMER: [(&str, &str); 7] = [
    (
        "create_inbox",
        include_str!("../../../webhook-postgres/src/migrations/create_inbox.sql"),
    ),
    (
        "create_transactions_view",
        include_str!("../../src/transaction/migrations/create_transactions_view.sql"),
    ),
    (
        "keep_failed_attempts",
        include_str!("../../../webhook-postgres/src/migrations/keep_failed_attempts.sql"),
    ),
    (
        "strip_bodies",
        include_str!("../../../webhook-postgres/src/migrations/strip_bodies.sql"),
    ),
    (
        "read_marked_bodies",
        include_str!("../../src/transaction/migrations/read_marked_bodies.sql"),
    ),
    (
        "keep_headers",
        include_str!("../../../webhook-postgres/src/migrations/keep_headers.sql"),
    ),
    (
        "create_inbox_view",
        include_str!("../../../webhook-postgres/src/migrations/create_inbox_view.sql"),
    ),
];

/// Makes the schema as it was after so many migrations.
pub(crate) async fn make_former_schema(connection: &mut PgConnection, versions: usize) {
    run(
        connection,
        "CREATE SCHEMA webhook;
         CREATE TABLE webhook.migrations (
           version integer PRIMARY KEY, name text NOT NULL,
           applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    )
    .await;
    for (version, (name, sql)) in (1..).zip(FORMER).take(versions) {
        run(connection, sql).await;
        let note =
            format!("INSERT INTO webhook.migrations (version, name) VALUES ({version}, '{name}')");
        run(connection, &note).await;
    }
}

/// Transactions in every state, named after it; they have ids from 1, in this order.
const EVENTS: &str = r#"
    INSERT INTO webhook.events (kind, key, fingerprint, body, accepted_at, due_at)
    SELECT 'transaction', name, sha256('x'),
           CASE name WHEN 'stripped' THEN '' ELSE convert_to(
             '{"transaction_id":"' || name || '","source_account":"A","destination_account":"B",'
             || '"amount":12.50,"currency":"eur"}', 'UTF8') END,
           now() - interval '1 hour', now() - interval '1 hour'
    FROM unnest(ARRAY['due', 'waiting', 'retried', 'leased', 'processed', 'failed', 'stripped',
                      'conflicting']) AS name;
    INSERT INTO webhook.queue (id, kind, due_at, leased_until, attempts, fence, reason) VALUES
      (1, 'transaction', now() - interval '1 hour', NULL, 0, 0, NULL),
      (2, 'transaction', now() + interval '1 hour', NULL, 0, 0, NULL),
      (3, 'transaction', now() + interval '1 hour', NULL, 1, 1, 'busy'),
      (4, 'transaction', now() - interval '1 hour', now() + interval '1 hour', 1, 1, NULL);
    INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at, reason, stripped) VALUES
      (5, 'transaction', false, 1, 1, now(), NULL, false),
      (6, 'transaction', true, 3, 3, now(), 'broken', false),
      (7, 'transaction', false, 1, 1, now(), NULL, true),
      (8, 'transaction', false, 1, 1, now(), NULL, false);
    INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason) VALUES
      (3, 1, 1, 1, now(), 'busy'), (6, 3, 3, 3, now(), 'broken');
    INSERT INTO webhook.conflicts (id, count, last_at) VALUES (8, 2, now());
    INSERT INTO webhook.conflict_bodies (id, slot, number, received_at, fingerprint, body, body_bytes)
    VALUES (8, 1, 1, now(), sha256('y'), 'one', 3), (8, 2, 2, now(), sha256('z'), 'two', 3)"#;

/// Their rows in the view.
const ROWS: [&str; 8] = [
    "conflicting A B 12.50 EUR PROCESSED - 2",
    "due A B 12.50 EUR PROCESSING - 0",
    "failed A B 12.50 EUR FAILED broken 0",
    "leased A B 12.50 EUR PROCESSING - 0",
    "processed A B 12.50 EUR PROCESSED - 0",
    "retried A B 12.50 EUR PROCESSING busy 0",
    "stripped - - - - PROCESSED - 0",
    "waiting A B 12.50 EUR PROCESSING - 0",
];

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn rows_of_view(connection: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', transaction_id, coalesce(source_account, '-'),
                 coalesce(destination_account, '-'), coalesce(amount::text, '-'),
                 coalesce(currency, '-'), status, coalesce(error_message, '-'),
                 duplicate_conflict_count)
               FROM webhook.transactions ORDER BY transaction_id COLLATE \"C\"";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

const VIEW_OID: &str = "SELECT 'webhook.transactions'::regclass::oid::bigint";

fn kind() -> Kind {
    Kind::from_static("transaction")
}

fn of_kind(key: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: Key::new(key).unwrap(),
    }
}

async fn record(store: &PgStore, key: &str) -> EventRecord {
    let mut found = store.find(&[of_kind(key)]).await.unwrap();
    found.remove(0).unwrap()
}

/// The programs that open the database, in this order.
#[derive(Clone, Copy, Debug)]
enum Opener {
    /// An app that embeds the library.
    App,
    Server,
}

async fn open(database: &TestDatabase, opener: Opener) {
    match opener {
        Opener::App => {
            let store = PgStore::connect(database.url()).await.unwrap();
            store.migrate().await.unwrap();
            store.close().await;
        }
        Opener::Server => {
            let (code, _, log) = server_on(database.url(), &["migrate"]).output().await;
            assert_eq!(code, 0, "{log}");
        }
    }
}

#[tokio::test]
async fn database_of_the_former_release_is_migrated_with_all_its_events() {
    use Opener::{App, Server};
    // The version before the headers, and the last one.
    for versions in [5, 7] {
        for openers in [
            &[App][..],
            &[Server],
            &[App, Server],
            &[Server, App, Server],
        ] {
            let database = TestDatabase::create().await;
            let mut connection = database.connection().await;
            make_former_schema(&mut connection, versions).await;
            run(&mut connection, EVENTS).await;
            let view = number(&mut connection, VIEW_OID).await;
            assert_eq!(rows_of_view(&mut connection).await, ROWS);
            for opener in openers {
                open(&database, *opener).await;
            }
            let context = format!("{openers:?} after {versions} migrations");
            assert_eq!(number(&mut connection, VIEW_OID).await, view, "{context}");
            assert_eq!(rows_of_view(&mut connection).await, ROWS, "{context}");
            assert_usable(&database).await;
            database.drop_database().await;
        }
    }
}

/// Every event is where it was, and goes on from there.
async fn assert_usable(database: &TestDatabase) {
    let store = PgStore::connect(database.url()).await.unwrap();
    store.ping().await.unwrap();
    for (key, state, attempts, reason) in [
        ("due", State::Processing, 0, None),
        ("waiting", State::Processing, 0, None),
        ("retried", State::Processing, 1, Some("busy")),
        ("leased", State::Processing, 1, None),
        ("processed", State::Processed, 1, None),
        ("failed", State::Failed, 3, Some("broken")),
        ("stripped", State::Processed, 1, None),
        ("conflicting", State::Processed, 1, None),
    ] {
        let record = record(&store, key).await;
        assert_eq!(
            (
                record.state,
                record.attempts,
                record.reason.as_ref().map(FailureReason::as_str)
            ),
            (state, attempts, reason),
            "{key}"
        );
        assert_eq!(record.body_deleted, key == "stripped");
        assert_eq!(record.envelope.body.is_empty(), key == "stripped");
        assert_eq!(record.leased_until.is_some(), key == "leased");
        assert_eq!(
            record.conflict_count,
            if key == "conflicting" { 2 } else { 0 }
        );
    }
    assert_eq!(
        store
            .conflicts(&of_kind("conflicting"))
            .await
            .unwrap()
            .len(),
        2
    );
    let failed = store.failed_attempts(&of_kind("failed")).await.unwrap();
    assert_eq!(failed.len(), 1);

    // New events, and those that were there.
    assert_eq!(
        store.accept(&[event("new")]).await.unwrap(),
        [Accepted::New]
    );
    assert_eq!(
        store
            .accept(&[delivery("new", "other", Duration::ZERO)])
            .await
            .unwrap(),
        [Accepted::Conflict]
    );
    assert!(store.find(&[reference("new")]).await.unwrap()[0].is_some());
    let mut of_transactions = claim(10);
    of_transactions.kind = kind();
    let claimed = store.claim(&[of_transactions]).await.unwrap().remove(0);
    let claimed = claimed.events;
    let keys: Vec<_> = claimed.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["due"]);
    let settlement = Settlement::new(claimed[0].lease, Outcome::Processed);
    assert_eq!(
        store.settle(&[settlement]).await.unwrap(),
        [Settled::Applied]
    );
    assert_eq!(record(&store, "due").await.state, State::Processed);
    assert_eq!(
        store.requeue(&[of_kind("failed")]).await.unwrap(),
        [Requeued::Applied]
    );
    let delete = DeleteBodies::new(kind(), Duration::ZERO, NonZeroUsize::MAX);
    assert_eq!(store.delete_bodies(&delete).await.unwrap(), 3);
    store.close().await;
}

/// The version that had only made the view made it on the search path of the role or the database.
#[tokio::test]
async fn view_made_on_another_search_path_is_built_again() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(
        &mut connection,
        "CREATE FUNCTION public.look_alike(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.look_alike);
         SET search_path = public, pg_catalog",
    )
    .await;
    make_former_schema(&mut connection, 2).await;
    run(&mut connection, "RESET search_path").await;
    assert!(view_definition(&mut connection).await.contains("public"));
    open(&database, Opener::Server).await;
    let view = view_definition(&mut connection).await;
    assert!(!view.contains("public"), "{view}");
    database.drop_database().await;
}

async fn view_definition(connection: &mut PgConnection) -> String {
    sqlx::query_scalar("SELECT pg_get_viewdef('webhook.transactions'::regclass)")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn app_and_server_share_a_database_whoever_made_it() {
    for opener in [Opener::App, Opener::Server] {
        let database = testing::TestDatabase::create().await;
        open(&database, opener).await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        store.accept(&[event("of the app")]).await.unwrap();

        let mut server = server_on(database.url(), &["--processing-delay-seconds=0"]).start();
        let addr = server.listens().await;
        let mut client = Client::connect(addr).await;
        client
            .post(transaction("of-the-server"))
            .await
            .acknowledged("ACCEPTED");
        until_processed(addr, "of-the-server").await;

        // Each goes on beside the other.
        store.migrate().await.unwrap();
        store.migrate_with(&[VIEW]).await.unwrap();
        let claimed = store.claim(&[claim(10)]).await.unwrap().remove(0);
        let claimed = claimed.events;
        let keys: Vec<_> = claimed.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(keys, ["of the app"], "{opener:?}");
        let mut connection = database.connection().await;
        let rows = rows_of_view(&mut connection).await;
        let expected =
            "of-the-server DE89370400440532013000 GB29NWBK60161331926819 1500.50 EUR PROCESSED - 0";
        assert_eq!(rows, [expected], "{opener:?}");
        store.close().await;
        drop(server);
        database.drop_database().await;
    }
}
