//! The description of the API, and the documents that only it has.

use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::Request;
use super::answer::{answer, json};
use crate::{Problem, UiBody, docs, openapi};

pub(crate) use super::events::{ReplayRequest, Replayed};
pub(crate) use super::instance::{Nodes, Statuses};
pub(crate) use super::jobs::{Jobs, PlanRequest, RunRequest};
pub(crate) use super::sources::{Destinations, Sources};

/// An action that is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true: otherwise the answer is a problem.
    pub(crate) done: bool,
}

pub(super) async fn openapi(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&openapi::of_all(request.ui))
}

pub(super) async fn docs(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let document = openapi::of_all(request.ui);
    let page = docs::page(&document);
    let mut response = answer("text/html; charset=utf-8", UiBody::full(page));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, nothing);
    Ok(response)
}
