//! The dashboard: HTML pages below `/dashboard`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::session::{self, Visitor};
use crate::{Problem, Ui, UiBody, data};

/// Answers a request. `path` is what follows `/dashboard`. A write is a form; who it is from is checked here, before any
/// page sees it.
pub(crate) async fn respond(ui: &Ui, head: &Parts, path: &str, body: Bytes) -> Response<UiBody> {
    let visitor = session::visitor(ui, head);
    let form = Form::parse(&body);
    if head.method == Method::POST
        && let Err(problem) =
            session::check_write(visitor.as_ref().ok(), head, form.field("form_token"))
    {
        return problem_page(&problem);
    }
    match visitor {
        Ok(visitor) => page(ui, &visitor, path),
        Err(problem) => problem_page(&problem),
    }
}

/// The fields of a form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body of `application/x-www-form-urlencoded`.
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().filter(|(field, _)| field == name);
        fields.next().map(|(_, value)| value.as_str())
    }
}

fn page(ui: &Ui, visitor: &Visitor, path: &str) -> Response<UiBody> {
    if !matches!(path, "" | "/") {
        return problem_page(&Problem::no_such_path());
    }
    let overview = data::overview(ui, &visitor.caller);
    let markup = html! {
        h1 { "Overview" }
        p { (overview.sources.len()) " sources, seen by " (visitor.caller) }
        p { a href={ (ui.mount()) "/openapi.json" } { "API" } }
    };
    answer(StatusCode::OK, "Overview", &markup)
}

fn problem_page(problem: &Problem) -> Response<UiBody> {
    let markup = html! {
        h1 { (problem.title()) }
        p { (problem.detail()) }
    };
    let mut response = answer(problem.status(), problem.title(), &markup);
    problem.add_headers(response.headers_mut());
    response
}

fn answer(status: StatusCode, title: &str, markup: &Markup) -> Response<UiBody> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
            }
            body { (markup) }
        }
    };
    let mut response = Response::new(UiBody::full(page.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
