//! The routes for operators, `/v1/operator/`.

use std::num::NonZeroUsize;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};
use webhook_core::{
    Admin, EventId, EventRef, EventType, Kind, MadeDue, Page, Requeued, RunningLeases, State,
};

use super::App;
use super::answer::Answer;
use super::document::document;
use super::method::{Allowed, read, write};
use super::path::key;
use super::problem::Problem;
use crate::audit::{Audit, Caller};
use crate::known_kinds::KnownKinds;
use crate::views::{
    Details, EXPECTED_KIND, EventName, EventSummaryView, PausedKind, StatusReport, noun,
    transaction_kind,
};

/// The prefix of their paths.
pub(super) const PREFIX: &str = "/v1/operator/";

/// The default number of events on a page.
const PAGE: NonZeroUsize = NonZeroUsize::new(100).expect("a hundred is not zero");

/// The most events on a page.
const MAX_PAGE: usize = 1000;

/// A request of an operator.
#[derive(Debug)]
pub(super) enum OperatorRequest {
    Status(Kind),
    List(Page),
    Show(EventRef),
    Requeue(EventRef),
    MakeDue(EventRef, RunningLeases),
    Pause(Kind, NewKinds),
    Resume(Kind),
}

/// Whether a kind is paused that is no source and has no events yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewKinds {
    Refuse,
    Pause,
}

/// Whether `path`, which follows [`PREFIX`], is one of these routes.
pub(super) fn serves(path: &str) -> bool {
    let first = path.split('/').next();
    matches!(first, Some("status" | "transactions" | "kinds"))
}

/// Parses the request. `path` is what follows [`PREFIX`].
pub(super) fn route(head: &Parts, path: &str) -> Result<Allowed<OperatorRequest>, Problem> {
    let query = head.uri.query().unwrap_or("");
    let segments: Vec<_> = path.split('/').collect();
    let method = &head.method;
    match segments[..] {
        ["status"] => read(method, || Ok(OperatorRequest::Status(kind_of(query)?))),
        ["transactions"] => read(method, || Ok(OperatorRequest::List(page(query)?))),
        ["transactions", id] if !id.is_empty() => read(method, || {
            Ok(OperatorRequest::Show(event(kind_of(query)?, id)?))
        }),
        ["transactions", id, "requeue"] if !id.is_empty() => write(method, || {
            Ok(OperatorRequest::Requeue(event(kind_of(query)?, id)?))
        }),
        ["transactions", id, "make-due"] if !id.is_empty() => write(method, || {
            let (kind, leases) = leases(query)?;
            Ok(OperatorRequest::MakeDue(event(kind, id)?, leases))
        }),
        ["kinds", kind, "pause"] if !kind.is_empty() => write(method, || {
            Ok(OperatorRequest::Pause(
                kind_in_path(kind)?,
                new_kinds(query)?,
            ))
        }),
        ["kinds", kind, "resume"] if !kind.is_empty() => write(method, || {
            no_parameters(query)?;
            Ok(OperatorRequest::Resume(kind_in_path(kind)?))
        }),
        _ => Err(Problem::no_such_path()),
    }
}

/// Decodes the kind in a segment of the path.
fn kind_in_path(segment: &str) -> Result<Kind, Problem> {
    let kind = key(segment).and_then(|key| Kind::new(key.as_str().to_owned()).ok());
    kind.ok_or_else(|| Problem::bad_request(format!("Path: the kind must be {EXPECTED_KIND}")))
}

/// Parses whether a new kind is paused: `new=true`.
fn new_kinds(query: &str) -> Result<NewKinds, Problem> {
    let mut new = NewKinds::Refuse;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        new = match (&*name, &*value) {
            ("new", "true") => NewKinds::Pause,
            ("new", "false") => NewKinds::Refuse,
            ("new", _) => return Err(Problem::bad_request("Query: new must be true or false")),
            _ => return Err(Problem::bad_request("Query: only new is known")),
        };
    }
    Ok(new)
}

fn no_parameters(query: &str) -> Result<(), Problem> {
    if query.is_empty() {
        Ok(())
    } else {
        Err(Problem::bad_request("Query: no parameter is known"))
    }
}

/// The event of `kind` whose key is in a segment of the path.
fn event(kind: Kind, segment: &str) -> Result<EventRef, Problem> {
    match key(segment) {
        Some(key) => Ok(EventRef { kind, key }),
        None => Err(no_such(&kind)),
    }
}

fn no_such(kind: &Kind) -> Problem {
    if *kind == transaction_kind() {
        Problem::no_such_transaction()
    } else {
        Problem::no_such_event()
    }
}

/// Parses `query`, and returns the kind in it, such as `kind=stripe`; by default, that of transactions.
/// `other` parses each other parameter: it returns `None` for an unknown one, and what it expects for
/// a wrong value. `known` lists the parameters for the error.
fn parameters(
    query: &str,
    known: &str,
    mut other: impl FnMut(&str, &str) -> Option<Result<(), &'static str>>,
) -> Result<Kind, Problem> {
    let mut kind = transaction_kind();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let read = if name == "kind" {
            let read = Kind::new(value.into_owned()).map(|read| kind = read);
            Some(read.map_err(|_| EXPECTED_KIND))
        } else {
            other(&name, &value)
        };
        let read =
            read.ok_or_else(|| Problem::bad_request(format!("Query: only {known} known")))?;
        read.map_err(|expected| Problem::bad_request(format!("Query: {name} must be {expected}")))?;
    }
    Ok(kind)
}

/// Parses a query with only a kind: `kind=stripe`.
fn kind_of(query: &str) -> Result<Kind, Problem> {
    parameters(query, "kind is", |_, _| None)
}

/// Parses whether running leases end: `leased=true`.
fn leases(query: &str) -> Result<(Kind, RunningLeases), Problem> {
    let mut leases = RunningLeases::Keep;
    let kind = parameters(query, "kind and leased are", |name, value| {
        (name == "leased").then(|| {
            leases = match value {
                "true" => RunningLeases::End,
                "false" => RunningLeases::Keep,
                _ => return Err("true or false"),
            };
            Ok(())
        })
    })?;
    Ok((kind, leases))
}

/// Parses which events to list: `kind=stripe&state=failed&type=payment.captured&limit=100&after=42`.
fn page(query: &str) -> Result<Page, Problem> {
    let mut page = Page::new(transaction_kind(), State::Failed, PAGE);
    let known = "kind, state, type, limit and after are";
    page.kind = parameters(query, known, |name, value| {
        Some(match name {
            "state" => {
                let state = State::ALL
                    .into_iter()
                    .find(|state| state.as_str().eq_ignore_ascii_case(value));
                state
                    .map(|state| page.state = state)
                    .ok_or("processing, processed or failed")
            }
            "type" => EventType::new(value)
                .map(|event_type| page.event_type = Some(event_type))
                .map_err(|_| "1 to 512 bytes without control characters"),
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|it: &NonZeroUsize| it.get() <= MAX_PAGE);
                limit
                    .map(|limit| page.limit = limit)
                    .ok_or("a number from 1 to 1000")
            }
            "after" => value
                .parse()
                .map(|number| page.after = Some(EventId::new(number)))
                .map_err(|_| "the number of an event"),
            _ => return None,
        })
    })?;
    Ok(page)
}

impl OperatorRequest {
    /// The name of the action in the log.
    const fn action(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Requeue(_) => "requeue",
            Self::MakeDue(..) => "make-due",
            Self::Pause(..) => "pause",
            Self::Resume(_) => "resume",
        }
    }

    /// What it is about, in the log.
    fn arguments(&self) -> Vec<(&'static str, Value)> {
        let kind = |kind: &Kind| ("kind", json!(kind.as_str()));
        let event = |event: &EventRef| vec![kind(&event.kind), ("id", json!(event.key.as_str()))];
        match self {
            Self::Status(of) | Self::Resume(of) => vec![kind(of)],
            Self::Pause(of, new) => {
                vec![kind(of), ("new", json!(*new == NewKinds::Pause))]
            }
            Self::List(page) => vec![
                kind(&page.kind),
                ("state", json!(page.state.as_str())),
                (
                    "type",
                    json!(page.event_type.as_ref().map(EventType::as_str)),
                ),
                ("limit", json!(page.limit)),
                ("after", json!(page.after.map(EventId::get))),
            ],
            Self::Show(of) | Self::Requeue(of) => event(of),
            Self::MakeDue(of, leases) => {
                let leased = ("leased", json!(*leases == RunningLeases::End));
                event(of).into_iter().chain([leased]).collect()
            }
        }
    }
}

/// Runs the request of `caller`, and logs it.
pub(super) async fn answer(
    app: &App,
    admin: &dyn Admin,
    caller: Caller,
    request: OperatorRequest,
) -> Result<Answer, Problem> {
    let audit = Audit::begin(request.action(), request.arguments()).by(caller);
    let answer = run(app, admin, request).await;
    audit.end(&match &answer {
        Ok(answer) => AuditResult {
            status: answer.status().as_u16(),
            detail: None,
        },
        Err(problem) => AuditResult {
            status: problem.status().as_u16(),
            detail: Some(problem.detail()),
        },
    });
    answer
}

/// The result of a request in the log.
#[derive(Serialize)]
struct AuditResult<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The status of the store and of this server.
#[derive(Serialize)]
struct ServerStatus {
    #[serde(flatten)]
    report: StatusReport,
    /// All kinds that have events, not only the one in the report.
    all_kinds: Vec<String>,
    /// All kinds that are paused, including those without events.
    paused_kinds: Vec<String>,
    /// How many deliveries each secret has verified since the secrets were read, in their order.
    verified_by_secret: Vec<u64>,
}

async fn run(app: &App, admin: &dyn Admin, request: OperatorRequest) -> Result<Answer, Problem> {
    let store = &*app.store;
    match request {
        OperatorRequest::Status(kind) => document(
            StatusCode::OK,
            &ServerStatus {
                report: StatusReport::of(admin, kind).await?,
                all_kinds: names(&admin.kinds().await?),
                paused_kinds: names(&admin.paused().await?),
                verified_by_secret: app.auth.verified_by_secret(),
            },
        ),
        OperatorRequest::List(page) => list(admin, &page).await,
        OperatorRequest::Show(event) => {
            let details = Details::find(store, admin, &event).await?;
            let details = details.ok_or_else(|| no_such(&event.kind))?;
            document(StatusCode::OK, &details.document())
        }
        OperatorRequest::Requeue(event) => requeue(admin, &event).await,
        OperatorRequest::MakeDue(event, leases) => make_due(admin, &event, leases).await,
        OperatorRequest::Pause(kind, new) => {
            if new == NewKinds::Refuse {
                check_kind(
                    app,
                    admin,
                    &kind,
                    ": to pause it before its first event, add ?new=true",
                )
                .await?;
            }
            let changed = admin.pause(&kind).await?;
            let paused = PausedKind::paused(&kind, changed);
            document(StatusCode::OK, &paused.with_destination(url(app, &kind)))
        }
        OperatorRequest::Resume(kind) => {
            check_kind(app, admin, &kind, "").await?;
            let changed = admin.resume(&kind).await?;
            let resumed = PausedKind::resumed(&kind, changed);
            document(StatusCode::OK, &resumed.with_destination(url(app, &kind)))
        }
    }
}

/// The URL that this server forwards the events of `kind` to, if it does.
fn url(app: &App, kind: &Kind) -> Option<String> {
    let forwarder = app.destinations.as_ref()?.of(kind)?;
    Some(forwarder.status().url)
}

/// The names of the sources of this server, including those that are wrong in the file.
fn source_names(app: &App) -> Vec<String> {
    let sources = app.sources.as_ref();
    sources.map(|it| it.names()).unwrap_or_default()
}

/// Refuses `kind` if nothing has it. `advice` says what else can be done.
async fn check_kind(
    app: &App,
    admin: &dyn Admin,
    kind: &Kind,
    advice: &'static str,
) -> Result<(), Problem> {
    let known = KnownKinds::of(admin, source_names(app)).await?;
    known.check(kind, advice).map_err(|unknown| {
        Problem::new(StatusCode::NOT_FOUND, format!("Kind not found: {unknown}"))
    })
}

fn names(kinds: &[Kind]) -> Vec<String> {
    kinds.iter().map(Kind::to_string).collect()
}

/// A page of events.
#[derive(Serialize)]
struct ListedPage<'a> {
    #[serde(flatten)]
    events: ListedEvents<'a>,
    /// The `after` of the next page; null on the last page.
    next_after: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ListedEvents<'a> {
    Transactions(Vec<EventSummaryView<'a>>),
    /// Events of any other kind.
    Events(Vec<EventSummaryView<'a>>),
}

async fn list(admin: &dyn Admin, page: &Page) -> Result<Answer, Problem> {
    let records = admin.list(page).await?;
    let is_last = records.len() < page.limit.get();
    let events = records.iter().map(EventSummaryView::of).collect();
    document(
        StatusCode::OK,
        &ListedPage {
            events: if page.kind == transaction_kind() {
                ListedEvents::Transactions(events)
            } else {
                ListedEvents::Events(events)
            },
            next_after: records
                .last()
                .filter(|_| !is_last)
                .map(|record| record.id.get()),
        },
    )
}

#[derive(Serialize)]
struct Scheduled<'a> {
    #[serde(flatten)]
    name: EventName<'a>,
    status: &'static str,
}

impl<'a> Scheduled<'a> {
    fn of(event: &'a EventRef) -> Self {
        Self {
            name: EventName::of(&event.kind, &event.key),
            status: State::Processing.as_str(),
        }
    }
}

async fn requeue(admin: &dyn Admin, event: &EventRef) -> Result<Answer, Problem> {
    match admin.requeue(std::slice::from_ref(event)).await?[..] {
        [Requeued::Applied] => document(StatusCode::OK, &Scheduled::of(event)),
        [Requeued::NotFailed] => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("Only a FAILED {} can be processed again", noun(&event.kind)),
        )),
        [Requeued::Erased] => Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "The body of this {} is erased: there is nothing to process again",
                noun(&event.kind)
            ),
        )),
        _ => Err(no_such(&event.kind)),
    }
}

async fn make_due(
    admin: &dyn Admin,
    event: &EventRef,
    leases: RunningLeases,
) -> Result<Answer, Problem> {
    let noun = noun(&event.kind);
    let conflict = |detail| Err(Problem::new(StatusCode::CONFLICT, detail));
    match admin.make_due(std::slice::from_ref(event), leases).await?[..] {
        [MadeDue::Applied | MadeDue::AlreadyDue] => document(StatusCode::OK, &Scheduled::of(event)),
        [MadeDue::Leased] => conflict(format!(
            "A worker holds the {noun}; leased=true ends its lease, and a worker that is alive may \
             then process it twice"
        )),
        [MadeDue::Settled] => conflict(format!("Only a PROCESSING {noun} can be made due")),
        _ => Err(no_such(&event.kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_parameters_are_parsed() {
        let parsed = page("state=processed&limit=7&after=42").unwrap();
        assert_eq!(parsed.state, State::Processed);
        assert_eq!(
            (parsed.limit.get(), parsed.after),
            (7, Some(EventId::new(42)))
        );
        let parsed = page("").unwrap();
        assert_eq!(
            (parsed.state, parsed.limit, parsed.after),
            (State::Failed, PAGE, None)
        );
        assert_eq!(parsed.kind, transaction_kind());
        assert_eq!(page("kind=a.b_c-0").unwrap().kind.as_str(), "a.b_c-0");
        let event_type = page("type=Payment+captured%21")
            .unwrap()
            .event_type
            .unwrap();
        assert_eq!(event_type.as_str(), "Payment captured!");
        for wrong in [
            "kind=",
            "kind=A",
            "kind=a%00",
            "kind=caf%C3%A9",
            "kinds=a",
            "state=lost",
            "type=",
            "type=a%0A",
            "limit=0",
            "limit=1001",
            "limit=-1",
            "after=x",
            "page=2",
            "a%00",
        ] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }
}
