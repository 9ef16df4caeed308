//! What operators see, and do, over HTTP.

use std::num::NonZeroUsize;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use webhook_core::{
    EventId, EventRef, Key, MadeDue, Operator, Page, Requeued, RunningLeases, State,
};

use super::Site;
use super::answer::Answer;
use super::problem::Problem;
use super::route::{Route, key, read, write};
use super::transactions::document;
use crate::audit::{Audit, Caller};
use crate::shown::{Details, Listed, StatusReport, kind};

/// What all of their paths begin with.
pub(super) const PREFIX: &str = "/v1/operator/";

/// How many transactions a page has, where the operator does not say.
const PAGE: NonZeroUsize = NonZeroUsize::new(100).expect("a hundred is not zero");

/// How many it has at most.
const MAX_PAGE: usize = 1000;

/// What an operator asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Status,
    List(Page),
    Show(Key),
    Requeue(Key),
    MakeDue(Key, RunningLeases),
}

/// Finds it by what comes after [`PREFIX`].
pub(super) fn route<'a>(
    operator: &'a dyn Operator,
    caller: Caller,
    head: &Parts,
    path: &str,
) -> Result<Route<'a>, Problem> {
    let operate = |asked| Ok(Route::Operate(operator, caller, asked));
    let known = |id: &str| key(id).ok_or_else(Problem::no_such_transaction);
    let segments: Vec<_> = path.split('/').collect();
    let method = &head.method;
    match segments[..] {
        ["status"] => read(method, || operate(Asked::Status)),
        ["transactions"] => read(method, || {
            let page = page(head.uri.query().unwrap_or(""))?;
            operate(Asked::List(page))
        }),
        ["transactions", id] if !id.is_empty() => read(method, || operate(Asked::Show(known(id)?))),
        ["transactions", id, "requeue"] if !id.is_empty() => {
            write(method, || operate(Asked::Requeue(known(id)?)))
        }
        ["transactions", id, "make-due"] if !id.is_empty() => write(method, || {
            let leases = leases(head.uri.query().unwrap_or(""))?;
            operate(Asked::MakeDue(known(id)?, leases))
        }),
        _ => Err(Problem::no_such_path()),
    }
}

/// Whether leases that have not run out end: `leased=true`.
fn leases(query: &str) -> Result<RunningLeases, Problem> {
    let mut leases = RunningLeases::Keep;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        leases = match (&*name, &*value) {
            ("leased", "true") => RunningLeases::End,
            ("leased", "false") => RunningLeases::Keep,
            ("leased", _) => {
                return Err(Problem::bad_request("Query: leased must be true or false"));
            }
            _ => return Err(Problem::bad_request("Query: only leased is known")),
        };
    }
    Ok(leases)
}

/// Which transactions to list: `state=failed&limit=100&after=42`.
fn page(query: &str) -> Result<Page, Problem> {
    let mut page = Page {
        kind: kind(),
        state: State::Failed,
        after: None,
        held_for_over: None,
        limit: PAGE,
    };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let expected = match &*name {
            "state" => {
                let state = State::ALL
                    .into_iter()
                    .find(|state| state.as_str().eq_ignore_ascii_case(&value));
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
                .map(|number| page.after = Some(EventId(number)))
                .map_err(|_| "the number of a transaction"),
            _ => {
                return Err(Problem::bad_request(
                    "Query: only state, limit and after are known",
                ));
            }
        };
        expected.map_err(|expected| {
            Problem::bad_request(format!("Query: {name} must be {expected}"))
        })?;
    }
    Ok(page)
}

impl Asked {
    /// What the log calls it.
    const fn action(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Requeue(_) => "requeue",
            Self::MakeDue(..) => "make-due",
        }
    }
}

/// Does what `caller` asks for, and logs it.
pub(super) async fn answer(
    site: &Site,
    operator: &dyn Operator,
    caller: Caller,
    asked: Asked,
) -> Result<Answer, Problem> {
    let audit = Audit::begin(asked.action(), &asked).by(caller);
    let answer = act(site, operator, asked).await;
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
    /// How many deliveries each secret has verified since the secrets were read, by its position.
    verified_by_secret: Vec<u64>,
}

async fn act(site: &Site, operator: &dyn Operator, asked: Asked) -> Result<Answer, Problem> {
    let store = &*site.store.0;
    match asked {
        Asked::Status => document(
            StatusCode::OK,
            &ServerStatus {
                report: StatusReport::of(operator).await?,
                verified_by_secret: site.gate.verified_by_secret(),
            },
        ),
        Asked::List(page) => list(operator, &page).await,
        Asked::Show(key) => {
            let details = Details::find(store, operator, key).await?;
            let details = details.ok_or_else(Problem::no_such_transaction)?;
            document(StatusCode::OK, &details.document())
        }
        Asked::Requeue(key) => requeue(operator, key).await,
        Asked::MakeDue(key, leases) => make_due(operator, key, leases).await,
    }
}

/// A page, and where the next one begins.
#[derive(Serialize)]
struct ListedPage<'a> {
    transactions: Vec<Listed<'a>>,
    /// What to ask for `after`; null where there is no more.
    next_after: Option<i64>,
}

async fn list(operator: &dyn Operator, page: &Page) -> Result<Answer, Problem> {
    let records = operator.list(page).await?;
    let is_last = records.len() < page.limit.get();
    document(
        StatusCode::OK,
        &ListedPage {
            transactions: records.iter().map(Listed::of).collect(),
            next_after: records
                .last()
                .filter(|_| !is_last)
                .map(|record| record.id.0),
        },
    )
}

#[derive(Serialize)]
struct Scheduled<'a> {
    transaction_id: &'a str,
    status: &'static str,
}

async fn requeue(operator: &dyn Operator, key: Key) -> Result<Answer, Problem> {
    let event = EventRef { kind: kind(), key };
    match operator.requeue(std::slice::from_ref(&event)).await?[..] {
        [Requeued::Applied] => document(
            StatusCode::OK,
            &Scheduled {
                transaction_id: event.key.as_str(),
                status: State::Processing.as_str(),
            },
        ),
        [Requeued::NotFailed] => Err(Problem::new(
            StatusCode::CONFLICT,
            "Only a FAILED transaction can be processed again",
        )),
        _ => Err(Problem::no_such_transaction()),
    }
}

async fn make_due(
    operator: &dyn Operator,
    key: Key,
    leases: RunningLeases,
) -> Result<Answer, Problem> {
    let event = EventRef { kind: kind(), key };
    let conflict = |detail| Err(Problem::new(StatusCode::CONFLICT, detail));
    match operator
        .make_due(std::slice::from_ref(&event), leases)
        .await?[..]
    {
        [MadeDue::Applied | MadeDue::AlreadyDue] => document(
            StatusCode::OK,
            &Scheduled {
                transaction_id: event.key.as_str(),
                status: State::Processing.as_str(),
            },
        ),
        [MadeDue::Leased] => conflict(
            "A worker holds the transaction; leased=true ends its lease, and a worker that is alive \
             may then process it twice",
        ),
        [MadeDue::Settled] => conflict("Only a PROCESSING transaction can be made due"),
        _ => Err(Problem::no_such_transaction()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_by_name() {
        let asked = page("state=processed&limit=7&after=42").unwrap();
        assert_eq!(asked.state, State::Processed);
        assert_eq!((asked.limit.get(), asked.after), (7, Some(EventId(42))));
        let asked = page("").unwrap();
        assert_eq!(
            (asked.state, asked.limit, asked.after),
            (State::Failed, PAGE, None)
        );
        for wrong in [
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
