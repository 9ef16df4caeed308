//! Routes of events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webhook_core::{Kind, RunningLeases};

use super::Request;
use super::answer::{answer, json};
use super::documents::Done;
use super::parameters::{PageQuery, boolean};
use crate::actions::{self, Replay};
use crate::data;
use crate::filter::Filter;
use crate::{Problem, UiBody, session};

pub(super) async fn list(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let (mut filter, mut page) = (Filter::default(), PageQuery::default());
    let known = "source, state, type, key, error, header.NAME, since, until, before and limit are";
    request.read_query(known, |name, value| {
        page.set(name, value)
            .or_else(|| Some(filter.set(name, value).map_err(|error| error.to_string())))
    })?;
    let PageQuery { before, limit } = page;
    json(&data::events(request.ui, request.caller()?, &filter, before, limit).await?)
}

pub(super) async fn show(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut unmask = false;
    request.read_query("unmask is", |name, value| {
        (name == "unmask").then(|| boolean(name, value).map(|it| unmask = it))
    })?;
    json(&data::event(request.ui, request.caller()?, &request.event()?, unmask).await?)
}

pub(super) async fn body(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let event = request.event()?;
    let (body, _) = data::raw_body(request.ui, request.caller()?, &event).await?;
    // Never the type that the sender chose: a browser might run it.
    let mut response = answer("application/octet-stream", UiBody::full(body));
    let attachment = HeaderValue::from_static("attachment; filename=\"body\"");
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, attachment);
    Ok(response)
}

pub(super) async fn requeue(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&actions::requeue(request.ui, request.caller()?, &request.event()?).await?)
}

pub(super) async fn make_due(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut leases = RunningLeases::Keep;
    request.read_query("leased is", |name, value| {
        (name == "leased").then(|| {
            boolean(name, value).map(|end| {
                if end {
                    leases = RunningLeases::End;
                }
            })
        })
    })?;
    let event = request.event()?;
    json(&actions::make_due(request.ui, request.caller()?, &event, leases).await?)
}

/// What a replay sends, and where.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplayRequest {
    /// The source whose destination gets the copy; by default, that of the event.
    #[schema(pattern = "^[a-z0-9._-]{1,64}$")]
    to: Option<String>,
    /// Another body than that of the event, as text.
    body: Option<String>,
    /// Another body than that of the event, in Base64 with its padding.
    #[schema(
        content_encoding = "base64",
        pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
    )]
    body_base64: Option<String>,
}

/// A copy that was delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// Always true: otherwise the answer is a problem.
    delivered: bool,
}

pub(super) async fn replay(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let asked: ReplayRequest = match request.body.is_empty() {
        true => ReplayRequest::default(),
        false => request.document()?,
    };
    let to = asked.to.map(Kind::new).transpose();
    let to = to.map_err(|_| Problem::bad_request("`to` must be the name of a source"))?;
    let body = match (asked.body, asked.body_base64) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request(
                "Only one of `body` and `body_base64` may be there",
            ));
        }
        (Some(text), None) => Some(text.into()),
        (None, Some(base64)) => {
            let decoded = STANDARD.decode(base64);
            let decoded = decoded.map_err(|_| {
                Problem::bad_request("`body_base64` must be Base64 with its padding")
            })?;
            Some(decoded.into())
        }
        (None, None) => None,
    };
    let event = request.event()?;
    actions::replay(request.ui, request.caller()?, &event, Replay { to, body }).await?;
    json(&Replayed { delivered: true })
}

pub(super) async fn failures(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut filter = Filter::default();
    request.read_query("source is", |name, value| {
        (name == "source").then(|| filter.set(name, value).map_err(|error| error.to_string()))
    })?;
    json(&data::failures(request.ui, request.caller()?, filter.source.as_ref()).await?)
}

pub(super) async fn erase(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    actions::erase(request.ui, request.caller()?, &request.event()?).await?;
    json(&Done { done: true })
}

pub(super) async fn export(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut filter = Filter::default();
    let known = "source, state, type, key, error, header.NAME, since and until are";
    request.read_query(known, |name, value| {
        Some(filter.set(name, value).map_err(|error| error.to_string()))
    })?;
    let (ui, caller) = (request.ui, request.caller()?);
    let is_allowed = session::watch(ui, request.head, caller);
    let body = data::export(ui, caller, &filter, is_allowed)?;
    Ok(answer("application/x-ndjson", body))
}
