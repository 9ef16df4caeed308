//! An inbox whose partitions are SQLite files.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use webhook_core::{Key, Partition, PartitionOptions, Partitioned, Placement, payload};
use webhook_server::transaction::Transaction;
use webhook_sqlite::sqlx::sqlite::SqliteConnectOptions;
use webhook_sqlite::sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use webhook_sqlite::{ServerLock, SqliteStore};

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::inboxes::fill;
use crate::support::node::until_processed;
use crate::support::process::{OPERATOR_COMMANDS, Starter, one_starts, webhook_server};
use crate::support::{transaction, with_amount};

const ON: &str = "--partitions=3";

fn server(database: &str, args: &[&str]) -> Starter {
    webhook_server(&[args, &[ON, "--processing-delay-seconds=0"]].concat()).on_file(database)
}

/// The one document that a command writes.
async fn json(database: &str, args: &[&str]) -> Value {
    let (code, out, log) = server(database, args).output().await;
    assert_eq!(code, 0, "{args:?}: {log}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

async fn fails(starter: Starter, expected: &str) {
    let (code, _, log) = starter.output().await;
    assert_ne!(code, 0, "{log}");
    assert!(log.contains(expected), "{expected:?} is missing: {log}");
}

#[tokio::test]
async fn partitions_are_one_inbox() {
    let files = Files::new();
    let database = files.path("hooks.db");
    let mut process = server(&database, &[]).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    let ids: Vec<_> = (0..30).map(|number| format!("tx-{number}")).collect();
    for id in &ids {
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
        client.post(transaction(id)).await.acknowledged("DUPLICATE");
        let other = with_amount(id, "7");
        client.post(other).await.acknowledged("CONFLICT");
    }
    for id in &ids {
        until_processed(addr, id).await;
    }
    let status = client.get("/v1/operator/status?source=transaction").await;
    assert_eq!(status.status, 200, "{}", status.text());
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    for index in 0..3 {
        assert!(std::fs::exists(files.path(&format!("hooks-{index}.db"))).unwrap());
    }
    assert!(!std::fs::exists(&database).unwrap());

    let status = json(&database, &["status", "--kind=transaction", "--json"]).await;
    assert_eq!(status["processed"], 30, "{status}");
    let args = ["list", "--state=processed", "--limit=30", "--json"];
    let (code, out, log) = server(&database, &args).output().await;
    assert_eq!((code, out.lines().count()), (0, 30), "{log}");
    let shown = json(&database, &["show", "tx-7", "--json"]).await;
    assert_eq!(shown["duplicate_conflict_count"], 1, "{shown}");
    let (code, _, log) = server(&database, &["pause", "transaction"]).output().await;
    assert_eq!(code, 0, "{log}");
    let status = json(&database, &["status", "--kind=transaction", "--json"]).await;
    assert_eq!(status["paused"], true, "{status}");

    // Each partition has a backup of its own.
    let copy = files.path("copy.db");
    let (code, out, log) = server(&database, &["backup", &copy]).output().await;
    assert_eq!(code, 0, "{log}");
    assert_eq!(out.lines().count(), 3, "{out}");
    let status = json(&copy, &["status", "--kind=transaction", "--json"]).await;
    assert_eq!(status["processed"], 30, "{status}");

    let pruned = json(
        &database,
        &["prune", "--older-than=0s", "--force", "--json"],
    )
    .await;
    assert_eq!(pruned["processed"], 30, "{pruned}");
    let (code, _, log) = server(&database, &["migrate"]).output().await;
    assert_eq!(code, 0, "{log}");
}

#[tokio::test]
async fn events_are_moved_into_partitions_and_back() {
    let files = Files::new();
    let (one, many, back) = (
        files.path("one.db"),
        files.path("many.db"),
        files.path("back.db"),
    );
    let mut process = webhook_server(&[]).on_file(&one).start();
    let mut client = Client::connect(process.listens().await).await;
    for number in 0..20 {
        let reply = client.post(transaction(&format!("tx-{number}"))).await;
        reply.acknowledged("ACCEPTED");
    }
    process.signal(Signal::TERM);
    process.ends().await;

    let from = format!("--from=sqlite:{one}");
    let moved = json(&many, &["move", &from, "--json"]).await;
    assert_eq!(moved["events"], 20, "{moved}");
    assert_eq!(moved["from_digest"], moved["to_digest"]);
    let status = json(&many, &["status", "--kind=transaction", "--json"]).await;
    assert_eq!(status["waiting"], 20, "{status}");
    fails(webhook_server(&[]).on_file(&one), "were moved to").await;

    let to = format!("--to=sqlite:{back}");
    let moved = json(&many, &["move", &to, "--json"]).await;
    assert_eq!(moved["events"], 20, "{moved}");
    fails(server(&many, &[]), "were moved to").await;
    let (code, _, log) = server(&many, &["status"]).output().await;
    let warnings = log.matches("no server uses this inbox").count();
    assert_eq!((code, warnings), (0, 1), "{log}");
    // In the order of their acceptance, which searches by time need, and not in that of the ids of three partitions.
    let listed = webhook_server(&["list", "--state=processing", "--json"]).on_file(&back);
    let (code, out, log) = listed.output().await;
    assert_eq!(code, 0, "{log}");
    let listed = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let listed: Vec<_> = listed.map(|it| it["transaction_id"].clone()).collect();
    let accepted: Vec<_> = (0..20).map(|number| format!("tx-{number}")).collect();
    assert_eq!(listed, accepted);
    let shown = webhook_server(&["show", "tx-7", "--json"]).on_file(&back);
    let (code, _, log) = shown.output().await;
    assert_eq!(code, 0, "{log}");
}

/// Its event is in the first partition, and the last one has none.
#[tokio::test]
async fn events_are_not_moved_into_partitions_that_have_others() {
    let files = Files::new();
    let (one, many) = (files.path("one.db"), files.path("many.db"));
    let placement = Placement::new(NonZeroUsize::new(3).unwrap());
    let id = "tx-2";
    let (kind, key) = (payload::kind_of::<Transaction>(), Key::new(id).unwrap());
    assert_eq!(placement.partition_of(&kind, &key), 0);
    for (starter, id) in [
        (webhook_server(&[]).on_file(&one), "tx-1"),
        (server(&many, &[]), id),
    ] {
        let mut process = starter.start();
        let mut client = Client::connect(process.listens().await).await;
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
        process.signal(Signal::TERM);
        process.ends().await;
    }
    let from = format!("--from=sqlite:{one}");
    fails(server(&many, &["move", &from]), "has events already").await;
}

#[tokio::test]
async fn partitions_that_do_not_fit_are_refused() {
    let files = Files::new();
    let database = files.path("hooks.db");
    let mut process = server(&database, &[]).start();
    process.listens().await;
    process.signal(Signal::TERM);
    process.ends().await;

    let other_count = webhook_server(&["--partitions=2"]).on_file(&database);
    fails(other_count, "partition 0 of 2: found").await;
    let alone = webhook_server(&[]).on_file(&files.path("hooks-1.db"));
    fails(alone, "partition 1 of 3 of an inbox: set PARTITIONS=3").await;
    std::fs::rename(files.path("hooks-0.db"), files.path("hooks-9.db")).unwrap();
    std::fs::rename(files.path("hooks-1.db"), files.path("hooks-0.db")).unwrap();
    std::fs::rename(files.path("hooks-9.db"), files.path("hooks-1.db")).unwrap();
    fails(server(&database, &[]), "partition 0 of 3: found").await;

    let memory = webhook_server(&[ON]).env("DATABASE_URL", "memory:");
    fails(memory, "memory: cannot be divided into partitions").await;
    let several = "postgres://app:hunter2@127.0.0.1:1/a postgres://127.0.0.1:1/b";
    let several = webhook_server(&[]).env("DATABASE_URL", several);
    fails(several, "set PARTITIONS").await;
    let roles = server(&database, &["--role=api"]);
    fails(roles, "an SQLite file is used by one server").await;
    fails(server(&database, &["conformance"]), "tries one database").await;
    let (code, _, log) = webhook_server(&["check", "--partitions=3"])
        .env("DATABASE_URL", "memory:")
        .output()
        .await;
    assert_eq!(code, 1, "{log}");
}

/// With another `PARTITIONS`, the files have other names, and would all be new.
#[tokio::test]
async fn no_inbox_begins_beside_another_one() {
    let files = Files::new();
    let (many, one) = (files.path("many.db"), files.path("one.db"));
    let mut process = server(&many, &[]).start();
    process.listens().await;
    process.signal(Signal::TERM);
    process.ends().await;
    let beside =
        "many-0.db is partition 0 of 3 of an inbox that PARTITIONS and DATABASE_URL do not lead to";
    fails(webhook_server(&[]).on_file(&many), beside).await;
    fails(webhook_server(&["status"]).on_file(&many), beside).await;

    let mut process = webhook_server(&[]).on_file(&one).start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    process.signal(Signal::TERM);
    process.ends().await;
    fails(server(&one, &[]), "one.db is an inbox with events").await;

    // Once it has been moved, it is of no interest, and neither are the partitions.
    let (from, to) = (format!("--from=sqlite:{one}"), files.path("many.db"));
    json(&many, &["move", &from, "--json"]).await;
    let mut process = server(&one, &[]).start();
    process.listens().await;
    drop(process);
    let to = format!("--to=sqlite:{to}");
    json(&many, &["move", &to, "--json"]).await;
    webhook_server(&[]).on_file(&many).start().listens().await;
}

/// Makes files that are the partitions of an inbox, and closes them.
async fn make(files: &[String]) {
    let mut partitions: Vec<Arc<dyn Partition>> = Vec::new();
    let mut stores = Vec::new();
    for file in files {
        let store = SqliteStore::open(file).await.unwrap();
        partitions.push(Arc::new(store.clone()));
        stores.push(store);
    }
    let opening = Partitioned::open(partitions, PartitionOptions::default());
    opening.await.unwrap();
    for store in stores {
        store.close().await;
    }
}

/// The files `NAME-0.db`, `NAME-1.db` and so on.
fn numbered(files: &Files, name: &str, count: usize) -> Vec<String> {
    let names = (0..count).map(|index| files.path(&format!("{name}-{index}.db")));
    names.collect()
}

async fn execute(file: &str, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(file);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes the tables those of a version before there were marks.
const OLDER: &str = "DROP TABLE key_index; DROP TABLE key_index_state;
    CREATE INDEX events_key ON events (key_hash); DROP TABLE partition_mark; PRAGMA user_version = 5";

/// A file without events and marks, as it was before there were marks.
pub(crate) async fn older_file(file: &str) {
    SqliteStore::open(file).await.unwrap().close().await;
    execute(file, OLDER).await;
}

/// A file of an inbox with an event and without a mark.
async fn inbox_with_events(file: &str) {
    let mut process = webhook_server(&[]).on_file(file).start();
    let mut client = Client::connect(process.listens().await).await;
    let reply = client.post(transaction("tx-1")).await;
    reply.acknowledged("ACCEPTED");
    process.signal(Signal::TERM);
    process.ends().await;
}

/// Runs what is refused, which must change nothing.
async fn refused(files: &Files, starter: Starter, expected: &str) {
    let before = files.contents();
    fails(starter, expected).await;
    let after = files.contents();
    let names = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.keys().cloned().collect()
    };
    assert_eq!(names(&after), names(&before), "{expected}");
    let changed = before
        .iter()
        .filter(|(name, content)| after[*name] != **content);
    let changed: Vec<_> = changed.map(|(name, _)| name).collect();
    assert!(changed.is_empty(), "{expected}: {changed:?} have changed");
}

/// No file is created, updated or marked by a server, or a migration, that is refused.
#[tokio::test]
async fn a_start_that_is_refused_changes_no_file() {
    let files = Files::new();
    let migrate = |database: &str| server(database, &["migrate"]);
    let alone = |database: &str| webhook_server(&[]).on_file(database);

    // Partitions of an inbox: another number, another order, another inbox, one that is missing.
    let hooks = files.path("hooks.db");
    make(&numbered(&files, "hooks", 3)).await;
    for count in [2, 4, 9] {
        let count = format!("--partitions={count}");
        let starter = webhook_server(&[&count]).on_file(&hooks);
        refused(&files, starter, "partition 0 of ").await;
        let starter = webhook_server(&["migrate", &count]).on_file(&hooks);
        refused(&files, starter, "partition 0 of ").await;
    }
    let one_of_them = files.path("hooks-1.db");
    let migrate_alone = |database: &str| webhook_server(&["migrate"]).on_file(database);
    for starter in [alone(&hooks), migrate_alone(&hooks)] {
        refused(&files, starter, "would begin another inbox").await;
    }
    for starter in [alone(&one_of_them), migrate_alone(&one_of_them)] {
        refused(&files, starter, "set PARTITIONS=3").await;
    }
    make(&numbered(&files, "swapped", 3)).await;
    let swap = |one: &str, other: &str| {
        std::fs::rename(files.path(one), files.path("between.db")).unwrap();
        std::fs::rename(files.path(other), files.path(one)).unwrap();
        std::fs::rename(files.path("between.db"), files.path(other)).unwrap();
    };
    swap("swapped-1.db", "swapped-2.db");
    let swapped = files.path("swapped.db");
    for starter in [server(&swapped, &[]), migrate(&swapped)] {
        refused(&files, starter, "partition 1 of 3: found partition 2 of 3").await;
    }
    swap("swapped-1.db", "swapped-2.db");
    swap("swapped-1.db", "hooks-1.db");
    for starter in [server(&swapped, &[]), migrate(&swapped)] {
        refused(&files, starter, "partition 1 of 3: found partition 1 of 3").await;
    }
    let missing = files.path("missing.db");
    make(&numbered(&files, "missing", 3)).await;
    std::fs::remove_file(files.path("missing-1.db")).unwrap();
    let empty = "partition 1 of 3: it is empty";
    refused(&files, server(&missing, &[]), empty).await;
    // A migration makes its tables, so that the operator can set its mark.
    let (code, _, log) = migrate(&missing).output().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains(empty), "{log}");
    refused(&files, server(&missing, &[]), empty).await;

    // New partitions: beside an inbox, or with something else in the place of one.
    let beside = files.path("beside.db");
    inbox_with_events(&beside).await;
    for starter in [server(&beside, &[]), migrate(&beside)] {
        refused(&files, starter, "beside.db is an inbox with events").await;
    }
    let (events, foreign, newer, used) = (
        files.path("events.db"),
        files.path("foreign.db"),
        files.path("newer.db"),
        files.path("used.db"),
    );
    inbox_with_events(&files.path("events-1.db")).await;
    execute(&files.path("foreign-1.db"), "CREATE TABLE notes (text)").await;
    older_file(&files.path("newer-0.db")).await;
    SqliteStore::open(files.path("newer-1.db"))
        .await
        .unwrap()
        .close()
        .await;
    execute(&files.path("newer-1.db"), "PRAGMA user_version = 99").await;
    let user = ServerLock::acquire(files.path("used-1.db")).unwrap();
    for (database, reason) in [
        (&events, "partition 1 of 3: it has events"),
        (&foreign, "is a database of another program"),
        (&newer, "has version 99"),
        (&used, "another server (process"),
    ] {
        for starter in [server(database, &[]), migrate(database)] {
            refused(&files, starter, reason).await;
        }
    }
    drop(user);
    let no_folder = files.path("no-folder/hooks.db");
    let starter = server(&no_folder, &[]);
    refused(&files, starter, "partition 0 of 3").await;

    // An inbox whose events were moved away.
    let (from, to) = (format!("--from=sqlite:{beside}"), files.path("target.db"));
    json(&to, &["move", &from, "--json"]).await;
    refused(&files, alone(&beside), "were moved to").await;
    let back = format!("--to=sqlite:{}", files.path("back.db"));
    json(&to, &["move", &back, "--json"]).await;
    refused(&files, server(&to, &[]), "were moved to").await;
}

/// Neither do commands, and the source of a move: they also make no inbox, and complete none.
#[tokio::test]
async fn a_command_that_is_refused_changes_no_file() {
    let files = Files::new();
    let new = files.path("new.db");
    let (empty, older, begun, changed) = (
        files.path("empty.db"),
        files.path("older.db"),
        files.path("begun.db"),
        files.path("changed.db"),
    );
    for (empty, older) in numbered(&files, "empty", 3)
        .iter()
        .zip(numbered(&files, "older", 3))
    {
        SqliteStore::open(empty).await.unwrap().close().await;
        older_file(&older).await;
    }
    // Its other partitions have no marks.
    make(&numbered(&files, "begun", 3)).await;
    execute(
        &files.path("begun-0.db"),
        "UPDATE partition_mark SET mark = replace(mark, 'true', 'false')",
    )
    .await;
    for file in ["begun-1.db", "begun-2.db"] {
        execute(&files.path(file), "DELETE FROM partition_mark").await;
    }
    make(&numbered(&files, "changed", 4)).await;
    let to = format!("--to=sqlite:{}", files.path("to.db"));
    let commands = OPERATOR_COMMANDS.iter().copied();
    let mut commands: Vec<Vec<&str>> = commands.map(<[&str]>::to_vec).collect();
    commands.push(vec!["move", &to]);
    for command in &commands {
        for (database, expected) in [
            (&new, "there is no SQLite file"),
            (&empty, "no server has opened this inbox yet"),
            (&older, "no server has opened this inbox yet"),
            (
                &begun,
                "partition 1 of 3: it has no mark, although others have theirs",
            ),
            (&changed, "partition 0 of 3: found partition 0 of 4"),
        ] {
            refused(&files, server(database, command), expected).await;
        }
    }
    // A server completes it.
    let mut process = server(&begun, &[]).start();
    process.listens().await;
    drop(process);
    json(&begun, &["status", "--kind=transaction", "--json"]).await;
}

/// Neither does a move: it creates and updates neither of the databases, and leaves no lock.
#[tokio::test]
async fn a_move_that_is_refused_changes_no_file() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let with_events = async |name: &str| {
        let store = SqliteStore::open(path(name)).await.unwrap();
        fill(&store, 10).await;
        store.close().await;
    };
    // The file that is read would be updated, and has no lock.
    with_events("from.db").await;
    execute(&path("from.db"), OLDER).await;
    for name in [
        "events.db",
        "filling.db",
        "moved.db",
        "newer.db",
        "many-0.db",
        "used.db",
    ] {
        with_events(name).await;
    }
    execute(
        &path("filling.db"),
        "INSERT INTO move_mark VALUES (1, 'FILLING', 'sqlite:/other.db', 0)",
    )
    .await;
    execute(
        &path("moved.db"),
        "INSERT INTO move_mark VALUES (1, 'MOVED', 'sqlite:/other.db', 0)",
    )
    .await;
    execute(&path("newer.db"), "PRAGMA user_version = 99").await;
    execute(&path("foreign.db"), "CREATE TABLE notes (text)").await;
    make(&numbered(&files, "hooks", 3)).await;
    make(&numbered(&files, "full", 3)).await;
    let mut process = server(&path("full.db"), &[]).start();
    let mut client = Client::connect(process.listens().await).await;
    let reply = client.post(transaction("tx-1")).await;
    reply.acknowledged("ACCEPTED");
    process.signal(Signal::TERM);
    process.ends().await;
    let user = ServerLock::acquire(path("used.db")).unwrap();

    let from_to = |from: &str, to: &str| {
        let urls = [("from", from), ("to", to)];
        let [from, to] = urls.map(|(option, name)| format!("--{option}=sqlite:{}", path(name)));
        webhook_server(&["move", &from, &to])
    };
    let into = |count: usize, to: &str| {
        let (count, from) = (
            format!("--partitions={count}"),
            format!("--from=sqlite:{}", path("from.db")),
        );
        webhook_server(&["move", &count, &from]).on_file(&path(to))
    };
    for (starter, reason) in [
        (from_to("from.db", "from.db"), "are the same database"),
        (from_to("from.db", "events.db"), "has events already"),
        (from_to("from.db", "moved.db"), "has events already"),
        (
            from_to("from.db", "filling.db"),
            "has a part of the events of sqlite:/other.db",
        ),
        (from_to("from.db", "newer.db"), "has version 99"),
        (
            from_to("from.db", "foreign.db"),
            "is a database of another program",
        ),
        (
            from_to("from.db", "hooks-1.db"),
            "partition 1 of 3 of an inbox",
        ),
        (from_to("from.db", "used.db"), "another server (process"),
        (
            from_to("from.db", "no-folder/to.db"),
            "cannot create or lock",
        ),
        (from_to("missing.db", "new.db"), "there is no SQLite file"),
        (
            from_to("filling.db", "new.db"),
            "has a part of the events of sqlite:/other.db",
        ),
        (
            from_to("moved.db", "new.db"),
            "were moved to sqlite:/other.db before",
        ),
        (from_to("newer.db", "new.db"), "has version 99"),
        (
            from_to("foreign.db", "new.db"),
            "is a database of another program",
        ),
        (
            from_to("hooks-1.db", "new.db"),
            "partition 1 of 3 of an inbox",
        ),
        (from_to("used.db", "new.db"), "another server (process"),
        (
            into(2, "hooks.db"),
            "partition 0 of 2: found partition 0 of 3",
        ),
        (
            into(4, "hooks.db"),
            "partition 0 of 4: found partition 0 of 3",
        ),
        (into(3, "full.db"), "has events already"),
        (into(3, "many.db"), "partition 0 of 3: it has events"),
        (into(3, "no-folder/new.db"), "cannot create or lock"),
    ] {
        refused(&files, starter, reason).await;
    }
    drop(user);
    // What was refused all along can be moved.
    let from = format!("--from=sqlite:{}", path("from.db"));
    let moved = json(&path("new.db"), &["move", &from, "--json"]).await;
    assert_eq!(moved["events"], 10);
}

/// Of servers that want different inboxes in new files, one begins, and the others leave no file.
#[tokio::test]
async fn of_servers_that_start_at_once_one_makes_the_inbox() {
    for _ in 0..3 {
        let files = Files::new();
        let database = files.path("hooks.db");
        let mut processes = [2, 3].map(|count| {
            let count = format!("--partitions={count}");
            webhook_server(&[&count]).on_file(&database).start()
        });
        one_starts(&mut processes).await;
        let count = match std::fs::exists(files.path("hooks-2.db")).unwrap() {
            true => 3,
            false => 2,
        };
        let mut expected: Vec<_> = (0..count)
            .flat_map(|index| {
                [
                    format!("hooks-{index}.db"),
                    format!("hooks-{index}.db-lock"),
                ]
            })
            .collect();
        expected.sort();
        assert_eq!(files.contents().into_keys().collect::<Vec<_>>(), expected);
        let count = format!("--partitions={count}");
        let mut process = webhook_server(&[&count]).on_file(&database).start();
        process.listens().await;
    }
}

/// A source with a guard, which compares each event with all others.
const GUARDED: &str =
    "[sources.guarded]\nscheme = \"none\"\nid = \"header:X-Id\"\nguard = \"body\"\n";

/// A delivery to it.
fn guarded(id: usize, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/webhooks/guarded HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         X-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn sources_with_guards_are_in_one_partition() {
    let files = Files::new();
    let database = files.path("hooks.db");
    let config = files.write("webhook.toml", "");
    let config_file = format!("--config-file={config}");
    let mut process = server(&database, &[&config_file]).start();
    process.listens().await;
    files.write("webhook.toml", GUARDED);
    process.signal(Signal::HUP);
    process
        .logs(
            "a source cannot get a guard while the server runs, since all of its events must then be in one \
             partition: restart the server",
        )
        .await;
    process.signal(Signal::TERM);
    process.ends().await;

    let mut process = server(&database, &[&config_file]).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    for number in 0..8 {
        let reply = client.ask(guarded(number, "{}")).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    }
    let (code, out, log) = server(&database, &["status", "--kind=guarded", "--json"])
        .output()
        .await;
    assert_eq!(code, 0, "{log}");
    let status: Value = serde_json::from_str(&out).unwrap();
    let states = ["waiting", "due", "leased", "processed", "failed"];
    let stored: u64 = states.iter().map(|it| status[it].as_u64().unwrap()).sum();
    assert_eq!(stored, 1, "{status}");
}

/// The guards of the events tell which sources must be in one partition each: no setting needs to.
#[tokio::test]
async fn events_with_guards_are_moved_into_one_partition() {
    let files = Files::new();
    let (one, many) = (files.path("one.db"), files.path("many.db"));
    let config = files.write("webhook.toml", GUARDED);
    let config_file = format!("--config-file={config}");
    let mut process = webhook_server(&[&config_file]).on_file(&one).start();
    let mut client = Client::connect(process.listens().await).await;
    for number in 0..8 {
        let body = format!("{{\"number\": {number}}}");
        let reply = client.ask(guarded(number, &body)).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    }
    process.signal(Signal::TERM);
    process.ends().await;

    let from = format!("--from=sqlite:{one}");
    let moved = json(&many, &["move", &from, "--json"]).await;
    assert_eq!(moved["events"], 8, "{moved}");
    let mut guards = Vec::new();
    for file in numbered(&files, "many", 3) {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = options.connect().await.unwrap();
        let row = connection.fetch_one("SELECT count(*) FROM guards").await;
        guards.push(row.unwrap().get::<i64, _>(0));
        connection.close().await.unwrap();
    }
    guards.sort_unstable();
    assert_eq!(guards, [0, 0, 8]);
    let mut process = server(&many, &[&config_file]).start();
    let mut client = Client::connect(process.listens().await).await;
    let again = client.ask(guarded(99, "{\"number\": 7}")).await;
    assert!((200..300).contains(&again.status), "{}", again.text());
    let status = json(&many, &["status", "--kind=guarded", "--json"]).await;
    let states = ["waiting", "due", "leased", "processed", "failed"];
    let stored: u64 = states.iter().map(|it| status[it].as_u64().unwrap()).sum();
    assert_eq!(stored, 8, "{status}");
}

/// A command that has done nothing leaves no line of an action that may be partly done.
#[tokio::test]
async fn refused_commands_are_no_actions_in_the_log() {
    const ACTION: &str = "an operator ran a command";
    let files = Files::new();
    let (one, many) = (files.path("one.db"), files.path("many.db"));
    SqliteStore::open(&one).await.unwrap().close().await;
    make(&numbered(&files, "many", 3)).await;
    let (copy, new) = (files.write("copy.db", "mine"), files.path("new.db"));
    files.write("copy-1.db", "mine");
    let names = || files.contents().into_keys().collect::<Vec<_>>();
    let no_folder = files.path("no-folder/copy.db");
    let (from, to) = (format!("--from=sqlite:{one}"), format!("--to=sqlite:{one}"));
    let (beside, part) = (files.path("many.db"), files.path("many-1.db"));
    for (database, args) in [
        (&one, &["backup", &copy][..]),
        (&one, &["backup", &one, "--overwrite"]),
        (&one, &["backup", &no_folder]),
        (&new, &["backup", &copy]),
        (&beside, &["migrate"]),
        (&part, &["migrate"]),
        (&one, &["pause", "unknown"]),
        (&one, &["resume", "unknown"]),
        (&one, &["move", &from]),
        (&no_folder, &["move", &from]),
        (&part, &["move", &to]),
    ] {
        let before = names();
        let (code, out, log) = webhook_server(args).on_file(database).output().await;
        assert_eq!((code, &*out), (1, ""), "{args:?}: {log}");
        assert!(!log.contains(ACTION), "{args:?}: {log}");
        assert_eq!(names(), before, "{args:?}");
    }
    // The copy of the first partition is not written either.
    let before = names();
    let (code, out, log) = server(&many, &["backup", &copy]).output().await;
    assert_eq!((code, &*out), (1, ""), "{log}");
    assert!(!log.contains(ACTION), "{log}");
    assert_eq!(names(), before);
    for args in [&["backup", &new][..], &["migrate"]] {
        let (code, _, log) = webhook_server(args).on_file(&one).output().await;
        assert_eq!(code, 0, "{log}");
        assert!(log.contains(ACTION), "{args:?}: {log}");
    }
}
