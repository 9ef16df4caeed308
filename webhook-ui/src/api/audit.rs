//! The route of audit records.

use http::Response;

use super::Request;
use super::answer::json;
use super::parameters::PageQuery;
use crate::data;
use crate::{Problem, UiBody};

pub(super) async fn list(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let (mut page, mut text) = (PageQuery::default(), None);
    request.read_query("text, before and limit are", |name, value| {
        page.set(name, value).or_else(|| {
            (name == "text").then(|| {
                text = Some(value.to_owned());
                Ok(())
            })
        })
    })?;
    let PageQuery { before, limit } = page;
    let caller = request.caller()?;
    json(&data::audit(request.ui, caller, text.as_deref(), before, limit).await?)
}
