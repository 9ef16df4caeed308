//! The commands `move` and `backup` on SQLite files.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use webhook_core::transfer::{MoveMark, Transfer};
use webhook_core::{Admin, EventRef, Key, Kind, Requeued};
use webhook_sqlite::SqliteStore;
use webhook_sqlite::sqlx::sqlite::SqliteConnectOptions;
use webhook_sqlite::sqlx::{self, ConnectOptions as _, Connection as _, Executor as _};

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::inboxes::{contents, fill};
use crate::support::process::webhook_server;
use crate::support::transaction;

async fn filled(file: &str, count: u64) {
    let store = SqliteStore::open(file).await.unwrap();
    fill(&store, count).await;
    store.close().await;
}

async fn move_files(from: &str, to: &str, more: &[&str]) -> (i32, String, String) {
    let (from, to) = (format!("--from=sqlite:{from}"), format!("--to=sqlite:{to}"));
    let args = [&["move", &from, &to], more].concat();
    webhook_server(&args).output().await
}

async fn refused(from: &str, to: &str, reason: &str) {
    let (code, out, log) = move_files(from, to, &[]).await;
    assert_eq!((code, &*out), (1, ""), "{log}");
    assert!(log.contains(reason), "{reason}: {log}");
}

#[tokio::test]
async fn killed_move_continues_and_the_old_file_is_not_served() {
    let files = Files::new();
    let (from, to) = (files.path("from.db"), files.path("to.db"));
    filled(&from, 6_000).await;
    let before = SqliteStore::open(&from).await.unwrap();
    let expected = contents(&before).await;
    before.close().await;

    // It is killed later each time, while it copies or compares.
    for millis in [20, 40, 80, 120, 180, 250] {
        let args = [
            "move",
            &format!("--from=sqlite:{from}"),
            &format!("--to=sqlite:{to}"),
        ];
        let mut command = webhook_server(&args).into_command();
        let mut process = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let _ = process.start_kill();
        process.wait().await.unwrap();
    }
    let (code, out, log) = move_files(&from, &to, &["--json"]).await;
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["events"], 6_000);
    assert_eq!(report["from_digest"], report["to_digest"]);
    assert_eq!(report["paused_kinds"], json!(["paused"]));
    let order = json!({"processing": 1_200, "processed": 1_200, "failed": 600});
    assert_eq!(report["kinds"]["order"], order);

    let after = SqliteStore::open(&to).await.unwrap();
    assert_eq!(contents(&after).await, expected);
    assert_eq!(after.mark().await.unwrap(), None);
    after.close().await;
    let before = SqliteStore::open(&from).await.unwrap();
    assert_eq!(contents(&before).await, expected);
    before.close().await;

    // Again is not an error, and changes nothing.
    let (code, out, log) = move_files(&from, &to, &[]).await;
    assert_eq!(code, 0, "{log}");
    assert!(out.starts_with("moved 6000 events from sqlite:/"), "{out}");
    let other = files.path("other.db");
    refused(&from, &other, "were moved to sqlite:/").await;
    let (code, _, log) = webhook_server(&["--bind-addr=127.0.0.1:0"])
        .on_file(&from)
        .output()
        .await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("were moved to sqlite:/"), "{log}");
    let mut server = webhook_server(&[]).on_file(&to).start();
    server.listens().await;

    // Commands may look at the old file, and say that no server uses it.
    for (file, is_moved) in [(&from, true), (&to, false)] {
        let (code, out, log) = webhook_server(&["status"]).on_file(file).output().await;
        assert!(code == 0 && out.contains("order"), "{out}{log}");
        let warned = log.contains("no server uses this inbox") && log.contains("were moved to");
        assert_eq!(warned, is_moved, "{log}");
    }
}

#[tokio::test]
async fn file_that_a_move_has_not_filled_is_not_served() {
    let files = Files::new();
    let (from, to) = (files.path("from.db"), files.path("to.db"));
    filled(&from, 10).await;
    let target = SqliteStore::open(&to).await.unwrap();
    let other = MoveMark::Filling {
        from: "sqlite:/other.db".to_owned(),
    };
    target.set_mark(Some(&other)).await.unwrap();
    target.close().await;
    let (code, _, log) = webhook_server(&["--bind-addr=127.0.0.1:0"])
        .on_file(&to)
        .output()
        .await;
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("does not have all events of sqlite:/other.db yet"),
        "{log}"
    );
    refused(&from, &to, "has a part of the events of sqlite:/other.db").await;
    refused(&to, &files.path("third.db"), "has a part of the events of").await;
}

#[tokio::test]
async fn source_that_was_used_since_the_move_began_is_found() {
    let files = Files::new();
    let (from, to) = (files.path("from.db"), files.path("to.db"));
    filled(&from, 10).await;
    filled(&to, 10).await;
    let target = SqliteStore::open(&to).await.unwrap();
    let mark = MoveMark::Filling {
        from: format!("sqlite:{from}"),
    };
    target.set_mark(Some(&mark)).await.unwrap();
    target.close().await;
    let source = SqliteStore::open(&from).await.unwrap();
    let failed = EventRef {
        kind: Kind::from_static("order"),
        key: Key::new("key 4 \u{1f4a9}").unwrap(),
    };
    let requeued = source.requeue(&[failed]).await.unwrap();
    assert_eq!(requeued, [Requeued::Applied]);
    source.close().await;
    refused(&from, &to, "differ, so nothing was switched over").await;
    let source = SqliteStore::open(&from).await.unwrap();
    assert_eq!(source.mark().await.unwrap(), None);
    source.close().await;
}

#[tokio::test]
async fn move_refuses_files_in_use_or_with_events_or_of_other_versions() {
    let files = Files::new();
    let (from, to) = (files.path("from.db"), files.path("to.db"));
    refused(&from, &to, "there is no SQLite file").await;
    filled(&from, 10).await;
    refused(&from, &from, "are the same database").await;
    let detour = files.path("./from.db");
    refused(&from, &detour, "are the same database").await;
    for used in [&from, &to] {
        let mut server = webhook_server(&[]).on_file(used).start();
        server.listens().await;
        refused(
            &from,
            &to,
            &format!("another server (process {}) uses", server.pid()),
        )
        .await;
        server.signal(Signal::TERM);
        server.ends().await;
    }
    let other = files.path("other.db");
    filled(&other, 1).await;
    refused(&from, &other, "has events already").await;

    let newer = files.path("newer.db");
    filled(&newer, 1).await;
    let mut connection = SqliteConnectOptions::new()
        .filename(&newer)
        .connect()
        .await
        .unwrap();
    connection
        .execute(sqlx::raw_sql("PRAGMA user_version = 99"))
        .await
        .unwrap();
    connection.close().await.unwrap();
    refused(&newer, &to, "has version 99").await;

    // Errors name the setting that named the database.
    let missing = format!("sqlite:{}", files.path("missing.db"));
    let folder = format!("sqlite:{}", files.path("."));
    let existing = format!("sqlite:{from}");
    for (from, to, expected) in [
        (
            &*missing,
            &*existing,
            "missing.db: set --from as for the server",
        ),
        (
            &folder,
            &existing,
            "(set --from=sqlite:PATH to use another one)",
        ),
        (
            &existing,
            &folder,
            "(set --to=sqlite:PATH to use another one)",
        ),
        ("hunter2", &existing, "invalid --from: "),
        (&existing, "hunter2", "invalid --to: "),
        ("postgres://host/?port=x", &existing, "invalid --from: "),
        (&existing, "postgres://host/?port=x", "invalid --to: "),
    ] {
        let (code, out, log) = webhook_server(&["move", "--from", from, "--to", to])
            .output()
            .await;
        assert!(code == 1 && out.is_empty(), "{log}");
        assert!(log.contains(expected), "{expected}: {log}");
        assert!(
            !log.contains("DATABASE_URL") && !log.contains("hunter2"),
            "{log}"
        );
    }
    let to = format!("--to={existing}");
    let (code, _, log) = webhook_server(&["move", &to])
        .on_file(&files.path("missing.db"))
        .output()
        .await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("set DATABASE_URL as for the server"), "{log}");

    for args in [
        &["move"][..],
        &["move", "--from=sqlite:a.db"],
        &["move", "--from=memory:", "--to=sqlite:a.db"],
        &["move", "--from=hunter2", "--to=sqlite:a.db"],
    ] {
        let (code, out, log) = webhook_server(args).output().await;
        assert!(code > 0 && out.is_empty(), "{args:?}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn backup_of_a_running_server_can_be_served() {
    let files = Files::new();
    let (file, copy) = (files.path("webhook.db"), files.path("copy.db"));
    let mut server = webhook_server(&["--processing-delay-seconds=0"])
        .on_file(&file)
        .start();
    let mut client = Client::connect(server.listens().await).await;
    client
        .post(transaction("before"))
        .await
        .acknowledged("ACCEPTED");
    let back_up = async |args: &[&str]| {
        let args = [&["backup", &copy], args].concat();
        webhook_server(&args).on_file(&file).output().await
    };
    let (code, out, log) = back_up(&[]).await;
    assert_eq!(code, 0, "{log}");
    assert!(
        out.starts_with("wrote ") && out.ends_with(&format!(" bytes to {copy}\n")),
        "{out}"
    );
    client
        .post(transaction("after"))
        .await
        .acknowledged("ACCEPTED");
    let (code, _, log) = back_up(&[]).await;
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("there is a file ") && log.contains("--overwrite"),
        "{log}"
    );

    let mut restored = webhook_server(&["--processing-delay-seconds=0"])
        .on_file(&copy)
        .start();
    let mut other = Client::connect(restored.listens().await).await;
    other
        .post(transaction("before"))
        .await
        .acknowledged("DUPLICATE");
    other
        .post(transaction("after"))
        .await
        .acknowledged("ACCEPTED");
    restored.signal(Signal::TERM);
    restored.ends().await;
    let (code, out, log) = back_up(&["--overwrite", "--json"]).await;
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["file"], copy);
    assert_eq!(report["bytes"], std::fs::metadata(&copy).unwrap().len());
    assert!(!Path::new(&format!("{copy}.partial")).exists());
    server.signal(Signal::TERM);
    server.ends().await;
}

#[tokio::test]
async fn backup_of_postgres_is_refused_with_advice() {
    let (code, _, log) = webhook_server(&["backup", "copy.db"])
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .output()
        .await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("such as pg_dump"), "{log}");
}
