//! The stream that tells pages when to load their content again.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;
use tokio::time::{Instant, interval, timeout};

use super::frame::{View, add_security, version_text};
use crate::{Problem, Ui, UiBody, session};

/// How often a stream tells that something has changed, at most.
const PERIOD: Duration = Duration::from_secs(2);

/// How often it looks whether the process stops.
const STEP: Duration = Duration::from_millis(500);

/// How often it sends something, so that proxies do not end it and lost clients are noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client may take to read a piece.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Begins a stream of server-sent events. Each event `sample` has the version of the numbers, and those that the frame
/// shows.
pub(super) fn stream(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let streams = view.ui.dashboard().streams.clone();
    let permit = streams.try_acquire_owned();
    let permit = permit.map_err(|_| Problem::unavailable("Too many live pages are open", 10))?;
    let (sender, body) = UiBody::streamed();
    let (ui, head) = (view.ui.clone(), view.head().clone());
    tokio::spawn(async move {
        let _permit = permit;
        let mut steps = interval(STEP);
        let (mut told, mut sent_at) = (None, None::<Instant>);
        let mut checked_at = None::<Instant>;
        loop {
            steps.tick().await;
            if ui.instance().is_stopping() || sender.is_closed() {
                return;
            }
            let is_due = checked_at.is_none_or(|at| at.elapsed() >= PERIOD);
            if !is_due {
                continue;
            }
            checked_at = Some(Instant::now());
            // It ends with the session.
            let Ok(visitor) = session::visitor(&ui, &head) else {
                return;
            };
            let (version, piece) = sample(&ui, &visitor).await;
            let piece = if told != Some(version) {
                told = Some(version);
                piece
            } else if sent_at.is_none_or(|at| at.elapsed() >= HEARTBEAT) {
                Bytes::from_static(b": nothing has changed\n\n")
            } else {
                continue;
            };
            sent_at = Some(Instant::now());
            if !matches!(timeout(SEND_TIMEOUT, sender.send(piece)).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    let mut response = Response::new(body);
    add_security(&mut response);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would hold pieces back.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

async fn sample(ui: &Ui, visitor: &session::Visitor) -> (u64, Bytes) {
    let snapshot = ui.dashboard().snapshot(ui).await;
    let caller = &visitor.caller;
    let version = snapshot.version(caller);
    let text = version_text(version);
    let document = json!({
        "version": text,
        "events": snapshot.events(caller),
        "failed": snapshot.failed(caller),
    });
    let piece = format!("event: sample\nid: {text}\ndata: {document}\n\n");
    (version, Bytes::from(piece))
}
