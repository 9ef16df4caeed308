//! Routes requests, and answers them.

use std::future::{Future, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use webhook_core::{EventRef, Inbox, Key};
use webhook_ui::{ClientAddr, OverHttps, Ui, key_in_path};

use super::answer::{self, Answer};
use super::connections::Peer;
use super::method::{self, Allowed, read, write};
use super::problem::Problem;
use super::ready::Readiness;
use super::sources::{self, Delivery};
use super::{App, body, events, head, metrics, transactions, verify};
use crate::metrics::{Exporter, Format, Refusal, Requests};
use crate::sources::{ActiveSource, Named};
use crate::views::transaction_kind;

const HEALTH_PATH: &str = "/";
const READY_PATH: &str = "/readyz";
const WEBHOOK_PATH: &str = "/v1/webhooks/transactions";
/// What the paths of deliveries to sources begin with.
const SOURCE_PATH: &str = "/v1/webhooks/";
/// What the paths of their events begin with.
const EVENT_PATH: &str = "/v1/events/";
const TRANSACTION_PATH: &str = "/v1/transactions/";

/// Answers one request of `peer`.
pub(super) async fn respond(app: &App, peer: &Peer, request: Request<Incoming>) -> Answer {
    peer.waits_for_client();
    let (head, body) = request.into_parts();
    let client = client(app, peer, &head);
    match &app.traces {
        Some(traces) => {
            let answering = respond_to(app, peer, client, &head, body);
            Box::pin(traces.request(&head, client, answering)).await
        }
        None => respond_to(app, peer, client, &head, body).await,
    }
}

async fn respond_to(
    app: &App,
    peer: &Peer,
    client: Option<IpAddr>,
    head: &Parts,
    body: Incoming,
) -> Answer {
    let began = Instant::now();
    let recipient = Recipient::of(app, head.uri.path());
    // What only some requests need is in boxes: each connection has room for the rest.
    let (result, close) = match route(app, client, head) {
        Ok(Route::Receive(inbox)) => {
            let received = receive(app, peer, inbox, client, head, body).await;
            (received, false)
        }
        Ok(Route::Deliver(delivery)) => {
            let receiving = sources::receive(app, peer, delivery, client, head, body);
            (Box::pin(receiving).await, false)
        }
        Ok(Route::Ui(ui)) => Box::pin(ui_answer(app, peer, ui, client, head, body)).await,
        Ok(Route::Bodyless(request)) => {
            let running = Box::pin(run(app, request));
            without_body(app, peer, head, body, running).await
        }
        Err(problem) => without_body(app, peer, head, body, ready(Err(problem))).await,
    };
    peer.waits_for_client();
    if let Some(recipient) = &recipient {
        if let Err(problem) = &result {
            recipient.note_problem(client, head, problem);
        }
        recipient.note_answered(began.elapsed());
    }
    let (mut answer, close) = match result {
        Ok(answer) => (answer, close),
        Err(problem) => {
            let close = close || problem.closes();
            (problem.into_answer(), close)
        }
    };
    if close {
        peer.leaves_bytes_unread();
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    tracing::debug!(
        method = %head.method,
        path = head.uri.path(),
        status = answer.status().as_u16(),
        "answered"
    );
    answer
}

/// The client's address: that of the peer, or the one that a trusted proxy forwards.
fn client(app: &App, peer: &Peer, head: &Parts) -> Option<IpAddr> {
    let addr = peer.addr()?;
    Some(app.rates.client(addr, &head.headers))
}

/// Reads the body of a delivery, verifies it, and makes it durable.
async fn receive(
    app: &App,
    peer: &Peer,
    inbox: &Inbox,
    client: Option<IpAddr>,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    let body = body::receive(app, peer, client, body).await?;
    app.transactions.read(body.bytes.len());
    peer.waits_for_server();
    let verified = verify::check_sender(app, client, &head.headers, &body.bytes).await?;
    if verified.is_some() {
        peer.note_verified();
    }
    transactions::receive(app.traces.as_deref(), inbox, body.bytes).await
}

/// Discards the body, and answers. Also returns whether the connection must be closed, because the
/// body was not read to its end.
async fn without_body(
    app: &App,
    peer: &Peer,
    head: &Parts,
    body: Incoming,
    answer: impl Future<Output = Result<Answer, Problem>>,
) -> (Result<Answer, Problem>, bool) {
    let is_read = body::discard(app, head, body).await;
    peer.waits_for_server();
    (answer.await, !is_read)
}

/// Lets the admin API or the dashboard answer. Only a POST has a body, and it is read only of those who may write. Also returns whether the connection must be
/// closed.
async fn ui_answer(
    app: &App,
    peer: &Peer,
    ui: &Ui,
    client: Option<IpAddr>,
    head: &Parts,
    body: Incoming,
) -> (Result<Answer, Problem>, bool) {
    let mut head_of_ui = head.clone();
    if let Some(client) = client {
        head_of_ui.extensions.insert(ClientAddr(client));
    }
    let is_https = |addr| app.rates.is_https(addr, &head.headers);
    if peer.addr().is_some_and(is_https) {
        head_of_ui.extensions.insert(OverHttps);
    }
    // The room for bodies is that of deliveries.
    if head.method != Method::POST || !ui.reads_body(&head_of_ui) {
        let request = Request::from_parts(head_of_ui, Full::<Bytes>::default());
        let answer = async { Ok(ui.respond(request).await) };
        return without_body(app, peer, head, body, answer).await;
    }
    let limit = ui.max_body_bytes(head.uri.path());
    match body::receive_up_to(limit, app, peer, client, body).await {
        Ok(body) => {
            peer.waits_for_server();
            let request = Request::from_parts(head_of_ui, Full::new(body.bytes.clone()));
            (Ok(ui.respond(request).await), false)
        }
        Err(problem) => (Err(problem), false),
    }
}

/// What a request asks for.
enum Route<'a> {
    /// A delivery, whose body is read.
    Receive(&'a Inbox),
    /// A request to a source, whose body is read.
    Deliver(Delivery<'a>),
    /// A request to the admin API or the dashboard.
    Ui(&'a Ui),
    /// Anything else; its body is discarded.
    Bodyless(BodylessRoute<'a>),
}

/// What a request asks for whose body is discarded.
enum BodylessRoute<'a> {
    Health,
    Ready,
    Show(&'a Inbox, Key),
    ShowEvent(EventRef),
    Metrics(&'static Exporter, Format),
    Options(&'static str),
}

impl<'a> From<Allowed<BodylessRoute<'a>>> for Route<'a> {
    fn from(allowed: Allowed<BodylessRoute<'a>>) -> Self {
        Self::Bodyless(match allowed {
            Allowed::Run(route) => route,
            Allowed::Options(allow) => BodylessRoute::Options(allow),
        })
    }
}

impl<'a> From<Allowed<&'a Inbox>> for Route<'a> {
    fn from(allowed: Allowed<&'a Inbox>) -> Self {
        match allowed {
            Allowed::Run(inbox) => Self::Receive(inbox),
            Allowed::Options(allow) => Self::Bodyless(BodylessRoute::Options(allow)),
        }
    }
}

/// Finds the route by the path, then by the method. The query is ignored, except by the admin API and
/// the dashboard. A trailing slash makes another path.
fn route<'a>(app: &'a App, client: Option<IpAddr>, head: &Parts) -> Result<Route<'a>, Problem> {
    head::check(head)?;
    if head.method == Method::CONNECT {
        // The bytes that follow may be meant for a tunnel.
        return Err(Problem::method_not_allowed(method::ANY).closing());
    }
    let path = head.uri.path();
    if let (Some(intake), Some(name)) = (&app.intake, source_name(path)) {
        return sources::route(app, intake, client, head, name).map(Route::Deliver);
    }
    // Health checks must get through, however many other requests there are.
    if !matches!(path, HEALTH_PATH | READY_PATH) {
        let checked = app.rates.check_sender(client);
        checked.inspect_err(|_| app.auth.note_rate_limited(client))?;
    }
    if let Some(ui) = app.ui()
        && ui.serves(path)
    {
        return Ok(Route::Ui(ui));
    }
    if let (metrics::PATH, Some(exporter)) = (path, app.exporter) {
        app.auth.check_metrics(client, head)?;
        app.check_global_rate(client)?;
        let format = metrics::route(head)?;
        return Ok(format
            .map(|format| BodylessRoute::Metrics(exporter, format))
            .into());
    }
    match (path, &app.inbox) {
        (HEALTH_PATH, _) => read(&head.method, || Ok(BodylessRoute::Health)).map(Into::into),
        (READY_PATH, _) => read(&head.method, || Ok(BodylessRoute::Ready)).map(Into::into),
        (WEBHOOK_PATH, Some(inbox)) => write(&head.method, || {
            head::check_media_type(&head.headers)?;
            app.auth.check_signature_headers(client, head)?;
            Ok(inbox)
        })
        .map(Into::into),
        ("*", _) if head.method == Method::OPTIONS => {
            Ok(Route::Bodyless(BodylessRoute::Options(method::ANY)))
        }
        (path, Some(_)) if path.starts_with(EVENT_PATH) => {
            let path = path.strip_prefix(EVENT_PATH).unwrap_or_default();
            events::route(app, client, head, path).map(|allowed| {
                let shown: Allowed<BodylessRoute<'_>> = allowed.map(BodylessRoute::ShowEvent);
                shown.into()
            })
        }
        (path, Some(inbox)) => match path.strip_prefix(TRANSACTION_PATH) {
            Some(id) if !id.is_empty() && !id.contains('/') => read(&head.method, || {
                let source = transaction_kind();
                let hidden = Problem::no_such_transaction;
                app.auth
                    .check_reader(client, head, source.as_str(), hidden)?;
                app.check_global_rate(client)?;
                key_in_path(id)
                    .map(|key| BodylessRoute::Show(inbox, key))
                    .ok_or_else(Problem::no_such_transaction)
            })
            .map(Into::into),
            _ => Err(Problem::no_such_path()),
        },
        _ => Err(Problem::no_such_path()),
    }
}

/// Whose requests one is counted among. Nobody can make a request that has a name of its own there.
enum Recipient<'a> {
    Transactions(&'a Requests),
    Source(Arc<ActiveSource>),
    /// Nobody's: it is recorded where nobody is shown it, so that refusing it takes as long as elsewhere.
    Unknown(&'a ActiveSource),
}

impl<'a> Recipient<'a> {
    fn of(app: &'a App, path: &str) -> Option<Self> {
        if path == WEBHOOK_PATH {
            return app
                .inbox
                .is_some()
                .then_some(Self::Transactions(&app.transactions));
        }
        let sources = &app.intake.as_ref()?.sources;
        match sources.named(source_name(path)?) {
            Named::Source(source) => Some(Self::Source(source)),
            Named::Unknown => Some(Self::Unknown(sources.unknown_record())),
            Named::Unusable => None,
        }
    }

    /// Counts a request that gets a problem as its answer: among those that its source refused, which the source lists,
    /// or among those that it could not take.
    fn note_problem(&self, client: Option<IpAddr>, head: &Parts, problem: &Problem) {
        let status = problem.status();
        let refusal = problem.refused().refusal(status);
        let source = match self {
            Self::Transactions(requests) => return requests.refused(refusal),
            Self::Source(source) => {
                source.requests.refused(refusal);
                &**source
            }
            Self::Unknown(source) => source,
        };
        let is_refused = match refusal {
            Refusal::Rejected(_) => true,
            // Verified deliveries over a limit get 503.
            Refusal::Throttled => status == StatusCode::TOO_MANY_REQUESTS,
            Refusal::Overloaded | Refusal::Unavailable | Refusal::Counted => false,
        };
        if problem.is_listed() {
            return;
        }
        if is_refused {
            source.note_refused(client, head, status.as_u16(), problem.detail().to_owned());
        } else {
            source.activity.note_unavailable();
        }
    }

    fn note_answered(&self, took: Duration) {
        match self {
            Self::Transactions(requests) => requests.answered(took),
            Self::Source(source) => source.requests.answered(took),
            Self::Unknown(_) => {}
        }
    }
}

/// The name in the path of a delivery to a source.
fn source_name(path: &str) -> Option<&str> {
    let name = path
        .strip_prefix(SOURCE_PATH)
        .filter(|_| path != WEBHOOK_PATH)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

async fn run(app: &App, route: BodylessRoute<'_>) -> Result<Answer, Problem> {
    match route {
        BodylessRoute::Health => Ok(answer::json(
            StatusCode::OK,
            format!(
                r#"{{"status":"HEALTHY","current_time":"{:.0}"}}"#,
                Timestamp::now()
            ),
        )),
        BodylessRoute::Ready => readiness(app).await,
        BodylessRoute::Show(inbox, key) => transactions::show(inbox, &key).await,
        BodylessRoute::ShowEvent(event) => events::show(app, &event).await,
        BodylessRoute::Metrics(exporter, format) => metrics::show(exporter, format),
        BodylessRoute::Options(allow) => Ok(answer::options(allow)),
    }
}

async fn readiness(app: &App) -> Result<Answer, Problem> {
    if app.is_draining() {
        return Err(Problem::unavailable("Shutting down", 1));
    }
    let limit = app.options.ready_timeout;
    match app.ready.check(&app.store, limit).await {
        Readiness::Ready => Ok(answer::json(StatusCode::OK, r#"{"status":"READY"}"#)),
        Readiness::Unavailable => Err(Problem::unavailable("Store unavailable", 1)),
        Readiness::TooSlow => Err(Problem::unavailable("Store too slow", 1)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use webhook_core::{InboxOptions, Store};
    use webhook_memory::MemoryStore;

    use super::*;
    use crate::http::HttpOptions;

    /// The paths that the server itself serves. What comes after the mount of the admin API is that of its table.
    fn paths() -> BTreeSet<String> {
        [
            HEALTH_PATH.to_owned(),
            READY_PATH.to_owned(),
            metrics::PATH.to_owned(),
            WEBHOOK_PATH.to_owned(),
            format!("{SOURCE_PATH}{{source}}"),
            format!("{TRANSACTION_PATH}{{id}}"),
            format!("{EVENT_PATH}{{source}}/{{id}}"),
        ]
        .into()
    }

    #[tokio::test]
    async fn document_describes_exactly_the_routes() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let described = document["paths"].as_object().unwrap();
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), paths());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let app = App::new(
            Inbox::new(Arc::clone(&store), InboxOptions::default()),
            store,
            HttpOptions::default(),
        );
        for (path, item) in described {
            let path = path.replace(['{', '}'], "");
            // Only the configuration file says which sources there are; metrics need the exporter of the process.
            let is_of_source = path.starts_with(SOURCE_PATH) && path != WEBHOOK_PATH
                || path.starts_with(EVENT_PATH);
            if is_of_source || path == metrics::PATH {
                continue;
            }
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                let request = Request::builder()
                    .method(&method)
                    .uri(&path)
                    .header("host", "localhost")
                    .header("content-type", "application/json");
                let (head, ()) = request.body(()).unwrap().into_parts();
                let is_served = match route(&app, None, &head) {
                    Ok(_) => true,
                    Err(problem) => problem.status() != StatusCode::METHOD_NOT_ALLOWED,
                };
                let is_described = !item[method.as_str().to_ascii_lowercase()].is_null();
                assert_eq!(is_served, is_described, "{method} {path}");
            }
        }
    }
}
