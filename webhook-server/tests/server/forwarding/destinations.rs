//! How destinations do, and pauses.

use serde_json::Value;

use super::*;
use crate::support::operator::Operator;
use crate::support::signed::token;

const EVENT: &str = "/v1/events/github/id-1";

#[tokio::test]
async fn destination_that_is_gone_gets_nothing_until_it_is_resumed() {
    let mut app = Receiver::start().await;
    app.answers(410);
    let setup = Setup::new(&source(&format!(
        "forward = \"{}\"",
        app.url("/hooks?key=hidden")
    )));
    let file = setup.files.path("events.db");
    let (token, digest) = token("operate").await;
    let server = |args: &[&str]| {
        let server = setup
            .server(args)
            .on_file(&file)
            .env("FORWARD_SECRETS", KEY);
        server.env("API_TOKENS", &digest)
    };
    let mut process = server(&[]).start();
    let addr = process.listens().await;
    let client = Client::connect(addr).await;
    let mut operator = Operator {
        client,
        token: token.clone(),
    };
    deliver(&mut operator.client, "id-1", "{}").await;
    let first = message_id(&app.next().await);
    until("the kind is paused in the store", async || {
        operator.get("destinations").await["destinations"][0]["paused"] == true
    })
    .await;
    let event = operator.ask("GET", EVENT).await.json();
    assert_eq!(
        (&event["status"], &event["attempts"]),
        (&"PROCESSING".into(), &0.into())
    );

    // What operators see of it.
    let listed = operator.get("destinations").await;
    let destination = &listed["destinations"][0];
    assert_eq!(
        (&destination["source"], &destination["url"]),
        (&"github".into(), &app.url("/hooks").into())
    );
    assert_eq!(
        (&destination["delivered"], &destination["in_flight"]),
        (&0.into(), &0.into())
    );
    let answer = &destination["last_answers"][0];
    assert_eq!(
        (&answer["status"], &answer["key"]),
        (&410.into(), &"id-1".into()),
        "{listed}"
    );
    let url = format!("--url=http://{addr}");
    let run = async |args: &[&str]| {
        let command = server(&[args, &[url.as_str()]].concat());
        command.env("WEBHOOK_SERVER_TOKEN", &token).output().await
    };
    let (code, out, log) = run(&["destinations"]).await;
    assert_eq!(code, 0, "{log}");
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..2], ["NAME", "STATE"], "{out}");
    assert_eq!(
        (&rows[1][..2], *rows[1].last().unwrap()),
        (&["github", "paused"][..], app.url("/hooks").as_str()),
        "{out}"
    );
    assert!(out.contains("410 (gone)") && out.contains("id-1"), "{out}");
    // As the document shows it.
    let took = out.split_once("  in ").map(|(_, rest)| rest);
    let took = took.and_then(|rest| rest.split_once(" ms  "));
    assert!(
        took.is_some_and(|(ms, _)| ms.parse::<u64>().is_ok()),
        "{out}"
    );
    let (_, out, _) = run(&["destinations", "--json"]).await;
    let shown: Value = serde_json::from_str(out.trim_end()).unwrap();
    assert_eq!(
        (&shown["source"], &shown["paused"]),
        (&"github".into(), &true.into())
    );
    let (code, _, log) = server(&["destinations", &url]).output().await;
    assert!(code == 1 && log.contains("WEBHOOK_SERVER_TOKEN"), "{log}");

    // Its app is back.
    app.answers(200);
    let (code, out, log) = server(&["pause", "github"]).output().await;
    let expected = format!(
        "github: was paused already; nothing is forwarded to {} until it is resumed\n",
        app.url("/hooks")
    );
    assert_eq!((code, out), (0, expected), "{log}");
    let (code, out, log) = server(&["resume", "github"]).output().await;
    let expected = format!(
        "github: resumed; its events are forwarded to {}\n",
        app.url("/hooks")
    );
    assert_eq!((code, out), (0, expected), "{log}");
    let listed = operator.get("destinations").await;
    let state = &listed["destinations"][0]["state"];
    assert_eq!(state, "closed", "before the next attempt, too: {listed}");
    let again = app.next().await;
    assert_eq!(message_id(&again), first);
    assert_eq!(
        again.header("inbox-attempt"),
        "1/13",
        "410 spends no attempt"
    );
    until("the event is processed", async || {
        operator.ask("GET", EVENT).await.json()["status"] == "PROCESSED"
    })
    .await;
    let listed = operator.get("destinations").await;
    let destination = &listed["destinations"][0];
    assert_eq!(
        (&destination["paused"], &destination["delivered"]),
        (&false.into(), &1.into())
    );
    let paused = operator
        .ask("POST", "/v1/operator/sources/github/pause")
        .await
        .json();
    assert_eq!(paused["destination"], app.url("/hooks"), "{paused}");
    for (path, status) in [("destinations?limit=1", 400), ("destinations/github", 404)] {
        let reply = operator.ask("GET", &format!("/v1/operator/{path}")).await;
        reply.problem(status);
    }
}

/// Without a token of the scope operate, nothing is served to operators, not even to readers.
#[tokio::test]
async fn server_that_serves_no_operators_is_explained() {
    let (token, digest) = token("read").await;
    let mut process = webhook_server(&[]).env("API_TOKENS", &digest).start();
    let url = format!("--url=http://{}", process.listens().await);
    for command in [&["destinations"][..], &["sources"], &["refused", "github"]] {
        let command = webhook_server(&[command, &[url.as_str()]].concat());
        let (code, _, log) = command.env("WEBHOOK_SERVER_TOKEN", &token).output().await;
        let explained =
            log.contains("does not serve operators there") && log.contains("API_TOKENS");
        assert!(code == 1 && explained, "{log}");
    }
}

#[tokio::test]
async fn server_without_destinations_says_so() {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&[]).env("API_TOKENS", &digest).start();
    let url = format!("--url=http://{}", process.listens().await);
    let command = webhook_server(&["destinations", &url]);
    let (code, out, log) = command.env("WEBHOOK_SERVER_TOKEN", &token).output().await;
    assert_eq!(
        (code, out.as_str()),
        (0, "this server forwards nothing\n"),
        "{log}"
    );
}
