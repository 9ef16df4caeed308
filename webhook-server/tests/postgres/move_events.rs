//! The command `move` between SQLite and PostgreSQL.

use std::time::Duration;

use rustix::process::Signal;
use webhook_core::transfer::Transfer;
use webhook_postgres::PgStore;
use webhook_postgres::sqlx;
use webhook_postgres::testing::TestDatabase;
use webhook_sqlite::SqliteStore;

use crate::node::server_on;
use crate::support::files::Files;
use crate::support::inboxes::{contents, fill};

async fn move_events(from: &str, to: &str) -> (i32, String, String) {
    // The URL that is left out is that of the variable.
    let from = format!("--from={from}");
    server_on(to, &["move", &from]).output().await
}

/// Kills it after these times.
async fn move_and_kill(from: &str, to: &str, millis: &[u64]) {
    for millis in millis {
        let args = ["move", &format!("--from={from}")];
        let mut command = server_on(to, &args).into_command();
        let mut process = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(*millis)).await;
        let _ = process.start_kill();
        process.wait().await.unwrap();
    }
}

#[tokio::test]
async fn events_go_to_postgres_and_back_unchanged_whenever_moves_are_killed() {
    let files = Files::new();
    let database = TestDatabase::create().await;
    let url = database.url();
    let (there, back) = (files.path("there.db"), files.path("back.db"));
    let file = SqliteStore::open(&there).await.unwrap();
    fill(&file, 4_000).await;
    let expected = contents(&file).await;
    file.close().await;

    let (there, back_url) = (format!("sqlite:{there}"), format!("sqlite:{back}"));
    // The first run watches for six seconds whether anybody uses the target.
    move_and_kill(&there, url, &[100, 6_300, 50, 150, 300]).await;
    let (code, out, log) = move_events(&there, url).await;
    assert_eq!(code, 0, "{log}");
    assert!(out.starts_with("moved 4000 events from sqlite:/"), "{out}");
    let store = PgStore::connect(url).await.unwrap();
    assert_eq!(contents(&store).await, expected);

    move_and_kill(url, &back_url, &[50, 150, 300]).await;
    let (code, _, log) = move_events(url, &back_url).await;
    assert_eq!(code, 0, "{log}");
    let file = SqliteStore::open(&back).await.unwrap();
    assert_eq!(contents(&file).await, expected);
    file.close().await;
    assert_eq!(
        contents(&store).await,
        expected,
        "the source is not changed"
    );
    let (code, _, log) = server_on(url, &[]).output().await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("were moved to sqlite:/"), "{log}");
    store.set_mark(None).await.unwrap();
    let mut server = server_on(url, &[]).start();
    server.listens().await;
    drop(server);
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn running_servers_on_either_database_are_found() {
    let files = Files::new();
    let database = TestDatabase::create().await;
    let file = files.path("webhook.db");
    let store = SqliteStore::open(&file).await.unwrap();
    fill(&store, 10).await;
    store.close().await;
    let file = format!("sqlite:{file}");
    let mut server = server_on(database.url(), &[]).start();
    server.listens().await;
    for (from, to) in [
        (
            database.url(),
            &*format!("sqlite:{}", files.path("other.db")),
        ),
        (&file, database.url()),
        (&file, database.pooler_url()),
    ] {
        let (code, out, log) = move_events(from, to).await;
        assert_eq!((code, &*out), (1, ""), "{log}");
        for part in ["is in use: stop every server", "It was used by role "] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
    server.signal(Signal::TERM);
    server.ends().await;
    let (code, _, log) = move_events(&file, database.url()).await;
    assert_eq!(code, 0, "{log}");
    database.drop_database().await;
}

#[tokio::test]
async fn databases_with_events_or_of_other_versions_are_refused() {
    let files = Files::new();
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let file = format!("sqlite:{}", files.path("other.db"));
    let refused = async |from: &str, to: &str, reason: &str| {
        let (code, out, log) = move_events(from, to).await;
        assert_eq!((code, &*out), (1, ""), "{log}");
        assert!(log.contains(reason), "{reason}: {log}");
    };
    refused(database.url(), &file, "webhook-server migrate").await;
    store.migrate().await.unwrap();
    fill(&store, 10).await;
    let source = SqliteStore::open(files.path("webhook.db")).await.unwrap();
    fill(&source, 10).await;
    source.close().await;
    let source = format!("sqlite:{}", files.path("webhook.db"));
    refused(&source, database.url(), "has events already").await;
    let mut connection = database.connection().await;
    sqlx::raw_sql("DELETE FROM webhook.migrations WHERE version = (SELECT max(version) FROM webhook.migrations)")
        .execute(&mut connection)
        .await
        .unwrap();
    refused(database.url(), &file, "missing or outdated").await;
    store.close().await;
    database.drop_database().await;
}
