//! The commands that pause and resume kinds, beside a server that processes.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use webhook_core::Admin;

use crate::commands::{Inbox, on_each_backend};
use crate::support::client::Client;
use crate::support::node::until_processed;
use crate::support::transaction;

on_each_backend! {
    a_server_accepts_a_paused_kind_and_processes_it_after_the_resume,
    several_kinds_are_paused_and_resumed_in_one_call,
    names_that_nothing_has_are_refused,
    status_shows_paused_kinds_with_and_without_events,
    pause_and_resume_need_a_kind,
}

async fn a_server_accepts_a_paused_kind_and_processes_it_after_the_resume(inbox: Inbox) {
    let start = || inbox.server(&["--processing-delay-seconds=0"]).start();
    let mut server = start();
    let mut addr = server.listens().await;
    for (key, restarts) in [("tx-1", false), ("tx-2", true)] {
        let paused = inbox.lines(&["pause", "--kind=transaction"]).await;
        assert_eq!(paused, ["transaction: paused"]);
        if restarts {
            server.signal(Signal::TERM);
            assert!(server.ends().await.success());
            server = start();
            addr = server.listens().await;
        }
        let mut client = Client::connect(addr).await;
        let reply = client.post(transaction(key)).await;
        reply.acknowledged("ACCEPTED");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = inbox.json(&["status", "--kind=transaction"]).await;
        assert_eq!(
            (&status["paused"], &status["due"], &status["leased"]),
            (&json!(true), &json!(1), &json!(0)),
            "{status}"
        );
        let resumed = inbox.lines(&["resume", "--kind=transaction"]).await;
        assert_eq!(resumed, ["transaction: resumed"]);
        until_processed(addr, key).await;
    }
    inbox.close().await;
}

async fn several_kinds_are_paused_and_resumed_in_one_call(inbox: Inbox) {
    let kinds = ["--kind=stripe", "--kind", "github", "--new"];
    let paused = inbox.lines(&[&["pause"], &kinds[..]].concat()).await;
    assert_eq!(paused, ["stripe: paused", "github: paused"]);
    let again = inbox
        .json(&[&["pause", "--kind=a"], &kinds[..]].concat())
        .await;
    let kind = |kind, changed| json!({"kind": kind, "paused": true, "changed": changed});
    assert_eq!(
        again,
        json!({"kinds": [kind("a", true), kind("stripe", false), kind("github", false)]})
    );
    let again = inbox.lines(&["pause", "--kind=a"]).await;
    assert_eq!(again, ["a: was paused already"]);
    let resumed = inbox
        .lines(&["resume", "--kind=a", "--kind=transaction"])
        .await;
    assert_eq!(resumed, ["a: resumed", "transaction: was not paused"]);
    let resumed = inbox.json(&["resume", "--kind=stripe"]).await;
    let expected = json!({"kinds": [{"kind": "stripe", "paused": false, "changed": true}]});
    assert_eq!(resumed, expected);
    inbox.close().await;
}

async fn names_that_nothing_has_are_refused(inbox: Inbox) {
    inbox.lines(&["pause", "stripe", "--new"]).await;
    for (args, part) in [
        (
            &["pause", "transaction", "stirpe"][..],
            "no source is named stirpe, and no event has this kind: to pause it before its first event, add --new; \
             did you mean stripe?",
        ),
        (&["pause", "transactions"], "did you mean transaction?"),
        (
            &["resume", "transaction", "github"],
            "no source is named github",
        ),
    ] {
        let (code, out, log) = inbox.server(args).output().await;
        assert_eq!((code, out.as_str()), (1, ""), "{log}");
        assert!(log.contains(part), "{log}");
    }
    let status = inbox.json(&["status"]).await;
    let paused: Vec<_> = status["kinds"].as_array().unwrap().iter().collect();
    assert!(
        paused.len() == 1 && paused[0]["kind"] == "stripe",
        "{status}"
    );
    inbox.close().await;
}

async fn status_shows_paused_kinds_with_and_without_events(inbox: Inbox) {
    inbox.accept(transaction("tx-1"), Duration::ZERO).await;
    inbox.lines(&["pause", "--kind=github", "--new"]).await;
    let status = inbox.json(&["status"]).await;
    let kinds = status["kinds"].as_array().unwrap();
    let shown: Vec<_> = kinds
        .iter()
        .map(|it| (&it["kind"], &it["paused"]))
        .collect();
    let expected = [
        (json!("github"), json!(true)),
        (json!("transaction"), json!(false)),
    ];
    assert_eq!(
        shown,
        expected.each_ref().map(|(kind, paused)| (kind, paused))
    );
    let text = inbox.lines(&["status"]).await;
    let first = &text[0];
    assert!(
        first.starts_with("KIND ") && first.contains(" github "),
        "{first}"
    );
    assert!(first.ends_with("  paused until it is resumed"), "{first}");
    let pauses = text.iter().filter(|line| line.contains("paused"));
    assert_eq!(pauses.count(), 1, "{text:?}");
    let of_one = inbox.lines(&["status", "--kind=github"]).await;
    assert!(of_one[0].contains("paused"), "{of_one:?}");
    inbox.lines(&["resume", "--kind=github"]).await;
    let status = inbox.json(&["status"]).await;
    assert_eq!(status["kinds"].as_array().unwrap().len(), 1);
    inbox.close().await;
}

async fn pause_and_resume_need_a_kind(inbox: Inbox) {
    for command in ["pause", "resume"] {
        let (code, out, log) = inbox.server(&[command]).output().await;
        assert_eq!((code, out.as_str()), (2, ""), "{log}");
        assert!(log.contains("<KIND>"), "{log}");
    }
    assert_eq!(inbox.store.paused().await.unwrap(), []);
    inbox.close().await;
}
