//! Tests of the pages of events, failures, refusals, jobs and audit records, as a browser without scripts has them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use webhook_core::{
    Accepted, ActionId, ActionRecord, Admin, Claim, Envelope, EventId, EventRef, EventSummary,
    EventType, Fingerprint, Headers, Key, Kind, MAX_FAILED_ATTEMPTS, MockAdmin, NewEvent, Outcome,
    Reason, Scheduler, SearchPage, Settlement, State, StoppedEarly, Store, StoredAction,
    TraceParent,
};
use webhook_memory::MemoryStore;

use super::components::event_path;
use crate::tokens::{Scope, TokenDigest};
use crate::{Tokens, Ui};

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>";

const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn kind() -> Kind {
    Kind::new("shop").unwrap()
}

fn event(key: &str, body: &str) -> NewEvent {
    let key = Key::new(key.to_owned()).unwrap();
    let body = Bytes::from(body.to_owned());
    let mut envelope = Envelope::new(kind(), key, Fingerprint::of([&body]), body);
    envelope.event_type = EventType::new(HOSTILE.to_owned()).ok();
    let headers = [
        ("x-a", HOSTILE),
        ("authorization", "hunter2"),
        (TraceParent::STORED_HEADER, TRACE_PARENT),
    ];
    envelope.headers = Headers::try_from_iter(headers).unwrap();
    NewEvent::new(envelope, Duration::ZERO)
}

/// A dashboard with one event whose every field is hostile, and which failed.
async fn hostile() -> Ui {
    hostile_in(Arc::new(MemoryStore::default())).await
}

async fn hostile_in(store: Arc<MemoryStore>) -> Ui {
    let body = format!(
        r#"{{"{0}":"{0}","token":"hunter2"}}"#,
        HOSTILE.replace('"', "\\\"")
    );
    let conflict = body
        .replace("hunter2", "hunter3")
        .replace("alert(2)", "alert(3)");
    let accepted = store.accept(&[event(HOSTILE, &body)]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    let accepted = store.accept(&[event(HOSTILE, &conflict)]).await.unwrap();
    assert!(!matches!(
        accepted[..],
        [Accepted::New | Accepted::Duplicate]
    ));
    let details = serde_json::json!({
        "error_class": HOSTILE, "peer": HOSTILE, "timings_ms": {"total": 1.0},
        "body": format!(r#"{{"access_token":"hunter4","text":{}}}"#, serde_json::json!(HOSTILE)),
        "headers": [{"name": HOSTILE, "value": HOSTILE}],
    });
    let reason = Reason::new(HOSTILE).with_details(details.to_string().into());
    attempt(&store, Outcome::Failed { reason }).await;
    ui(store)
}

/// One attempt at the event that is due.
async fn attempt(store: &MemoryStore, outcome: Outcome) {
    let (limit, attempts) = (NonZeroUsize::MIN, NonZeroU32::MAX);
    let claim = Claim::new(kind(), limit, Duration::from_secs(60), attempts);
    let claimed = store.claim(&[claim]).await.unwrap();
    let mut events = claimed.into_iter().flat_map(|it| it.events);
    let settlement = Settlement::new(events.next().unwrap().lease, outcome);
    store.settle(&[settlement]).await.unwrap();
}

fn ui(store: Arc<MemoryStore>) -> Ui {
    ui_of(store.clone(), store)
}

fn ui_of(store: Arc<MemoryStore>, admin: Arc<dyn Admin>) -> Ui {
    let token =
        |name: &str, scope, token: &str| TokenDigest::of(scope, token).named(name.parse().ok());
    let tokens = [
        token("ana", Scope::Operate, "operate"),
        token("ben", Scope::Read, "read"),
        token("eve", Scope::Operate, "other").of_source(Kind::new("other").unwrap()),
    ];
    Ui::builder(store, admin)
        .access(Arc::new(Tokens::new(tokens)))
        .mounted_at("/inbox")
        .build()
}

struct Page {
    status: StatusCode,
    location: String,
    /// The message that the next page shows.
    flash: String,
    text: String,
}

async fn send(ui: &Ui, token: &str, path: &str, form: Option<&[(&str, &str)]>) -> Page {
    let mut request = Request::builder()
        .uri(format!("/inbox/dashboard{path}"))
        .header("authorization", format!("Bearer {token}"));
    let mut body = String::new();
    if let Some(fields) = form {
        request = request
            .method("POST")
            .header("sec-fetch-site", "same-origin");
        let mut form = form_urlencoded::Serializer::new(String::new());
        body = form.extend_pairs(fields).finish();
    }
    let request = request.body(Full::<Bytes>::from(body)).unwrap();
    let response = ui.respond(request).await;
    let header = |name: &str| {
        let value = response.headers().get(name);
        value
            .map(|it| it.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("cache-control"), "no-store", "{path}");
    let (status, location) = (response.status(), header("location"));
    let flash = header("set-cookie");
    let flash = flash.strip_prefix("webhook-flash=").unwrap_or_default();
    let flash = flash.split(';').next().unwrap_or_default();
    let flash = percent_encoding::percent_decode_str(flash);
    let flash = flash.decode_utf8_lossy().into_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Page {
        status,
        location,
        flash,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

async fn get(ui: &Ui, token: &str, path: &str) -> Page {
    send(ui, token, path, None).await
}

/// A store whose searches stop early, after they have found `found` FAILED events.
fn impatient(found: u32) -> MockAdmin {
    let mut admin = MockAdmin::new();
    admin.expect_search().returning(move |_| {
        let failed = |number: u32| {
            let key = Key::new(number.to_string()).unwrap();
            let event = EventRef { kind: kind(), key };
            let (id, now) = (EventId::new(number.into()), SystemTime::now());
            EventSummary::new(id, event, Fingerprint::of(["a"]), State::Failed, now)
        };
        let mut page = SearchPage::default();
        page.events = (0..found).map(failed).collect();
        page.next = Some(EventId::new(1));
        page.stopped_early = Some(StoppedEarly::Examined);
        Ok(page)
    });
    admin.expect_actions().returning(|page| {
        let record = ActionRecord::new("ana", "requeue", "shop");
        let action = StoredAction::new(ActionId::new(1), SystemTime::now(), record);
        Ok(vec![action; page.limit.get()])
    });
    admin
}

#[tokio::test]
async fn a_search_that_stopped_early_says_so_and_claims_nothing_about_the_rest() {
    for found in [0, 3] {
        let ui = ui_of(Arc::default(), Arc::new(impatient(found)));
        for path in [
            "/failed",
            "/failed?source=shop",
            "/events?state=failed",
            "/events?state=failed&key=a",
            "/audit?text=nothing",
        ] {
            let page = get(&ui, "read", path).await.text;
            assert!(page.contains("id=\"stopped-early\""), "{path}: {page}");
            for claim in [
                "There are more",
                "No event is FAILED",
                "No event matches",
                "no older events",
                "has failed for good",
                "Nothing received",
                "No record has",
            ] {
                assert!(!page.contains(claim), "{path}: {claim}: {page}");
            }
        }
        let page = get(&ui, "read", "/failed").await.text;
        assert_eq!(
            page.contains("At least 3 FAILED events"),
            found == 3,
            "{page}"
        );
        let request = Request::get("/inbox/v1/operator/failures")
            .header("authorization", "Bearer read")
            .body(Full::<Bytes>::default());
        let response = ui.respond(request.unwrap()).await;
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["examined"], found);
        assert_eq!(answer["more"], false);
        assert_eq!(answer["stopped_early"], true);
    }
}

/// The token that the forms of a page have.
fn form_token(page: &Page) -> String {
    let (_, rest) = page
        .text
        .split_once("name=\"form_token\" value=\"")
        .unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn path() -> String {
    event_path("shop", HOSTILE)
}

#[tokio::test]
async fn nothing_of_a_sender_is_markup() {
    let ui = hostile().await;
    let mut paths = vec![
        "/events".to_owned(),
        "/events?q=state%3Afailed".to_owned(),
        "/events?q=%3Cscript%3Ealert(4)%3C%2Fscript%3E".to_owned(),
        "/events?q=%3Cscript%3E%3Aalert(4)".to_owned(),
        "/events?before=%3Cscript%3Ealert(4)&trail=1.x".to_owned(),
        "/failed".to_owned(),
        "/failed?source=shop".to_owned(),
        "/refused".to_owned(),
        "/jobs".to_owned(),
        "/audit".to_owned(),
        "/audit?text=%3Cscript%3Ealert(4)".to_owned(),
        "/api".to_owned(),
        "/api/try?path=%2Fv1%2Foperator%2Fevents".to_owned(),
    ];
    for tab in ["body", "request", "attempts", "conflicts", "copy", "record"] {
        for form in ["tree", "raw", "hex"] {
            paths.push(format!(
                "{}?tab={tab}&view={form}&from=%22%3E%3Cscript%3Ealert(4)",
                path()
            ));
        }
    }
    paths.push(format!("{}?unmask=true", path()));
    paths.push(format!("{}/replay", path()));
    paths.push(format!("{}/erase", path()));
    for path in paths {
        let page = get(&ui, "operate", &path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        for part in ["<script>alert", "<img", "onerror=alert(1)>\""] {
            assert!(!page.text.contains(part), "{path} has {part}");
        }
    }
}

#[tokio::test]
async fn bodies_are_masked_without_the_right() {
    let ui = hostile().await;
    for tab in [
        "body",
        "body&view=raw",
        "body&view=hex",
        "request",
        "conflicts",
        "record",
        "copy",
    ] {
        for unmask in ["", "&unmask=true"] {
            let page = get(&ui, "read", &format!("{}?tab={tab}{unmask}", path())).await;
            let secrets = ["hunter2", "hunter3", "hunter4"];
            assert!(
                !secrets.iter().any(|it| page.text.contains(it)),
                "{tab}{unmask}"
            );
            let expected = if unmask.is_empty() {
                StatusCode::OK
            } else {
                StatusCode::FORBIDDEN
            };
            assert_eq!(page.status, expected, "{tab}{unmask}");
        }
    }
    let page = get(&ui, "operate", &format!("{}?unmask=true", path())).await;
    assert!(page.text.contains("hunter2"));
    let page = get(&ui, "operate", &format!("{}/body", path())).await;
    assert!(page.text.contains("hunter2"));
    let page = get(&ui, "read", &format!("{}/body", path())).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let page = get(&ui, "read", "/events/export?source=shop").await;
    assert!(page.text.contains("\"state\":\"FAILED\"") && !page.text.contains("hunter2"));
}

#[tokio::test]
async fn a_failed_event_shows_its_trace_and_leads_to_those_that_failed_like_it() {
    let ui = hostile().await;
    let page = get(&ui, "read", &format!("{}?tab=request", path())).await;
    for part in [
        "<code>4bf92f3577b34da6a3ce929d0e0e4736</code>",
        "<code>00f067aa0ba902b7</code>",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let link = page
        .text
        .split("id=\"failed-alike\" href=\"")
        .nth(1)
        .unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let list = link.strip_prefix("/inbox/dashboard").unwrap();
    let alike = get(&ui, "read", list).await;
    assert_eq!(alike.status, StatusCode::OK, "{link}");
    let event = format!("/inbox/dashboard{}", path());
    assert!(alike.text.contains(&event), "{link}: {}", alike.text);
    // Once it is requeued, it is no longer among them.
    let form = form_token(&get(&ui, "operate", &path()).await);
    let requeue = format!("{}/requeue", path());
    send(&ui, "operate", &requeue, Some(&[("form_token", &form)])).await;
    let page = get(&ui, "read", &path()).await;
    assert!(!page.text.contains("failed-alike"));
}

#[tokio::test]
async fn events_of_other_sources_are_not_there() {
    let ui = hostile().await;
    for path in [
        path(),
        format!("{}/replay", path()),
        format!("{}/erase", path()),
    ] {
        let page = get(&ui, "other", &path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/events", "/failed", "/events/export", "/refused"] {
        let page = get(&ui, "other", path).await;
        assert!(!page.text.contains("onerror"), "{path}");
    }
}

#[tokio::test]
async fn readers_see_no_buttons_and_cannot_act() {
    let ui = hostile().await;
    let page = get(&ui, "read", "/events").await;
    assert!(!page.text.contains("data-select") && page.text.contains("id=\"export\""));
    let page = get(&ui, "read", &path()).await;
    assert!(!page.text.contains("id=\"requeue\""));
    let token = form_token(&page);
    let form = [
        ("form_token", token.as_str()),
        ("action", "requeue"),
        ("event", &path()),
    ];
    for path in ["/events/selected", &format!("{}/requeue", path()), "/jobs"] {
        let page = send(&ui, "read", path, Some(&form)).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn actions_lead_back_to_where_they_were_chosen() {
    let ui = hostile().await;
    let list = "/inbox/dashboard/events?state=failed";
    let page = get(&ui, "operate", "/events?state=failed").await;
    assert!(
        page.text
            .contains("value=\"/inbox/dashboard/events?state=failed\"")
    );
    let (token, event) = (form_token(&page), path());
    let form = |action| {
        [
            ("form_token", token.as_str()),
            ("to", list),
            ("action", action),
            ("event", event.as_str()),
        ]
    };
    // What cannot be undone is asked for first.
    let asked = send(&ui, "operate", "/events/selected", Some(&form("erase"))).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert!(asked.text.contains("id=\"confirmed\"") && !asked.text.contains("typed number"));
    let cancel = format!("data-close href=\"{list}\"");
    assert!(asked.text.contains(&cancel), "{}", asked.text);
    let mut wrong = form("erase").to_vec();
    wrong.push(("confirmed", "7"));
    let asked = send(&ui, "operate", "/events/selected", Some(&wrong)).await;
    assert!(
        asked
            .text
            .contains("The typed number is not 1. Nothing was changed."),
        "{}",
        asked.text
    );
    // Without a script, the buttons are there before anything is selected.
    let none = &form("requeue")[..3];
    let none = send(&ui, "operate", "/events/selected", Some(none)).await;
    assert_eq!(
        (none.status, &*none.location, &*none.flash),
        (
            StatusCode::SEE_OTHER,
            list,
            "No event is selected. Select rows first."
        )
    );
    let done = send(&ui, "operate", "/events/selected", Some(&form("requeue"))).await;
    assert_eq!(
        (done.status, &*done.location),
        (StatusCode::SEE_OTHER, list)
    );
    let page = get(&ui, "operate", "/events?state=failed").await;
    assert!(page.text.contains("id=\"no-events\""));
    // Somebody else was faster.
    let again = send(&ui, "operate", &format!("{event}/requeue"), Some(&form(""))).await;
    assert_eq!(
        (again.status, &*again.location),
        (StatusCode::SEE_OTHER, list)
    );
    // Nowhere else.
    let strange = [
        ("form_token", token.as_str()),
        ("to", "https://example.org/"),
    ];
    let page = send(&ui, "operate", &format!("{event}/make-due"), Some(&strange)).await;
    assert!(
        page.location.starts_with("/inbox/dashboard/events/shop/"),
        "{}",
        page.location
    );
    let page = send(&ui, "operate", &format!("{event}/make-due"), Some(&[])).await;
    assert_eq!(
        page.status,
        StatusCode::FORBIDDEN,
        "without the token of the form"
    );
}

#[tokio::test]
async fn erasing_asks_for_the_key() {
    let ui = hostile().await;
    let erase = format!("{}/erase", path());
    let page = get(&ui, "operate", &erase).await;
    assert!(page.text.contains("id=\"typed-key\""));
    let token = form_token(&page);
    let form = [("form_token", token.as_str()), ("key", "another")];
    let page = send(&ui, "operate", &erase, Some(&form)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert!(page.location.ends_with("/erase"));
    let form = [("form_token", token.as_str()), ("key", HOSTILE)];
    let page = send(&ui, "operate", &erase, Some(&form)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let page = get(&ui, "operate", &path()).await;
    assert!(page.text.contains("id=\"body-erased\""), "{}", page.text);
    let page = get(&ui, "operate", &format!("{}?tab=copy", path())).await;
    assert!(page.text.contains("The body was deleted"), "{}", page.text);
}

#[tokio::test]
async fn steps_tell_attempts_after_a_requeue_from_those_before() {
    let store = Arc::new(MemoryStore::default());
    let ui = hostile_in(Arc::clone(&store)).await;
    let form = form_token(&get(&ui, "operate", &path()).await);
    let requeue = format!("{}/requeue", path());
    for (outcome, note) in [
        (
            Outcome::Failed {
                reason: Reason::new("again"),
            },
            "after a requeue: again",
        ),
        (Outcome::Processed, "at the first attempt after a requeue"),
    ] {
        let page = get(&ui, "operate", &path()).await;
        assert!(!page.text.contains(note), "{}", page.text);
        send(&ui, "operate", &requeue, Some(&[("form_token", &form)])).await;
        attempt(&store, outcome).await;
        let page = get(&ui, "operate", &path()).await;
        assert!(page.text.contains(note), "{}", page.text);
    }
}

#[tokio::test]
async fn attempts_that_are_not_kept_are_mentioned() {
    let store = Arc::new(MemoryStore::default());
    let events = [event(HOSTILE, "{}")];
    store.accept(&events).await.unwrap();
    for _ in 0..MAX_FAILED_ATTEMPTS + 3 {
        let retry = Outcome::Retry {
            after: Duration::ZERO,
            reason: Reason::new("busy"),
        };
        attempt(&store, retry).await;
    }
    let ui = ui(store);
    let page = get(&ui, "read", &format!("{}?tab=attempts", path())).await;
    for part in ["Attempts 1 to 3", "Only the latest 16 are kept."] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
}

#[tokio::test]
async fn jobs_over_many_events_are_not_run_with_another_number() {
    let store = Arc::new(MemoryStore::default());
    let events: Vec<_> = (0..101).map(|it| event(&it.to_string(), "{}")).collect();
    store.accept(&events).await.unwrap();
    let ui = ui(store);
    let token = form_token(&get(&ui, "operate", "/events").await);
    let plan = [
        ("form_token", token.as_str()),
        ("action", "delete"),
        ("filter", "source:shop"),
    ];
    let planned = send(&ui, "operate", "/jobs", Some(&plan)).await;
    let path = planned.location.strip_prefix("/inbox/dashboard").unwrap();
    for (typed, message) in [
        (
            "",
            "It was not run. The confirmed number of events has to be 101.",
        ),
        (
            "a hundred",
            "It was not run. The confirmed number of events has to be 101.",
        ),
        (
            "100",
            "It was not run. The confirmed number of events has to be 101.",
        ),
        ("1, 01", ""),
    ] {
        let form = [("form_token", token.as_str()), ("confirmed", typed)];
        let run = send(&ui, "operate", &format!("{path}/run"), Some(&form)).await;
        assert_eq!(
            (&run.location, &*run.flash),
            (&planned.location, message),
            "{typed}"
        );
    }
}

#[tokio::test]
async fn jobs_are_planned_before_they_run() {
    let ui = hostile().await;
    let page = get(&ui, "operate", "/events?state=failed").await;
    let token = form_token(&page);
    let plan = [
        ("form_token", token.as_str()),
        ("action", "requeue"),
        ("filter", "source:shop"),
    ];
    let planned = send(&ui, "operate", "/jobs", Some(&plan)).await;
    assert_eq!(planned.status, StatusCode::SEE_OTHER);
    let path = planned.location.strip_prefix("/inbox/dashboard").unwrap();
    let page = get(&ui, "operate", path).await;
    assert!(
        page.text.contains("1 event</strong> matches now"),
        "{}",
        page.text
    );
    let page = get(&ui, "read", path).await;
    assert!(!page.text.contains("id=\"run\""));
    let page = get(&ui, "other", path).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    let form = [("form_token", token.as_str())];
    let run = send(&ui, "operate", &format!("{path}/run"), Some(&form)).await;
    assert_eq!(run.location, planned.location);
    let is_done = async {
        while !get(&ui, "operate", path).await.text.contains("</svg> done") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_done)
        .await
        .unwrap();
    let page = get(&ui, "operate", "/jobs").await;
    assert!(
        page.text.contains("source:shop state:failed"),
        "{}",
        page.text
    );
    // Once only.
    let again = send(&ui, "operate", &format!("{path}/run"), Some(&form)).await;
    assert_eq!(again.location, planned.location);
    // What does not fit the filter is no plan.
    let plan = [
        ("form_token", token.as_str()),
        ("action", "requeue"),
        ("filter", "state:processed"),
        ("to", "/inbox/dashboard/events?state=processed"),
    ];
    let refused = send(&ui, "operate", "/jobs", Some(&plan)).await;
    assert_eq!(refused.location, "/inbox/dashboard/events?state=processed");
}

#[tokio::test]
async fn actions_leave_audit_records() {
    let ui = hostile().await;
    let page = get(&ui, "operate", &format!("{}?unmask=true", path())).await;
    let token = form_token(&page);
    let form = [("form_token", token.as_str())];
    for action in ["requeue", "make-due", "requeue"] {
        send(&ui, "operate", &format!("{}/{action}", path()), Some(&form)).await;
    }
    let page = get(&ui, "read", "/audit").await;
    for part in [
        "unmask",
        "requeue",
        "make_due",
        "ana",
        "&lt;img src=x",
        "id=\"export-csv\"",
    ] {
        assert!(page.text.contains(part), "{part}");
    }
    let page = get(&ui, "read", "/audit?text=REQUEUE").await;
    assert_eq!(page.text.matches("<tr role=\"row\" id=\"audit-").count(), 2);
    let page = get(&ui, "read", "/audit/export.csv?text=requeue").await;
    assert_eq!(page.text.lines().count(), 3);
    assert!(page.text.contains("\"not done\"") || page.text.contains("Only a FAILED event"));
    assert!(!page.text.contains("null"), "{}", page.text);
    let page = get(&ui, "read", "/audit/export.ndjson").await;
    assert_eq!(page.text.lines().count(), 4);
    let page = get(&ui, "other", "/audit").await;
    assert!(!page.text.contains("requeue"), "of another source");
}

#[tokio::test]
async fn filters_that_match_nothing_say_what_each_would_match() {
    let ui = hostile().await;
    let page = get(
        &ui,
        "read",
        "/events?q=state%3Afailed+source%3Ashop+key%3Anone",
    )
    .await;
    assert!(page.text.contains("id=\"alone\""));
    assert!(
        page.text.contains("state:failed</code></a> 1"),
        "{}",
        page.text
    );
    assert!(page.text.contains("key:none</code></a> 0"));
    let page = get(&ui, "read", "/events?q=colour%3Ared").await;
    assert!(
        page.text.contains("id=\"filter-error\"") && page.text.contains("value=\"colour:red\"")
    );
}
