//! `doctor`: what it finds, what it advises, and its exit code.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::partitions::older_file;
use crate::support::files::Files;
use crate::support::process::{Starter, webhook_server};

/// What it finds, line by line, and its exit code.
async fn examine(starter: Starter) -> (i32, Vec<Value>) {
    let (code, out, log) = starter.output().await;
    let found: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}: {log}")))
        .collect();
    assert_eq!(code == 1, log.contains("error: found "), "{log}");
    (code, found)
}

/// The levels of the findings of `check` that have `part` in their message.
fn levels<'f>(found: &'f [Value], check: &str, part: &str) -> Vec<&'f str> {
    let found = found.iter().filter(|it| it["check"] == check);
    let found = found.filter(|it| it["message"].as_str().unwrap().contains(part));
    found.map(|it| it["level"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn doctor_finds_nothing_wrong_beside_a_running_server() {
    let files = Files::new();
    let database = files.path("webhook.db");
    let mut server = webhook_server(&[]).on_file(&database).start();
    let addr = server.listens().await;
    let addr = format!("--bind-addr={addr}");
    let (code, found) =
        examine(webhook_server(&["doctor", "--json", &addr]).on_file(&database)).await;
    assert_eq!(code, 0, "{found:#?}");
    for (check, part) in [
        ("configuration", "valid, with 0 sources"),
        ("secrets", "none of the options is published"),
        ("core dumps", "writes no memory"),
        ("database", "has the schema of this version"),
        ("address", "a server answers on BIND_ADDR"),
    ] {
        assert_eq!(levels(&found, check, part), ["ok"], "{check}: {found:#?}");
    }
    assert_eq!(levels(&found, "disk", "MiB are free").len(), 1);
    assert_eq!(levels(&found, "open files", "connections").len(), 1);
    let text = webhook_server(&["doctor", &addr]).on_file(&database);
    let (_, out, _) = text.output().await;
    assert!(out.contains("ok       database       it answers"), "{out}");
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await.code(), Some(0));
}

#[tokio::test]
async fn doctor_says_everything_that_is_wrong() {
    let files = Files::new();
    // Nobody listens on a port that was just free, and nobody answers on one that is taken.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!("--bind-addr={}", taken.local_addr().unwrap());
    let secrets = files.write("secrets", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&secrets, readable).unwrap();
    let (code, found) = examine(
        webhook_server(&["doctor", "--json", &bind, "--log-level=off"])
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env("FORWARD_URL", &format!("http://{free}/hooks?key=hidden"))
            .env("FORWARD_SECRETS_FILE", &secrets)
            .env("METRICS_ADDR", &free.to_string())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{free}")),
    )
    .await;
    assert_eq!(code, 1, "{found:#?}");
    let shown = serde_json::to_string(&found).unwrap();
    assert!(!shown.contains("hidden"), "{shown}");
    for (check, part, level) in [
        ("database", "not reachable", "error"),
        ("destination", "FORWARD_URL: http://", "error"),
        ("secrets", "FORWARD_SECRETS holds a secret", "error"),
        ("secrets", "FORWARD_SECRETS_FILE", "warning"),
        ("address", "is in use", "error"),
        ("address", "METRICS_ADDR", "ok"),
        ("traces", "the collector http://", "warning"),
    ] {
        assert_eq!(levels(&found, check, part), [level], "{check}: {found:#?}");
    }
    for finding in &found {
        let needs_advice = finding["level"] == "error";
        assert!(!needs_advice || finding["advice"].is_string(), "{finding}");
    }
}

#[tokio::test]
async fn doctor_updates_no_file_of_an_older_version() {
    let files = Files::new();
    let database = files.path("webhook.db");
    older_file(&database).await;
    let before = files.contents();
    let (code, found) = examine(webhook_server(&["doctor", "--json"]).on_file(&database)).await;
    assert_eq!(
        levels(&found, "database", "an older version"),
        ["warning"],
        "{found:#?}"
    );
    assert_eq!(levels(&found, "database", "").len(), 1, "{found:#?}");
    assert_eq!(code, 0, "{found:#?}");
    assert!(files.contents() == before, "the files have changed");
}
