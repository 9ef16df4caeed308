//! The admin API: routes, and what they have in common.

mod answer;
mod audit;
pub(crate) mod documents;
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

use crate::access::Caller;
use crate::{Problem, Ui, UiBody, session};
use route::{Access, Found};

#[cfg(feature = "dashboard")]
pub(crate) use parameters::DOTS_MARK;
pub use parameters::key_in_path;
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
        // A page of the dashboard may read with its session. To write it sends forms, which have a token.
        Access::Token if is_read(&head.method) => Some(session::visitor(ui, head)?.caller),
        Access::Token => Some(ui.access().caller(head, ui.client(head))?),
        Access::Everybody => None,
    };
    answer(ui, caller, head, found, body).await
}

/// Answers a request of somebody who has shown who they are.
#[cfg(feature = "dashboard")]
pub(crate) async fn respond_to(
    ui: &Ui,
    caller: &Caller,
    head: &Parts,
    path: &str,
    body: Bytes,
) -> Result<Response<UiBody>, Problem> {
    answer(ui, Some(caller.clone()), head, route::find(path), body).await
}

async fn answer(
    ui: &Ui,
    caller: Option<Caller>,
    head: &Parts,
    found: Option<Found<'_>>,
    body: Bytes,
) -> Result<Response<UiBody>, Problem> {
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

/// The methods and the paths of all routes.
#[cfg(test)]
pub(crate) fn routes() -> impl Iterator<Item = (&'static Method, &'static str)> {
    route::ROUTES
        .iter()
        .map(|route| (&route.method, route.path))
}

/// The source of the event that a request to `path` replays, by the API or by the dashboard. Its body may be longer than
/// others.
pub(crate) fn replayed_source(path: &str) -> Option<Kind> {
    let mut prefixes = ["/v1/operator/events/", "/dashboard/events/"].into_iter();
    let rest = prefixes.find_map(|prefix| path.strip_prefix(prefix))?;
    let (source, rest) = rest.split_once('/')?;
    rest.ends_with("/replay").then(|| kind(source)).flatten()
}

const fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests;
