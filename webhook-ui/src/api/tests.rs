//! The API over a store in memory.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use webhook_core::{
    Claim, Envelope, EventRef, Fingerprint, Headers, Key, Outcome, Reason, Scheduler, Settlement,
    Store,
};
use webhook_core::{EventType, NewEvent};
use webhook_memory::MemoryStore;

use super::*;
use crate::stream::MAX_STREAMS_OF_TOKEN;
use crate::{Scope, TokenDigest, Tokens};

/// A `Ui` over the FAILED event `stripe/evt_1`, the FAILED events `github/0` to `github/149`, and the waiting event
/// `stripe/evt_2`.
async fn ui() -> Ui {
    let store = Arc::new(MemoryStore::default());
    let event = |source: &str, key: &str, delay| {
        let body = r#"{"id": 1.50, "card_number": "4242"}"#;
        let kind = webhook_core::Kind::new(source.to_owned()).unwrap();
        let key = Key::new(key).unwrap();
        let headers = Headers::try_from_iter([("x-id", "7"), ("authorization", "secret")]);
        let envelope = Envelope::new(kind, key, Fingerprint::of(["1"]), body.into())
            .with_headers(headers.unwrap())
            .with_event_type(EventType::new("invoice.paid").unwrap());
        NewEvent::new(envelope, delay)
    };
    let mut failing = vec![event("stripe", "evt_1", Duration::ZERO)];
    failing.extend((0..150).map(|it| event("github", &it.to_string(), Duration::ZERO)));
    store.accept(&failing).await.unwrap();
    for source in ["stripe", "github"] {
        let claim = Claim::new(
            webhook_core::Kind::new(source.to_owned()).unwrap(),
            NonZeroUsize::new(1_000).unwrap(),
            Duration::from_secs(60),
            NonZeroU32::MIN,
        );
        let claimed = store.claim(&[claim]).await.unwrap().remove(0);
        let reason = |it: usize| Reason::new(format!("answered 503 after {it} ms"));
        let settlements = claimed.events.iter().enumerate().map(|(index, event)| {
            let reason = reason(index);
            Settlement::new(event.lease, Outcome::Failed { reason })
        });
        store
            .settle(&settlements.collect::<Vec<_>>())
            .await
            .unwrap();
    }
    let later = event("stripe", "evt_2", Duration::from_secs(3600));
    store.accept(&[later]).await.unwrap();
    let of = |scope, token: &str, source: Option<&str>| {
        let source = source.map(|it| webhook_core::Kind::new(it.to_owned()).unwrap());
        TokenDigest::of(scope, token)
            .named(token.parse().ok())
            .of_source(source)
    };
    let tokens = Tokens::new([
        of(Scope::Operate, "ana", None),
        of(Scope::Read, "ben", None),
        of(Scope::Operate, "shop", Some("shop")),
        of(Scope::Operate, "stripe", Some("stripe")),
        of(Scope::Metrics, "prometheus", None),
    ]);
    Ui::builder(store.clone(), store)
        .access(Arc::new(tokens))
        .mounted_at("/inbox/")
        .build()
}

/// Sends a request with a token, and returns the status and the body of the answer.
async fn send(ui: &Ui, token: &str, method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::from(body.to_owned()))
        .unwrap();
    let response = ui.respond(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(ui: &Ui, token: &str, path: &str) -> Value {
    let (status, body) = send(ui, token, "GET", &format!("/inbox/v1/operator/{path}"), "").await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn post(ui: &Ui, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let path = format!("/v1/operator/{path}");
    let (status, body) = send(ui, token, "POST", &path, &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[tokio::test]
async fn tokens_of_another_source_get_404_on_every_route() {
    let ui = ui().await;
    let (_, job) = post(
        &ui,
        "ana",
        "jobs",
        &json!({"action": "requeue", "filter": "source:stripe"}),
    )
    .await;
    let id = job["id"].as_str().unwrap();
    let (status, own) = post(
        &ui,
        "stripe",
        "jobs",
        &json!({"action": "requeue", "filter": ""}),
    )
    .await;
    assert_eq!(
        (status, &own["filter"], &own["matching"]["count"]),
        (
            StatusCode::OK,
            &json!("source:stripe state:failed"),
            &json!(1)
        )
    );
    let of_stripe = [
        "/openapi.json",
        "/docs",
        // They take a source in the query or the body, or show only what the caller may see.
        "/v1/operator/overview",
        "/v1/operator/status",
        "/v1/operator/stream",
        "/v1/operator/events",
        "/v1/operator/export",
        "/v1/operator/failures",
        "/v1/operator/sources",
        "/v1/operator/destinations",
        "/v1/operator/jobs",
        "/v1/operator/audit",
    ];
    let mut checked = 0;
    for (method, pattern) in routes() {
        if of_stripe.contains(&pattern) {
            continue;
        }
        let path = pattern
            .replace("{source}", "stripe")
            .replace("{key}", "evt_1")
            .replace("{id}", id);
        let (status, body) = send(&ui, "shop", method.as_str(), &path, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {body}");
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
    for path in [
        "events?source=stripe",
        "export?source=stripe",
        "failures?source=stripe",
        "status?source=stripe",
    ] {
        let path = format!("/v1/operator/{path}");
        let (status, _) = send(&ui, "shop", "GET", &path, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let plan = json!({"action": "requeue", "filter": "source:stripe"});
    let (status, _) = post(&ui, "shop", "jobs", &plan).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for path in [
        "events",
        "failures",
        "sources",
        "jobs",
        "destinations",
        "audit",
        "status",
    ] {
        let text = get(&ui, "shop", path).await.to_string();
        assert!(
            !text.contains("evt_1") && !text.contains("github"),
            "{text}"
        );
    }
    let (_, exported) = send(&ui, "shop", "GET", "/v1/operator/export", "").await;
    assert_eq!(exported, "");
    for token in ["prometheus", "nobody"] {
        let (status, _) = send(&ui, token, "GET", "/v1/operator/events", "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}");
    }
}

#[tokio::test]
async fn readers_see_masked_values_and_may_not_act() {
    let ui = ui().await;
    let event = get(&ui, "ben", "events/stripe/evt_1").await;
    assert_eq!(event["state"], "FAILED");
    assert_eq!(event["body"]["masked"], true, "{event}");
    assert!(!event.to_string().contains("4242"), "{event}");
    assert!(!event.to_string().contains("secret"), "{event}");
    let (_, text) = send(
        &ui,
        "ana",
        "GET",
        "/v1/operator/events/stripe/evt_1?unmask=true",
        "",
    )
    .await;
    assert!(text.contains("4242") && text.contains("1.50"), "{text}");
    for (method, pattern) in routes().filter(|(method, _)| *method == Method::POST) {
        let path = pattern
            .replace("{source}", "stripe")
            .replace("{key}", "evt_1")
            .replace("{id}", "0");
        let body = r#"{"action": "requeue", "filter": ""}"#;
        let body = if path.ends_with("/jobs") { body } else { "" };
        let (status, answer) = send(&ui, "ben", method.as_str(), &path, body).await;
        let refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        assert!(refused.contains(&status), "{path}: {status} {answer}");
    }
    for path in [
        "events/stripe/evt_1?unmask=true",
        "events/stripe/evt_1/body",
    ] {
        let path = format!("/v1/operator/{path}");
        let (status, _) = send(&ui, "ben", "GET", &path, "").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn events_are_found_and_failures_grouped() {
    let ui = ui().await;
    let page = get(&ui, "ben", "events?source=stripe&type=invoice.*").await;
    let keys: Vec<_> = page["events"].as_array().unwrap().iter().collect();
    let keys: Vec<_> = keys.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["evt_2", "evt_1"]);
    let mut found = 0;
    let mut path = "events?state=failed&limit=100".to_owned();
    loop {
        let page = get(&ui, "ben", &path).await;
        found += page["events"].as_array().unwrap().len();
        match page["next_before"].as_i64() {
            Some(before) => path = format!("events?state=failed&limit=100&before={before}"),
            None => break,
        }
    }
    assert_eq!(found, 151);
    let failures = get(&ui, "ben", "failures?source=github").await;
    assert_eq!(failures["groups"][0]["count"], 150, "{failures}");
    assert_eq!(failures["groups"][0]["reason"], "answered 503 after # ms");
    let (_, lines) = send(&ui, "ben", "GET", "/v1/operator/export?state=failed", "").await;
    assert_eq!(lines.lines().count(), 151);
    for line in lines.lines() {
        assert_eq!(
            serde_json::from_str::<Value>(line).unwrap()["state"],
            "FAILED"
        );
    }
    for (path, status) in [
        ("events?state=lost", 400),
        ("events?colour=red", 400),
        ("events?limit=1001", 400),
        ("events/stripe/evt_3", 404),
        ("events/stripe", 404),
        ("events/", 404),
        ("jobs/1", 404),
        ("stream?topics=all", 400),
    ] {
        let path = format!("/v1/operator/{path}");
        let (answered, body) = send(&ui, "ben", "GET", &path, "").await;
        assert_eq!(answered.as_u16(), status, "{path}: {body}");
    }
    let (status, _) = send(&ui, "ben", "DELETE", "/v1/operator/events", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn jobs_are_planned_confirmed_run_and_end() {
    let ui = ui().await;
    let plan = json!({"action": "requeue", "filter": "source:github"});
    let (status, job) = post(&ui, "ana", "jobs", &plan).await;
    assert_eq!(status, StatusCode::OK, "{job}");
    assert_eq!(job["matching"], json!({"count": 150, "at_least": false}));
    assert_eq!(job["needs_confirmation"], true);
    let run = format!("jobs/{}/run", job["id"].as_str().unwrap());
    for wrong in [json!({}), json!({"confirmed": 149})] {
        let (status, problem) = post(&ui, "ana", &run, &wrong).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }
    for wrong in [
        json!({"confirmed": -1}),
        json!({"confirmed": 1_u64 << 63}),
        json!([150]),
    ] {
        let (status, problem) = post(&ui, "ana", &run, &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
    let (status, job) = post(&ui, "ana", &run, &json!({"confirmed": 150})).await;
    assert_eq!((status, &job["state"]), (StatusCode::OK, &json!("running")));
    let path = format!("jobs/{}", job["id"].as_str().unwrap());
    let mut job = get(&ui, "ben", &path).await;
    for _ in 0..500 {
        if job["state"] != "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        job = get(&ui, "ben", &path).await;
    }
    assert_eq!(
        (&job["state"], &job["changed"], &job["by"]),
        (&json!("done"), &json!(150), &json!("ana")),
        "{job}"
    );
    let (status, _) = post(&ui, "ana", &run, &json!({"confirmed": 150})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let trail = get(&ui, "ben", "audit?text=_job").await;
    let records = trail["records"].as_array().unwrap();
    let records: Vec<_> = records
        .iter()
        .map(|it| (it["action"].as_str().unwrap(), it["count"].as_u64()))
        .collect();
    assert!(records.contains(&("start_job", None)), "{records:?}");
    let left = get(&ui, "ben", "status?source=github").await;
    assert_eq!(left["sources"][0]["due"], 150, "{left}");

    let (_, planned) = post(&ui, "ana", "jobs", &plan).await;
    let cancel = format!("jobs/{}/cancel", planned["id"].as_str().unwrap());
    let (_, cancelled) = post(&ui, "ana", &cancel, &json!({})).await;
    assert_eq!(cancelled["state"], "cancelled");
    let (status, _) = post(&ui, "ana", &cancel, &json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for (wrong, part) in [
        (
            json!({"action": "requeue", "filter": "state:processed"}),
            "FAILED",
        ),
        (
            json!({"action": "requeue", "filter": "", "to": "stripe"}),
            "copies",
        ),
        (json!({"action": "requeue", "filter": "a:b"}), "known are"),
        (json!({"action": "dance", "filter": ""}), "unknown variant"),
        (json!([]), "Malformed body"),
    ] {
        let (status, problem) = post(&ui, "ana", "jobs", &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(part),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn jobs_that_find_nothing_are_cancelled_as_well() {
    let ui = ui().await;
    let plan = json!({"action": "delete", "filter": "key:evt_1"});
    let (_, job) = post(&ui, "ana", "jobs", &plan).await;
    assert_eq!(job["matching"]["count"], 1, "{job}");
    let event = EventRef {
        kind: webhook_core::Kind::new("stripe").unwrap(),
        key: Key::new("evt_1").unwrap(),
    };
    ui.admin().delete(&[event]).await.unwrap();
    let path = format!("jobs/{}", job["id"].as_str().unwrap());
    // This runtime has one thread: the job begins when the test waits.
    post(&ui, "ana", &format!("{path}/run"), &json!({})).await;
    post(&ui, "ana", &format!("{path}/cancel"), &json!({})).await;
    let mut job = get(&ui, "ana", &path).await;
    for _ in 0..500 {
        if job["state"] != "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        job = get(&ui, "ana", &path).await;
    }
    assert_eq!(job["state"], "cancelled", "{job}");
}

#[tokio::test(start_paused = true)]
async fn plans_expire() {
    let ui = ui().await;
    let plan = json!({"action": "requeue", "filter": "source:stripe"});
    let (_, job) = post(&ui, "ana", "jobs", &plan).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let run = format!("jobs/{}/run", job["id"].as_str().unwrap());
    let (status, problem) = post(&ui, "ana", &run, &json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(get(&ui, "ana", "jobs").await["jobs"][0]["state"], "expired");
}

#[tokio::test(start_paused = true)]
async fn streams_send_what_changed_and_heartbeats_and_are_bounded() {
    let ui = ui().await;
    let open = async || {
        let request = http::Request::get("/v1/operator/stream?topics=jobs")
            .header("authorization", "Bearer ana")
            .body(Full::<Bytes>::default())
            .unwrap();
        ui.respond(request).await
    };
    let mut body = open().await.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let first = next().await;
    assert!(
        first.contains("event: jobs\nid: jobs-1\ndata: []\n\n"),
        "{first}"
    );
    assert_eq!(next().await, ": alive\n\n");
    let plan = json!({"action": "requeue", "filter": "source:stripe"});
    post(&ui, "ana", "jobs", &plan).await;
    let second = next().await;
    assert!(second.contains("id: jobs-2\ndata: [{"), "{second}");
    let mut others = Vec::new();
    // Half of all streams are for one token.
    for _ in 1..MAX_STREAMS_OF_TOKEN {
        others.push(open().await);
    }
    assert!(others.iter().all(|it| it.status() == StatusCode::OK));
    assert_eq!(open().await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// A body that must not be read.
struct Unread;

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        panic!("the body is read");
    }
}

#[tokio::test]
async fn bodies_of_strangers_are_not_read() {
    let ui = ui().await;
    for path in [
        "/inbox/v1/operator/jobs",
        "/v1/operator/events/stripe/evt_1/replay",
        "/v1/operator/none",
        "/dashboard/events/stripe/evt_1/replay",
        "/inbox/dashboard/jobs",
    ] {
        for token in ["nobody", "prometheus"] {
            let request = http::Request::post(path)
                .header("authorization", format!("Bearer {token}"))
                .header("sec-fetch-site", "same-origin")
                .body(Unread);
            let status = ui.respond(request.unwrap()).await.status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let long = "token=".to_owned() + &"x".repeat(9_000);
    let (status, _) = send(&ui, "nobody", "POST", "/inbox/dashboard/sign-in", &long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn documents_are_for_everybody() {
    let ui = ui().await;
    for (path, part) in [("/inbox/openapi.json", "\"openapi\""), ("/docs", "<h1>")] {
        let (status, body) = send(&ui, "nobody", "GET", path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(body.contains(part), "{path}");
    }
}

#[tokio::test]
async fn mistyped_sources_are_refused_with_names_that_the_caller_may_see() {
    let ui = ui().await;
    let stirpe = webhook_core::Kind::from_static("stirpe");
    let all = Caller::with_token("all", Scope::Operate, [0; 32]);
    let own = all.clone().of_source(stirpe.clone());
    for (caller, suggestion) in [(all, "; did you mean stripe?"), (own, "")] {
        let paused = crate::actions::pause(&ui, &caller, &stirpe).await;
        let expected = format!(
            "Source not found: no source is named stirpe, and no event has this kind: to pause it before its first \
             event, add ?new=true{suggestion}"
        );
        assert_eq!(paused.unwrap_err().detail(), expected);
        let resumed = crate::actions::resume(&ui, &caller, &stirpe).await;
        let expected = format!(
            "Source not found: no source is named stirpe, and no event has this kind{suggestion}"
        );
        assert_eq!(resumed.unwrap_err().detail(), expected);
    }
    let path = "/v1/operator/sources/stirpe/pause?new=true";
    let (status, _) = send(&ui, "ana", "POST", path, "").await;
    assert_eq!(status, StatusCode::OK);
    let status = get(&ui, "ana", "status?source=github").await;
    assert_eq!(status["paused_sources"], json!(["stirpe"]));
    let status = get(&ui, "stripe", "status").await;
    assert_eq!(status["paused_sources"], json!([]));
}
