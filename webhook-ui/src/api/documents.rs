//! The description of the API, and the documents that only it has.

use std::sync::OnceLock;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::Request;
use super::answer::answer;
use crate::{Problem, Ui, UiBody, docs, openapi};

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

/// The documents as texts, which are made once: anybody may ask for them, as often as they like.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    openapi: OnceLock<Bytes>,
    page: OnceLock<Bytes>,
}

impl Documents {
    fn openapi(&self, ui: &Ui) -> Bytes {
        let text = || openapi::of_all(ui).to_string().into();
        self.openapi.get_or_init(text).clone()
    }

    fn page(&self, ui: &Ui) -> Bytes {
        let text = || docs::page(&openapi::of_all(ui)).into();
        self.page.get_or_init(text).clone()
    }
}

pub(super) async fn openapi(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let text = request.ui.documents().openapi(request.ui);
    Ok(answer("application/json", UiBody::full(text)))
}

pub(super) async fn docs(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let page = request.ui.documents().page(request.ui);
    let mut response = answer("text/html; charset=utf-8", UiBody::full(page));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, nothing);
    Ok(response)
}
