//! Requests to the dashboard, over a store in memory.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use webhook_core::{
    Accepted, Admin, Claim, Envelope, EventRecord, EventRef, Fingerprint, Key, Kind, NewEvent,
    Outcome, Scheduler, Settlement, Store, StoreError,
};
use webhook_memory::MemoryStore;

use super::snapshot::{Numbers, Snapshot};
use crate::access::Caller;
use crate::filter::Filter;
use crate::jobs::{self, JobPlan};
use crate::model::{
    Answer, Capped, CopyPage, Destination, DestinationState, InstanceInfo, JobAction, Outage,
    Overview, RefusedPage, Sample, Samples, SecretInfo, Series, SourceCounts, SourceInfo, TestSent,
    Time,
};
use crate::stream::MAX_STREAMS_OF_TOKEN;
use crate::{Instance, OverHttps, Problem, Replayed, Scope, TokenDigest, Tokens, Ui, UiBody};

/// A text that does something wherever it is taken as markup.
const HOSTILE: &str = r#""'><script>alert(1)</script><img src=x onerror="alert(2)">"#;

const SOURCES: [&str; 2] = ["github", "stripe"];

/// Two sources with destinations, all of whose texts are hostile.
#[derive(Default)]
struct Hostile {
    /// How often the sources were read.
    read: AtomicUsize,
    is_stopping: AtomicBool,
    outages: Mutex<Vec<Outage>>,
}

#[async_trait]
impl Instance for Hostile {
    fn info(&self) -> InstanceInfo {
        InstanceInfo {
            name: Some(HOSTILE.to_owned()),
            color: Some(HOSTILE.to_owned()),
            trace_url: Some(HOSTILE.to_owned()),
            version: HOSTILE.to_owned(),
            store: HOSTILE.to_owned(),
            in_memory: true,
            warnings: vec![HOSTILE.to_owned(), "github is open".to_owned()],
            outages: self.outages.lock().unwrap().clone(),
        }
    }

    fn sources(&self) -> Vec<SourceInfo> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let source = |name: &str| SourceInfo {
            name: name.to_owned(),
            path: Some(HOSTILE.to_owned()),
            url: Some(format!("https://{name}.test/{HOSTILE}")),
            preset: Some(HOSTILE.to_owned()),
            scheme: Some(HOSTILE.to_owned()),
            state: "enabled".to_owned(),
            secrets: vec![SecretInfo {
                number: 1,
                since: Time::now(),
                verified: 1,
            }],
            counts: SourceCounts::default(),
            last_received_at: Some(Time::now()),
            silent_since: Some(Time::from(SystemTime::UNIX_EPOCH)),
            destination: Some(HOSTILE.to_owned()),
            can_test: true,
            example: Some(HOSTILE.to_owned()),
            setup: Some(HOSTILE.to_owned()),
            ..SourceInfo::default()
        };
        SOURCES.into_iter().map(source).collect()
    }

    fn source_names(&self) -> Vec<String> {
        self.sources().into_iter().map(|it| it.name).collect()
    }

    fn destinations(&self) -> Vec<Destination> {
        let destination = |source: &str| Destination {
            source: source.to_owned(),
            url: format!("https://{source}.test/{HOSTILE}"),
            state: DestinationState::Open,
            until: Some(Time::now()),
            paused_because: Some(HOSTILE.to_owned()),
            paused_since: None,
            in_flight: 1,
            window: 1,
            concurrency: 1,
            rate: Some(HOSTILE.to_owned()),
            delivered: 1,
            failed: 1,
            postponed: 1,
            consecutive_failures: 1,
            last_answers: vec![Answer {
                at: Time::now(),
                key: HOSTILE.to_owned(),
                status: None,
                error_class: Some(HOSTILE.to_owned()),
                duration_ms: Some(1.0),
            }],
            paused: false,
            oldest_due_age_seconds: Some(1.0),
        };
        SOURCES.into_iter().map(destination).collect()
    }

    fn samples(&self) -> Samples {
        let sample = |source: &str| Sample {
            source: source.to_owned(),
            failed: Capped {
                count: 21,
                at_least: false,
            },
            ..Sample::default()
        };
        Samples {
            // Samples are taken every few seconds.
            at: Some(Time::from(SystemTime::now() - Duration::from_secs(5))),
            sources: SOURCES.into_iter().map(sample).collect(),
        }
    }

    fn series(&self, _source: &Kind) -> Option<Series> {
        Some(Series {
            received: vec![1; 60],
            ..Series::default()
        })
    }

    fn refused(&self, _source: &Kind, _limit: usize) -> Result<RefusedPage, Problem> {
        let detail = format!("Its sources are {}", SOURCES.join(", "));
        Err(Problem::new(StatusCode::NOT_FOUND, detail))
    }

    async fn copies(
        &self,
        _source: &Kind,
        _asker: &str,
        _after: Option<u64>,
        _wait: Duration,
    ) -> Result<CopyPage, Problem> {
        Err(Problem::no_such_source())
    }

    async fn send_test(&self, source: &Kind) -> Result<TestSent, Problem> {
        if source.as_str() == "github" {
            return std::future::pending().await;
        }
        Ok(TestSent {
            source: source.to_string(),
            key: Some(HOSTILE.to_owned()),
            status: 202,
            answer: String::new(),
        })
    }

    async fn replay_if_allowed(
        &self,
        _event: &EventRecord,
        _to: Option<&Kind>,
    ) -> Result<Replayed, Problem> {
        Ok(Replayed::Delivered)
    }

    async fn replay(&self, _event: &EventRecord, _to: Option<&Kind>) -> Result<(), Problem> {
        Ok(())
    }

    fn signed_curl(&self, _source: &Kind, _body: &Bytes) -> Option<String> {
        None
    }

    fn max_body_bytes(&self, _source: &Kind) -> usize {
        1 << 20
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// A dashboard below `/inbox`, whose tokens are `operator`, and `reader` for the source `stripe` only.
fn dashboard() -> (Ui, Arc<Hostile>) {
    dashboard_of(Arc::default())
}

fn dashboard_of(store: Arc<MemoryStore>) -> (Ui, Arc<Hostile>) {
    let instance = Arc::new(Hostile::default());
    (dashboard_over(store.clone(), store, &instance), instance)
}

fn dashboard_over(store: Arc<dyn Store>, admin: Arc<dyn Admin>, instance: &Arc<Hostile>) -> Ui {
    let token = |name: &str, scope| TokenDigest::of(scope, name).named(name.parse().ok());
    let tokens = Tokens::new([
        token("operator", Scope::Operate),
        token("reader", Scope::Read).of_source(Kind::new("stripe".to_owned()).ok()),
    ]);
    Ui::builder(store, admin)
        .instance(instance.clone())
        .access(Arc::new(tokens))
        .mounted_at("/inbox")
        .build()
}

fn outage(problem: &str) -> Outage {
    Outage {
        problem: problem.to_owned(),
        effect: HOSTILE.to_owned(),
        since: Time::now(),
    }
}

async fn get(ui: &Ui, path: &str, cookie: &str) -> Response<UiBody> {
    let request = Request::get(format!("/inbox/dashboard{path}"))
        .header(HOST, "127.0.0.1:8080")
        .header(COOKIE, cookie);
    ui.respond(request.body(Full::<Bytes>::default()).unwrap())
        .await
}

async fn post(ui: &Ui, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response<UiBody> {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = Request::post(format!("/inbox/dashboard{path}"))
        .header(HOST, "127.0.0.1:8080")
        .header("sec-fetch-site", "same-origin")
        .header("origin", "null")
        .header(COOKIE, cookie);
    ui.respond(request.body(Full::new(Bytes::from(form))).unwrap())
        .await
}

async fn text(response: Response<UiBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The cookie of a response, as the next request has it.
fn cookie(response: &Response<UiBody>, name: &str) -> Option<String> {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let mut cookies = cookies.map(|it| it.to_str().unwrap());
    let found = cookies.find(|it| it.starts_with(&format!("{name}=")))?;
    Some(found.split(';').next().unwrap().to_owned())
}

fn location(response: &Response<UiBody>) -> &str {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()[LOCATION].to_str().unwrap()
}

async fn sign_in(ui: &Ui, token: &str) -> String {
    let response = post(ui, "/sign-in", "", &[("token", token)]).await;
    assert_eq!(location(&response), "/inbox/dashboard");
    cookie(&response, "webhook-session").unwrap()
}

/// The token that the forms of a session send.
async fn form_token(ui: &Ui, session: &str) -> String {
    let page = text(get(ui, "/settings", session).await).await;
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn cookies_are_secure_where_a_proxy_got_the_request_by_https() {
    let (ui, _) = dashboard();
    for (is_https, name, is_secure) in [
        (false, "webhook-session", false),
        (true, "__Host-webhook-session", true),
    ] {
        let mut request = Request::post("/inbox/dashboard/sign-in")
            .header(HOST, "127.0.0.1:8080")
            .header("sec-fetch-site", "same-origin")
            .body(Full::new(Bytes::from("token=operator")))
            .unwrap();
        if is_https {
            request.extensions_mut().insert(OverHttps);
        }
        let response = ui.respond(request).await;
        let session = cookie(&response, name).unwrap();
        let line = response.headers()[SET_COOKIE].to_str().unwrap();
        assert_eq!(line.contains("; Secure"), is_secure, "{line}");
        let mut request = Request::get("/inbox/dashboard")
            .header(HOST, "127.0.0.1:8080")
            .header(COOKIE, session)
            .body(Full::<Bytes>::default())
            .unwrap();
        if is_https {
            request.extensions_mut().insert(OverHttps);
        }
        assert_eq!(ui.respond(request).await.status(), StatusCode::OK);
    }
}

const PAGES: [&str; 14] = [
    "",
    "/sources",
    "/sources/stripe",
    "/sources/stripe/pause",
    "/destinations",
    "/destinations/stripe",
    "/workers",
    "/settings",
    "/events",
    "/failed",
    "/refused",
    "/jobs",
    "/audit",
    "/api",
];

#[tokio::test]
async fn pages_are_no_markup_of_others_and_restrict_browsers() {
    let (ui, instance) = dashboard();
    *instance.outages.lock().unwrap() = vec![outage(HOSTILE)];
    let session = sign_in(&ui, "operator").await;
    for path in PAGES {
        let response = get(&ui, path, &session).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        check_headers(&response);
        let page = text(response).await;
        for part in ["<script>", "<img", "\" onerror", "style=\"", "javascript:"] {
            assert!(!page.contains(part), "{path}: {part}");
        }
        assert_eq!(page.matches("<h1").count(), 1, "{path}");
        assert_eq!(page.matches("<main").count(), 1, "{path}");
        let mut ids: Vec<&str> = page.split(" id=\"").skip(1).collect();
        ids.iter_mut()
            .for_each(|id| *id = id.split('"').next().unwrap());
        ids.sort_unstable();
        for pair in ids.windows(2) {
            assert_ne!(pair[0], pair[1], "{path}: an id is there twice");
        }
    }
    for (path, session, status) in [
        ("/none", &*session, StatusCode::NOT_FOUND),
        ("/sources/none", &session, StatusCode::NOT_FOUND),
        ("/assets/none.css", "", StatusCode::NOT_FOUND),
        ("", "", StatusCode::UNAUTHORIZED),
        ("/sign-in", "", StatusCode::OK),
    ] {
        let response = get(&ui, path, session).await;
        assert_eq!(response.status(), status, "{path}");
        check_headers(&response);
    }
}

fn check_headers(response: &Response<UiBody>) {
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types dashboard",
        ),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
}

#[tokio::test]
async fn warnings_lead_to_the_destinations_that_fail() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let page = text(get(&ui, "/events", &session).await).await;
    for source in SOURCES {
        let warning = format!(
            "<a href=\"/inbox/dashboard/destinations/{source}\">The destination of {source}</a> fails"
        );
        assert!(page.contains(&warning), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn outages_are_on_each_page_and_in_the_api_until_they_are_over() {
    let (ui, instance) = dashboard();
    let session = sign_in(&ui, "reader").await;
    let overview = async || {
        let request = Request::get("/inbox/v1/operator/overview")
            .header("authorization", "Bearer reader")
            .body(Full::<Bytes>::default());
        let answer = text(ui.respond(request.unwrap()).await).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["instance"]["outages"].clone()
    };
    let pages = PAGES.into_iter().filter(|it| !it.ends_with("/pause"));
    let pages: Vec<_> = pages.filter(|it| *it != "/workers").collect();
    let away: Vec<String> = (0..6)
        .map(|number| format!("partition {number} of 8 does not answer"))
        .collect();
    for away in [&away[..0], &away[..1], &away[..], &away[..0]] {
        *instance.outages.lock().unwrap() = away.iter().map(|it| outage(it)).collect();
        // The next page reads the numbers again.
        tokio::time::advance(Duration::from_secs(2)).await;
        for path in &pages {
            let page = text(get(&ui, path, &session).await).await;
            let banners = page.matches("does not answer: ").count();
            assert_eq!(banners, away.len().min(4), "{path}");
            let has_more = page.contains("And 2 more of this kind.");
            assert_eq!(has_more, away.len() == 6, "{path}");
            assert_eq!(page.contains("id=\"outages\""), !away.is_empty(), "{path}");
            assert_eq!(
                page.contains("Partition 0 of 8"),
                !away.is_empty(),
                "{path}"
            );
        }
        let outages = overview().await;
        let outages = outages.as_array().unwrap().iter();
        let problems: Vec<_> = outages.map(|it| it["problem"].as_str().unwrap()).collect();
        assert_eq!(problems, away);
    }
}

/// What stands between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn banners_are_told_apart_from_the_content_of_the_pages() {
    let (ui, instance) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let mut stream = get(&ui, "/live", &session).await.into_body();
    let mut told = async || loop {
        let piece = stream.frame().await.unwrap().unwrap();
        let piece = piece.into_data().unwrap();
        let piece = std::str::from_utf8(&piece).unwrap();
        if let Some((_, document)) = piece.split_once("data: ") {
            let document: serde_json::Value = serde_json::from_str(document.trim_end()).unwrap();
            return document["banners"].as_str().unwrap().to_owned();
        }
    };
    let mut versions = vec![told().await];
    for (outages, shown) in [(vec![outage("store away")], true), (Vec::new(), false)] {
        *instance.outages.lock().unwrap() = outages;
        let version = told().await;
        assert_ne!(Some(&version), versions.last());
        let response = get(&ui, "/banners", &session).await;
        check_headers(&response);
        let part = text(response).await;
        assert!(!part.contains("<main") && !part.contains("<html"), "{part}");
        assert_eq!(part.contains("Store away: "), shown, "{part}");
        assert_eq!(between(&part, "data-version=\"", "\""), version);
        for path in ["/events?key=a", "/audit", "/settings", "/sources/none"] {
            let page = text(get(&ui, path, &session).await).await;
            let of_page = between(&page, "data-version=\"", "\"");
            assert_eq!(of_page, version, "{path}");
            assert_eq!(page.contains("Store away: "), shown, "{path}");
        }
        versions.push(version);
    }
    assert_eq!(versions[0], versions[2], "nothing else has changed");
    let status = get(&ui, "/banners", "").await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_overview_does_not_say_that_all_is_well_while_a_destination_fails() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let page = text(get(&ui, "", &session).await).await;
    let verdict = between(&page, "id=\"verdict\">", "</span> </span>");
    assert!(verdict.contains("badge bad"), "{verdict}");
    assert!(
        verdict.contains("circuit breaker open: github, stripe"),
        "{verdict}"
    );
    let failures = between(&page, "id=\"no-failures\">", "</p>");
    assert!(
        failures.starts_with("No event is FAILED.") && failures.contains("circuit breaker open"),
        "{failures}"
    );
}

#[tokio::test]
async fn a_token_of_one_source_shows_nothing_of_another() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "reader").await;
    let part = text(get(&ui, "/banners", &session).await).await;
    assert!(
        part.contains("stripe") && !part.contains("github"),
        "{part}"
    );
    let pages = PAGES.into_iter().filter(|it| !it.ends_with("/pause"));
    for path in pages.filter(|it| *it != "/workers") {
        let page = text(get(&ui, path, &session).await).await;
        assert!(!page.contains("github"), "{path}");
        // The failed events of one source, not of both.
        assert!(page.contains("id=\"failed-count\">21<"), "{path}");
    }
    for path in ["overview", "sources/stripe/refused", "destinations", "jobs"] {
        let request = Request::get(format!("/inbox/v1/operator/{path}"))
            .header("authorization", "Bearer reader")
            .body(Full::<Bytes>::default());
        let answer = text(ui.respond(request.unwrap()).await).await;
        assert!(!answer.contains("github"), "{path}: {answer}");
    }
    for path in [
        "/workers",
        "/sources/github",
        "/sources/github/pause",
        "/destinations/github",
    ] {
        let status = get(&ui, path, &session).await.status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let token = form_token(&ui, &session).await;
    for (path, status) in [
        ("/sources/github/pause", StatusCode::NOT_FOUND),
        ("/sources/github/test-event", StatusCode::NOT_FOUND),
        ("/sources/stripe/pause", StatusCode::FORBIDDEN),
    ] {
        let response = post(&ui, path, &session, &[("form_token", &token)]).await;
        assert_eq!(response.status(), status, "{path}");
    }
    let page = text(get(&ui, "", &session).await).await;
    assert!(page.contains("may read") && !page.contains("/pause"));
    // The menu leads to no page that the token may not see.
    let menu = between(&page, "<nav id=\"menu\"", "</nav>");
    let links = menu.split("href=\"/inbox/dashboard").skip(1);
    let links: Vec<_> = links.filter_map(|it| it.split('"').next()).collect();
    assert_eq!(links.len(), 9, "{menu}");
    for path in links {
        let status = get(&ui, path, &session).await.status();
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

/// A dashboard with an event of each source, with this body, and the session of an operator.
async fn with_events(store: Arc<MemoryStore>, body: &'static [u8]) -> (Ui, String) {
    for source in SOURCES {
        let kind = Kind::new(source.to_owned()).unwrap();
        let key = Key::new("1".to_owned()).unwrap();
        let body = Bytes::from_static(body);
        let envelope = Envelope::new(kind, key, Fingerprint::of([&body]), body);
        let event = NewEvent::new(envelope, Duration::ZERO);
        store.accept(&[event]).await.unwrap();
    }
    let (ui, _) = dashboard_of(store);
    let session = sign_in(&ui, "operator").await;
    (ui, session)
}

#[tokio::test]
async fn pages_that_ask_lead_back_to_the_page_that_has_their_link() {
    let (ui, session) = with_events(Arc::default(), b"{}").await;
    let base = "/inbox/dashboard";
    for from in ["", "/destinations?a=b&c", "/events/stripe/1?tab=request"] {
        let page = text(get(&ui, from, &session).await).await;
        let to: String =
            form_urlencoded::byte_serialize(format!("{base}{from}").as_bytes()).collect();
        let link = format!("href=\"{base}/sources/stripe/pause?to={to}\" data-dialog");
        assert!(page.contains(&link), "{from}: {link}");
        let page = text(get(&ui, &format!("/sources/stripe/pause?to={to}"), &session).await).await;
        let here = format!("{base}{from}").replace('&', "&amp;");
        for part in [
            format!("name=\"to\" value=\"{here}\""),
            format!("data-close href=\"{here}\""),
        ] {
            assert!(page.contains(&part), "{from}: {part}");
        }
    }
    // Links that nobody here has made lead nowhere else.
    for (path, own) in [
        ("/sources/stripe/pause", "/sources/stripe"),
        ("/events/stripe/1/erase", "/events/stripe/1"),
        ("/settings", "/settings"),
    ] {
        for query in ["", "?to=https://a.test/", "?to=//a.test/", "?to=/inbox"] {
            let page = text(get(&ui, &format!("{path}{query}"), &session).await).await;
            let main = between(&page, "<main", "</main>");
            assert!(
                main.contains(&format!("name=\"to\" value=\"{base}{own}\"")),
                "{main}"
            );
            assert!(!main.contains("a.test"), "{main}");
        }
    }
}

#[tokio::test]
async fn events_say_what_holds_them() {
    let (ui, session) = with_events(Arc::default(), b"{}").await;
    let token = form_token(&ui, &session).await;
    let page = text(get(&ui, "/events/stripe/1", &session).await).await;
    assert!(
        page.contains("waits: the circuit breaker of its destination is open"),
        "{page}"
    );
    // At once, and not with the next sample.
    let fields = [("form_token", token.as_str())];
    post(&ui, "/sources/stripe/pause", &session, &fields).await;
    for (source, is_paused) in [("stripe", true), ("github", false)] {
        let page = text(get(&ui, &format!("/events/{source}/1"), &session).await).await;
        for part in ["waits: the source is paused", "id=\"resume-source\""] {
            assert_eq!(page.contains(part), is_paused, "{source}: {part}: {page}");
        }
        let has_pause = page.contains("id=\"pause-source\"");
        assert_ne!(has_pause, is_paused, "{source}: {page}");
    }
}

#[tokio::test]
async fn copies_are_called_edited_only_if_they_can_be() {
    for (body, is_editable) in [
        (&b"{}"[..], true),
        (b"", true),
        (b"a\r\nb\r\n", true),
        (b"\xff\xfe", false),
        (b"a\0", false),
        (b"a\r\nb\n", false),
    ] {
        let (ui, session) = with_events(Arc::default(), body).await;
        let page = text(get(&ui, "/events/stripe/1/replay?edit=true", &session).await).await;
        for part in ["<textarea", "Send the edited copy"] {
            assert_eq!(page.contains(part), is_editable, "{part}: {page}");
        }
        assert_eq!(page.contains("id=\"send-unedited\""), !is_editable);
    }
}

#[tokio::test]
async fn another_body_can_be_sent_once_the_body_is_erased() {
    let store = Arc::new(MemoryStore::default());
    let (ui, session) = with_events(Arc::clone(&store), b"{}").await;
    let kind = Kind::new("stripe".to_owned()).unwrap();
    let claim = Claim::new(
        kind,
        NonZeroUsize::MIN,
        Duration::from_secs(60),
        NonZeroU32::MIN,
    );
    let claimed = store.claim(&[claim]).await.unwrap();
    let mut events = claimed.into_iter().flat_map(|it| it.events);
    let settlement = Settlement::new(events.next().unwrap().lease, Outcome::Processed);
    store.settle(&[settlement]).await.unwrap();
    let token = form_token(&ui, &session).await;
    let fields = [("form_token", token.as_str()), ("key", "1")];
    post(&ui, "/events/stripe/1/erase", &session, &fields).await;
    let page = text(get(&ui, "/events/stripe/1/replay", &session).await).await;
    assert!(
        page.contains("Send another body") && !page.contains("<textarea"),
        "{page}"
    );
    let page = text(get(&ui, "/events/stripe/1/replay?edit=true", &session).await).await;
    assert!(page.contains("<textarea"), "{page}");
}

#[tokio::test]
async fn signing_in_leads_back_and_signing_out_ends_it() {
    let (ui, _) = dashboard();
    let page = text(get(&ui, "/sources?a=b", "").await).await;
    assert!(page.contains("name=\"to\" value=\"/inbox/dashboard/sources?a=b\""));
    let wrong = post(&ui, "/sign-in", "", &[("token", "wrong")]).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(cookie(&wrong, "webhook-session").is_none());
    for (to, expected) in [
        (
            "/inbox/dashboard/sources?a=b",
            "/inbox/dashboard/sources?a=b",
        ),
        ("https://evil.test/", "/inbox/dashboard"),
        ("//evil.test/inbox/dashboard", "/inbox/dashboard"),
        ("/inbox/dashboardx", "/inbox/dashboard"),
        ("/inbox/dashboard/\\evil", "/inbox/dashboard"),
        ("/inbox/dashboard\r\nx: y", "/inbox/dashboard"),
    ] {
        let fields = [("token", "operator"), ("to", to)];
        let response = post(&ui, "/sign-in", "", &fields).await;
        assert_eq!(location(&response), expected, "{to}");
    }
    let session = sign_in(&ui, "operator").await;
    let token = form_token(&ui, &session).await;
    let response = post(&ui, "/sign-out", &session, &[("form_token", &token)]).await;
    assert_eq!(location(&response), "/inbox/dashboard/sign-in");
    let status = get(&ui, "", &session).await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn signing_in_again_ends_the_former_session() {
    let (ui, _) = dashboard();
    let former = sign_in(&ui, "operator").await;
    let form_token = form_token(&ui, &former).await;
    let fields = [("token", "reader"), ("form_token", &*form_token)];
    let response = post(&ui, "/sign-in", &former, &fields).await;
    let session = cookie(&response, "webhook-session").unwrap();
    assert_eq!(get(&ui, "", &session).await.status(), StatusCode::OK);
    let status = get(&ui, "", &former).await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn actions_need_the_token_of_the_form_and_tell_the_next_page() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let status = post(&ui, "/sources/stripe/pause", &session, &[])
        .await
        .status();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let token = form_token(&ui, &session).await;
    let to = "/inbox/dashboard";
    let fields = [("form_token", &*token), ("to", to)];
    let response = post(&ui, "/sources/stripe/test-event", &session, &fields).await;
    assert_eq!(location(&response), to);
    let flash = cookie(&response, "webhook-flash").unwrap();
    let both = format!("{session}; {flash}");
    let response = get(&ui, "", &both).await;
    assert_eq!(
        cookie(&response, "webhook-flash").unwrap(),
        "webhook-flash="
    );
    let page = text(response).await;
    assert!(page.contains("stripe has stored the test event with the key &quot;"));
    assert!(!page.contains("<script>"));

    let response = post(&ui, "/sources/stripe/pause", &session, &fields).await;
    assert_eq!(location(&response), to);
    // At once, though no sample was taken since then.
    assert!(
        text(get(&ui, "", &session).await)
            .await
            .contains("source-resume-stripe")
    );
}

#[tokio::test(start_paused = true)]
async fn actions_whose_clients_go_away_are_in_the_audit_trail() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let token = form_token(&ui, &session).await;
    let fields = [("form_token", &*token)];
    let sending = post(&ui, "/sources/github/test-event", &session, &fields);
    let left = tokio::time::timeout(Duration::from_secs(1), sending).await;
    assert!(left.is_err());
    tokio::task::yield_now().await;
    let page = text(get(&ui, "/audit", &session).await).await;
    assert!(page.contains("test_event") && page.contains("interrupted"));
}

/// HTTP/2 names the host in the URI.
#[tokio::test]
async fn forms_are_taken_by_the_host_of_the_uri() {
    let (ui, _) = dashboard();
    for (origin, status) in [
        ("http://127.0.0.1:8080", StatusCode::SEE_OTHER),
        ("http://127.0.0.1:8081", StatusCode::FORBIDDEN),
    ] {
        let request = Request::post("http://127.0.0.1:8080/inbox/dashboard/sign-in")
            .header("origin", origin)
            .body(Full::new(Bytes::from_static(b"token=operator")));
        let response = ui.respond(request.unwrap()).await;
        assert_eq!(response.status(), status, "{origin}");
        let cookie = cookie(&response, "webhook-session");
        assert_eq!(cookie.is_some(), status == StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn settings_are_kept_in_a_cookie() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let token = form_token(&ui, &session).await;
    let fields = [
        ("form_token", &*token),
        ("theme", "dark"),
        ("keys", "nokeys"),
        ("zone", HOSTILE),
    ];
    let response = post(&ui, "/settings", &session, &fields).await;
    let settings = cookie(&response, "webhook-view").unwrap();
    assert_eq!(settings, "webhook-view=dark.utc.nokeys");
    let page = text(get(&ui, "", &format!("{session}; {settings}")).await).await;
    assert!(page.contains("data-theme=\"dark\" data-zone=\"utc\" data-keys=\"off\""));
}

#[tokio::test(start_paused = true)]
async fn numbers_are_read_once_for_all_tabs() {
    let (ui, instance) = dashboard();
    let session = sign_in(&ui, "operator").await;
    for _ in 0..10 {
        get(&ui, "", &session).await;
        get(&ui, "/sources", &session).await;
    }
    assert_eq!(instance.read.load(Ordering::Relaxed), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    get(&ui, "", &session).await;
    assert_eq!(instance.read.load(Ordering::Relaxed), 2);
}

/// A store that notes how often the numbers had been read when it was asked for an event.
struct Asked {
    store: Arc<MemoryStore>,
    instance: Arc<Hostile>,
    read_before: AtomicUsize,
}

#[async_trait]
impl Store for Asked {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        self.store.accept(events).await
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let read = self.instance.read.load(Ordering::Relaxed);
        self.read_before.store(read, Ordering::Relaxed);
        self.store.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }
}

/// If an event were read before the numbers, the version of its page might be later than the event, and the page would
/// not be loaded again.
#[tokio::test(start_paused = true)]
async fn the_version_of_a_page_is_not_later_than_its_content() {
    let (store, instance) = (Arc::<MemoryStore>::default(), Arc::<Hostile>::default());
    let asked = Arc::new(Asked {
        store: Arc::clone(&store),
        instance: Arc::clone(&instance),
        read_before: AtomicUsize::new(0),
    });
    let ui = dashboard_over(asked.clone(), store.clone(), &instance);
    let (kind, key) = (Kind::from_static("stripe"), Key::new("evt_1").unwrap());
    let envelope = Envelope::new(kind, key, Fingerprint::of(["1"]), "1".into());
    let event = NewEvent::new(envelope, Duration::from_secs(60));
    store.accept(&[event]).await.unwrap();
    let session = sign_in(&ui, "operator").await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let page = text(get(&ui, "/events/stripe/evt_1", &session).await).await;
    assert!(page.contains("data-live=\"reload\""));
    let read = instance.read.load(Ordering::Relaxed);
    assert!(read > 0);
    assert_eq!(asked.read_before.load(Ordering::Relaxed), read);
}

#[tokio::test(start_paused = true)]
async fn only_the_pages_that_show_a_number_are_loaded_again_if_it_changes() {
    let (ui, _) = dashboard();
    let operator = Caller::with_token("operator", Scope::Operate, [0; 32]);
    let mut snapshot = Snapshot::read(&ui);
    let versions = |snapshot: &Snapshot| {
        Numbers::ALL.map(|numbers| (numbers, snapshot.version(&ui, &operator, numbers)))
    };
    let mut before = versions(&snapshot);
    let mut changed = |snapshot: &Snapshot| -> Vec<Numbers> {
        let now = versions(snapshot);
        let pairs = std::mem::replace(&mut before, now.clone());
        let pairs = pairs.into_iter().zip(now);
        let differ = pairs.filter(|(before, now)| before.1 != now.1);
        differ.map(|(_, (numbers, _))| numbers).collect()
    };
    assert_eq!(changed(&snapshot), []);
    let overview = |snapshot: &mut Snapshot, change: fn(&mut Overview)| {
        let mut overview = snapshot.overview.clone();
        change(&mut overview);
        *snapshot = Snapshot::of(overview);
    };
    overview(&mut snapshot, |it| it.sources[0].info.counts.events += 1);
    assert_eq!(changed(&snapshot), [Numbers::All]);
    overview(&mut snapshot, |it| it.sources[1].info.counts.refused += 1);
    assert_eq!(changed(&snapshot), [Numbers::All, Numbers::Refused]);
    overview(&mut snapshot, |it| {
        it.sources[0].sample.as_mut().unwrap().failed.count += 1;
    });
    assert_eq!(changed(&snapshot), [Numbers::All, Numbers::Failed]);
    overview(&mut snapshot, |it| it.destinations[0].delivered += 1);
    assert_eq!(changed(&snapshot), [Numbers::All, Numbers::Destinations]);
    // What a page shows of the store may have changed, whatever the counts are.
    overview(&mut snapshot, |it| it.sampled_at = Some(Time::now()));
    assert_eq!(changed(&snapshot), [Numbers::All, Numbers::Failed]);
    // Pages have these in their warnings.
    overview(&mut snapshot, |it| {
        it.destinations[0].state = DestinationState::Paused
    });
    assert_eq!(changed(&snapshot), Numbers::ALL);
    overview(&mut snapshot, |it| it.sources[0].info.silent_since = None);
    assert_eq!(changed(&snapshot), Numbers::ALL);
    overview(&mut snapshot, |it| it.instance.warnings.clear());
    assert_eq!(changed(&snapshot), Numbers::ALL);
    overview(&mut snapshot, |it| it.instance.outages.push(outage("gone")));
    assert_eq!(changed(&snapshot), Numbers::ALL);
    overview(&mut snapshot, |it| it.instance.outages.clear());
    assert_eq!(changed(&snapshot), Numbers::ALL);
    overview(&mut snapshot, |it| {
        it.sampled_at = Some(Time::from(SystemTime::UNIX_EPOCH));
    });
    assert_eq!(changed(&snapshot), Numbers::ALL);
    let plan = JobPlan {
        action: JobAction::Requeue,
        filter: Filter::default(),
        to: None,
    };
    jobs::plan(&ui, &operator, plan).await.unwrap();
    assert_eq!(changed(&snapshot), [Numbers::Jobs]);
}

#[tokio::test]
async fn number_of_failed_events_is_empty_without_any_and_none_if_unknown() {
    let (ui, _) = dashboard();
    let operator = Caller::with_token("operator", Scope::Operate, [0; 32]);
    let mut overview = Snapshot::read(&ui).overview;
    let failed = |overview: &Overview| Snapshot::of(overview.clone()).failed(&operator);
    assert_eq!(failed(&overview).as_deref(), Some("42"));
    for source in &mut overview.sources {
        source.sample.as_mut().unwrap().failed.count = 0;
    }
    assert_eq!(failed(&overview).as_deref(), Some(""));
    overview.sampled_at = None;
    assert_eq!(failed(&overview), None);
}

#[tokio::test(start_paused = true)]
async fn pages_name_their_numbers_as_the_stream_does() {
    let (ui, _) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let mut stream = get(&ui, "/live", &session).await.into_body();
    let piece = stream.frame().await.unwrap().unwrap();
    let piece = piece.into_data().unwrap();
    let piece = std::str::from_utf8(&piece).unwrap();
    let (_, document) = piece.split_once("data: ").unwrap();
    let document: serde_json::Value = serde_json::from_str(document.trim_end()).unwrap();
    let pages = [
        ("", "all"),
        ("/sources", "all"),
        ("/failed", "failed"),
        ("/refused", "refused"),
        ("/destinations", "destinations"),
        ("/jobs", "jobs"),
    ];
    for (path, numbers) in pages {
        let page = text(get(&ui, path, &session).await).await;
        let version = document["versions"][numbers].as_str().unwrap();
        let expected =
            format!("data-live=\"reload\" data-numbers=\"{numbers}\" data-version=\"{version}\"");
        assert!(page.contains(&expected), "{path} is not of {expected}");
    }
    // The banners of all pages are those of now, whatever their content does, also on the page of a problem.
    let banners = document["banners"].as_str().unwrap();
    let version = format!("<div id=\"banners\" data-version=\"{banners}\">");
    for path in PAGES.into_iter().chain(["/banners", "/sources/none"]) {
        let page = text(get(&ui, path, &session).await).await;
        assert!(page.contains(&version), "{path}");
    }
    let page = text(get(&ui, "/events", &session).await).await;
    let accepted = format!("id=\"new-events\" data-events=\"{}\"", document["events"]);
    assert!(page.contains(&accepted), "{accepted}");
    for (path, live) in [
        ("/events", "count"),
        ("/workers", "always"),
        ("/audit", "off"),
    ] {
        let page = text(get(&ui, path, &session).await).await;
        assert!(page.contains(&format!("data-live=\"{live}\">")), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_end_with_the_session_and_the_process() {
    let (ui, instance) = dashboard();
    let session = sign_in(&ui, "operator").await;
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS_OF_TOKEN {
        let response = get(&ui, "/live", &session).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        streams.push(response.into_body());
    }
    let status = get(&ui, "/live", &session).await.status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);

    let mut body = streams.pop().unwrap();
    let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let piece = std::str::from_utf8(&piece).unwrap();
    assert!(
        piece.contains("event: page\nid: ") && piece.ends_with("\n\n"),
        "{piece}"
    );
    assert!(piece.contains("\"failed\":\"42\""), "{piece}");

    let other = sign_in(&ui, "reader").await;
    let status = get(&ui, "/live", &other).await.status();
    assert_eq!(status, StatusCode::OK, "another session has its own");
    drop(streams);
    // The tasks of streams that are gone end at their next step.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&ui, "/live", &session).await.status(), StatusCode::OK);
    let response = get(&ui, "/live", &other).await;
    let mut of_other = response.into_body();
    let piece = of_other
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(
        std::str::from_utf8(&piece)
            .unwrap()
            .contains("\"failed\":\"21\"")
    );
    let token = form_token(&ui, &other).await;
    post(&ui, "/sign-out", &other, &[("form_token", &token)]).await;
    while let Some(frame) = of_other.frame().await {
        frame.unwrap();
    }

    instance.is_stopping.store(true, Ordering::Relaxed);
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
}
