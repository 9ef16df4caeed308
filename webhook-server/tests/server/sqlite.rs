//! Servers and commands on an SQLite file.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::port::Port;
use webhook_core::{
    Admin, Claim, Envelope, EventRef, Headers, Key, NewEvent, Outcome, Partition, PartitionOptions,
    Partitioned, Reason, Scheduler, Settlement, State, Store, payload,
};
use webhook_server::transaction::Transaction;
use webhook_sqlite::SqliteStore;
use webhook_sqlite::sqlx::sqlite::SqliteConnectOptions;
use webhook_sqlite::sqlx::{self, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::node::{Node, shown, until_processed};
use crate::support::process::{OPERATOR_COMMANDS, Process, webhook_server};
use crate::support::sender::{deliver, id};
use crate::support::{suite, transaction, until, unusual, with_amount};

async fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}

#[tokio::test]
async fn events_outlive_a_killed_server_in_the_default_file() {
    let files = Files::new();
    let folder = files.path("");
    let start = |args: &[&str]| {
        let starter = webhook_server(args).on_default_backend();
        starter.in_directory(Path::new(&folder)).start()
    };
    let mut process = start(&[]);
    let kept = process.logs("events are kept in an SQLite file").await;
    assert_eq!(kept["file"], files.path("webhook.db"));
    assert_eq!(kept["level"], "INFO");
    let mut client = Client::connect(process.listens().await).await;
    let reply = client.post(transaction("tx-1")).await;
    process.signal(Signal::KILL);
    reply.acknowledged("ACCEPTED");
    process.ends().await;

    let mut process = start(&["--processing-delay-seconds=0"]);
    let addr = process.listens().await;
    assert_eq!(shown(addr, "tx-1").await["status"], "PROCESSING");
    let (code, _, log) = webhook_server(&["make-due", "tx-1"])
        .on_file(&files.path("webhook.db"))
        .output()
        .await;
    assert_eq!(code, 0, "{log}");
    until_processed(addr, "tx-1").await;
    stop(process).await;
    let names = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["webhook.db", "webhook.db-lock"]);
}

/// A partition has a part of the events, and would accept events that belong to others.
#[tokio::test]
async fn file_that_is_a_partition_is_not_used_alone() {
    let files = Files::new();
    let file = files.path("webhook.db");
    let store = Arc::new(SqliteStore::open(&file).await.unwrap());
    let other = SqliteStore::open(files.path("other.db")).await.unwrap();
    let partitions: Vec<Arc<dyn Partition>> = vec![Arc::new(other), store.clone()];
    let options = PartitionOptions::default();
    Partitioned::open(partitions, options).await.unwrap();
    store.close().await;
    let (from, to) = (
        format!("--from=sqlite:{file}"),
        format!("--to=sqlite:{}", files.path("to.db")),
    );
    for command in [
        &["--bind-addr=127.0.0.1:0"][..],
        &["status"],
        &["pause", "stripe", "--new"],
        &["move", &from, &to],
    ] {
        let (code, _, log) = webhook_server(command).on_file(&file).output().await;
        assert_eq!(code, 1, "{command:?}: {log}");
        let expected = "this database is partition 1 of 2 of an inbox: set PARTITIONS=2";
        assert!(log.contains(expected), "{command:?}: {log}");
    }
}

#[tokio::test]
async fn state_directory_holds_the_default_file() {
    let files = Files::new();
    let directories = format!("{}:/none", files.path("").trim_end_matches('/'));
    let mut process = webhook_server(&[])
        .on_default_backend()
        .env("STATE_DIRECTORY", &directories)
        .start();
    let kept = process.logs("events are kept in an SQLite file").await;
    assert_eq!(kept["file"], files.path("webhook.db"));
    process.listens().await;
    // A variable that is set wins.
    let mut process = webhook_server(&[])
        .on_file("other.db")
        .env("STATE_DIRECTORY", &directories)
        .start();
    let kept = process.logs("events are kept in an SQLite file").await;
    assert!(kept["file"].as_str().unwrap().ends_with("/other.db"));
}

#[tokio::test]
async fn second_server_on_a_file_is_refused() {
    let files = Files::new();
    let file = files.path("webhook.db");
    let mut first = webhook_server(&[]).on_file(&file).start();
    first.listens().await;
    for args in [&["--bind-addr=127.0.0.1:0"][..], &["migrate"]] {
        let (code, _, log) = webhook_server(args).on_file(&file).output().await;
        assert_eq!(code, 1, "{log}");
        let holder = format!("another server (process {})", first.pid());
        for part in [&holder, &file, "DATABASE_URL=sqlite:PATH"] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
    first.signal(Signal::KILL);
    first.ends().await;
    let mut second = webhook_server(&[]).on_file(&file).start();
    second.listens().await;
}

#[tokio::test]
async fn unusable_files_are_named_with_the_variable() {
    let files = Files::new();
    let text = "this is no database, but some text of a certain length; ".repeat(100);
    let text = files.write("text.db", text);
    let missing = files.path("missing/webhook.db");
    let below_a_file = files.path("text.db/webhook.db");
    let folder = files.path("folder.db");
    std::fs::create_dir(&folder).unwrap();
    let other = files.path("other.db");
    let mut program = SqliteConnectOptions::new()
        .filename(&other)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    program
        .execute("CREATE TABLE notes (text TEXT)")
        .await
        .unwrap();
    program.close().await.unwrap();
    for (file, reason) in [
        (&text, "is damaged or no SQLite database: restore a backup"),
        (&missing, "No such file or directory"),
        (&below_a_file, "Not a directory"),
        (&folder, "is a directory"),
        (
            &other,
            "is a database of another program: choose another file",
        ),
    ] {
        let (code, _, log) = webhook_server(&["--bind-addr=127.0.0.1:0"])
            .on_file(file)
            .output()
            .await;
        assert_eq!(code, 1, "{log}");
        let what = format!("cannot use the SQLite file {file} (set DATABASE_URL=sqlite:PATH");
        for part in [&what, reason] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
}

#[tokio::test]
async fn roles_need_postgres() {
    for url in ["sqlite:webhook.db", "memory:"] {
        for role in ["--role=api", "--role=worker"] {
            let (code, _, log) = webhook_server(&[role])
                .env("DATABASE_URL", url)
                .output()
                .await;
            assert_eq!(code, 2, "{log}");
            assert!(log.contains("need PostgreSQL in DATABASE_URL"), "{log}");
            let files = Files::new();
            let (code, _, log) = webhook_server(&[role, "--bind-addr=127.0.0.1:0"])
                .env("DATABASE_URL_FILE", &files.write("url", url))
                .output()
                .await;
            assert_eq!(code, 1, "{log}");
            assert!(log.contains("need PostgreSQL in DATABASE_URL"), "{log}");
        }
    }
}

#[tokio::test]
async fn commands_do_not_create_the_file() {
    let files = Files::new();
    let file = files.path("webhook.db");
    for command in OPERATOR_COMMANDS {
        let (code, out, log) = webhook_server(command).on_file(&file).output().await;
        assert_eq!((code, out.as_str()), (1, ""), "{log}");
        assert!(
            log.contains(&format!("there is no SQLite file {file}")),
            "{log}"
        );
    }
    assert!(!Path::new(&file).exists());
}

#[tokio::test]
async fn migrate_creates_the_file_and_says_so() {
    let files = Files::new();
    let file = files.path("webhook.db");
    for _ in 0..2 {
        let (code, _, log) = webhook_server(&["migrate"]).on_file(&file).output().await;
        assert_eq!(code, 0, "{log}");
        assert!(
            log.contains("the tables of the SQLite file are up to date"),
            "{log}"
        );
    }
    let mut process = webhook_server(&["--migrate=off"]).on_file(&file).start();
    process.listens().await;
    let log = process.logged.join("\n");
    assert!(
        log.contains("MIGRATE=off has no effect on an SQLite file"),
        "{log}"
    );
}

/// Creates the file, with a FAILED transaction in it.
async fn file_with_failed_event(file: &str, id: &str) {
    let store = SqliteStore::open(file).await.unwrap();
    let body = Bytes::from(transaction(id));
    let envelope = Envelope::of::<Transaction>(body, Headers::new()).unwrap();
    store
        .accept(&[NewEvent::new(envelope, Duration::ZERO)])
        .await
        .unwrap();
    let claim = Claim::new(
        payload::kind_of::<Transaction>(),
        NonZeroUsize::MIN,
        Duration::from_secs(60),
        NonZeroU32::MAX,
    );
    let claimed = store.claim(&[claim]).await.unwrap().remove(0);
    let outcome = Outcome::Failed {
        reason: Reason::new("broken").with_details(r#"{"error_class":"dns"}"#.into()),
    };
    let settlement = Settlement::new(claimed.events[0].lease, outcome);
    store.settle(&[settlement]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn running_server_acts_on_what_commands_change() {
    let files = Files::new();
    let file = files.path("webhook.db");
    file_with_failed_event(&file, "bad").await;
    let mut process = webhook_server(&["--processing-delay-seconds=86400"])
        .on_file(&file)
        .start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    for id in ["tx-1", "tx-2"] {
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
    }
    let run = async |args: &[&str]| {
        let (code, out, log) = webhook_server(args).on_file(&file).output().await;
        assert_eq!(code, 0, "{args:?}: {log}");
        out
    };
    let json = async |args: &[&str]| {
        let out = run(&[args, &["--json"]].concat()).await;
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let counts = json(&["status", "--kind=transaction"]).await;
    assert_eq!(
        (&counts["waiting"], &counts["failed"]),
        (&json!(2), &json!(1))
    );
    for (kind, has_events) in [("transaction", true), ("transactoin", false)] {
        let args = ["status", "--kind", kind];
        let (code, _, log) = webhook_server(&args).on_file(&file).output().await;
        let hint = format!("no event of kind {kind} matches");
        assert_eq!((code, log.contains(&hint)), (0, !has_events), "{log}");
    }
    let listed = json(&["list", "--state=failed"]).await;
    assert_eq!(listed["transaction_id"], "bad");
    let bad = json(&["show", "bad"]).await;
    assert_eq!(bad["error_message"], "broken");
    let details = &bad["failed_attempts"][0]["details"];
    assert_eq!(*details, json!({"error_class": "dns"}));
    let bad = run(&["show", "bad"]).await;
    assert!(bad.contains("  broken\n       dns\n"), "{bad}");

    assert_eq!(run(&["requeue", "bad"]).await, "1 of 1 requeued\n");
    assert_eq!(run(&["make-due", "tx-1"]).await, "1 of 1 made due\n");
    until_processed(addr, "bad").await;
    until_processed(addr, "tx-1").await;

    run(&["pause", "--kind=transaction"]).await;
    assert_eq!(run(&["make-due", "--all"]).await, "1 of 1 made due\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let counts = json(&["status", "--kind=transaction"]).await;
    assert_eq!(
        (&counts["paused"], &counts["due"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(shown(addr, "tx-2").await["status"], "PROCESSING");
    run(&["resume", "--kind=transaction"]).await;
    until_processed(addr, "tx-2").await;

    let deleted = json(&["prune", "--older-than=0s"]).await;
    assert_eq!(deleted["processed"], 3);
    client.get("/v1/transactions/bad").await.problem(404);

    let audit = client.get("/v1/operator/audit").await.json();
    let records = audit["records"].as_array().unwrap();
    let actions: Vec<_> = records.iter().map(|it| &it["action"]).collect();
    assert_eq!(
        actions,
        [
            "prune", "resume", "make_due", "pause", "make_due", "requeue"
        ]
    );
    let actor = records[0]["actor"].as_str().unwrap();
    assert!(actor.starts_with("command ("), "{actor}");
    assert_eq!(
        (&records[0]["target"], &records[0]["count"]),
        (&json!("transaction"), &json!(3))
    );
    let arguments = &records[0]["details"]["arguments"];
    assert_eq!(arguments["older_than"], "0s", "{arguments}");
    stop(process).await;
}

#[tokio::test]
async fn unusual_bodies_are_rows_of_the_sqlite_view() {
    let files = Files::new();
    let file = files.path("webhook.db");
    let mut process = webhook_server(&[]).on_file(&file).start();
    let mut client = Client::connect(process.listens().await).await;
    let mut expected = Vec::new();
    for (id, body, amount) in unusual::transactions() {
        client.post(body).await.acknowledged("ACCEPTED");
        expected.push((id, Some(amount)));
    }
    client
        .post(with_amount("marked", "1"))
        .await
        .acknowledged("CONFLICT");

    // A reader beside the server.
    let mut connection = SqliteConnectOptions::new()
        .filename(&file)
        .read_only(true)
        .connect()
        .await
        .unwrap();
    let rows = sqlx::query("SELECT * FROM transactions ORDER BY transaction_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let found: Vec<(String, Option<String>)> = rows
        .iter()
        .map(|row| (row.get("transaction_id"), row.get("amount")))
        .collect();
    assert_eq!(found, expected);
    for row in &rows {
        for (column, value) in unusual::SHOWN {
            assert_eq!(row.get::<Option<&str>, _>(column), Some(value), "{column}");
        }
        let id: &str = row.get("transaction_id");
        let conflicts = i64::from(id == "marked");
        assert_eq!(row.get::<i64, _>("duplicate_conflict_count"), conflicts);
        assert_eq!(
            row.get::<Option<String>, _>("last_conflict_at").is_some(),
            id == "marked"
        );
        let shown = client.get(&format!("/v1/transactions/{id}")).await.json();
        assert_eq!(row.get::<&str, _>("created_at"), shown["created_at"]);
        assert_eq!(row.get::<Option<&str>, _>("processed_at"), None);
    }
}

#[tokio::test]
async fn clients_and_operators_are_answered_from_a_file() {
    let files = Files::new();
    let starter = webhook_server(&["--processing-delay-seconds=0"]);
    let (scheme, secret) = suite::SCHEMES[0];
    suite::run(starter.on_file(&files.path("webhook.db")), scheme, secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_keeps_all_that_it_acknowledged() {
    const EVENTS: u32 = 3_000;

    let files = Files::new();
    let file = files.path("webhook.db");
    let port = Port::reserve().unwrap();
    let start = async || {
        let args = [
            "--processing-delay-seconds=0",
            "--processing-stale-timeout-seconds=1",
        ];
        let starter = webhook_server(&args).on_file(&file);
        Node::of(starter.start_on(&port.addr().to_string())).await
    };
    let first = start().await;
    let deliveries = deliver(vec![port.addr()], EVENTS, 16);
    until("a third is acknowledged", async || {
        deliveries.acknowledged() >= EVENTS / 3
    })
    .await;
    until("a handler has run", async || !first.handled().is_empty()).await;
    first.kill();
    assert!(deliveries.acknowledged() < EVENTS, "the run is over");
    let by_first = first.ended().await;
    let second = start().await;
    deliveries.finish().await;

    let store = SqliteStore::open(&file).await.unwrap();
    let kind = payload::kind_of::<Transaction>();
    until("all is settled", async || {
        let counts = store.counts(&kind).await.unwrap();
        counts.processed + counts.failed >= u64::from(EVENTS)
    })
    .await;
    let counts = store.counts(&kind).await.unwrap();
    assert_eq!(counts.processed, u64::from(EVENTS));
    let last = shown(second.addr, &id(EVENTS - 1)).await;
    assert_eq!(last["status"], "PROCESSED");
    let mut runs: HashMap<String, Vec<u64>> = HashMap::new();
    for run in by_first.into_iter().chain(second.stop().await) {
        runs.entry(run.transaction_id)
            .or_default()
            .push(run.attempt);
    }
    for number in 0..EVENTS {
        let attempts = runs.get(&id(number)).map(Vec::as_slice);
        match attempts {
            // The first server may have claimed an event and not run its handler, or run it and not stored the result.
            Some([1] | [2] | [1, 2]) => {}
            // The lines that a busy machine had not read from a server when it ended are lost, but not the result.
            None => {
                let event = EventRef {
                    kind: kind.clone(),
                    key: Key::new(id(number)).unwrap(),
                };
                let record = store.find(&[event]).await.unwrap().remove(0).unwrap();
                assert_eq!(record.state, State::Processed);
                assert!((1..=2).contains(&record.attempts), "{record:?}");
            }
            _ => panic!("{}: {attempts:?}", id(number)),
        }
    }
    store.close().await;
}
