//! The wire contract, row by row.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use webhook_core::{
    Envelope, EventId, EventRecord, Fingerprint, Key, Kind, MockStore, Reason, State,
};
use webhook_memory::MemoryStore;
use webhook_server::config::Role;

use crate::serve::{config, serve, serve_on};
use crate::support::client::{Client, post, post_as};
use crate::support::{transaction, until, with_amount};

#[tokio::test]
async fn root_is_healthy_and_tells_the_time() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let reply = client.get("/").await;
    assert_eq!((reply.version.as_str(), reply.status), ("HTTP/1.1", 200));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(reply.header("date").is_some());
    let document = reply.json();
    let time = document["current_time"].as_str().unwrap();
    assert_eq!(
        reply.text(),
        format!(r#"{{"status":"HEALTHY","current_time":"{time}"}}"#)
    );
    // 2026-01-02T03:04:05Z
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z");
    let told: jiff::Timestamp = time.parse().unwrap();
    let off = told.duration_until(jiff::Timestamp::now()).abs();
    assert!(off.as_secs() < 120, "{time}");
}

#[tokio::test]
async fn readyz_is_ready_when_the_store_answers() {
    let server = serve(&config());
    let reply = Client::connect(server.addr()).await.get("/readyz").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), r#"{"status":"READY"}"#);
}

#[tokio::test]
async fn a_new_transaction_is_accepted() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let reply = client.post(transaction("tx-1")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.text(),
        r#"{"acknowledged":true,"transaction_id":"tx-1","status":"ACCEPTED","message":"Transaction queued for processing"}"#
    );
}

#[tokio::test]
async fn the_same_content_again_is_a_duplicate() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    client
        .post(with_amount("tx-1", "1500"))
        .await
        .acknowledged("ACCEPTED");
    for same in ["1500", "1500.0", "1.5e3", "\" 1500.00 \""] {
        client
            .post(with_amount("tx-1", same))
            .await
            .acknowledged("DUPLICATE");
    }
    let shown = client.get("/v1/transactions/tx-1").await.json();
    assert_eq!(shown["duplicate_conflict_count"], 0);
    assert_eq!(shown["last_conflict_at"], Value::Null);
}

#[tokio::test]
async fn other_content_is_a_conflict_and_the_first_is_kept() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    client
        .post(with_amount("tx-1", "1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post(with_amount("tx-1", "2"))
        .await
        .acknowledged("CONFLICT");
    client
        .post(with_amount("tx-1", "3"))
        .await
        .acknowledged("CONFLICT");
    let reply = client.get("/v1/transactions/tx-1").await;
    assert!(reply.text().contains(r#""amount":1,"#), "{}", reply.text());
    assert_eq!(reply.json()["duplicate_conflict_count"], 2);
    let last: jiff::Timestamp = reply.json()["last_conflict_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let created: jiff::Timestamp = reply.json()["created_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(last >= created);
}

#[tokio::test]
async fn a_transaction_is_shown_while_it_is_processing() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let reply = client.get("/v1/transactions/tx-1").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let created = reply.json()["created_at"].as_str().unwrap().to_owned();
    assert_eq!(
        reply.text(),
        format!(
            r#"{{"transaction_id":"tx-1","source_account":"DE89370400440532013000","destination_account":"GB29NWBK60161331926819","amount":1500.50,"currency":"EUR","status":"PROCESSING","created_at":"{created}","processed_at":null,"attempts":0,"error_message":null,"duplicate_conflict_count":0,"last_conflict_at":null}}"#
        )
    );
    // 2026-01-02T03:04:05.678Z
    assert_eq!(created.len(), 24);
    created.parse::<jiff::Timestamp>().unwrap();
}

#[tokio::test]
async fn a_transaction_is_processed_when_it_falls_due() {
    let mut config = config();
    config.processing_delay_seconds = Duration::from_millis(200);
    let server = serve(&config);
    let mut client = Client::connect(server.addr()).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let mut client = Client::connect(server.addr()).await;
    let mut shown = Value::Null;
    until("the transaction is processed", async || {
        shown = client.get("/v1/transactions/tx-1").await.json();
        let is_processing = shown["status"] == "PROCESSING";
        if is_processing {
            assert_eq!(shown["processed_at"], Value::Null);
        }
        !is_processing
    })
    .await;
    assert_eq!(shown["status"], "PROCESSED");
    assert_eq!(shown["attempts"], 1);
    let at = |name: &str| -> jiff::Timestamp { shown[name].as_str().unwrap().parse().unwrap() };
    // Milliseconds are cut from both.
    let took = at("created_at").duration_until(at("processed_at"));
    assert!(took.as_millis() >= 199, "{took:?}");
}

#[tokio::test]
async fn a_failed_transaction_is_shown_with_its_reason() {
    let mut store = MockStore::new();
    store.expect_find().returning(|events| {
        Ok(events
            .iter()
            .map(|event| {
                let envelope = Envelope::new(
                    Kind::new("transaction").unwrap(),
                    Key::new(event.key.as_str()).unwrap(),
                    Fingerprint::from_bytes([0; 32]),
                    transaction(event.key.as_str()).into(),
                );
                let accepted_at = SystemTime::UNIX_EPOCH;
                let mut record =
                    EventRecord::new(EventId::new(1), envelope, State::Failed, accepted_at);
                record.attempts = 10;
                record.settled_at = Some(accepted_at + Duration::from_millis(1_999));
                record.reason = Some(Reason::new("bank said \"no\"").into());
                record.conflict_count = 3;
                record.last_conflict_at = Some(accepted_at + Duration::from_secs(1));
                Some(record)
            })
            .collect())
    });
    let mut config = config();
    config.role = Role::Api;
    let server = serve_on(Arc::new(store), Arc::new(MemoryStore::default()), &config);
    let shown = Client::connect(server.addr())
        .await
        .get("/v1/transactions/x")
        .await
        .json();
    assert_eq!(
        shown,
        json!({
            "transaction_id": "x",
            "source_account": "DE89370400440532013000",
            "destination_account": "GB29NWBK60161331926819",
            "amount": 1500.5,
            "currency": "EUR",
            "status": "FAILED",
            "created_at": "1970-01-01T00:00:00.000Z",
            "processed_at": null,
            "attempts": 10,
            "error_message": "bank said \"no\"",
            "duplicate_conflict_count": 3,
            "last_conflict_at": "1970-01-01T00:00:01.000Z",
        })
    );
}

#[tokio::test]
async fn amounts_come_back_digit_by_digit() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for (id, sent, shown) in [
        ("a", "1500.50", "1500.50"),
        ("b", "0.1", "0.1"),
        ("c", "1.5e3", "1500"),
        ("d", "\"12.50\"", "12.50"),
        (
            "e",
            "9999999999999999999999999999",
            "9999999999999999999999999999",
        ),
        (
            "f",
            "0.0000000000000000000000000001",
            "0.0000000000000000000000000001",
        ),
        (
            "g",
            "1234567890123456.789012345678",
            "1234567890123456.789012345678",
        ),
    ] {
        client
            .post(with_amount(id, sent))
            .await
            .acknowledged("ACCEPTED");
        let reply = client.get(&format!("/v1/transactions/{id}")).await;
        let expected = format!(r#","amount":{shown},"currency""#);
        assert!(reply.text().contains(&expected), "{}", reply.text());
    }
}

#[tokio::test]
async fn an_unknown_transaction_is_not_found() {
    let server = serve(&config());
    let reply = Client::connect(server.addr())
        .await
        .get("/v1/transactions/nope")
        .await;
    assert_eq!(reply.problem(404), "Transaction not found");
}

#[tokio::test]
async fn ids_are_percent_decoded() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for (id, segment) in [
        ("a/b", "a%2Fb"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("café", "caf%C3%A9"),
        ("100%", "100%25"),
        ("a+b", "a+b"),
        ("..", "%2E%2E"),
        ("\u{1f4a9}\"\\", "%F0%9F%92%A9%22%5C"),
    ] {
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
        let reply = client.get(&format!("/v1/transactions/{segment}")).await;
        assert_eq!(reply.json()["transaction_id"], id);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_a_bad_request() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for body in ["", "x", "[]", "[{}]", "1", "\"x\"", "null", "{", "{}{}"] {
        let detail = client.post(body).await.problem(400);
        assert!(detail.starts_with("Malformed body: "), "{detail}");
    }
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
}

#[tokio::test]
async fn all_wrong_fields_are_reported_at_once() {
    let server = serve(&config());
    let reply = Client::connect(server.addr())
        .await
        .post(r#"{"transaction_id": "", "source_account": 7, "amount": -1, "currency": "EU"}"#)
        .await;
    reply.problem(422);
    assert_eq!(
        reply.json()["errors"],
        json!([
            {"pointer": "/transaction_id", "detail": "must have 1 to 128 characters"},
            {"pointer": "/source_account", "detail": "must be a string"},
            {"pointer": "/destination_account", "detail": "is required"},
            {"pointer": "/amount", "detail": "must be greater than 0"},
            {"pointer": "/currency", "detail": "must be 3 ASCII letters"},
        ])
    );
}

#[tokio::test]
async fn other_media_types_are_not_supported() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n",
    ] {
        let reply = client.ask(post_as(headers, transaction("tx-1"))).await;
        assert!(reply.problem(415).contains("Content-"), "{headers}");
    }
    assert_eq!(client.get("/v1/transactions/tx-1").await.status, 404);
    for headers in [
        "Content-Type: application/json\r\n",
        "content-type: Application/JSON; charset=\"UTF-8\"\r\n",
        "Content-Type: application/json; v=\"a;b\"\r\n",
        "Content-Type: application/cloudevents+json; charset=utf-8\r\n",
        "Content-Type: application/json\r\nContent-Encoding: identity\r\n",
    ] {
        assert_eq!(
            client
                .ask(post_as(headers, transaction("tx-1")))
                .await
                .status,
            202
        );
    }
}

#[tokio::test]
async fn wrong_methods_are_not_allowed() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for (method, path, allow) in [
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/readyz", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/transactions/x", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/transactions/x", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/webhooks/transactions", "OPTIONS, POST"),
        ("HEAD", "/v1/webhooks/transactions", "OPTIONS, POST"),
        ("TRACE", "/v1/webhooks/transactions", "OPTIONS, POST"),
        ("BREW", "/v1/webhooks/transactions", "OPTIONS, POST"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.send(request).await;
        let reply = if method == "HEAD" {
            client.reply_head().await
        } else {
            let reply = client.reply().await;
            reply.problem(405);
            reply
        };
        assert_eq!(reply.status, 405, "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allow));
    }
}

#[tokio::test]
async fn options_says_what_is_allowed() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for (target, allow) in [
        ("/", "GET, HEAD, OPTIONS"),
        ("/v1/transactions/x", "GET, HEAD, OPTIONS"),
        ("/v1/webhooks/transactions", "OPTIONS, POST"),
        ("*", "GET, HEAD, OPTIONS, POST"),
    ] {
        let reply = client
            .ask(format!(
                "OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ))
            .await;
        assert_eq!(reply.status, 204, "{target}");
        assert_eq!(reply.header("allow"), Some(allow));
        assert!(reply.body.is_empty());
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for path in [
        "/nope",
        "//",
        "/readyz/",
        "/v1",
        "/v1/transactions",
        "/v1/transactions/",
        "/v1/transactions/a/b",
        "/v1/transactions/a/",
        "/v1/webhooks/transactions/",
        "/V1/webhooks/transactions",
        "/v1/../",
    ] {
        assert_eq!(client.get(path).await.problem(404), "Not found", "{path}");
    }
}

#[tokio::test]
async fn queries_are_ignored_and_targets_may_be_absolute() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.get("/?a=b&c").await.status, 200);
    assert_eq!(
        client
            .get("http://elsewhere.example/readyz?x=/y")
            .await
            .status,
        200
    );
    let request = String::from_utf8(post(transaction("tx-1"))).unwrap();
    let request = request.replace("/v1/webhooks/transactions", "/v1/webhooks/transactions?x=1");
    assert_eq!(client.ask(request).await.status, 202);
    assert_eq!(
        client.get("/v1/transactions/tx-1?full=true").await.status,
        200
    );
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    for path in [
        "/",
        "/readyz",
        "/v1/transactions/tx-1",
        "/v1/transactions/x",
        "/nope",
    ] {
        let get = client.get(path).await;
        client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        let head = client.reply_head().await;
        assert_eq!(head.status, get.status);
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    // Nothing of a body came after the heads.
    assert_eq!(client.get("/readyz").await.status, 200);
}
