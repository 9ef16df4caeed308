//! The export of events as NDJSON: one event a line.

use std::num::NonZeroUsize;

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use webhook_core::{EventRef, Key, Kind};

use super::event::attachment;
use super::frame::View;
use crate::access::Caller;
use crate::filter::Filter;
use crate::model::EventSummary;
use crate::{Problem, Ui, UiBody, data};

/// How many events are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(200).expect("two hundred is not zero");

/// How many events an export has at most.
const MAX_EXPORTED: usize = 1_000_000;

/// All events that match, the newest first, each with its attempts, its conflicts and its masked body. A store that fails
/// ends the export with a line that says so.
pub(super) fn events(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let mut filter = Filter::default();
    for (name, value) in form_urlencoded::parse(view.query().as_bytes()) {
        let set = filter.set(&name, &value);
        set.map_err(|error| Problem::bad_request(format!("Filter: {error}")))?;
    }
    let filter = data::visible(&view.visitor.caller, &filter)?;
    let (ui, caller) = (view.ui.clone(), view.visitor.caller.clone());
    let (sender, body) = UiBody::streamed();
    tokio::spawn(async move {
        let (mut before, mut written) = (None, 0);
        loop {
            let (piece, next) = piece(&ui, &caller, &filter, before).await;
            written += PAGE.get();
            let next = next.filter(|_| written < MAX_EXPORTED);
            let is_gone = !piece.is_empty() && sender.send(piece).await.is_err();
            if is_gone || next.is_none() || ui.instance().is_stopping() {
                return;
            }
            before = next;
        }
    });
    Ok(attachment("application/x-ndjson", "events.ndjson", body))
}

/// The lines of a page of events, and where the next one begins.
async fn piece(
    ui: &Ui,
    caller: &Caller,
    filter: &Filter,
    before: Option<i64>,
) -> (Bytes, Option<i64>) {
    let mut lines = BytesMut::new().writer();
    let page = match data::events(ui, caller, filter, before, PAGE).await {
        Ok(page) => page,
        Err(problem) => return (incomplete(lines.into_inner(), &problem), None),
    };
    for summary in &page.events {
        let Some(event) = event_of(summary) else {
            continue;
        };
        match data::event(ui, caller, &event, false).await {
            // Documents of this crate can always be written.
            Ok(event) => {
                let _ = serde_json::to_writer(&mut lines, &event);
                lines.get_mut().put_u8(b'\n');
            }
            // It was deleted meanwhile.
            Err(problem) if problem.status().as_u16() == 404 => {}
            Err(problem) => return (incomplete(lines.into_inner(), &problem), None),
        }
    }
    (lines.into_inner().freeze(), page.next_before)
}

fn event_of(summary: &EventSummary) -> Option<EventRef> {
    Some(EventRef {
        kind: Kind::new(summary.source.clone()).ok()?,
        key: Key::new(summary.key.clone()).ok()?,
    })
}

fn incomplete(mut lines: BytesMut, problem: &Problem) -> Bytes {
    let line = serde_json::json!({ "incomplete": problem.detail() });
    lines.put(line.to_string().as_bytes());
    lines.put_u8(b'\n');
    lines.freeze()
}
