//! The admin API: routes, and what they have in common.

mod answer;
mod audit;
mod documents;
mod events;
mod instance;
mod jobs;
mod parameters;
mod route;
mod sources;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use webhook_core::Kind;

use crate::{Problem, Ui, UiBody};
use route::{Access, Found};

pub(crate) use parameters::kind;
pub(crate) use route::Request;

/// Answers a request. `path` is below the mount.
pub(crate) async fn respond(
    ui: &Ui,
    head: &Parts,
    path: &str,
    body: Bytes,
) -> Result<Response<UiBody>, Problem> {
    let found = route::find(path);
    let access = match &found {
        Some(Found { access, .. }) => *access,
        None => Access::Token,
    };
    // Before 404 and 405: who has no token does not learn which routes there are.
    let caller = match access {
        Access::Token => Some(ui.access().caller(head, ui.client(head))?),
        Access::Everybody => None,
    };
    let found = found.ok_or_else(Problem::no_such_path)?;
    let method = match head.method {
        Method::HEAD => &Method::GET,
        ref method => method,
    };
    if head.method == Method::OPTIONS {
        return Ok(answer::options(found.allow));
    }
    let route = found.route(method);
    let route = route.ok_or_else(|| Problem::method_not_allowed(found.allow))?;
    let request = Request {
        ui,
        caller,
        head,
        parameters: found.parameters,
        body,
    };
    (route.run)(&request).await
}

/// The source of the event that a request to `path` replays, whose body may be longer than others.
pub(crate) fn replayed_source(path: &str) -> Option<Kind> {
    let rest = path.strip_prefix("/v1/operator/events/")?;
    let (source, rest) = rest.split_once('/')?;
    rest.ends_with("/replay").then(|| kind(source)).flatten()
}
