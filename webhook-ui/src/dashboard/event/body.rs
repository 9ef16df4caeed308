//! The body of an event, in the form that suits it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use maud::{Markup, html};
use webhook_core::EventRef;

use super::{Query, Tab, named, path_of};
use crate::dashboard::components::{Tone, badge, bytes, code};
use crate::dashboard::events::cut;
use crate::dashboard::frame::{View, add_security};
use crate::dashboard::hex::dump;
use crate::dashboard::json_tree::json_tree;
use crate::json_text::Value;
use crate::model::{Body, BodyEncoding, Event};
use crate::{Problem, UiBody, data};

/// How many characters of a raw body are shown.
pub(super) const MAX_RAW_CHARS: usize = 256 * 1024;

/// How many bytes of a body are shown as hexadecimal digits.
const MAX_HEX_BYTES: usize = 16 * 1024;

/// How a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    Tree,
    Raw,
    Hex,
}

impl BodyForm {
    pub(super) const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Tree, "tree", "Tree"),
        (Self::Raw, "raw", "Raw"),
        (Self::Hex, "hex", "Hex"),
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Raw => "raw",
            Self::Hex => "hex",
        }
    }
}

pub(super) fn tab(view: &View<'_>, event: &EventRef, shown: &Event, query: &Query) -> Markup {
    let path = path_of(event);
    let may_operate = view.visitor.caller.may_operate();
    html! {
        @match &shown.body {
            None => p #body-erased { "The body and the headers were deleted. The key is kept, so that redeliveries are known." },
            Some(body) => {
                div.toolbar {
                    ul.tabs.small aria-label="Forms of the body" {
                        @for (form, name, word) in BodyForm::ALL {
                            li { a id={ "view-" (name) } href={ (view.link(&path)) (query.with(Tab::Body, form, query.unmask)) }
                                aria-current=[(form == query.form).then_some("true")] { (word) } }
                        }
                    }
                    span.faint { (bytes(body.bytes)) }
                    @if body.masked {
                        (badge(Tone::Idle, "secrets masked"))
                        @if may_operate {
                            a #unmask href={ (view.link(&path)) (query.with(Tab::Body, query.form, true)) }
                                title="Leaves an audit record" { "Unmask" }
                        }
                    } @else if query.unmask {
                        (badge(Tone::Warn, "unmasked"))
                        a #mask href={ (view.link(&path)) (query.with(Tab::Body, query.form, false)) } { "Mask" }
                    }
                    @if may_operate {
                        a #download href=(view.link(&format!("{path}/body"))) download="body"
                            title="Leaves an audit record" { "Download" }
                    }
                }
                (body_in("body", body, query.form))
            }
        }
    }
}

/// A body in the form that suits it best, as an element with this id.
pub(in crate::dashboard) fn body_view(id: &str, body: &Body) -> Markup {
    body_in(id, body, BodyForm::Tree)
}

fn body_in(id: &str, body: &Body, form: BodyForm) -> Markup {
    let content = body.content.get();
    let tree = match (form, body.encoding) {
        (BodyForm::Tree, BodyEncoding::Json) => Value::parse(content),
        _ => None,
    };
    html! {
        @if let Some(value) = tree {
            (json_tree(id, &value))
        } @else {
            @match (form, body.encoding) {
                (BodyForm::Hex, _) | (_, BodyEncoding::Base64) => {
                    @let stored = stored(body);
                    @let shown = &stored[..stored.len().min(MAX_HEX_BYTES)];
                    @if stored.is_empty() { p.faint { "The body is empty." } }
                    @else { (code(id, "The body as hexadecimal digits", &dump(shown))) }
                    @if shown.len() < stored.len() {
                        p.note { "Only the first " (bytes(MAX_HEX_BYTES as u64)) " are shown. The download has all of it." }
                    }
                },
                _ => {
                    @let text = text(body);
                    @if text.is_empty() { p.faint { "The body is empty." } }
                    @else { (code(id, "The body", &cut(&text, MAX_RAW_CHARS))) }
                },
            }
        }
        @if body.truncated {
            p.note { "Only the beginning is stored. The whole body had " (bytes(body.bytes)) "." }
        }
    }
}

/// The body as text: for bytes that are no text, in Base64.
pub(super) fn text(body: &Body) -> String {
    let content = body.content.get();
    match body.encoding {
        BodyEncoding::Json => content.to_owned(),
        BodyEncoding::Text | BodyEncoding::Base64 => {
            serde_json::from_str(content).unwrap_or_else(|_| content.to_owned())
        }
    }
}

fn stored(body: &Body) -> Vec<u8> {
    let text = text(body);
    match body.encoding {
        BodyEncoding::Base64 => STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes()),
        BodyEncoding::Json | BodyEncoding::Text => text.into_bytes(),
    }
}

/// The body as it was delivered, for callers who may act.
pub(in crate::dashboard) async fn download(
    view: &View<'_>,
    source: &str,
    id: &str,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let (body, _) = data::raw_body(view.ui, &view.visitor.caller, &event).await?;
    Ok(attachment(
        "application/octet-stream",
        "body",
        UiBody::full(body),
    ))
}

/// An answer that browsers save, never show.
pub(in crate::dashboard) fn attachment(
    content_type: &'static str,
    name: &str,
    body: UiBody,
) -> Response<UiBody> {
    let mut response = Response::new(body);
    add_security(&mut response);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}
