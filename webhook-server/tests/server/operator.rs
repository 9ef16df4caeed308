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

/// The counts of a source in the answer to `status`.
fn of_source<'a>(status: &'a Value, source: &str) -> &'a Value {
    let mut all = status["sources"].as_array().unwrap().iter();
    all.find(|it| it["source"] == source).unwrap()
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
    let status = of_source(&status, "transaction");
    assert_eq!(status["waiting"], 3);
    assert_eq!(status["processed"], 0);
    assert_eq!(status["oldest"]["key"], "tx/0");

    assert_eq!(
        operator.get("events?state=failed").await,
        json!({"events": [], "next_before": null, "stopped_early": false})
    );
    let list = "events?source=transaction&state=processing&limit=2";
    let first = operator.get(list).await;
    let keys = |page: &Value| -> Vec<Value> {
        let page = page["events"].as_array().unwrap();
        page.iter().map(|it| it["key"].clone()).collect()
    };
    assert_eq!(keys(&first), ["tx/2", "tx/1"], "the newest first");
    let next = format!("events?state=PROCESSING&before={}", first["next_before"]);
    let second = operator.get(&next).await;
    assert_eq!(keys(&second), ["tx/0"]);
    assert_eq!(second["next_before"], Value::Null);

    let shown = operator.ask("GET", "events/transaction/tx%2F0").await;
    assert!(
        shown.text().contains(r#""amount":1500.50,"#),
        "{}",
        shown.text()
    );
    let shown = shown.json();
    assert_eq!(shown["state"], "PROCESSING");
    assert_eq!(shown["failed_attempts"], json!([]));
    let conflict = &shown["conflicting_deliveries"][0]["body"]["content"];
    assert_eq!(conflict["amount"], 7, "{conflict}");

    let listed = &first["events"][0];
    assert!(listed["due_at"].is_string(), "{listed}");
    assert_eq!(listed.get("body"), None, "lists have no bodies: {listed}");
    let made_due = operator
        .ask("POST", "events/transaction/tx%2F1/make-due")
        .await;
    assert_eq!(
        made_due.json(),
        json!({"source": "transaction", "key": "tx/1", "state": "PROCESSING"})
    );
    let waits = operator
        .ask("POST", "events/transaction/tx%2F0/requeue")
        .await;
    assert_eq!(
        waits.problem(409),
        "Only a FAILED event can be processed again"
    );
    for (method, path, status) in [
        ("POST", "events/transaction/tx-9/make-due", 404),
        (
            "POST",
            "events/transaction/tx%2F1/make-due?leased=maybe",
            400,
        ),
        ("GET", "events/transaction/tx%2F1/make-due", 405),
        ("POST", "events/transaction/tx-9/requeue", 404),
        ("GET", "events/transaction/tx-9", 404),
        ("GET", "events?limit=0", 400),
        ("GET", "events?limit=1001", 400),
        ("GET", "events?before=x", 400),
        ("GET", "events?page=2", 400),
        ("GET", "nothing", 404),
        ("GET", "", 404),
    ] {
        operator.ask(method, path).await.problem(status);
    }
    let get = operator.ask("GET", "events/transaction/tx-9/requeue").await;
    assert_eq!(
        (get.status, get.header("allow")),
        (405, Some("POST, OPTIONS"))
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
async fn operators_see_and_requeue_events_of_the_source_they_ask_for() {
    let (server, mut operator) = with_two_kinds().await;
    let all = operator.get("status").await;
    for source in ["stripe", "transaction"] {
        assert_eq!(of_source(&all, source)["failed"], 1);
        let status = operator.get(&format!("status?source={source}")).await;
        assert_eq!(status["sources"].as_array().unwrap().len(), 1);
        assert_eq!(of_source(&status, source)["failed"], 1);
    }
    let page = operator.get("events?source=stripe&state=failed").await;
    let listed = &page["events"][0];
    assert_eq!(
        (&listed["source"], &listed["key"]),
        (&json!("stripe"), &json!("a/1"))
    );
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(listed["event_type"], "charge.failed");
    let of_type = operator.get("events?source=stripe&type=charge.failed");
    assert_eq!(of_type.await, page);
    let of_other = operator.get("events?source=stripe&type=charge").await;
    assert_eq!(of_other["events"], json!([]));
    let before = format!("events?source=stripe&before={}", listed["id"]);
    assert_eq!(
        operator.get(&before).await,
        json!({"events": [], "next_before": null, "stopped_early": false})
    );

    let shown = operator.ask("GET", "events/stripe/a%2F1").await;
    let body = r#""body":{"encoding":"json","content":{"b": 1.50, "a": 1},"masked":false"#;
    assert!(shown.text().contains(body), "{}", shown.text());
    let shown = shown.json();
    assert_eq!(
        (&shown["source"], &shown["key"]),
        (&json!("stripe"), &json!("a/1"))
    );
    assert_eq!(shown["error"], "account closed");
    assert_eq!(shown["event_type"], "charge.failed");
    assert_eq!(shown["failed_attempts"][0]["reason"], "account closed");
    let shown = operator.get("events/transaction/a%2F1").await;
    assert_eq!(shown["source"], "transaction");

    let requeue = "events/stripe/a%2F1/requeue";
    let requeued = operator.ask("POST", requeue).await;
    assert_eq!(
        requeued.json(),
        json!({"source": "stripe", "key": "a/1", "state": "PROCESSING"})
    );
    let status = operator.get("status").await;
    assert_eq!(of_source(&status, "stripe")["due"], 1);
    assert_eq!(
        of_source(&status, "transaction")["failed"],
        1,
        "the transaction stays FAILED"
    );
    let made_due = operator
        .ask("POST", "events/stripe/a%2F1/make-due?leased=true")
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
async fn paused_source_is_accepted_and_processed_after_the_resume() {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&["--processing-delay-seconds=0"])
        .env("API_TOKENS", &digest)
        .start();
    let client = Client::connect(process.listens().await).await;
    let mut operator = Operator { client, token };
    let answer = |paused: bool, changed: bool| {
        json!({
            "source": "transaction", "paused": paused, "changed": changed, "destination": null
        })
    };
    for changed in [true, false] {
        let paused = operator.ask("POST", "sources/transaction/pause").await;
        assert_eq!((paused.status, paused.json()), (200, answer(true, changed)));
    }
    operator
        .ask("POST", "sources/%73tripe/pause?new=true")
        .await
        .json();
    operator
        .client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = operator.get("status").await;
    assert_eq!(status["paused_sources"], json!(["stripe", "transaction"]));
    assert_eq!(status["sources"].as_array().unwrap().len(), 1, "{status}");
    let transactions = of_source(&status, "transaction");
    assert_eq!(transactions["paused"], true);
    assert_eq!(
        (&transactions["due"], &transactions["processed"]),
        (&json!(1), &json!(0))
    );
    for changed in [true, false] {
        let resumed = operator.ask("POST", "sources/transaction/resume").await;
        assert_eq!(
            (resumed.status, resumed.json()),
            (200, answer(false, changed))
        );
    }
    until("it is processed", async || {
        let status = operator.get("status").await;
        of_source(&status, "transaction")["processed"] == 1
    })
    .await;
    let status = operator.get("status").await;
    assert_eq!(of_source(&status, "transaction")["paused"], false);
    assert_eq!(status["paused_sources"], json!(["stripe"]));
}

#[tokio::test]
async fn pause_and_resume_need_post_and_a_known_source() {
    let (server, mut operator) = with_two_kinds().await;
    for action in ["pause", "resume"] {
        for wrong in ["Stripe", "a%20b", "a%00", "caf%C3%A9", "%", &"x".repeat(65)] {
            let path = format!("sources/{wrong}/{action}");
            let reply = operator.ask("POST", &path).await;
            assert_eq!(reply.problem(404), "Source not found");
        }
        for path in [
            format!("sources//{action}"),
            format!("sources/a/b/{action}"),
        ] {
            operator.ask("POST", &path).await.problem(404);
        }
        let path = format!("sources/stirpe/{action}");
        let mistyped = operator.ask("POST", &path).await;
        let advice = match action {
            "pause" => ": to pause it before its first event, add ?new=true",
            _ => "",
        };
        assert_eq!(
            mistyped.problem(404),
            format!(
                "Source not found: no source is named stirpe, and no event has this kind{advice}; did you mean \
                 stripe?"
            )
        );
        let path = format!("sources/stripe/{action}");
        let reply = operator.ask("POST", &format!("{path}?kind=stripe")).await;
        let known = match action {
            "pause" => "only new is known",
            _ => "no parameter is known",
        };
        assert_eq!(reply.problem(400), format!("Query: {known}"));
        let reply = operator.ask("GET", &path).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some("POST, OPTIONS"))
        );
    }
    let reply = operator.ask("POST", "sources/stripe/pause?new=1").await;
    assert_eq!(reply.problem(400), "Query: new must be true or false");
    let status = operator.get("status").await;
    assert_eq!(status["paused_sources"], json!([]));
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn invalid_sources_and_unknown_parameters_are_answered_400() {
    let (server, mut operator) = with_two_kinds().await;
    for wrong in ["Stripe", "a%20b", "a%00", "caf%C3%A9", &"x".repeat(65)] {
        for path in ["status", "events"] {
            let reply = operator.ask("GET", &format!("{path}?source={wrong}")).await;
            let detail = reply.problem(400);
            assert!(
                detail.contains("1 to 64 characters of a-z, 0-9, '.', '_' and '-'"),
                "{detail}"
            );
        }
        let reply = operator.ask("GET", &format!("events/{wrong}/a")).await;
        assert_eq!(reply.problem(404), "Event not found");
    }
    for (method, path) in [
        ("GET", "status"),
        ("GET", "events/stripe/a%2F1"),
        ("POST", "events/stripe/a%2F1/requeue"),
        ("POST", "events/stripe/a%2F1/make-due"),
    ] {
        let reply = operator.ask(method, &format!("{path}?kind=stripe")).await;
        let detail = reply.problem(400);
        assert!(detail.starts_with("Query: "), "{method} {path}: {detail}");
    }
    for path in ["events?kind=stripe", "events?state=lost", "events?a%00"] {
        operator.ask("GET", path).await.problem(400);
    }
    for path in ["events/stripe/b", "events/github/a%2F1", "events/a/%00"] {
        let reply = operator.ask("GET", path).await;
        assert_eq!(reply.problem(404), "Event not found", "{path}");
    }
    let none = operator.get("status?source=github").await;
    assert_eq!(of_source(&none, "github")["failed"], 0);
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn operator_routes_need_a_token_and_actions_one_of_the_scope_operate() {
    let (reader, reads) = token("read").await;
    let (_, operates) = token("operate").await;
    // A server without tokens serves programs on its own machine only.
    let mut process = webhook_server(&[]).start();
    let mut client = Client::connect(process.listens().await).await;
    assert_eq!(client.get("/v1/operator/status").await.status, 200);
    client
        .ask("GET /v1/operator/status HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await
        .problem(403);
    let paths = ["status", "events", "events/transaction/a"];
    // Where no token has the scope operate, nobody is served.
    let mut process = webhook_server(&[]).env("API_TOKENS", &reads).start();
    let mut nobody = Operator {
        client: Client::connect(process.listens().await).await,
        token: reader.clone(),
    };
    for path in paths {
        nobody.ask("GET", path).await.problem(404);
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
    for (path, status) in paths.into_iter().zip([200, 200, 404]) {
        assert_eq!(reader.ask("GET", path).await.status, status, "{path}");
        reader.ask("POST", path).await.problem(405);
    }
    for path in [
        "sources/transaction/pause",
        "events/transaction/a/requeue",
        "events/transaction/a/make-due",
    ] {
        let reply = reader.ask("POST", path).await;
        assert_eq!(
            reply.problem(403),
            "The token does not allow that: its scope must be operate"
        );
    }
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
    assert_eq!(operator.get("status").await["sources"], json!([]));
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
    let failed = operator.get("events?state=failed").await;
    assert_eq!(failed["events"][0]["error"], "account closed");
    let shown = operator.get("events/transaction/tx-1").await;
    let failed = &shown["failed_attempts"][0];
    assert_eq!(failed["reason"], "account closed");
    assert_eq!(failed["details"], json!({"status": 410}));
    let requeued = operator
        .ask("POST", "events/transaction/tx-1/requeue")
        .await;
    assert_eq!(
        requeued.json(),
        json!({"source": "transaction", "key": "tx-1", "state": "PROCESSING"})
    );
    let status = operator.get("status").await;
    assert_eq!(of_source(&status, "transaction")["due"], 1);

    // A lease that a clock which was ahead made long ends only on demand.
    let claim = claim_of(payload::kind_of::<Transaction>());
    store.claim(&[claim]).await.unwrap();
    let make_due = "events/transaction/tx-1/make-due";
    let held = operator.ask("POST", make_due).await;
    assert!(held.problem(409).contains("leased=true"));
    let ended = operator
        .ask("POST", &format!("{make_due}?leased=true"))
        .await;
    assert_eq!(ended.status, 200);
    let status = operator.get("status").await;
    assert_eq!(of_source(&status, "transaction")["due"], 1);
    server.shutdown(Duration::ZERO).await;
}
