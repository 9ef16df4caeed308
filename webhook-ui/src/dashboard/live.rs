//! The stream that tells pages when to load their content again.

use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use super::frame::{View, add_security, version_text};
use crate::access::Caller;
use crate::stream::{self, Topic};
use crate::{Problem, Ui, UiBody, session};

/// Begins a stream, which ends with the session.
pub(super) fn stream(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let caller = view.visitor.caller.clone();
    let is_allowed = session::watch(view.ui, view.head(), &caller);
    let body = stream::open(view.ui, caller, vec![Topic::Page], is_allowed)?;
    let mut response = Response::new(body);
    add_security(&mut response);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would hold pieces back.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

/// The version of the numbers, and those that the frame shows.
pub(crate) fn document(ui: &Ui, caller: &Caller) -> serde_json::Value {
    let snapshot = ui.dashboard().snapshot(ui);
    json!({
        "version": version_text(snapshot.version(caller)),
        "events": snapshot.events(caller),
        "failed": snapshot.failed(caller),
    })
}
