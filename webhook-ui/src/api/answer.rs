//! Answers that are no problems.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::{Problem, UiBody};

/// A document as JSON, which caches must not store.
pub(super) fn json(document: &impl Serialize) -> Result<Response<UiBody>, Problem> {
    let mut body = Vec::with_capacity(256);
    serde_json::to_writer(&mut body, document).map_err(Problem::internal)?;
    Ok(answer("application/json", UiBody::full(body)))
}

/// A body of this type, which caches must not store, and whose type browsers must not guess.
pub(super) fn answer(content_type: &'static str, body: UiBody) -> Response<UiBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to OPTIONS.
pub(super) fn options(allow: &'static str) -> Response<UiBody> {
    let mut response = Response::new(UiBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allow));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
