//! What operators see, and do, over HTTP.

use std::num::NonZeroUsize;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use webhook_core::{Admin, EventId, EventRef, Kind, MadeDue, Page, Requeued, RunningLeases, State};

use super::App;
use super::answer::Answer;
use super::problem::Problem;
use super::route::{Route, key, read, write};
use super::transactions::document;
use crate::audit::{Audit, Caller};
use crate::views::{
    Details, EXPECTED_KIND, EventName, EventSummaryView, PausedKind, StatusReport, noun,
    transaction_kind,
};

/// What all of their paths begin with.
pub(super) const PREFIX: &str = "/v1/operator/";

/// How many events a page has, where the operator does not say.
const PAGE: NonZeroUsize = NonZeroUsize::new(100).expect("a hundred is not zero");

/// How many it has at most.
const MAX_PAGE: usize = 1000;

/// What an operator asks for.
#[derive(Debug)]
pub(super) enum OperatorRequest {
    Status(Kind),
    List(Page),
    Show(EventRef),
    Requeue(EventRef),
    MakeDue(EventRef, RunningLeases),
    Pause(Kind),
    Resume(Kind),
}

/// Finds it by what comes after [`PREFIX`].
pub(super) fn route<'a>(
    operator: &'a dyn Admin,
    caller: Caller,
    head: &Parts,
    path: &str,
) -> Result<Route<'a>, Problem> {
    let operate = |asked| Ok(Route::Operator(operator, caller, asked));
    let query = head.uri.query().unwrap_or("");
    let segments: Vec<_> = path.split('/').collect();
    let method = &head.method;
    match segments[..] {
        ["status"] => read(method, || operate(OperatorRequest::Status(of_kind(query)?))),
        ["transactions"] => read(method, || operate(OperatorRequest::List(page(query)?))),
        ["transactions", id] if !id.is_empty() => read(method, || {
            operate(OperatorRequest::Show(event(of_kind(query)?, id)?))
        }),
        ["transactions", id, "requeue"] if !id.is_empty() => write(method, || {
            operate(OperatorRequest::Requeue(event(of_kind(query)?, id)?))
        }),
        ["transactions", id, "make-due"] if !id.is_empty() => write(method, || {
            let (kind, leases) = leases(query)?;
            operate(OperatorRequest::MakeDue(event(kind, id)?, leases))
        }),
        ["kinds", kind, "pause"] if !kind.is_empty() => write(method, || {
            no_parameters(query)?;
            operate(OperatorRequest::Pause(named(kind)?))
        }),
        ["kinds", kind, "resume"] if !kind.is_empty() => write(method, || {
            no_parameters(query)?;
            operate(OperatorRequest::Resume(named(kind)?))
        }),
        _ => Err(Problem::no_such_path()),
    }
}

/// The kind that `segment` stands for.
fn named(segment: &str) -> Result<Kind, Problem> {
    let kind = key(segment).and_then(|key| Kind::new(key.as_str().to_owned()).ok());
    kind.ok_or_else(|| Problem::bad_request(format!("Path: the kind must be {EXPECTED_KIND}")))
}

fn no_parameters(query: &str) -> Result<(), Problem> {
    if query.is_empty() {
        Ok(())
    } else {
        Err(Problem::bad_request("Query: no parameter is known"))
    }
}

/// The event of `kind` whose key `segment` stands for.
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

/// Reads `query`, and returns its kind: that of transactions unless it says `kind=stripe`. `other` reads
/// each other parameter. It returns `None` for an unknown one, and says what is expected where a value is
/// wrong.
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

/// The kind alone: `kind=stripe`.
fn of_kind(query: &str) -> Result<Kind, Problem> {
    parameters(query, "kind is", |_, _| None)
}

/// Whether leases that have not run out end: `leased=true`.
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

/// Which events to list: `kind=stripe&state=failed&limit=100&after=42`.
fn page(query: &str) -> Result<Page, Problem> {
    let mut page = Page::new(transaction_kind(), State::Failed, PAGE);
    let known = "kind, state, limit and after are";
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
    /// What the log calls it.
    const fn action(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Requeue(_) => "requeue",
            Self::MakeDue(..) => "make-due",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
        }
    }
}

/// Does what `caller` asks for, and logs it.
pub(super) async fn answer(
    app: &App,
    operator: &dyn Admin,
    caller: Caller,
    asked: OperatorRequest,
) -> Result<Answer, Problem> {
    let audit = Audit::begin(asked.action(), &asked).by(caller);
    let answer = act(app, operator, asked).await;
    audit.end(&match &answer {
        Ok(answer) => Ended {
            status: answer.status().as_u16(),
            detail: None,
        },
        Err(problem) => Ended {
            status: problem.status().as_u16(),
            detail: Some(problem.detail()),
        },
    });
    answer
}

/// What the log tells of an answer.
#[derive(Serialize)]
struct Ended<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The store's status, and what this server alone knows.
#[derive(Serialize)]
struct ServerStatus {
    #[serde(flatten)]
    report: StatusReport,
    /// The kinds of all events, not only the one that is reported.
    all_kinds: Vec<String>,
    /// The kinds that are paused, those without events included.
    paused_kinds: Vec<String>,
    /// How many deliveries each secret has verified since the secrets were read, by its position.
    verified_by_secret: Vec<u64>,
}

async fn act(app: &App, operator: &dyn Admin, asked: OperatorRequest) -> Result<Answer, Problem> {
    let store = &*app.store;
    match asked {
        OperatorRequest::Status(kind) => document(
            StatusCode::OK,
            &ServerStatus {
                report: StatusReport::of(operator, kind).await?,
                all_kinds: names(&operator.kinds().await?),
                paused_kinds: names(&operator.paused().await?),
                verified_by_secret: app.auth.verified_by_secret(),
            },
        ),
        OperatorRequest::List(page) => list(operator, &page).await,
        OperatorRequest::Show(event) => {
            let details = Details::find(store, operator, &event).await?;
            let details = details.ok_or_else(|| no_such(&event.kind))?;
            document(StatusCode::OK, &details.document())
        }
        OperatorRequest::Requeue(event) => requeue(operator, &event).await,
        OperatorRequest::MakeDue(event, leases) => make_due(operator, &event, leases).await,
        OperatorRequest::Pause(kind) => {
            let changed = operator.pause(&kind).await?;
            document(StatusCode::OK, &PausedKind::paused(&kind, changed))
        }
        OperatorRequest::Resume(kind) => {
            let changed = operator.resume(&kind).await?;
            document(StatusCode::OK, &PausedKind::resumed(&kind, changed))
        }
    }
}

fn names(kinds: &[Kind]) -> Vec<String> {
    kinds.iter().map(Kind::to_string).collect()
}

/// A page, and where the next one begins.
#[derive(Serialize)]
struct ListedPage<'a> {
    #[serde(flatten)]
    events: ListedEvents<'a>,
    /// What to ask for `after`; null where there is no more.
    next_after: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ListedEvents<'a> {
    Transactions(Vec<EventSummaryView<'a>>),
    /// Events of any other kind.
    Events(Vec<EventSummaryView<'a>>),
}

async fn list(operator: &dyn Admin, page: &Page) -> Result<Answer, Problem> {
    let records = operator.list(page).await?;
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

async fn requeue(operator: &dyn Admin, event: &EventRef) -> Result<Answer, Problem> {
    match operator.requeue(std::slice::from_ref(event)).await?[..] {
        [Requeued::Applied] => document(StatusCode::OK, &Scheduled::of(event)),
        [Requeued::NotFailed] => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("Only a FAILED {} can be processed again", noun(&event.kind)),
        )),
        _ => Err(no_such(&event.kind)),
    }
}

async fn make_due(
    operator: &dyn Admin,
    event: &EventRef,
    leases: RunningLeases,
) -> Result<Answer, Problem> {
    let noun = noun(&event.kind);
    let conflict = |detail| Err(Problem::new(StatusCode::CONFLICT, detail));
    match operator
        .make_due(std::slice::from_ref(event), leases)
        .await?[..]
    {
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
    fn pages_are_asked_for_by_name() {
        let asked = page("state=processed&limit=7&after=42").unwrap();
        assert_eq!(asked.state, State::Processed);
        assert_eq!(
            (asked.limit.get(), asked.after),
            (7, Some(EventId::new(42)))
        );
        let asked = page("").unwrap();
        assert_eq!(
            (asked.state, asked.limit, asked.after),
            (State::Failed, PAGE, None)
        );
        assert_eq!(asked.kind, transaction_kind());
        assert_eq!(page("kind=a.b_c-0").unwrap().kind.as_str(), "a.b_c-0");
        for wrong in [
            "kind=",
            "kind=A",
            "kind=a%00",
            "kind=caf%C3%A9",
            "kinds=a",
            "state=lost",
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
