//! The command `move` between SQLite and PostgreSQL.

use std::time::Duration;

use rustix::process::Signal;
use webhook_core::transfer::Transfer;
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;
use webhook_sqlite::SqliteStore;

use crate::node::{server_on, with_parameters};
use crate::schemas::{contents as contents_of, execute, refused};
use crate::support::files::Files;
use crate::support::inboxes::{contents, fill};
use crate::support::process::Starter;

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

    // The first run watches the source for six seconds before it creates the target.
    move_and_kill(url, &back_url, &[50, 6_300, 50, 150, 300]).await;
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
    let (new_file, new_schema) = (
        format!("sqlite:{}", files.path("other.db")),
        with_parameters(database.url(), "schema=other"),
    );
    for (from, to) in [
        (database.url(), &*new_file),
        (database.url(), &new_schema),
        (&file, database.url()),
        (&file, database.pooler_url()),
    ] {
        let before = (files.contents(), contents_of(&[&database]).await);
        let (code, out, log) = move_events(from, to).await;
        assert_eq!((code, &*out), (1, ""), "{log}");
        for part in ["is in use: stop every server", "It was used by role "] {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(!log.contains("an operator ran a command"), "{log}");
        // Neither the file that is read nor the database that is written has changed, or been made.
        let after = (files.contents(), contents_of(&[&database]).await);
        assert!(after == before, "{from} to {to}");
    }
    server.signal(Signal::TERM);
    server.ends().await;
    let (code, _, log) = move_events(&file, database.url()).await;
    assert_eq!(code, 0, "{log}");
    database.drop_database().await;
}

/// What is refused has neither created nor changed anything.
#[tokio::test]
async fn databases_with_events_or_of_other_versions_are_refused() {
    let files = Files::new();
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    let source = SqliteStore::open(files.path("webhook.db")).await.unwrap();
    fill(&source, 10).await;
    source.close().await;
    let (source, new) = (
        format!("sqlite:{}", files.path("webhook.db")),
        format!("sqlite:{}", files.path("new.db")),
    );
    let into = |to: &str| {
        let from = format!("--from={source}");
        server_on(to, &["move", &from])
    };
    let from = |from: &str| {
        let from = format!("--from={from}");
        server_on(&new, &["move", &from])
    };
    let schema = |name: &str| with_parameters(database.url(), &format!("schema={name}"));
    let refused = async |starter: Starter, reason: &str| {
        let before = files.contents();
        refused(&[&database], starter, reason).await;
        assert!(files.contents() == before, "{reason}");
    };
    refused(from(database.url()), "webhook-server migrate").await;
    store.migrate().await.unwrap();
    fill(&store, 10).await;
    refused(into(database.url()), "has events already").await;
    let sql = async |sql: &str| execute(&database, sql).await;
    sql("CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.notes (text text)").await;
    refused(into(&schema("foreign_one")), ".notes is another program's").await;
    // A role that may not make the schema.
    let role = format!("webhook_test_mover_{}", std::process::id());
    sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'of-the-mover'")).await;
    let as_role = format!("user={role}&password=of-the-mover&schema=of_role");
    let as_role = with_parameters(database.url(), &as_role);
    refused(
        into(&as_role),
        "failed to bring the database schema up to date",
    )
    .await;
    sql(&format!("DROP ROLE {role}")).await;
    // Partitions: one of them alone, all of them in another order, or with events.
    let url = schema("parts");
    let mut process = server_on(&url, &["--partitions=2"]).start();
    process.listens().await;
    process.signal(Signal::TERM);
    process.ends().await;
    refused(into(&schema("parts_1")), "partition 1 of 2 of an inbox").await;
    refused(from(&schema("parts_1")), "partition 1 of 2 of an inbox").await;
    let from_file = format!("--from={source}");
    let three = server_on(&url, &["move", "--partitions=3", &from_file]);
    refused(three, "partition 0 of 3: found partition 0 of 2").await;
    sql("INSERT INTO webhook.move_mark VALUES (1, 'MOVED', 'sqlite:/other.db', now())").await;
    refused(
        from(database.url()),
        "were moved to sqlite:/other.db before",
    )
    .await;
    sql("UPDATE webhook.move_mark SET part = 'FILLING'").await;
    refused(from(database.url()), "has a part of the events of").await;
    refused(into(database.url()), "has a part of the events of").await;
    sql("DELETE FROM webhook.move_mark; INSERT INTO webhook.migrations VALUES (99, 'newer')").await;
    refused(into(database.url()), "has version 99").await;
    sql("DELETE FROM webhook.migrations WHERE version IN (15, 99)").await;
    refused(from(database.url()), "missing or outdated").await;
    store.close().await;
    database.drop_database().await;
}
