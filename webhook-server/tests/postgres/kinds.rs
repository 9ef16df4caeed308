//! The commands for operators, with events of kinds that only an app knows.

use std::time::Duration;

use serde_json::{Value, json};
use webhook_core::{
    Accepted, Admin, Envelope, EventType, Fingerprint, Headers, Key, Kind, Outcome,
};
use webhook_server::transaction::Transaction;

use crate::commands::{Inbox, LONG, failed, on_each_backend};
use crate::support::process::webhook_server;
use crate::support::transaction;

fn kind(kind: &'static str) -> Kind {
    Kind::from_static(kind)
}

fn event(kind: &'static str, key: &str, body: impl Into<Vec<u8>>) -> Envelope {
    let (kind, key, body) = (Kind::from_static(kind), Key::new(key).unwrap(), body.into());
    let fingerprint = Fingerprint::of([&body]);
    Envelope::new(kind, key, fingerprint, body.into())
}

impl Inbox {
    /// Accepts an event that is due, and lets its one attempt end so.
    async fn settled_event(&self, envelope: Envelope, outcome: Outcome) {
        let (kind, key) = (envelope.kind.clone(), envelope.key.clone());
        let accepted = self.accept_envelope(envelope, Duration::ZERO).await;
        assert_eq!(accepted, Accepted::New);
        self.settle(&kind, key.as_str(), [outcome]).await;
    }

    /// How many events of a kind are in each state: due, waiting, PROCESSED and FAILED.
    async fn counts_of(&self, kind: &str) -> [u64; 4] {
        let status = self.json(&["status", "--kind", kind]).await;
        assert_eq!(status["kind"], kind);
        ["due", "waiting", "processed", "failed"].map(|name| status[name].as_u64().unwrap())
    }

    /// The exit code and the log of a command that fails.
    async fn fails(&self, args: &[&str]) -> (i32, String) {
        let (code, out, log) = self.server(args).output().await;
        assert_eq!(out, "", "{args:?}");
        (code, log)
    }
}

on_each_backend! {
    status_shows_every_kind,
    lists_are_of_one_kind,
    bodies_are_shown_as_json_text_or_base64,
    empty_and_deleted_bodies_are_distinguished,
    show_has_headers_attempts_and_conflicts,
    requeue_touches_only_its_kind,
    make_due_touches_only_its_kind,
    prune_touches_only_its_kind,
    the_log_names_the_kind_that_was_changed,
}

async fn status_shows_every_kind(inbox: Inbox) {
    assert_eq!(inbox.json(&["status"]).await, json!({"kinds": []}));
    assert_eq!(inbox.lines(&["status"]).await, ["no events"]);
    let good = event("stripe", "evt_1", "{}");
    inbox.settled_event(good, Outcome::Processed).await;
    let bad = event("github.push-v2", "d-1", "{}");
    inbox.settled_event(bad, failed("broken")).await;
    let envelope = Envelope::of::<Transaction>(transaction("tx-1").into(), Headers::new()).unwrap();
    inbox.accept_envelope(envelope, LONG).await;
    let later = event("stripe", "evt_2", "{}");
    inbox.accept_envelope(later, LONG).await;

    let status = inbox.json(&["status"]).await;
    let kinds = status["kinds"].as_array().unwrap();
    let names: Vec<_> = kinds.iter().map(|it| &it["kind"]).collect();
    assert_eq!(names, ["github.push-v2", "stripe", "transaction"]);
    assert_eq!(kinds[0]["failed"], 1);
    assert_eq!(kinds[0]["oldest"], Value::Null);
    assert_eq!(kinds[1]["processed"], 1);
    let oldest = &kinds[1]["oldest"];
    assert_eq!(
        (&oldest["kind"], &oldest["key"]),
        (&json!("stripe"), &json!("evt_2"))
    );
    assert_eq!(oldest.get("transaction_id"), None);
    assert_eq!(kinds[2]["oldest"]["transaction_id"], "tx-1");
    let text = inbox.lines(&["status"]).await.join("\n");
    let blocks: Vec<_> = text.split("\n\n").collect();
    assert_eq!(blocks.len(), 3, "{text}");
    for (block, name) in blocks
        .iter()
        .zip(["github.push-v2", "stripe", "transaction"])
    {
        let first = block.lines().next().unwrap();
        assert!(
            first.starts_with("KIND ") && first.ends_with(name),
            "{text}"
        );
    }
    assert!(blocks[1].contains("\"evt_2\""), "{text}");

    assert_eq!(inbox.counts_of("stripe").await, [0, 1, 1, 0]);
    assert_eq!(inbox.counts_of("github.push-v2").await, [0, 0, 0, 1]);
    assert_eq!(inbox.counts_of("unknown").await, [0; 4]);
    let text = inbox.lines(&["status", "--kind=stripe"]).await.join("\n");
    assert!(
        !text.contains("github") && !text.contains("transaction"),
        "{text}"
    );
    inbox.close().await;
}

async fn lists_are_of_one_kind(inbox: Inbox) {
    for (kind, key) in [
        ("stripe", "evt_1"),
        ("stripe", "evt_2"),
        ("github", "evt_1"),
    ] {
        let event_type = EventType::new(format!("{key}.failed")).unwrap();
        let event = event(kind, key, "{}").with_event_type(event_type);
        inbox.settled_event(event, failed("a\u{2066}b")).await;
    }
    let of_type = ["list", "--kind=stripe", "--type=evt_2.failed"];
    let table = inbox.lines(&of_type).await;
    assert!(table.len() == 2 && table[0].contains("TYPE"), "{table:?}");
    assert!(table[1].contains("evt_2.failed  "), "{table:?}");
    let shown = inbox.lines(&["show", "--kind=stripe", "evt_2"]).await;
    assert_eq!(shown[1], "type evt_2.failed");
    let lines = inbox.lines(&["list", "--kind=stripe", "--json"]).await;
    let listed: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 2);
    for (listed, key) in listed.iter().zip(["evt_1", "evt_2"]) {
        assert_eq!(
            (&listed["kind"], &listed["key"]),
            (&json!("stripe"), &json!(key))
        );
        assert_eq!(
            (&listed["status"], &listed["attempts"]),
            (&json!("FAILED"), &json!(1))
        );
        assert_eq!(listed["event_type"], format!("{key}.failed"));
        for other in ["transaction_id", "number", "body"] {
            assert_eq!(listed.get(other), None, "{listed}");
        }
    }
    let id = listed[0]["id"].to_string();
    let rest = inbox
        .lines(&["list", "--kind=stripe", "--after", &id])
        .await;
    assert!(rest.len() == 2 && rest[0].contains("EVENT"), "{rest:?}");
    assert!(
        rest[1].contains("evt_2") && rest[1].contains(r"a\u{2066}b"),
        "{rest:?}"
    );
    assert_eq!(
        inbox.lines(&["list"]).await,
        [""; 0],
        "transactions are the default"
    );
    inbox.close().await;
}

async fn bodies_are_shown_as_json_text_or_base64(inbox: Inbox) {
    let json = "{\"b\": 1.50,\n\t\"a\": \"\u{202e}\u{7f}\", \"b\": 12345678901234567890}\r\n";
    let on_one_line = r#"{"b": 1.50,  "a": "\u202e\u007f", "b": 12345678901234567890}"#;
    for (key, body, encoding, written, line) in [
        ("json", json.as_bytes(), "json", on_one_line, on_one_line),
        ("number", b"1e2", "json", "1e2", "1e2"),
        (
            "form",
            b"a=1&b=%1b\n",
            "text",
            r#""a=1&b=%1b\n""#,
            r"a=1&b=%1b\n",
        ),
        (
            "hidden",
            "\u{1b}[31m\u{202e}".as_bytes(),
            "text",
            r#""\u001b[31m\u202e""#,
            r"\u{1b}[31m\u{202e}",
        ),
        (
            "surrogate",
            br#""\ud800""#,
            "text",
            r#""\"\\ud800\"""#,
            r#""\ud800""#,
        ),
        ("binary", b"\0\xff\xfe", "base64", r#""AP/+""#, "AP/+"),
    ] {
        inbox.accept_envelope(event("own", key, body), LONG).await;
        let document = inbox.lines(&["show", key, "--kind=own", "--json"]).await;
        let members = format!(r#""body":{written},"body_encoding":"{encoding}""#);
        assert!(
            document.len() == 1 && document[0].contains(&members),
            "{document:?}"
        );
        assert!(document[0].is_ascii(), "{document:?}");
        let document: Value = serde_json::from_str(&document[0]).unwrap();
        assert_eq!(document["body_deleted"], false);
        if encoding == "text" {
            assert_eq!(document["body"].as_str().unwrap().as_bytes(), body);
        }
        let text = inbox.lines(&["show", key, "--kind=own"]).await;
        let expected = format!("body ({encoding}): {line}");
        assert!(text.contains(&expected), "{expected} is not in {text:?}");
    }
    inbox.close().await;
}

async fn empty_and_deleted_bodies_are_distinguished(inbox: Inbox) {
    inbox
        .settled_event(event("own", "stripped", "{}"), Outcome::Processed)
        .await;
    let args = ["prune", "--kind=own", "--older-than=0s", "--keep-keys=365d"];
    assert_eq!(inbox.json(&args).await["bodies"], 1);
    inbox.accept_envelope(event("own", "empty", ""), LONG).await;
    for (key, body, encoding, line) in [
        ("empty", json!(""), json!("text"), "body empty"),
        ("stripped", Value::Null, Value::Null, "body deleted"),
    ] {
        let document = inbox.json(&["show", key, "--kind=own"]).await;
        assert_eq!(
            (&document["body"], &document["body_encoding"]),
            (&body, &encoding)
        );
        assert_eq!(document["body_deleted"], key == "stripped");
        let text = inbox.lines(&["show", key, "--kind=own"]).await;
        assert!(text.contains(&line.to_owned()), "{text:?}");
    }
    inbox.close().await;
}

async fn show_has_headers_attempts_and_conflicts(inbox: Inbox) {
    let headers = [("Content-Type", &b"a/b"[..]), ("X-Odd", b"\xff\x9b")];
    let envelope = event("stripe", "evt 1 ", "{}");
    let headers = Headers::try_from_iter(headers).unwrap();
    inbox
        .settled_event(envelope.with_headers(headers), failed("broken"))
        .await;
    for body in [&b"{\"other\": 1}"[..], b"\xff", &[b'x'; 9_000]] {
        let accepted = inbox
            .accept_envelope(event("stripe", "evt 1 ", body), LONG)
            .await;
        assert_eq!(accepted, Accepted::Conflict);
    }
    let document = inbox.json(&["show", "evt 1 ", "--kind=stripe"]).await;
    for (name, expected) in [
        ("kind", json!("stripe")),
        ("key", json!("evt 1 ")),
        ("status", json!("FAILED")),
        ("attempts", json!(1)),
        ("due_at", Value::Null),
        ("leased_until", Value::Null),
        ("processed_at", Value::Null),
        ("error_message", json!("broken")),
        ("duplicate_conflict_count", json!(3)),
        ("body", json!({})),
        (
            "headers",
            json!([
                {"name": "Content-Type", "value": "a/b"},
                {"name": "X-Odd", "value": "\u{fffd}\u{fffd}"}
            ]),
        ),
    ] {
        assert_eq!(document[name], expected, "{name} of {document}");
    }
    assert!(document["id"].is_i64(), "{document}");
    for name in ["created_at", "last_conflict_at"] {
        assert!(
            document[name].as_str().unwrap().ends_with('Z'),
            "{document}"
        );
    }
    assert_eq!(document.get("transaction_id"), None);
    assert_eq!(document["failed_attempts"][0]["reason"], "broken");
    let conflicts = document["conflicts"].as_array().unwrap();
    let encodings: Vec<_> = conflicts.iter().map(|it| &it["body_encoding"]).collect();
    assert_eq!(encodings, ["text", "base64", "json"]);
    assert_eq!(conflicts[0]["body_bytes"], 9_000);
    assert_eq!(conflicts[1]["body"], "/w==");
    assert_eq!(conflicts[2]["body"], json!({"other": 1}));
    let text = inbox.lines(&["show", "evt 1 ", "--kind=stripe"]).await;
    assert_eq!(text[0], "stripe \"evt 1 \"");
    let text = text.join("\n");
    for part in [
        "FAILED since",
        "header Content-Type: a/b",
        "body (json): {}",
        "broken",
        "conflicting deliveries: 3",
        "base64: /w==",
        r#"json: {"other": 1}"#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Keys are those of their kind, to the last blank.
    for args in [
        &["show", "evt 1 "][..],
        &["show", "evt 1", "--kind=stripe"],
        &["show", "evt 1 ", "--kind=github"],
    ] {
        let (code, log) = inbox.fails(args).await;
        assert_eq!(code, 1, "{log}");
    }
    let (_, log) = inbox.fails(&["show", "no", "--kind=stripe"]).await;
    assert!(
        log.contains("there is no event \"no\" of kind stripe"),
        "{log}"
    );
    inbox.close().await;
}

async fn requeue_touches_only_its_kind(inbox: Inbox) {
    let kinds = ["a", "a-b", "a.b", "a_b"];
    for kind in kinds {
        for key in ["1", "2"] {
            inbox
                .settled_event(event(kind, key, "{}"), failed("broken"))
                .await;
        }
    }
    let all = ["requeue", "--all-failed", "--kind=a.b"];
    let dry = inbox.lines(&[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry, ["2 match; none was requeued (dry run)"]);
    assert_eq!(inbox.counts_of("a.b").await, [0, 0, 0, 2]);
    assert_eq!(inbox.lines(&all).await, ["2 of 2 requeued"]);
    for kind in kinds {
        let expected = if kind == "a.b" {
            [2, 0, 0, 0]
        } else {
            [0, 0, 0, 2]
        };
        assert_eq!(inbox.counts_of(kind).await, expected, "{kind}");
    }
    assert_eq!(
        inbox.lines(&["requeue", "1", "--kind=a-b"]).await,
        ["1 of 1 requeued"]
    );
    assert_eq!(inbox.counts_of("a-b").await, [1, 0, 0, 1]);
    assert_eq!(inbox.counts_of("a").await, [0, 0, 0, 2]);
    assert_eq!(
        inbox.lines(&["requeue", "--all-failed"]).await,
        ["0 of 0 requeued"]
    );
    // Somebody who forgets the kind learns which one was meant.
    for args in [&["list"][..], &["requeue", "--all-failed"]] {
        let (code, _, log) = inbox.server(args).output().await;
        assert_eq!(code, 0, "{log}");
        assert!(
            log.contains("no event of kind transaction matches; --kind selects another kind"),
            "{log}"
        );
    }
    let args = ["requeue", "1", "3", "--kind=a-b"];
    let (code, out, log) = inbox.server(&args).output().await;
    assert_eq!(
        (code, out.as_str()),
        (1, "0 of 2 requeued\n1: still PROCESSING\n3: unknown\n")
    );
    assert!(
        log.contains("2 of 2 events of kind a-b were not requeued"),
        "{log}"
    );
    inbox.close().await;
}

async fn make_due_touches_only_its_kind(inbox: Inbox) {
    for kind in ["stripe", "github"] {
        for key in ["1", "2", "3"] {
            inbox.accept_envelope(event(kind, key, "{}"), LONG).await;
        }
    }
    let named = inbox.lines(&["make-due", "1", "--kind=stripe"]).await;
    assert_eq!(named, ["1 of 1 made due"]);
    assert_eq!(inbox.counts_of("stripe").await, [1, 2, 0, 0]);
    assert_eq!(inbox.counts_of("github").await, [0, 3, 0, 0]);
    let all = inbox.lines(&["make-due", "--all", "--kind=stripe"]).await;
    assert_eq!(all, ["2 of 2 made due"]);
    assert_eq!(inbox.counts_of("stripe").await, [3, 0, 0, 0]);
    assert_eq!(inbox.counts_of("github").await, [0, 3, 0, 0]);
    assert_eq!(
        inbox.lines(&["make-due", "--all"]).await,
        ["0 of 0 made due"]
    );
    let args = ["make-due", "4", "--kind=stripe"];
    let (code, _, log) = inbox.server(&args).output().await;
    assert_eq!(code, 1);
    assert!(
        log.contains("1 of 1 event of kind stripe was not made due"),
        "{log}"
    );
    inbox.close().await;
}

async fn prune_touches_only_its_kind(inbox: Inbox) {
    for kind in ["stripe", "github"] {
        inbox
            .settled_event(event(kind, "good", "{}"), Outcome::Processed)
            .await;
        inbox
            .settled_event(event(kind, "bad", "{}"), failed("broken"))
            .await;
    }
    let deleted = inbox
        .json(&["prune", "--older-than=0s", "--kind=stripe"])
        .await;
    assert_eq!(deleted, json!({"processed": 1, "failed": 1, "bodies": 0}));
    let kinds = inbox.store.kinds().await.unwrap();
    assert_eq!(kinds, [kind("github")]);
    assert_eq!(inbox.counts_of("github").await, [0, 0, 1, 1]);
    // How senders of transactions sign says nothing about those of an app's events.
    let scheme = [
        "--webhook-signature-scheme=github",
        "--webhook-secrets=12345678901",
    ];
    let args = [&["prune", "--older-than=1d", "--kind=github"], &scheme[..]].concat();
    let (code, _, log) = inbox.server(&args).output().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("keys are deleted after 1d: "), "{log}");
    let args = [&["prune", "--older-than=1d"], &scheme[..]].concat();
    let (code, log) = inbox.fails(&args).await;
    assert_eq!(code, 2, "{log}");
    inbox.close().await;
}

async fn the_log_names_the_kind_that_was_changed(inbox: Inbox) {
    inbox
        .settled_event(event("stripe", "evt_1", "{}"), failed("broken"))
        .await;
    for args in [
        &["requeue", "evt_1"][..],
        &["make-due", "evt_1"],
        &["prune", "--older-than=30d"],
    ] {
        let args = [args, &["--kind=stripe"]].concat();
        let (code, _, log) = inbox.server(&args).output().await;
        assert_eq!(code, 0, "{log}");
        let line = log
            .lines()
            .find(|line| line.contains("an operator ran a command"));
        assert!(line.unwrap().contains("stripe"), "{log}");
    }
    inbox.close().await;
}

/// The commands, with what they need beside a kind.
const COMMANDS: [&[&str]; 8] = [
    &["status"],
    &["list"],
    &["show", "a"],
    &["requeue", "a"],
    &["make-due", "a"],
    &["pause"],
    &["resume"],
    &["prune", "--older-than=1d"],
];

#[tokio::test]
async fn invalid_kinds_are_rejected_with_the_allowed_form() {
    let long = "x".repeat(65);
    for command in COMMANDS {
        for wrong in ["", "Stripe", "a b", "caf\u{e9}", "a/b", &long] {
            let flag = format!("--kind={wrong}");
            let args = [command, &[flag.as_str()]].concat();
            let (code, out, log) = webhook_server(&args).output().await;
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {log}");
            for part in [
                &format!("invalid value {wrong:?} for --kind"),
                "1 to 64 characters of a-z, 0-9, '.', '_' and '-'",
            ] {
                assert!(log.contains(part), "{part} is missing: {log}");
            }
        }
    }
}

#[tokio::test]
async fn help_shows_the_default_kind() {
    for command in COMMANDS {
        let (code, help, _) = webhook_server(&[command[0], "--help"]).output().await;
        assert_eq!(code, 0);
        let option = help
            .split("\n      --")
            .find(|it| it.starts_with("kind <KIND>"));
        let option = option.unwrap_or_else(|| panic!("--kind is missing: {help}"));
        let has_default = option.contains("[default: transaction]");
        let needs_none = ["status", "pause", "resume"].contains(&command[0]);
        assert_eq!(has_default, !needs_none, "{option}");
    }
}
