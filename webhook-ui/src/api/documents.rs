//! The description of the API.

use http::Response;

use super::Request;
use super::answer::json;
use crate::{Problem, UiBody, openapi};

pub(super) async fn openapi(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&openapi::document())
}
