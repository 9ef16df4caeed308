//! The routes for operators.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use webhook_core::{
    Claim, Envelope, EventType, Fingerprint, Headers, Inbox, InboxOptions, Key, Kind, NewEvent,
    Outcome, Reason, Scheduler, Settlement, Store, payload,
};
use webhook_memory::MemoryStore;
use webhook_server::http::{
    App, Auth, AuthConfig, HttpOptions, HttpServer, Scope, TokenDigest, Tokens,
};
use webhook_server::transaction::Transaction;

use crate::support::client::{Client, Reply};
use crate::support::process::webhook_server;
use crate::support::signed::token;
use crate::support::{transaction, until, with_amount};

/// A client with a token.
struct Operator {
    client: Client,
    token: String,
}

impl Operator {
    async fn ask(&mut self, method: &str, path: &str) -> Reply {
        let request = format!(
            "{method} /v1/operator/{path} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.token
        );
        self.client.ask(request).await
    }

    async fn get(&mut self, path: &str) -> Value {
        let reply = self.ask("GET", path).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }
}

#[tokio::test]
async fn operators_see_the_status_of_transactions() {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&["--processing-delay-seconds=3600"])
        .env("API_TOKENS", &digest)
        .start();
    let client = Client::connect(process.listens().await).await;
    let mut operator = Operator { client, token };
    for i in 0..3 {
        let delivered = operator.client.post(transaction(&format!("tx/{i}"))).await;
        delivered.acknowledged("ACCEPTED");
    }
    let conflicting = operator.client.post(with_amount("tx/0", "7")).await;
    conflicting.acknowledged("CONFLICT");

    let status = operator.get("status").await;
    assert_eq!(status["waiting"], 3);
    assert_eq!(status["processed"], 0);
    assert_eq!(status["oldest"]["transaction_id"], "tx/0");

    assert_eq!(
        operator.get("transactions").await,
        json!({"transactions": [], "next_after": null})
    );
    let first = operator.get("transactions?state=processing&limit=2").await;
    let ids = |page: &Value| -> Vec<Value> {
        let page = page["transactions"].as_array().unwrap();
        page.iter().map(|it| it["transaction_id"].clone()).collect()
    };
    assert_eq!(ids(&first), ["tx/0", "tx/1"]);
    let next = format!(
        "transactions?state=PROCESSING&after={}",
        first["next_after"]
    );
    let second = operator.get(&next).await;
    assert_eq!(ids(&second), ["tx/2"]);
    assert_eq!(second["next_after"], Value::Null);

    let shown = operator.ask("GET", "transactions/tx%2F0").await;
    assert!(
        shown.text().contains(r#""amount":1500.50,"#),
        "{}",
        shown.text()
    );
    let shown = shown.json();
    assert_eq!(shown["status"], "PROCESSING");
    assert_eq!(shown["failed_attempts"], json!([]));
    let conflict = shown["conflicts"][0]["body"].as_str().unwrap();
    assert!(conflict.contains(r#""amount":7"#), "{conflict}");

    let listed = &first["transactions"][0];
    assert!(listed["due_at"].is_string(), "{listed}");
    assert_eq!(listed.get("amount"), None, "lists have no bodies: {listed}");
    let made_due = operator.ask("POST", "transactions/tx%2F1/make-due").await;
    assert_eq!(
        made_due.json(),
        json!({"transaction_id": "tx/1", "status": "PROCESSING"})
    );
    operator
        .ask("POST", "transactions/tx-9/make-due")
        .await
        .problem(404);
    operator
        .ask("POST", "transactions/tx%2F1/make-due?leased=maybe")
        .await
        .problem(400);
    operator
        .ask("GET", "transactions/tx%2F1/make-due")
        .await
        .problem(405);
    let waits = operator.ask("POST", "transactions/tx%2F0/requeue").await;
    assert_eq!(
        waits.problem(409),
        "Only a FAILED transaction can be processed again"
    );
    operator
        .ask("POST", "transactions/tx-9/requeue")
        .await
        .problem(404);
    operator.ask("GET", "transactions/tx-9").await.problem(404);
    operator
        .ask("GET", "transactions?limit=0")
        .await
        .problem(400);
    operator.ask("GET", "nothing").await.problem(404);
    operator.ask("GET", "").await.problem(404);
    let get = operator.ask("GET", "transactions/tx-9/requeue").await;
    assert_eq!(
        (get.status, get.header("allow")),
        (405, Some("OPTIONS, POST"))
    );
}

fn claim_of(kind: Kind) -> Claim {
    Claim::new(
        kind,
        std::num::NonZeroUsize::MIN,
        Duration::from_secs(60),
        std::num::NonZeroU32::MIN,
    )
}

/// Accepts an event, and lets its one attempt fail.
async fn fail(store: &MemoryStore, envelope: Envelope) {
    let claim = claim_of(envelope.kind.clone());
    let event = NewEvent::new(envelope, Duration::ZERO);
    store.accept(&[event]).await.unwrap();
    let claimed = store.claim(&[claim]).await.unwrap().remove(0);
    let settlement = Settlement::new(
        claimed.events[0].lease,
        Outcome::Failed {
            reason: Reason::new("account closed").with_details(r#"{"status": 410}"#.into()),
        },
    );
    store.settle(&[settlement]).await.unwrap();
}

fn sealed(id: &str) -> Envelope {
    Envelope::of::<Transaction>(transaction(id).into(), Headers::new()).unwrap()
}

/// A server for operators over `store`, and one of them.
async fn operated(store: &Arc<MemoryStore>) -> (HttpServer, Operator) {
    let auth = Auth::new(AuthConfig {
        tokens: Some(Tokens::new([TokenDigest::of(Scope::Operate, "secret")])),
        ..AuthConfig::default()
    });
    let inbox = Inbox::new(Arc::clone(store) as Arc<dyn Store>, InboxOptions::default());
    let app = App::new(
        inbox,
        Arc::clone(store) as Arc<dyn Store>,
        HttpOptions::default(),
    )
    .with_admin(Arc::clone(store) as Arc<dyn webhook_core::Admin>)
    .with_auth(Arc::new(auth));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = HttpServer::start(listener, app).unwrap();
    let operator = Operator {
        client: Client::connect(server.addr()).await,
        token: "secret".to_owned(),
    };
    (server, operator)
}

/// The same, over an event of kind `stripe` and a transaction, both FAILED and both with the key `a/1`.
async fn with_two_kinds() -> (HttpServer, Operator) {
    let store = Arc::new(MemoryStore::default());
    let own = Envelope::new(
        Kind::from_static("stripe"),
        Key::new("a/1").unwrap(),
        Fingerprint::of(["1"]),
        r#"{"b": 1.50, "a": 1}"#.into(),
    )
    .with_event_type(EventType::new("charge.failed").unwrap());
    fail(&store, own).await;
    fail(&store, sealed("a/1")).await;
    operated(&store).await
}

#[tokio::test]
async fn operators_see_and_requeue_events_of_the_kind_they_ask_for() {
    let (server, mut operator) = with_two_kinds().await;
    for (query, kind) in [("", "transaction"), ("?kind=stripe", "stripe")] {
        let status = operator.get(&format!("status{query}")).await;
        assert_eq!(
            (&status["kind"], &status["failed"]),
            (&json!(kind), &json!(1))
        );
        assert_eq!(status["all_kinds"], json!(["stripe", "transaction"]));
    }
    let page = operator.get("transactions?kind=stripe").await;
    assert_eq!(page.get("transactions"), None, "{page}");
    let listed = &page["events"][0];
    assert_eq!(
        (&listed["kind"], &listed["key"]),
        (&json!("stripe"), &json!("a/1"))
    );
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(listed["event_type"], "charge.failed");
    let of_type = operator.get("transactions?kind=stripe&type=charge.failed");
    assert_eq!(of_type.await, page);
    let of_other = operator.get("transactions?kind=stripe&type=charge").await;
    assert_eq!(of_other["events"], json!([]));
    let after = format!("transactions?kind=stripe&after={}", listed["id"]);
    assert_eq!(
        operator.get(&after).await,
        json!({"events": [], "next_after": null})
    );

    let shown = operator.ask("GET", "transactions/a%2F1?kind=stripe").await;
    let body = r#""body":{"b": 1.50, "a": 1},"body_encoding":"json""#;
    assert!(shown.text().contains(body), "{}", shown.text());
    let shown = shown.json();
    assert_eq!(
        (&shown["kind"], &shown["key"]),
        (&json!("stripe"), &json!("a/1"))
    );
    assert_eq!(shown["error_message"], "account closed");
    assert_eq!(shown["event_type"], "charge.failed");
    assert_eq!(shown["failed_attempts"][0]["reason"], "account closed");
    let shown = operator.get("transactions/a%2F1").await;
    assert_eq!(
        (&shown["transaction_id"], shown.get("key")),
        (&json!("a/1"), None)
    );

    let requeue = "transactions/a%2F1/requeue?kind=stripe";
    let requeued = operator.ask("POST", requeue).await;
    assert_eq!(
        requeued.json(),
        json!({"kind": "stripe", "key": "a/1", "status": "PROCESSING"})
    );
    assert_eq!(operator.get("status?kind=stripe").await["due"], 1);
    assert_eq!(
        operator.get("status").await["failed"],
        1,
        "the transaction stays FAILED"
    );
    let made_due = operator
        .ask(
            "POST",
            "transactions/a%2F1/make-due?kind=stripe&leased=true",
        )
        .await;
    assert_eq!(made_due.json()["key"], "a/1");
    let again = operator.ask("POST", requeue).await;
    assert_eq!(
        again.problem(409),
        "Only a FAILED event can be processed again"
    );
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_paused_kind_is_accepted_and_processed_after_the_resume() {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&["--processing-delay-seconds=0"])
        .env("API_TOKENS", &digest)
        .start();
    let client = Client::connect(process.listens().await).await;
    let mut operator = Operator { client, token };
    for changed in [true, false] {
        let paused = operator.ask("POST", "kinds/transaction/pause").await;
        let expected = json!({"kind": "transaction", "paused": true, "changed": changed});
        assert_eq!((paused.status, paused.json()), (200, expected));
    }
    operator
        .ask("POST", "kinds/%73tripe/pause?new=true")
        .await
        .json();
    operator
        .client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = operator.get("status").await;
    assert_eq!(status["paused"], true);
    assert_eq!(status["paused_kinds"], json!(["stripe", "transaction"]));
    assert_eq!(status["all_kinds"], json!(["transaction"]));
    assert_eq!(
        (&status["due"], &status["processed"]),
        (&json!(1), &json!(0))
    );
    for changed in [true, false] {
        let resumed = operator.ask("POST", "kinds/transaction/resume").await;
        let expected = json!({"kind": "transaction", "paused": false, "changed": changed});
        assert_eq!((resumed.status, resumed.json()), (200, expected));
    }
    until("it is processed", async || {
        operator.get("status").await["processed"] == 1
    })
    .await;
    let status = operator.get("status").await;
    assert_eq!(status["paused"], false);
    assert_eq!(status["paused_kinds"], json!(["stripe"]));
}

#[tokio::test]
async fn pause_and_resume_need_post_and_a_kind() {
    let (server, mut operator) = with_two_kinds().await;
    for action in ["pause", "resume"] {
        for wrong in ["Stripe", "a%20b", "a%00", "caf%C3%A9", "%", &"x".repeat(65)] {
            let reply = operator
                .ask("POST", &format!("kinds/{wrong}/{action}"))
                .await;
            assert_eq!(
                reply.problem(400),
                "Path: the kind must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-'"
            );
        }
        for path in [format!("kinds//{action}"), format!("kinds/a/b/{action}")] {
            operator.ask("POST", &path).await.problem(404);
        }
        let path = format!("kinds/stripe/{action}");
        let reply = operator.ask("POST", &format!("{path}?kind=stripe")).await;
        let known = match action {
            "pause" => "only new is known",
            _ => "no parameter is known",
        };
        assert_eq!(reply.problem(400), format!("Query: {known}"));
        let reply = operator.ask("GET", &path).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some("OPTIONS, POST"))
        );
    }
    let reply = operator.ask("POST", "kinds/stripe/pause?new=1").await;
    assert_eq!(reply.problem(400), "Query: new must be true or false");
    let status = operator.get("status").await;
    assert_eq!(status["paused_kinds"], json!([]));
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn invalid_kinds_and_unknown_parameters_are_answered_400() {
    let (server, mut operator) = with_two_kinds().await;
    for (method, path) in [
        ("GET", "status"),
        ("GET", "transactions"),
        ("GET", "transactions/a%2F1"),
        ("POST", "transactions/a%2F1/requeue"),
        ("POST", "transactions/a%2F1/make-due"),
    ] {
        for wrong in ["", "Stripe", "a%20b", "a%00", "caf%C3%A9", &"x".repeat(65)] {
            let reply = operator.ask(method, &format!("{path}?kind={wrong}")).await;
            assert_eq!(
                reply.problem(400),
                "Query: kind must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-'"
            );
        }
        let reply = operator.ask(method, &format!("{path}?kinds=stripe")).await;
        assert!(
            reply.problem(400).starts_with("Query: only kind"),
            "{method} {path}"
        );
    }
    for path in [
        "transactions/b?kind=stripe",
        "transactions/a%2F1?kind=github",
        "transactions/%00?kind=a",
    ] {
        let reply = operator.ask("GET", path).await;
        assert_eq!(reply.problem(404), "Event not found", "{path}");
    }
    assert_eq!(operator.get("status?kind=github").await["failed"], 0);
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn operator_routes_need_a_token_of_the_scope_operate() {
    let (reader, reads) = token("read").await;
    let (_, operates) = token("operate").await;
    let mut process = webhook_server(&[]).start();
    let mut client = Client::connect(process.listens().await).await;
    let paths = ["status", "transactions", "transactions/a"];
    for path in paths {
        // No token makes anybody an operator, not even on this machine.
        client
            .get(&format!("/v1/operator/{path}"))
            .await
            .problem(404);
    }
    let tokens = format!("{reads} {operates}");
    let mut process = webhook_server(&[]).env("API_TOKENS", &tokens).start();
    let mut client = Client::connect(process.listens().await).await;
    for path in paths {
        client
            .get(&format!("/v1/operator/{path}"))
            .await
            .problem(401);
    }
    let mut reader = Operator {
        client,
        token: reader,
    };
    for path in paths {
        let reply = reader.ask("GET", path).await;
        assert_eq!(reply.problem(401), "Token missing or wrong");
        reader.ask("POST", path).await.problem(401);
    }
    reader
        .ask("POST", "kinds/transaction/pause")
        .await
        .problem(401);
    reader
        .ask("POST", "transactions/a/requeue")
        .await
        .problem(401);
}

#[tokio::test]
async fn operators_can_have_an_address_of_their_own() {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&["--operator-addr=127.0.0.1:0"])
        .env("API_TOKENS", &digest)
        .start();
    let event = process.logs("listening").await;
    let addr = |name: &str| event[name].as_str().unwrap().parse().unwrap();
    let mut everybody = Operator {
        client: Client::connect(addr("addr")).await,
        token: token.clone(),
    };
    everybody.ask("GET", "status").await.problem(404);
    let mut operator = Operator {
        client: Client::connect(addr("operator_addr")).await,
        token,
    };
    assert_eq!(operator.get("status").await["failed"], 0);
    assert_eq!(operator.client.get("/readyz").await.status, 200);
    operator.client.post(transaction("tx-1")).await.problem(404);

    let (code, _, log) =
        webhook_server(&["--bind-addr=127.0.0.1:0", "--operator-addr=127.0.0.1:0"])
            .output()
            .await;
    assert_eq!(code, 1);
    assert!(log.contains("webhook-server token operate"), "{log}");
}

#[tokio::test]
async fn operators_requeue_failed_transactions() {
    let store = Arc::new(MemoryStore::default());
    fail(&store, sealed("tx-1")).await;
    let (server, mut operator) = operated(&store).await;
    let failed = operator.get("transactions").await;
    assert_eq!(failed["transactions"][0]["error_message"], "account closed");
    let shown = operator.get("transactions/tx-1").await;
    let failed = &shown["failed_attempts"][0];
    assert_eq!(failed["reason"], "account closed");
    assert_eq!(failed["details"], json!({"status": 410}));
    let requeued = operator.ask("POST", "transactions/tx-1/requeue").await;
    assert_eq!(
        requeued.json(),
        json!({"transaction_id": "tx-1", "status": "PROCESSING"})
    );
    assert_eq!(operator.get("status").await["due"], 1);

    // A lease that a clock which was ahead made long ends only on demand.
    let claim = claim_of(payload::kind_of::<Transaction>());
    store.claim(&[claim]).await.unwrap();
    let held = operator.ask("POST", "transactions/tx-1/make-due").await;
    assert!(held.problem(409).contains("leased=true"));
    let ended = operator
        .ask("POST", "transactions/tx-1/make-due?leased=true")
        .await;
    assert_eq!(ended.status, 200);
    assert_eq!(operator.get("status").await["due"], 1);
    server.shutdown(Duration::ZERO).await;
}
