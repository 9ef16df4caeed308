//! The stream that tells pages when to load their content or their banners again.

use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, json};

use super::frame::{View, add_security};
use super::snapshot::Numbers;
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

/// The versions of the numbers and the banners of pages, and the numbers that the frame shows.
pub(crate) fn document(ui: &Ui, caller: &Caller) -> serde_json::Value {
    let snapshot = ui.dashboard().snapshot(ui);
    let version = |numbers: Numbers| {
        let version = snapshot.version(ui, caller, numbers);
        (numbers.as_str().to_owned(), version.into())
    };
    let versions: Map<_, _> = Numbers::ALL.into_iter().map(version).collect();
    json!({
        "versions": versions,
        "banners": snapshot.banners_version(caller),
        "events": snapshot.events(caller),
        "failed": snapshot.failed(caller),
    })
}
