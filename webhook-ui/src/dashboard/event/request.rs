//! What is known about the delivery of an event: its headers, its trace, and its verification.

use maud::{Markup, html};

use crate::dashboard::frame::View;
use crate::dashboard::refused::headers;
use crate::dashboard::sources;
use crate::model::{Event, SourceInfo};

pub(super) fn tab(view: &View<'_>, shown: &Event) -> Markup {
    let sources = view.ui.instance().sources();
    let source = sources.iter().find(|it| it.name == shown.summary.source);
    html! {
        (headers("Headers that were stored with the event, with secrets masked", &shown.headers))
        dl.facts {
            div { dt { "Digest of the content" } dd { code { (shown.fingerprint) } } }
            div { dt { "Trace" } dd #trace { (trace(shown)) } }
            @if let Some(source) = source {
                div { dt { "Verification" } dd #verification { (verification(view, source)) } }
            }
        }
        p.note { "The digest decides whether another delivery with this key is a duplicate or a conflict. Duplicates leave nothing: "
            "the overview counts them." }
    }
}

/// The context that was stored with the event when it was accepted.
fn trace(shown: &Event) -> Markup {
    let Some(trace) = &shown.trace else {
        return html! { span.faint { "none is stored: the delivery was not traced" } };
    };
    html! {
        @match &trace.url {
            Some(url) => a href=(url) rel="noreferrer" { code { (trace.trace_id) } },
            None => code { (trace.trace_id) },
        }
        ", span " code { (trace.span_id) }
    }
}

/// An event has no record of how it was verified, so only what the source does now can be said.
fn verification(view: &View<'_>, source: &SourceInfo) -> Markup {
    html! {
        "Which secret verified this delivery is not stored. "
        @match source.scheme.as_deref() {
            Some("none") => "The source takes deliveries without a signature now.",
            Some(scheme) => {
                "The source takes only deliveries that its scheme, " (scheme) ", verifies now. "
                a href=(view.link(&sources::path(&source.name))) { "Its page" }
                " has how many each secret has verified."
            },
            None => {
                a href=(view.link(&sources::path(&source.name))) { "The page of the source" }
                " has how many deliveries each secret has verified."
            },
        }
    }
}
