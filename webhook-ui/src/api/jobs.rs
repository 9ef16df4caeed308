//! Routes of jobs.

use http::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webhook_core::Kind;

use super::Request;
use super::answer::json;
use crate::filter::Filter;
use crate::jobs::{self, JobPlan};
use crate::model::{Job, JobAction};
use crate::{Problem, UiBody};

/// The jobs of this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Jobs {
    jobs: Vec<Job>,
}

/// What to plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanRequest {
    /// What to do to each event.
    action: JobAction,
    /// Which events, in the grammar of filters.
    filter: String,
    /// For copies: the source whose destination gets them; by default, that of each event.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9._-]{1,64}$")]
    to: Option<String>,
}

/// How many events are confirmed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunRequest {
    /// The number in the plan. Needed for more than 100 events.
    // Signed, since the document's 64-bit integers are.
    #[schema(minimum = 0)]
    confirmed: Option<i64>,
}

pub(super) async fn list(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let jobs = jobs::list(request.ui, request.caller()?);
    json(&Jobs { jobs })
}

pub(super) async fn plan(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let asked: PlanRequest = request.document()?;
    let filter = Filter::parse(&asked.filter)
        .map_err(|error| Problem::bad_request(format!("`filter`: {error}")))?;
    let to = asked.to.map(Kind::new).transpose();
    let to = to.map_err(|_| Problem::bad_request("`to` must be the name of a source"))?;
    let plan = JobPlan {
        action: asked.action,
        filter,
        to,
    };
    json(&jobs::plan(request.ui, request.caller()?, plan).await?)
}

pub(super) async fn show(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&jobs::find(request.ui, request.caller()?, id(request))?)
}

pub(super) async fn run(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let asked: RunRequest = match request.body.is_empty() {
        true => RunRequest::default(),
        false => request.document()?,
    };
    let confirmed = asked.confirmed.map(u64::try_from).transpose();
    let confirmed =
        confirmed.map_err(|_| Problem::bad_request("`confirmed` must not be negative"))?;
    json(&jobs::run(request.ui, request.caller()?, id(request), confirmed).await?)
}

pub(super) async fn cancel(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&jobs::cancel(request.ui, request.caller()?, id(request)).await?)
}

fn id<'a>(request: &Request<'a>) -> &'a str {
    request.parameters.first().copied().unwrap_or_default()
}
