//! An event as commands, to copy.

use maud::{Markup, html};
use webhook_core::EventRef;

use super::path_of;
use crate::dashboard::components::code;
use crate::dashboard::events::{api_request, quoted};
use crate::dashboard::frame::View;
use crate::model::{Event, EventState};
use crate::{Problem, data};

/// A longer body is not copied as a command.
const MAX_COPIED_BYTES: usize = 64 * 1024;

/// Commands that send the event again, or show it.
pub(super) async fn tab(
    view: &View<'_>,
    event: &EventRef,
    shown: &Event,
) -> Result<Markup, Problem> {
    let caller = &view.visitor.caller;
    let ui = view.ui;
    let is_short = shown
        .body
        .as_ref()
        .is_some_and(|it| it.bytes <= MAX_COPIED_BYTES as u64);
    let signed = if caller.may_operate() && is_short {
        // It leaves an audit record, since the command has the whole body.
        let (body, _) = data::raw_body(ui, caller, event).await?;
        ui.instance().signed_curl(&event.kind, &body)
    } else {
        None
    };
    let name = quoted(event.key.as_str());
    let kind = &event.kind;
    let is_server = !ui.instance().sources().is_empty();
    Ok(html! {
        h2 { "cURL, signed just now" }
        @match &signed {
            Some(command) => {
                p.note { "It sends this body to the source with a fresh signature. The source answers that it is a duplicate, unless \
                    you change the body and its id. Some signatures are valid for a few minutes only." }
                (code("copy-curl", "The cURL command", command))
            },
            None => p.faint #no-curl {
                @if !caller.may_operate() { "The command has the whole body: it needs a token of the scope operate." }
                @else if shown.body.is_none() { "The body was deleted: there is nothing to sign." }
                @else if !is_short { "The body is too long for a command. Download it instead." }
                @else { "No command can sign a delivery of this source: it would show the secret itself, or only the sender can sign." }
            },
        }
        h2 { "Command line" }
        @if is_server {
            (code("copy-cli", "The command", &format!("webhook-server show --kind {kind} -- {name}")))
            @if shown.summary.state == EventState::Failed {
                (code("copy-cli-requeue", "The command that requeues it", &format!("webhook-server requeue --kind {kind} -- {name}")))
            }
        }
        (code("copy-api", "The request to the API", &api_request(view, &path_of(event))))
    })
}
