//! An inbox whose partitions are SQLite files.

use std::num::NonZeroUsize;

use rustix::process::Signal;
use serde_json::Value;
use webhook_core::{Key, Placement, payload};
use webhook_server::transaction::Transaction;

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::node::until_processed;
use crate::support::process::{Starter, webhook_server};
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

/// A source with a guard, which compares each event with all others.
const GUARDED: &str =
    "[sources.guarded]\nscheme = \"none\"\nid = \"header:X-Id\"\nguard = \"body\"\n";

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
        let reply = client
            .ask(format!(
                "POST /v1/webhooks/guarded HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 X-Id: {number}\r\nContent-Length: 2\r\n\r\n{{}}"
            ))
            .await;
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
