//! Routes of the whole instance.

use http::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Request;
use super::answer::json;
use crate::data;
use crate::model::Node;
use crate::{Problem, UiBody};

/// The processes that serve the inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
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
