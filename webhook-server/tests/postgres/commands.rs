//! The commands for operators, and retention.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use serde_json::{Value, json};
use webhook_core::{
    Accepted, Admin, Claim, Envelope, Headers, Kind, NewEvent, Outcome, Reason, Scheduler,
    Settlement, Store, payload,
};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;
use webhook_server::transaction::Transaction;
use webhook_sqlite::SqliteStore;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::node::{shown, until_processed};
use crate::support::process::{OPERATOR_COMMANDS, Starter};
use crate::support::{transaction, until, with_amount};

/// Makes tests of functions that take an [`Inbox`]: one for each function and backend.
macro_rules! on_each_backend {
    ($($test:ident,)*) => {
        mod on_postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::commands::Inbox::on_postgres().await).await;
                }
            )*
        }

        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::commands::Inbox::on_sqlite().await).await;
                }
            )*
        }
    };
}

pub(crate) use on_each_backend;

/// A database with events in it, in known states.
pub(crate) struct Inbox {
    pub(crate) store: Arc<dyn Backend>,
    /// The `DATABASE_URL` of servers and commands.
    url: String,
    database: Database,
}

/// All that operators and workers use.
pub(crate) trait Backend: Store + Scheduler + Admin {}

impl<B: Store + Scheduler + Admin> Backend for B {}

/// What to remove in the end.
enum Database {
    Postgres(Box<TestDatabase>, PgStore),
    Sqlite(Files, SqliteStore),
}

impl Inbox {
    pub(crate) async fn on_postgres() -> Self {
        let database = TestDatabase::create().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            store: Arc::new(store.clone()),
            url: database.url().to_owned(),
            database: Database::Postgres(Box::new(database), store),
        }
    }

    pub(crate) async fn on_sqlite() -> Self {
        let files = Files::new();
        let file = files.path("webhook.db");
        let store = SqliteStore::open(&file).await.unwrap();
        Self {
            store: Arc::new(store.clone()),
            url: format!("sqlite:{file}"),
            database: Database::Sqlite(files, store),
        }
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.database, Database::Postgres(..))
    }

    /// A server, or a command, on this database.
    pub(crate) fn server(&self, args: &[&str]) -> Starter {
        server_on(&self.url, args)
    }

    pub(crate) async fn accept(&self, body: String, delay: Duration) -> Accepted {
        let envelope = Envelope::of::<Transaction>(Bytes::from(body), Headers::new()).unwrap();
        self.accept_envelope(envelope, delay).await
    }

    pub(crate) async fn accept_envelope(&self, envelope: Envelope, delay: Duration) -> Accepted {
        let event = NewEvent::new(envelope, delay);
        self.store.accept(&[event]).await.unwrap()[0]
    }

    /// Accepts a transaction and lets its attempts end so, one after the other.
    async fn settled(&self, id: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.accept(transaction(id), Duration::ZERO).await;
        let kind = payload::kind_of::<Transaction>();
        self.settle(&kind, id, outcomes).await;
    }

    /// Lets the attempts at the event that is due end so, one after the other.
    pub(crate) async fn settle(
        &self,
        kind: &Kind,
        key: &str,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) {
        for outcome in outcomes {
            let claim = Claim::new(
                kind.clone(),
                NonZeroUsize::MIN,
                Duration::from_secs(3_600),
                NonZeroU32::MAX,
            );
            let claimed = self
                .store
                .claim(std::slice::from_ref(&claim))
                .await
                .unwrap()
                .remove(0)
                .events;
            assert_eq!(claimed[0].key.as_str(), key);
            let lease = claimed[0].lease;
            let settlement = Settlement::new(lease, outcome);
            self.store.settle(&[settlement]).await.unwrap();
        }
    }

    /// Runs a command, and returns its lines. Commands that change something log one line, and those that find no event
    /// of their kind may say so.
    pub(crate) async fn lines(&self, args: &[&str]) -> Vec<String> {
        let (code, out, log) = self.server(args).output().await;
        assert_eq!(code, 0, "{args:?}: {log}");
        let changes = ["requeue", "make-due", "pause", "resume", "prune"].contains(&args[0]);
        let is_audited = changes && !args.contains(&"--dry-run");
        let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        let audited = lines("an operator ran a command");
        assert_eq!(audited, usize::from(is_audited), "{args:?}: {log}");
        let warnings = lines(" WARN ");
        let hints = lines("no event of kind ");
        assert!(hints <= 1, "{args:?}: {log}");
        let expected = audited + warnings + hints;
        assert_eq!(log.lines().count(), expected, "{args:?}: {log}");
        out.lines().map(str::to_owned).collect()
    }

    /// The one document that a command writes.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let lines = self.lines(&[args, &["--json"]].concat()).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        serde_json::from_str(&lines[0]).unwrap()
    }

    /// The status of the transactions.
    async fn status(&self) -> Value {
        self.json(&["status", "--kind=transaction"]).await
    }

    pub(crate) async fn close(self) {
        match self.database {
            Database::Postgres(database, store) => {
                store.close().await;
                database.drop_database().await;
            }
            Database::Sqlite(_files, store) => store.close().await,
        }
    }
}

pub(crate) fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: Reason::new(reason),
    }
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry {
        after: Duration::ZERO,
        reason: Reason::new(reason),
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(3_600);

on_each_backend! {
    status_counts_events_in_each_state,
    list_shows_one_state_and_continues_after_a_number,
    show_has_every_failed_attempt_and_conflict,
    failed_transactions_are_requeued_by_id_or_by_match,
    waiting_transactions_are_made_due_by_id_or_by_match,
    requeue_and_make_due_say_why_an_event_is_unchanged,
    running_server_processes_transactions_that_a_command_made_due,
    hidden_characters_of_ids_are_escaped_and_parsed_back,
    commands_that_change_events_log_who_ran_them,
    prune_deletes_old_transactions_and_can_keep_keys,
    server_with_retention_deletes_old_events,
    redelivery_requeues_a_failed_transaction_if_configured,
}

async fn status_counts_events_in_each_state(inbox: Inbox) {
    let empty = inbox.status().await;
    assert_eq!(empty["oldest"], Value::Null);
    assert_eq!(empty["lag_seconds"], Value::Null);
    inbox.settled("good", [Outcome::Processed]).await;
    inbox.settled("bad", [failed("broken")]).await;
    inbox.accept(transaction("later"), LONG).await;
    inbox.accept(transaction("now"), Duration::ZERO).await;
    let status = inbox.status().await;
    for (name, expected) in [
        ("waiting", 1),
        ("due", 1),
        ("leased", 0),
        ("processed", 1),
        ("failed", 1),
    ] {
        assert_eq!(status[name], expected, "{name} of {status}");
    }
    assert!(status["lag_seconds"].as_f64() >= Some(0.0));
    assert!(status["processed_per_second"].as_f64() > Some(0.0));
    assert_eq!(status["oldest"]["transaction_id"], "later");
    let table = inbox.lines(&["status"]).await;
    assert!(
        table.iter().any(|line| line.starts_with("FAILED ")),
        "{table:?}"
    );
    assert!(table.last().unwrap().contains("\"later\""), "{table:?}");
    inbox.close().await;
}

async fn list_shows_one_state_and_continues_after_a_number(inbox: Inbox) {
    for number in 0..3 {
        inbox
            .settled(&format!("bad-{number}"), [failed("a\u{1b}[31mb")])
            .await;
    }
    inbox.settled("good", [Outcome::Processed]).await;
    let args = ["list", "--state", "FAILED", "--json"];
    let lines = inbox.lines(&args).await;
    let ids: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["transaction_id"].take())
        .collect();
    assert_eq!(ids, ["bad-0", "bad-1", "bad-2"]);
    let table = inbox.lines(&["list", "--limit=2"]).await;
    assert_eq!(table.len(), 3, "{table:?}");
    assert!(!table.concat().contains('\u{1b}'));
    let number = table[2].split_whitespace().next().unwrap();
    let rest = inbox.lines(&["list", "--after", number]).await;
    assert!(rest.len() == 2 && rest[1].contains("bad-2"), "{rest:?}");
    let good = inbox.json(&["list", "--state=processed"]).await;
    assert_eq!(good["transaction_id"], "good");
    assert_eq!(inbox.lines(&["list", "--state=processing"]).await.len(), 0);
    inbox.close().await;
}

async fn show_has_every_failed_attempt_and_conflict(inbox: Inbox) {
    let detailed = |details: &'static str| Outcome::Failed {
        reason: Reason::new("third").with_details(details.into()),
    };
    let answer = r#"{"error_class":"status_5xx","status":503,"timings_ms":{"total":12}}"#;
    let outcomes = [retry("first"), retry("second"), detailed(answer)];
    inbox.settled("tx-1", outcomes).await;
    inbox.settled("tx-bytes", [detailed("\u{1b}[31m")]).await;
    let bytes = inbox.json(&["show", "tx-bytes"]).await;
    let bytes = &bytes["failed_attempts"][0]["details_base64"];
    assert_eq!(bytes, "G1szMW0=");
    let accepted = inbox.accept(with_amount("tx-1", "7"), Duration::ZERO).await;
    assert_eq!(accepted, Accepted::Conflict);
    let document = inbox.json(&["show", "tx-1"]).await;
    assert_eq!(document["status"], "FAILED");
    assert_eq!(document["error_message"], "third");
    assert_eq!(document["body_deleted"], false);
    let attempts = document["failed_attempts"].as_array().unwrap();
    let reasons: Vec<_> = attempts.iter().map(|it| &it["reason"]).collect();
    assert_eq!(reasons, ["third", "second", "first"]);
    assert_eq!(attempts[0]["attempt"], 3);
    assert_eq!(attempts[0]["details"]["status"], 503);
    assert_eq!(attempts[1].get("details"), None);
    assert!(attempts[0]["ended_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(document["duplicate_conflict_count"], 1);
    assert_eq!(document["conflicts"][0]["body"], with_amount("tx-1", "7"));
    let text = inbox.lines(&["show", "tx-1"]).await.join("\n");
    for part in [
        "FAILED since",
        "third\n       status_5xx, status 503, 12 ms\n",
        "second",
        "first",
        "conflicting deliveries: 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for unknown in ["tx-2", "tx\u{1}", ""] {
        let starter = inbox.server(&["show", unknown]);
        let (code, out, log) = starter.output().await;
        assert_eq!((code, out.as_str()), (1, ""), "{log}");
        assert!(log.contains("there is no transaction"), "{log}");
    }
    inbox.close().await;
}

async fn failed_transactions_are_requeued_by_id_or_by_match(inbox: Inbox) {
    for (id, reason) in [
        ("a", "timeout at bank"),
        ("b", "no such account"),
        ("c", "timeout"),
    ] {
        inbox.settled(id, [failed(reason)]).await;
    }
    let matching = ["requeue", "--all-failed", "--reason=timeout"];
    let dry = inbox.json(&[&matching[..], &["--dry-run"]].concat()).await;
    assert_eq!((&dry["matched"], &dry["requeued"]), (&json!(2), &json!(0)));
    assert_eq!(inbox.status().await["failed"], 3);
    let never = "--failed-before=2001-01-01T00:00:00Z";
    let none = inbox.json(&[&matching[..], &[never]].concat()).await;
    assert_eq!(none["matched"], 0);
    let since = "--failed-after=2001-01-01T00:00:00Z";
    let done = inbox.json(&[&matching[..], &[since]].concat()).await;
    assert_eq!(
        (&done["matched"], &done["requeued"]),
        (&json!(2), &json!(2))
    );
    let status = inbox.status().await;
    assert_eq!((&status["failed"], &status["due"]), (&json!(1), &json!(2)));
    let named = inbox.lines(&["requeue", "b"]).await;
    assert_eq!(named, ["1 of 1 requeued"]);
    let starter = inbox.server(&["requeue", "b", "unknown", "--json"]);
    let (code, out, log) = starter.output().await;
    assert_eq!(code, 1, "{log}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["not_failed"], &report["not_found"]),
        (&json!(1), &json!(1))
    );
    assert!(
        log.contains("2 of 2 transactions were not requeued"),
        "{log}"
    );
    for wrong in [
        &["requeue"][..],
        &["requeue", "a", "--all-failed"],
        &["requeue", "a", "--reason=x"],
    ] {
        let (code, ..) = inbox.server(wrong).output().await;
        assert_eq!(code, 2, "{wrong:?}");
    }
    inbox.close().await;
}

async fn waiting_transactions_are_made_due_by_id_or_by_match(inbox: Inbox) {
    inbox.accept(transaction("far"), 24 * LONG).await;
    inbox.accept(transaction("near"), LONG / 2).await;
    inbox.accept(transaction("held"), Duration::ZERO).await;
    let claim = Claim::new(
        payload::kind_of::<Transaction>(),
        NonZeroUsize::MIN,
        24 * LONG,
        NonZeroU32::MAX,
    );
    assert_eq!(
        inbox
            .store
            .claim(std::slice::from_ref(&claim))
            .await
            .unwrap()
            .remove(0)
            .events
            .len(),
        1
    );
    let matching = ["make-due", "--all", "--due-in-more-than=1h"];
    let dry = inbox.json(&[&matching[..], &["--dry-run"]].concat()).await;
    assert_eq!((&dry["matched"], &dry["made_due"]), (&json!(1), &json!(0)));
    let status = inbox.status().await;
    assert_eq!((&status["waiting"], &status["due"]), (&json!(2), &json!(0)));
    let done = inbox.json(&matching).await;
    assert_eq!(
        (&done["matched"], &done["made_due"]),
        (&json!(1), &json!(1))
    );
    let far = inbox.json(&["show", "far"]).await;
    assert!(far["due_at"].as_str().unwrap().ends_with('Z'), "{far}");
    assert_eq!(far["leased_until"], Value::Null);

    let (code, out, log) = inbox
        .server(&["make-due", "held", "near", "no"])
        .output()
        .await;
    let unchanged = "held: held by a worker (--leased ends its lease)\nno: unknown\n";
    assert_eq!((code, out), (1, format!("1 of 3 made due\n{unchanged}")));
    assert!(
        log.contains("2 of 3 transactions were not made due"),
        "{log}"
    );
    assert!(inbox.json(&["show", "held"]).await["leased_until"].is_string());
    let leased = [&matching[..], &["--leased"]].concat();
    assert_eq!(inbox.lines(&leased).await, ["1 of 1 made due"]);
    let status = inbox.status().await;
    assert_eq!((&status["leased"], &status["due"]), (&json!(0), &json!(3)));
    let listed = inbox.lines(&["list", "--state=processing"]).await;
    assert!(listed[0].contains("DUE"), "{listed:?}");
    for wrong in [
        &["make-due"][..],
        &["make-due", "a", "--all"],
        &["make-due", "a", "--due-in-more-than=1h"],
        &["make-due", "--all", "--due-in-more-than=1"],
    ] {
        let (code, ..) = inbox.server(wrong).output().await;
        assert_eq!(code, 2, "{wrong:?}");
    }
    inbox.close().await;
}

async fn requeue_and_make_due_say_why_an_event_is_unchanged(inbox: Inbox) {
    inbox.settled("good", [Outcome::Processed]).await;
    inbox.settled("bad", [failed("broken")]).await;
    inbox.accept(transaction("due"), Duration::ZERO).await;
    let failed = "already FAILED (`requeue` processes it again)";
    for (command, done, unchanged) in [
        (
            "make-due",
            "made due",
            [
                ("good", "already PROCESSED"),
                ("bad", failed),
                ("due", "already due"),
                ("no", "unknown"),
            ],
        ),
        (
            "requeue",
            "requeued",
            [
                ("good", "already PROCESSED"),
                ("due", "still PROCESSING"),
                ("no", "unknown"),
                ("neither", "unknown"),
            ],
        ),
    ] {
        let args = [&[command][..], &unchanged.map(|(id, _)| id)].concat();
        let lines = unchanged.map(|(id, reason)| format!("{id}: {reason}\n"));
        for (mode, first) in [
            (
                &["--dry-run"][..],
                format!("0 match; none was {done} (dry run)\n"),
            ),
            (&[], format!("0 of 4 {done}\n")),
        ] {
            let args = [&args[..], mode].concat();
            let (code, out, log) = inbox.server(&args).output().await;
            assert_eq!((code, out), (1, first + &lines.concat()), "{log}");
            let (_, out, _) = inbox
                .server(&[&args[..], &["--json"]].concat())
                .output()
                .await;
            let report: Value = serde_json::from_str(&out).unwrap();
            let expected = unchanged.map(|(id, reason)| json!({"id": id, "reason": reason}));
            assert_eq!(report["unchanged"], json!(expected), "{out}");
        }
    }
    let named = inbox.lines(&["make-due", "due"]).await;
    assert_eq!(named, ["0 of 1 made due", "due: already due"]);
    inbox.close().await;
}

async fn running_server_processes_transactions_that_a_command_made_due(inbox: Inbox) {
    let args = ["--processing-delay-seconds=86400"];
    let mut server = inbox.server(&args).start();
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    for id in ["named", "matched"] {
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
    }
    let lines = inbox.lines(&["make-due", "named"]).await;
    assert_eq!(lines, ["1 of 1 made due"]);
    until_processed(addr, "named").await;
    assert_eq!(shown(addr, "matched").await["status"], "PROCESSING");
    let lines = inbox
        .lines(&["make-due", "--all", "--due-in-more-than=1h"])
        .await;
    assert_eq!(lines, ["1 of 1 made due"]);
    until_processed(addr, "matched").await;
    let processed = shown(addr, "matched").await;
    assert_eq!(processed["attempts"], 1, "{processed}");
    server.signal(Signal::TERM);
    assert!(server.ends().await.success());
    inbox.close().await;
}

/// An id that hides itself or turns the text around it.
const HIDING: &str = "tx\u{202e}\u{200b}\u{e0041}\u{3164}z";

async fn hidden_characters_of_ids_are_escaped_and_parsed_back(inbox: Inbox) {
    inbox.settled(HIDING, [failed("a\u{2066}b\u{1b}c")]).await;
    let shown = r"tx\u{202e}\u{200b}\u{e0041}\u{3164}z";
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["show", shown],
        &["show", HIDING],
        &["show", shown, "--json"],
    ] {
        let lines = inbox.lines(args).await.concat();
        let hidden = lines.chars().find(|c| !c.is_ascii());
        assert_eq!(hidden, None, "{args:?}: {lines}");
        let names = if args.contains(&"--json") {
            r"tx\u202e\u200b\udb40\udc41\u3164z"
        } else {
            shown
        };
        assert!(lines.contains(names), "{args:?}: {lines}");
    }
    let document = inbox.json(&["show", shown]).await;
    assert_eq!(document["transaction_id"], HIDING);
    assert_eq!(inbox.lines(&["requeue", shown]).await, ["1 of 1 requeued"]);
    let status = inbox.lines(&["status"]).await.concat();
    assert!(status.contains(shown), "{status}");
    let unknown = inbox.server(&["show", "no\u{202e}\u{1b}"]);
    let (code, _, log) = unknown.output().await;
    assert_eq!(code, 1);
    assert!(log.contains(r"no\u{202e}\u{1b}"), "{log}");
    inbox.close().await;
}

async fn commands_that_change_events_log_who_ran_them(inbox: Inbox) {
    inbox.settled("bad", [failed("broken")]).await;
    for (args, result) in [
        (&["migrate"][..], "migrated"),
        (&["requeue", "bad", "unknown"], r#""requeued":1"#),
        (&["make-due", "bad"], r#""already_due":1"#),
        (&["pause", "--kind=stripe", "--new"], r#""changed":true"#),
        (&["resume", "--kind=transaction"], r#""changed":false"#),
        (&["prune", "--older-than=30d"], r#""processed":0"#),
    ] {
        let args = [args, &["--log-format=json"]].concat();
        let (_, _, log) = inbox.server(&args).output().await;
        let line = log.lines().find(|line| line.contains("operator ran"));
        let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
        assert_eq!(line["action"], args[0]);
        assert!(line["uid"].is_u64(), "{line}");
        let arguments: Value = serde_json::from_str(line["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments.is_object(), "{line}");
        assert!(line["result"].as_str().unwrap().contains(result), "{line}");
        assert!(!log.contains(&inbox.url), "{log}");
    }
    inbox.close().await;
}

async fn prune_deletes_old_transactions_and_can_keep_keys(inbox: Inbox) {
    inbox.settled("good", [Outcome::Processed]).await;
    inbox.settled("bad", [failed("broken")]).await;
    inbox.accept(transaction("later"), LONG).await;
    let nothing = inbox.json(&["prune", "--older-than=30d"]).await;
    assert_eq!(nothing, json!({"processed": 0, "failed": 0, "bodies": 0}));
    let bodies = inbox
        .json(&["prune", "--older-than=0s", "--keep-keys=365d"])
        .await;
    assert_eq!(bodies, json!({"processed": 0, "failed": 0, "bodies": 1}));
    let good = inbox.json(&["show", "good"]).await;
    assert_eq!(
        (&good["body_deleted"], &good["amount"]),
        (&json!(true), &Value::Null)
    );
    let again = inbox.accept(transaction("good"), LONG).await;
    assert_eq!(again, Accepted::Duplicate);
    let other = inbox.accept(with_amount("good", "1"), LONG).await;
    assert_eq!(other, Accepted::Conflict);
    let all = inbox.lines(&["prune", "--older-than=0s"]).await;
    assert_eq!(
        all,
        ["deleted 1 PROCESSED and 1 FAILED events, and the bodies of 0 more"]
    );
    let again = inbox.accept(transaction("good"), LONG).await;
    assert_eq!(again, Accepted::New, "its key is free again");
    for wrong in [
        &["prune"][..],
        &["prune", "--older-than=30"],
        &["prune", "--older-than=-1d"],
    ] {
        let (code, ..) = inbox.server(wrong).output().await;
        assert_eq!(code, 2, "{wrong:?}");
    }
    inbox.close().await;
}

async fn server_with_retention_deletes_old_events(inbox: Inbox) {
    inbox.settled("old", [Outcome::Processed]).await;
    // A hundredth of a second.
    let args = [
        "--retention-days=0.0000001",
        "--key-retention-days=365",
        "--processing-delay-seconds=0",
    ];
    let mut server = inbox.server(&args).start();
    let addr = server.listens().await;
    until("the body is deleted", async || {
        shown(addr, "old").await["amount"].is_null()
    })
    .await;
    let old = shown(addr, "old").await;
    assert_eq!(
        (&old["status"], &old["currency"]),
        (&json!("PROCESSED"), &Value::Null)
    );
    let mut client = Client::connect(addr).await;
    let reply = client.post(transaction("old")).await.json();
    assert_eq!(reply["status"], "DUPLICATE");
    client.post(transaction("new")).await;
    until_processed(addr, "new").await;
    server.signal(Signal::TERM);
    assert!(server.ends().await.success());
    inbox.close().await;
}

async fn redelivery_requeues_a_failed_transaction_if_configured(inbox: Inbox) {
    inbox.settled("bad", [failed("broken")]).await;
    for (requeue, status, left) in [
        ("false", "DUPLICATE", "FAILED"),
        ("true", "ACCEPTED", "PROCESSED"),
    ] {
        let flag = format!("--requeue-failed-on-redelivery={requeue}");
        let args = [flag.as_str(), "--processing-delay-seconds=0"];
        let mut server = inbox.server(&args).start();
        let addr = server.listens().await;
        let mut client = Client::connect(addr).await;
        let other = client.post(with_amount("bad", "1")).await.json();
        assert_eq!(other["status"], "CONFLICT");
        assert_eq!(shown(addr, "bad").await["status"], "FAILED");
        let reply = client.post(transaction("bad")).await.json();
        assert_eq!(reply["status"], status);
        until(left, async || shown(addr, "bad").await["status"] == left).await;
        server.signal(Signal::TERM);
        assert!(server.ends().await.success());
    }
    inbox.close().await;
}

#[tokio::test]
async fn commands_need_a_database_with_the_schema() {
    let database = TestDatabase::create().await;
    for command in OPERATOR_COMMANDS {
        let (code, out, log) = server_on(database.url(), command).output().await;
        assert_eq!((code, out.as_str()), (1, ""), "{log}");
        assert!(log.contains("database is not ready"), "{log}");
        let (code, _, log) = crate::support::process::webhook_server(command)
            .output()
            .await;
        assert_eq!(code, 2, "{log}");
        assert!(log.contains("DATABASE_URL"), "{log}");
    }
    database.drop_database().await;
}
