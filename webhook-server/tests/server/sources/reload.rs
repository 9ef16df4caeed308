//! Sources change while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::operator::Operator;
use super::*;
use crate::support::until;

fn source(name: &str, more: &str) -> String {
    format!("[sources.{name}]\npreset = \"github\"\nsecrets = \"file:secret\"\n{more}\n")
}

/// How long a sender waits between two deliveries.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::test]
async fn reload_under_load_drops_no_request() {
    let setup = Setup::new(&source("kept", ""));
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    let addr = operator.client.stream.peer_addr().unwrap();
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            tokio::spawn(async move {
                let sender = Sender::preset("kept", "github", SECRET);
                let mut client = Client::connect(addr).await;
                while !stop.load(Ordering::Relaxed) {
                    let id = sent.fetch_add(1, Ordering::Relaxed);
                    assert_stored(
                        &client
                            .ask(sender.github(&id.to_string(), id.to_string()))
                            .await,
                    );
                    // The log has a line for each event, and this test reads all of them.
                    tokio::time::sleep(PAUSE).await;
                }
            })
        })
        .collect();
    for round in 0..6_u32 {
        let before = sent.load(Ordering::Relaxed);
        until("some are sent", async || {
            sent.load(Ordering::Relaxed) > before + 20
        })
        .await;
        let more = format!("max_attempts = {}\nconcurrency = {}", round + 1, round + 1);
        let others: String = (0..round)
            .map(|it| source(&format!("other-{it}"), ""))
            .collect();
        setup.rewrite(&format!("{}{others}", source("kept", &more)));
        // The secret is added to, and then taken away from.
        let extra = if round % 2 == 0 { OTHER_SECRET } else { "" };
        setup.files.write("secret", format!("{SECRET}\n{extra}\n"));
        process.signal(Signal::HUP);
        let line = process.logs("sources reloaded").await;
        assert_eq!(line["sources"], round + 1);
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    let kept = &operator.get("sources").await["sources"][0];
    assert_eq!(
        (&kept["received"], &kept["events"]),
        (&sent.into(), &sent.into())
    );
    until("all are processed", async || {
        operator.get("status?source=kept").await["sources"][0]["processed"] == sent
    })
    .await;
}

#[tokio::test]
async fn sources_that_are_right_are_used_and_the_others_stay_and_are_named() {
    let setup = Setup::new(&[source("a", ""), source("b", "")].concat());
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    let ask = async |operator: &mut Operator, name: &str| {
        let sender = Sender::preset(name, "github", SECRET);
        operator.client.ask(sender.github("x", "{}")).await
    };
    assert_stored(&ask(&mut operator, "a").await);
    setup.rewrite(
        &[
            source("a", "concurrency = \"many\""),
            source("b", "answer = { status = 202 }"),
            source("c", ""),
            source("d", "compare = \"never\""),
        ]
        .concat(),
    );
    process.signal(Signal::HUP);
    let line = process
        .logs("sources reloaded, except those that are wrong, which stay as they were")
        .await;
    assert_eq!((&line["sources"], &line["invalid"]), (&2.into(), &2.into()));
    let log = process.logged.join("\n");
    for place in ["sources.a.concurrency", "sources.d.compare"] {
        assert!(log.contains(place), "{place}: {log}");
    }
    assert_stored(&ask(&mut operator, "a").await);
    assert_eq!(ask(&mut operator, "b").await.status, 202);
    assert_stored(&ask(&mut operator, "c").await);
    // Nobody knows yet what it will be, so its sender has to come back.
    ask(&mut operator, "d").await.unavailable();

    // Not TOML at all: everything stays.
    setup.rewrite("[sources.a\n");
    process.signal(Signal::HUP);
    process
        .logs("failed to reload the sources; the current ones stay in use")
        .await;
    assert_eq!(ask(&mut operator, "b").await.status, 202);
}

#[tokio::test]
async fn former_secret_is_recognised() {
    let setup = Setup::new(&source("github", ""));
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    setup.set_secret(OTHER_SECRET);
    process.signal(Signal::HUP);
    process.logs("sources reloaded").await;
    let github = Sender::of("github");
    assert_refused(&operator.client.ask(github.github("a", "{}")).await);
    let hint = operator.hint("github").await;
    assert!(
        hint.contains("previous") || hint.contains("former"),
        "{hint}"
    );
    // Another reload, which changes nothing, does not make it forget.
    process.signal(Signal::HUP);
    process.logs("sources reloaded").await;
    assert_refused(&operator.client.ask(github.github("b", "{}")).await);
    assert_eq!(operator.hint("github").await, hint);
}

#[tokio::test]
async fn removed_source_keeps_its_events_until_it_is_back() {
    let setup = Setup::new(&[source("a", "delay = \"1s\""), source("b", "")].concat());
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    let sender = Sender::preset("a", "github", SECRET);
    assert_stored(&operator.client.ask(sender.github("x", "{}")).await);
    setup.rewrite(&source("b", ""));
    process.signal(Signal::HUP);
    let removed = process
        .logs("a source was removed; its events are kept")
        .await;
    assert_eq!(removed["source"], "a");
    process.logs("sources reloaded").await;
    assert_refused(&operator.client.ask(sender.github("y", "{}")).await);
    let status = operator.get("status?source=a").await["sources"][0].take();
    let unsettled = ["waiting", "due", "leased"].map(|it| status[it].as_u64().unwrap());
    let processed = status["processed"].as_u64().unwrap();
    assert_eq!(unsettled.iter().sum::<u64>() + processed, 1, "{status}");
    setup.rewrite(&[source("a", ""), source("b", "")].concat());
    process.signal(Signal::HUP);
    until("the event is processed", async || {
        operator.get("status?source=a").await["sources"][0]["processed"] == 1
    })
    .await;
}

#[tokio::test]
async fn events_are_kept_for_as_long_as_their_source_says() {
    let keeping = |keep: &str| {
        let short = source(
            "short",
            &format!("keep = \"{keep}\"\nkeep_keys = \"{keep}\""),
        );
        [short, source("long", "")].concat()
    };
    let setup = Setup::new(&keeping("1s"));
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    for name in ["short", "long"] {
        let sender = Sender::preset(name, "github", SECRET);
        assert_stored(&operator.client.ask(sender.github("x", "{}")).await);
    }
    let mut round = 0;
    until("the event is deleted", async || {
        // Another time for which they are kept begins another sweep.
        round += 1;
        setup.rewrite(&keeping(["1s", "1100ms"][round % 2]));
        process.signal(Signal::HUP);
        process.logs("sources reloaded").await;
        let reply = operator.ask("GET", "/v1/events/short/x").await;
        reply.status == 404
    })
    .await;
    let reply = operator.ask("GET", "/v1/events/long/x").await;
    assert_eq!(reply.json()["status"], "PROCESSED");
}

#[tokio::test]
async fn events_survive_a_restart_and_are_recognised() {
    let setup = Setup::new(&source("a", "delay = \"1s\""));
    let file = setup.files.path("events.db");
    let sender = Sender::preset("a", "github", SECRET);
    let mut process = setup.server(&[]).on_file(&file).start();
    let mut client = Client::connect(process.listens().await).await;
    for id in ["x", "y", "z"] {
        assert_stored(&client.ask(sender.github(id, format!("\"{id}\""))).await);
    }
    process.signal(Signal::KILL);
    process.ends().await;
    let mut process = setup.server(&[]).on_file(&file).start();
    let mut client = Client::connect(process.listens().await).await;
    for id in ["x", "y", "z", "new"] {
        assert_stored(&client.ask(sender.github(id, format!("\"{id}\""))).await);
        until("it is processed", async || {
            shown(&mut client, "a", id).await["status"] == "PROCESSED"
        })
        .await;
        let event = shown(&mut client, "a", id).await;
        assert_eq!(event["duplicate_conflict_count"], 0, "{event}");
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}
