//! The API, as its OpenAPI document describes it, with its reads to try.

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body_util::BodyExt;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::components::{Tone, badge, code};
use super::frame::{Live, Page, Screen, View};
use super::json_tree::json_tree;
use crate::{Problem, UiBody, api, json_text, openapi};

/// How much of an answer is shown.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Reads that do not end by themselves, or whose answers are files.
const NOT_TRIED: [&str; 4] = ["/stream", "/copies", "/export", "/body"];

/// What a segment of a path may not have.
const SEGMENT: &percent_encoding::AsciiSet = NON_ALPHANUMERIC;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The page with all routes.
pub(super) async fn show(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let document = openapi::of_all(view.ui);
    let paths = document.get("paths").and_then(Value::as_object);
    let content = html! {
        h1 { "API" }
        p.lead {
            "Everything that this dashboard shows and does is also there for programs, with a token in the header "
            code { "Authorization: Bearer …" } ". "
            a #openapi href={ (view.ui.mount()) "/openapi.json" } { "The OpenAPI document" }
            " describes it for tools, and " a #docs href={ (view.ui.mount()) "/docs" } { "a page" } " with the types of all documents for people."
        }
        @match paths {
            Some(paths) if !paths.is_empty() => {
                @for (path, item) in paths {
                    @for method in METHODS {
                        @if let Some(operation) = item.get(method) {
                            (route(view, method, path, item, operation))
                        }
                    }
                }
            },
            _ => p { "The document describes no routes." },
        }
    };
    let page = Page {
        screen: Some(Screen::Api),
        title: "API".to_owned(),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn route(view: &View<'_>, method: &str, path: &str, item: &Value, operation: &Value) -> Markup {
    let list = |value: &'_ Value, name: &str| -> Vec<Value> {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut parameters = list(item, "parameters");
    parameters.extend(list(operation, "parameters"));
    let responses = operation.get("responses").and_then(Value::as_object);
    let can_try = method == "get"
        && path.starts_with("/v1/operator/")
        && !NOT_TRIED.iter().any(|end| path.ends_with(end));
    html! {
        details.route {
            summary {
                (badge(if method == "get" { Tone::Info } else { Tone::Warn }, &method.to_ascii_uppercase()))
                " " code { (path) }
                @let summary = text(operation, "summary");
                @if !summary.is_empty() { " " span.faint { (summary) } }
            }
            @let description = text(operation, "description");
            @if !description.is_empty() { p { (description) } }
            @if can_try {
                form.stack method="get" action=(view.link("/api/try")) {
                    input type="hidden" name="path" value=(path);
                    @for parameter in &parameters {
                        @let name = text(parameter, "name");
                        @let id = format!("{path}-{name}");
                        label for=(id) { (name)
                            @if text(parameter, "in") == "path" { " (in the path)" }
                        }
                        input id=(id) name={ (text(parameter, "in")) "." (name) } autocomplete="off"
                            required[text(parameter, "in") == "path"];
                        @let description = text(parameter, "description");
                        @if !description.is_empty() { p.hint { (description) } }
                    }
                    p { button type="submit" { "Try it" } }
                }
            } @else if !parameters.is_empty() {
                dl.facts {
                    @for parameter in &parameters {
                        div { dt { code { (text(parameter, "name")) } } dd { (text(parameter, "description")) } }
                    }
                }
            }
            @if let Some(responses) = responses {
                h2 { "Answers" }
                dl.facts {
                    @for (status, response) in responses {
                        div { dt { (status) } dd { (text(response, "description")) } }
                    }
                }
            }
        }
    }
}

/// Sends a GET to the API with the rights of the visitor, and shows the answer.
pub(super) async fn try_it(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let target = target(view.query()).ok_or_else(Problem::no_such_path)?;
    let path = target.split('?').next().unwrap_or_default();
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(&target)
        .body(());
    let request = request.map_err(|_| Problem::bad_request("That is no path"))?;
    let (head, ()) = request.into_parts();
    let caller = &view.visitor.caller;
    let answer = api::respond_to(view.ui, caller, &head, path, Bytes::new()).await;
    let answer = answer.unwrap_or_else(Problem::into_response);
    let status = answer.status();
    let (body, is_whole) = read(answer.into_body()).await;
    let body = String::from_utf8_lossy(&body);
    let content = html! {
        div.title {
            h1 { "GET" }
            (badge(if status.is_success() { Tone::Good } else { Tone::Warn }, status.as_str()))
        }
        p { code #tried { (target) } }
        @match json_text::Value::parse(&body).filter(|_| is_whole) {
            Some(value) => (json_tree("answer", &value)),
            None => (code("answer", "The answer", &body)),
        }
        @if !is_whole { p.note { "Only the beginning is shown." } }
        p { a data-press="Escape" href=(view.link("/api")) { "Back to the API" } }
    };
    let page = Page {
        screen: Some(Screen::Api),
        title: "Try the API".to_owned(),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

/// The path with its query that the form asks for; `None` if it may not be tried.
fn target(query: &str) -> Option<String> {
    let (mut path, mut parameters) = (
        String::new(),
        form_urlencoded::Serializer::new(String::new()),
    );
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "path" {
            path = value.into_owned();
        } else if let Some(name) = name.strip_prefix("path.") {
            let segment = utf8_percent_encode(&value, SEGMENT).to_string();
            path = path.replace(&format!("{{{name}}}"), &segment);
        } else if let Some(name) = name.strip_prefix("query.").filter(|_| !value.is_empty()) {
            parameters.append_pair(name, &value);
        }
    }
    let is_allowed = path.starts_with("/v1/operator/")
        && !path.contains(['?', '#'])
        && !NOT_TRIED.iter().any(|end| path.ends_with(end));
    let parameters = parameters.finish();
    is_allowed.then(|| {
        if parameters.is_empty() {
            path
        } else {
            format!("{path}?{parameters}")
        }
    })
}

/// The beginning of a body, and whether that is all of it.
async fn read(mut body: UiBody) -> (Bytes, bool) {
    let mut bytes = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let left = MAX_ANSWER_BYTES - bytes.len();
        if data.len() > left {
            bytes.extend_from_slice(&data[..left]);
            return (bytes.freeze(), false);
        }
        bytes.extend_from_slice(&data);
    }
    (bytes.freeze(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_of_the_api_are_tried() {
        let form = |path: &str, rest: &str| {
            let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
            target(&format!("path={path}{rest}"))
        };
        let event = form(
            "/v1/operator/events/{source}/{key}",
            "&path.source=a&path.key=x%2F..%3F&query.unmask=",
        );
        assert_eq!(
            event.as_deref(),
            Some("/v1/operator/events/a/x%2F%2E%2E%3F")
        );
        let list = form("/v1/operator/events", "&query.state=failed&query.limit=5");
        assert_eq!(
            list.as_deref(),
            Some("/v1/operator/events?state=failed&limit=5")
        );
        for path in [
            "",
            "/dashboard",
            "/v1/operator/stream",
            "/v1/operator/x?y",
            "http://x/v1/operator/",
        ] {
            assert_eq!(form(path, ""), None, "{path}");
        }
    }
}
