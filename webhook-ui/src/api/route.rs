//! The table of routes.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};

use super::{audit, documents, events, instance, jobs, sources};
use crate::access::Caller;
use crate::{Problem, Ui, UiBody};

/// A request to a route.
pub(crate) struct Request<'a> {
    pub(crate) ui: &'a Ui,
    /// Who makes it; `None` on routes for everybody.
    pub(crate) caller: Option<Caller>,
    pub(crate) head: &'a Parts,
    /// The segments of the path that stand for the names in braces, still percent-encoded.
    pub(crate) parameters: Vec<&'a str>,
    pub(crate) body: Bytes,
}

impl Request<'_> {
    /// Who makes the request.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(Problem::without_token)
    }

    /// The query, without its question mark.
    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<UiBody>, Problem>> + Send + 'a>>;

/// A route: a method, a path with names in braces, and what answers it.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    access: Access,
    pub(super) run: for<'a> fn(&'a Request<'a>) -> Answering<'a>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Callers with a token that allows to read, or who need none. What else they need is checked by the route.
    Token,
    /// Everybody.
    Everybody,
}

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $run:path;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            run: |request| Box::pin($run(request)),
        }),*]
    };
}

/// All routes.
pub(super) static ROUTES: &[Route] = routes! {
    GET "/v1/operator/overview" Token instance::overview;
    GET "/v1/operator/nodes" Token instance::nodes;
    GET "/v1/operator/status" Token instance::status;
    GET "/v1/operator/stream" Token instance::stream;
    GET "/v1/operator/events" Token events::list;
    GET "/v1/operator/export" Token events::export;
    GET "/v1/operator/events/{source}/{key}" Token events::show;
    GET "/v1/operator/events/{source}/{key}/body" Token events::body;
    POST "/v1/operator/events/{source}/{key}/requeue" Token events::requeue;
    POST "/v1/operator/events/{source}/{key}/make-due" Token events::make_due;
    POST "/v1/operator/events/{source}/{key}/replay" Token events::replay;
    POST "/v1/operator/events/{source}/{key}/erase" Token events::erase;
    GET "/v1/operator/failures" Token events::failures;
    GET "/v1/operator/sources" Token sources::list;
    GET "/v1/operator/sources/{source}" Token sources::show;
    GET "/v1/operator/sources/{source}/refused" Token sources::refused;
    GET "/v1/operator/sources/{source}/copies" Token sources::copies;
    POST "/v1/operator/sources/{source}/pause" Token sources::pause;
    POST "/v1/operator/sources/{source}/resume" Token sources::resume;
    POST "/v1/operator/sources/{source}/test-event" Token sources::send_test;
    GET "/v1/operator/destinations" Token sources::destinations;
    GET "/v1/operator/jobs" Token jobs::list;
    POST "/v1/operator/jobs" Token jobs::plan;
    GET "/v1/operator/jobs/{id}" Token jobs::show;
    POST "/v1/operator/jobs/{id}/run" Token jobs::run;
    POST "/v1/operator/jobs/{id}/cancel" Token jobs::cancel;
    GET "/v1/operator/audit" Token audit::list;
    GET "/openapi.json" Everybody documents::openapi;
    GET "/docs" Everybody documents::docs;
};

/// The routes of a path.
pub(super) struct Found<'a> {
    routes: Vec<&'static Route>,
    pub(super) parameters: Vec<&'a str>,
    pub(super) access: Access,
    /// The methods of the path.
    pub(super) allow: &'static str,
}

impl Found<'_> {
    pub(super) fn route(&self, method: &Method) -> Option<&'static Route> {
        self.routes.iter().find(|it| it.method == *method).copied()
    }
}

/// Finds the routes of a path. A trailing slash makes another path.
pub(super) fn find(path: &str) -> Option<Found<'_>> {
    let mut routes = Vec::new();
    let mut found = None;
    for route in ROUTES {
        if let Some(parameters) = matches(route.path, path) {
            found = Some(parameters);
            routes.push(route);
        }
    }
    let parameters = found?;
    let access = routes.first()?.access;
    let has = |method: Method| routes.iter().any(|route| route.method == method);
    let allow = match (has(Method::GET), has(Method::POST)) {
        (true, true) => "GET, HEAD, POST, OPTIONS",
        (true, false) => "GET, HEAD, OPTIONS",
        (false, _) => "POST, OPTIONS",
    };
    Some(Found {
        routes,
        parameters,
        access,
        allow,
    })
}

/// The segments of `path` that stand for the names in braces of `pattern`, if it matches.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut expected, mut segments) = (pattern.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (expected.next(), segments.next()) {
            (None, None) => return Some(parameters),
            (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {
                parameters.push(segment);
            }
            (Some(name), Some(segment)) if name == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_by_their_patterns() {
        for (path, parameters, allow) in [
            ("/v1/operator/jobs", &[][..], "GET, HEAD, POST, OPTIONS"),
            (
                "/v1/operator/events/a/b%2Fc",
                &["a", "b%2Fc"],
                "GET, HEAD, OPTIONS",
            ),
            (
                "/v1/operator/events/a/b/requeue",
                &["a", "b"],
                "POST, OPTIONS",
            ),
        ] {
            let found = find(path).unwrap();
            assert_eq!((&*found.parameters, found.allow), (parameters, allow));
        }
        for path in [
            "",
            "/",
            "/v1/operator/jobs/",
            "/v1/operator/events//b",
            "/v1/operator",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
