//! Answers whose body is a serialised document.

use hyper::StatusCode;
use serde::Serialize;

use super::answer::{Answer, json};
use super::problem::Problem;

/// A JSON answer with `document`.
pub(super) fn document(status: StatusCode, document: &impl Serialize) -> Result<Answer, Problem> {
    let mut body = Vec::with_capacity(256);
    serde_json::to_writer(&mut body, document).map_err(Problem::internal)?;
    Ok(json(status, body))
}
