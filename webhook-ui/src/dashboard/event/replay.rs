//! Replays: a copy of the event is sent to a destination, as it is or edited.

use bytes::Bytes;
use http::Response;
use maud::{Markup, html};
use webhook_core::Kind;

use super::{named, path_of};
use crate::actions::{self, Replay};
use crate::dashboard::Form;
use crate::dashboard::components::bytes;
use crate::dashboard::frame::{Live, Page, Screen, View};
use crate::model::Destination;
use crate::{Problem, UiBody, data};

/// The longest body that can be edited in a page.
const MAX_EDITED_BYTES: usize = 256 * 1024;

/// The page that asks where to, and with which body.
pub(in crate::dashboard) async fn ask(
    view: &View<'_>,
    source: &str,
    id: &str,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let (ui, caller) = (view.ui, &view.visitor.caller);
    caller.check_operate()?;
    let shown = data::event(ui, caller, &event, false).await?;
    let is_editing = view.parameter("edit").as_deref() == Some("true");
    let is_erased = shown.summary.body_deleted;
    let editor = match is_editing {
        true if is_erased => Some(editor(&Bytes::new())),
        // It leaves an audit record.
        true => Some(editor(&data::raw_body(ui, caller, &event).await?.0)),
        false => None,
    };
    let path = view.link(&format!("{}/replay", path_of(&event)));
    let destinations = data::destinations(ui, caller);
    let own = destinations
        .iter()
        .any(|it| it.source == event.kind.as_str());
    let content = html! {
        h1 #dialog-title { "Replay " (event.key) }
        p.lead {
            "A copy is sent to a destination now, once. The event itself does not change. The destination may have processed it already: "
            "the copy has the same id, so that it can tell."
        }
        @if destinations.is_empty() {
            p #no-destination { "Nothing is forwarded here, so there is no destination. A FAILED event can be requeued instead." }
        } @else if is_erased && !is_editing {
            p #body-erased { "The body was deleted. " a #edit-body href={ (path) "?edit=true" } { "Send another body" } }
        } @else if let Some(Err(why)) = &editor {
            p.error role="alert" { (why) }
            p { a #send-unedited href=(path) { "Send a copy as it is" } }
        } @else {
            form.stack #replay-form method="post" action=(path) {
                (view.form_token())
                (choice(&destinations, event.kind.as_str(), own))
                @match &editor {
                    Some(Ok(editor)) => (editor),
                    _ => p {
                        a #edit-body href={ (path) "?edit=true" } { "Edit the body first" }
                        span.faint { " (shows it unmasked, and leaves an audit record)" }
                    },
                }
                p {
                    button #confirm-replay type="submit" {
                        @if is_editing { "Send the edited copy" } @else { "Send a copy as it is" }
                    }
                    " "
                    a.button.quiet href=(view.link(&path_of(&event))) { "Cancel" }
                }
            }
        }
    };
    let page = Page {
        screen: Some(Screen::Events),
        title: format!("Replay {}", event.key),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

fn choice(destinations: &[Destination], source: &str, own: bool) -> Markup {
    html! {
        label for="destination" { "Destination" }
        select #destination name="destination" {
            @if own { option value="" { "Its own" } }
            @for it in destinations {
                @if !own || it.source != source {
                    option value=(it.source) { "That of " (it.source) ": " (it.url) }
                }
            }
        }
    }
}

/// The field with the body, or why it cannot be edited.
fn editor(body: &Bytes) -> Result<Markup, String> {
    if body.len() > MAX_EDITED_BYTES {
        let length = bytes(body.len() as u64);
        return Err(format!(
            "The body has {length}, too much to edit here. Send an edited copy with the API."
        ));
    }
    let text = std::str::from_utf8(body).ok();
    let Some((text, line_ends)) = text.and_then(|text| Some((text, line_ends(text)?))) else {
        return Err(
            "The body cannot be edited here: it is no text, or a browser would change its line ends. Send an edited \
             copy with the API."
                .to_owned(),
        );
    };
    Ok(html! {
        label for="body" { "Body" }
        // Browsers ignore the first line feed in a text area, and send each one as CR LF.
        textarea #body name="body" rows="20" spellcheck="false" autocomplete="off" { "\n" (text) }
        input type="hidden" name="line_ends" value=(line_ends);
    })
}

/// How the lines of a text end: `lf` or `crlf`. `None` for a text that a browser does not send back as it is: one with a
/// NUL, or whose lines end in different ways.
fn line_ends(text: &str) -> Option<&'static str> {
    let rest = text.replace("\r\n", "");
    let has_pairs = rest.len() < text.len();
    let is_mixed = rest.contains('\r') || (has_pairs && rest.contains('\n'));
    match has_pairs {
        _ if is_mixed || text.contains('\0') => None,
        true => Some("crlf"),
        false => Some("lf"),
    }
}

/// Sends the copy.
pub(in crate::dashboard) async fn send(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let to = form.field("destination").filter(|to| !to.is_empty());
    let to = to.map(|to| Kind::new(to.to_owned())).transpose();
    let to = to.map_err(|_| Problem::bad_request("There is no such destination"))?;
    let where_to = match &to {
        Some(to) => format!("the destination of {to}"),
        None => "its destination".to_owned(),
    };
    let body = form
        .field("body")
        .map(|text| match form.field("line_ends") {
            Some("lf") => Bytes::from(text.replace("\r\n", "\n")),
            _ => Bytes::from(text.to_owned()),
        });
    let copy = match body {
        Some(_) => "An edited copy",
        None => "A copy",
    };
    let replay = Replay { to, body };
    let message = match actions::replay(view.ui, &view.visitor.caller, &event, replay).await {
        Ok(()) => format!("{copy} was delivered to {where_to}."),
        // What the destination answered is no problem of this page.
        Err(problem) if matches!(problem.status().as_u16(), 409 | 413 | 502 | 504) => {
            format!(
                "{copy} was not delivered to {where_to}: {}.",
                problem.detail()
            )
        }
        Err(problem) => return Err(problem),
    };
    Ok(view.redirect(&path_of(&event), &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bodies_that_browsers_send_back_are_edited() {
        for (body, ends) in [
            ("", Some("lf")),
            ("a\nb\n", Some("lf")),
            ("a\r\nb\r\n", Some("crlf")),
            ("a\r\nb\n", None),
            ("a\rb", None),
            ("a\0b", None),
        ] {
            assert_eq!(line_ends(body), ends, "{body:?}");
            let is_editable = editor(&Bytes::from_static(body.as_bytes())).is_ok();
            assert_eq!(is_editable, ends.is_some(), "{body:?}");
        }
        assert!(editor(&Bytes::from_static(b"\xff")).is_err());
        assert!(editor(&vec![b'a'; MAX_EDITED_BYTES + 1].into()).is_err());
    }
}
