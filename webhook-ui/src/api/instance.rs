//! Routes of the whole instance.

use http::Response;
use serde::Serialize;
use utoipa::ToSchema;
use webhook_core::Kind;

use super::Request;
use super::answer::{answer, json};
use crate::filter::Filter;
use crate::model::{Node, Status};
use crate::session;
use crate::stream::{self, Topic};
use crate::{Problem, UiBody, data};

/// The processes that serve the inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
}

/// The counts of sources, and which sources are paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Statuses {
    sources: Vec<Status>,
    /// The names of all sources that are paused, also of those that have no events.
    paused_sources: Vec<String>,
}

pub(super) async fn overview(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&data::overview(request.ui, request.caller()?))
}

pub(super) async fn nodes(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let nodes = data::nodes(request.ui, request.caller()?).await?;
    json(&Nodes { nodes })
}

pub(super) async fn status(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut filter = Filter::default();
    request.read_query("source is", |name, value| {
        (name == "source").then(|| filter.set(name, value).map_err(|error| error.to_string()))
    })?;
    let source: Option<&Kind> = filter.source.as_ref();
    let (sources, paused_sources) = data::status(request.ui, request.caller()?, source).await?;
    json(&Statuses {
        sources,
        paused_sources,
    })
}

pub(super) async fn stream(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut topics = Topic::ALL.to_vec();
    request.read_query("topics is", |name, value| {
        (name == "topics").then(|| {
            topics = Topic::parse_list(value).ok_or_else(|| {
                "topics must be overview, jobs and events, with commas between them".to_owned()
            })?;
            Ok(())
        })
    })?;
    let caller = request.caller()?;
    // Signing out, or removing the token, ends the stream.
    let is_allowed = session::watch(request.ui, request.head, caller);
    let body = stream::open(request.ui, caller.clone(), topics, is_allowed)?;
    Ok(answer("text/event-stream", body))
}
