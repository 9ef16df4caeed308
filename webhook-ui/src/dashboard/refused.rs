//! The latest refused requests, with what probably has to be changed.

use http::Response;
use maud::{Markup, html};
use webhook_core::Kind;

use super::components::{ago, bytes, empty, exact, number};
use super::event::body_view;
use super::frame::{Live, Page, Screen, View};
use super::snapshot::Numbers;
use crate::api::kind;
use crate::model::{Header, Refused, RefusedPage, SourceStatus};
use crate::{Problem, UiBody, data};

/// How many requests of one source are shown.
const MAX_SHOWN: usize = 100;

/// How many requests of each source are shown where all sources are.
const MAX_SHOWN_OF_EACH: usize = 20;

/// The page with the refused requests of one source, or of all.
pub(super) async fn list(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let caller = &view.visitor.caller;
    let asked = view.parameter("source").filter(|it| !it.is_empty());
    let only = match &asked {
        Some(name) => Some(kind(name).ok_or_else(Problem::no_such_source)?),
        None => None,
    };
    let sources = data::sources(view.ui, caller);
    let mut shown: Vec<(Kind, u64, Refused)> = Vec::new();
    let mut total = 0;
    if let Some(only) = &only {
        let page = data::refused(view.ui, caller, only, MAX_SHOWN)?;
        total = page.total;
        shown.extend(numbered(only, page));
    } else {
        for name in sources
            .iter()
            .filter_map(|it| Kind::new(it.info.name.clone()).ok())
        {
            // Sources that only have events refuse nothing.
            let Ok(page) = data::refused(view.ui, caller, &name, MAX_SHOWN_OF_EACH) else {
                continue;
            };
            total += page.total;
            shown.extend(numbered(&name, page));
        }
        shown.sort_by_key(|(_, _, refused)| std::cmp::Reverse(refused.at));
        shown.truncate(MAX_SHOWN);
    }
    let content = html! {
        h1 { "Refused" }
        p.lead { "Requests that a source refused, and why. They are kept in the memory of this process, without secrets." }
        (choice(view, &sources, only.as_ref()))
        @if shown.is_empty() {
            (nothing(&sources, only.as_ref()))
        } @else {
            p.faint #refused-count { "The latest " (shown.len()) " of " (number(total)) " since the process started." }
            ol.cards #refused {
                @for (source, number, refused) in &shown {
                    (card(view, source, *number, refused))
                }
            }
        }
    };
    let page = Page {
        screen: Some(Screen::Refused),
        title: "Refused".to_owned(),
        live: Live::Reload(Numbers::Refused),
        content,
    };
    Ok(view.page(page).await)
}

/// The requests of a source, each with its number, which stays the same when there are more.
fn numbered(source: &Kind, page: RefusedPage) -> impl Iterator<Item = (Kind, u64, Refused)> {
    let latest = page.total.max(page.refused.len() as u64);
    let numbers = (0..=latest).rev();
    let numbered = numbers.zip(page.refused);
    numbered.map(|(number, refused)| (source.clone(), number, refused))
}

/// Links to the requests of each source that has refused some.
fn choice(view: &View<'_>, sources: &[SourceStatus], only: Option<&Kind>) -> Markup {
    html! {
        nav aria-label="Sources" {
            ul.tabs #refused-sources {
                li { a href=(view.link("/refused")) aria-current=[only.is_none().then_some("page")] { "All sources" } }
                @for source in sources {
                    @let name = &source.info.name;
                    @let is_this = only.is_some_and(|it| it.as_str() == name);
                    @if is_this || source.info.scheme.is_some() && source.info.counts.refused > 0 {
                        li { a href=(view.link(&format!("/refused?source={name}"))) aria-current=[is_this.then_some("page")] {
                            (name) " " span.count { (number(source.info.counts.refused)) }
                        } }
                    }
                }
            }
        }
    }
}

/// Requests of sources without a scheme of their own, such as that of transactions, are counted and not kept.
fn nothing(sources: &[SourceStatus], only: Option<&Kind>) -> Markup {
    let counted = sources
        .iter()
        .filter(|source| only.is_none_or(|it| it.as_str() == source.info.name))
        .filter(|source| source.info.counts.refused > 0);
    let counted: Vec<_> = counted.collect();
    if !counted.is_empty() {
        return empty(
            "No refused request is kept",
            html! {
                @for source in counted {
                    p {
                        (source.info.name) " has refused " (number(source.info.counts.refused))
                        " since this process started. Requests of this source are counted, and not kept."
                    }
                }
            },
        );
    }
    empty(
        "Nothing was refused",
        html! {
            p {
                @match only { Some(only) => (only), None => "Every source" }
                " has accepted all requests since this process started. If a sender says that it gets errors, its requests do "
                "not reach this server: look at the URL that it sends to."
            }
        },
    )
}

fn card(view: &View<'_>, source: &Kind, number: u64, refused: &Refused) -> Markup {
    html! {
        li.card id={ "refused-" (source) "-" (number) } {
            div.card-head {
                strong { (refused.status) " " (status_words(refused.status)) }
                " " a href=(view.link(&format!("/sources/{source}"))) { (source) }
                @if let Some(client) = &refused.client { " from " code { (client) } }
                " " (ago(refused.at))
            }
            p.refused-reason { (refused.reason) }
            @match &refused.hint {
                Some(hint) => p.hint { strong { "What to do: " } (hint) },
                None => @if let Some(advice) = advice(refused.status, &refused.reason) {
                    p.hint { strong { "What to do: " } (advice) }
                },
            }
            details {
                summary { "The request" }
                dl.facts {
                    div { dt { "Time" } dd { (exact(refused.at)) } }
                    div { dt { "Method" } dd { (refused.method) } }
                    @if !refused.query.is_empty() { div { dt { "Query" } dd { code { (refused.query) } } } }
                    div { dt { "Body" } dd {
                        @match refused.body_bytes { Some(length) => (bytes(length)), None => "not read" }
                    } }
                }
                (headers("Headers, with secrets masked", &refused.headers))
                @if let Some(body) = &refused.body {
                    p { strong { "The beginning of the body" } }
                    (body_view(&format!("refused-{source}-{number}-body"), body))
                }
            }
        }
    }
}

/// A table of headers.
pub(super) fn headers(caption: &str, headers: &[Header]) -> Markup {
    html! {
        @if headers.is_empty() {
            p.faint { "No headers." }
        } @else {
            div.scroll role="region" aria-label=(caption) tabindex="0" {
                table.pairs {
                    caption { (caption) }
                    tbody {
                        @for header in headers {
                            tr {
                                th scope="row" { (header.name) }
                                td { @match &header.value {
                                    Some(value) => code { (value) },
                                    None => span.masked { "masked" },
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The name of a status, for people who do not know the numbers.
fn status_words(status: u16) -> &'static str {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|it| it.canonical_reason()).unwrap_or("")
}

/// What helps against most refusals with this status and reason, where nothing more is known about the request.
fn advice(status: u16, reason: &str) -> Option<&'static str> {
    Some(match status {
        400 | 414 | 501 => {
            "the request breaks a rule of HTTP, or its body ended early; look at the sender, and at the proxies between it \
             and this server."
        }
        401 | 403 if reason.contains("missing") => {
            "the request is not signed as this source expects. Either it is not from the sender, or signing is not turned on \
             there, or a proxy between them removes the header."
        }
        401 | 403 if reason.contains("malformed") => {
            "what should sign the request is there, but not in the form that this source expects. Either it is not from the \
             sender, or the source is configured for another scheme."
        }
        401 | 403 => {
            "compare the secret of the source with the one that the sender shows. If a proxy is between them, check that it \
             changes neither the body nor the headers."
        }
        405 => "the sender must use POST; look at how the webhook is set up there.",
        408 => {
            "the sender was too slow; if that happens often, look at the network between it and this server."
        }
        410 => "the source is retired: turn the webhook off at its sender.",
        413 => {
            "the body is longer than the source accepts; raise its limit if the sender is right."
        }
        415 => "the sender must send the media type that the source expects, usually JSON.",
        429 => "the sender was faster than its limit; it sends the event again later.",
        503 => {
            "the sender sends the event again later. It is taken once the source is turned on, or once the key of the sender \
             is known."
        }
        _ => return None,
    })
}
