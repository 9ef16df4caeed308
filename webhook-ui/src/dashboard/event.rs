//! One event: what has happened to it, what was delivered, and what can be done.

mod actions;
mod attempts;
mod body;
mod copies;
mod replay;
mod request;
mod steps;

use http::Response;
use maud::{Markup, html};
use webhook_core::{EventRef, Kind};

use super::components::{
    Shape, action, ago, bytes, code, event_path, event_state, exact, icon, number,
};
use super::diff::difference;
use super::events::{cut, events_path, marks};
use super::failed;
use super::frame::{Live, Page, Screen, View};
use super::json_tree::json_tree;
use super::snapshot::Numbers;
use crate::api::{key_in_path, kind};
use crate::json_text::Value;
use crate::model::{DestinationState, Event, EventState};
use crate::{Problem, UiBody, data};

pub(super) use actions::{ask_to_erase, erase, make_due, requeue};
pub(super) use body::{attachment, body_view, download};
pub(super) use replay::{ask as ask_to_replay, send as send_replay};

use body::{BodyForm, MAX_RAW_CHARS, text};

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Body,
    Request,
    Attempts,
    Conflicts,
    Copy,
    Record,
}

impl Tab {
    const ALL: [Self; 6] = [
        Self::Body,
        Self::Request,
        Self::Attempts,
        Self::Conflicts,
        Self::Copy,
        Self::Record,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Request => "request",
            Self::Attempts => "attempts",
            Self::Conflicts => "conflicts",
            Self::Copy => "copy",
            Self::Record => "record",
        }
    }

    fn word(self, event: &Event) -> String {
        match self {
            Self::Body => "Body".to_owned(),
            Self::Request => "Request".to_owned(),
            Self::Attempts => format!("Attempts ({})", event.failed_attempts.len()),
            Self::Conflicts => format!("Conflicts ({})", number(event.summary.conflicts)),
            Self::Copy => "Copy as…".to_owned(),
            Self::Record => "Raw record".to_owned(),
        }
    }
}

/// What the query of the page says.
struct Query {
    tab: Tab,
    form: BodyForm,
    unmask: bool,
    /// The query of the list that led here.
    from: Option<String>,
}

impl Query {
    fn of(view: &View<'_>) -> Self {
        let (tab, form) = (view.parameter("tab"), view.parameter("view"));
        let tab = Tab::ALL
            .into_iter()
            .find(|it| Some(it.as_str()) == tab.as_deref());
        let mut forms = BodyForm::ALL.into_iter();
        let form = forms.find(|(_, name, _)| Some(*name) == form.as_deref());
        Self {
            tab: tab.unwrap_or(Tab::Body),
            form: form.map_or(BodyForm::Tree, |(form, ..)| form),
            unmask: view.parameter("unmask").as_deref() == Some("true"),
            from: view.parameter("from"),
        }
    }

    /// The query of another tab or form.
    fn with(&self, tab: Tab, form: BodyForm, unmask: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("tab", tab.as_str());
        if form != BodyForm::Tree {
            query.append_pair("view", form.as_str());
        }
        if unmask {
            query.append_pair("unmask", "true");
        }
        if let Some(from) = &self.from {
            query.append_pair("from", from);
        }
        format!("?{}", query.finish())
    }

    /// The path of the list that led here.
    fn list(&self) -> String {
        match self.from.as_deref() {
            None | Some("") => "/events".to_owned(),
            Some(query) => format!("/events?{query}"),
        }
    }
}

/// The event in the path of a page.
fn named(source: &str, id: &str) -> Result<EventRef, Problem> {
    match (kind(source), key_in_path(id)) {
        (Some(kind), Some(key)) => Ok(EventRef { kind, key }),
        _ => Err(Problem::no_such_event()),
    }
}

fn path_of(event: &EventRef) -> String {
    event_path(event.kind.as_str(), event.key.as_str())
}

/// The page of one event.
pub(super) async fn show(
    view: &View<'_>,
    source: &str,
    id: &str,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let query = Query::of(view);
    let shown = data::event(view.ui, &view.visitor.caller, &event, query.unmask).await?;
    let path = path_of(&event);
    let held_by = HeldBy::of(view, &event.kind);
    let copies = match query.tab {
        Tab::Copy => Some(copies::tab(view, &event, &shown).await?),
        _ => None,
    };
    let content = html! {
        p.back { a #back data-press="Escape" href=(view.link(&query.list())) { "← Events" } }
        div.title {
            h1 #event-key { (event.key) }
            (event_state(shown.summary.state))
            (marks(&shown.summary))
        }
        p.lead {
            a href=(view.link(&format!("/sources/{}", event.kind))) { (event.kind) }
            @if let Some(name) = &shown.summary.event_type { " · " span.type { (name) } }
            " · received " (ago(shown.summary.received_at))
        }
        @if shown.summary.state != EventState::Processed && let Some(error) = &shown.summary.error {
            p.reason-box #event-error {
                (icon(Shape::Cross)) " "
                strong { @if shown.summary.state == EventState::Failed { "Failed: " } @else { "The last attempt failed: " } }
                (error)
                @if let Some(alike) = failed::alike(&shown.summary) {
                    " " a #failed-alike href=(view.link(&events_path(&alike))) { "All that failed like this" }
                }
            }
        }
        (steps::state_line(&shown, held_by))
        (buttons(view, &event, &shown, held_by == Some(HeldBy::Pause)))
        nav aria-label="Parts of the event" {
            ul.tabs #tabs {
                @for tab in Tab::ALL {
                    li { a id={ "tab-" (tab.as_str()) } data-press=[(tab == Tab::Copy).then_some("c")] href={ (view.link(&path)) (query.with(tab, query.form, query.unmask)) }
                        aria-current=[(tab == query.tab).then_some("page")]
                    { (tab.word(&shown)) } }
                }
            }
        }
        section #tab aria-labelledby={ "tab-" (query.tab.as_str()) } {
            @match query.tab {
                Tab::Body => (body::tab(view, &event, &shown, &query)),
                Tab::Request => (request::tab(view, &shown)),
                Tab::Attempts => (attempts::tab(&shown)),
                Tab::Conflicts => (conflicts_tab(&shown)),
                Tab::Copy => (copies.unwrap_or_default()),
                Tab::Record => (record_tab(&shown)),
            }
        }
    };
    let is_settled = shown.summary.state != EventState::Processing;
    let page = Page {
        screen: Some(Screen::Events),
        title: event.key.to_string(),
        // Showing secrets again and again would leave an audit record each time.
        live: if is_settled || query.unmask || query.tab == Tab::Copy {
            Live::Off
        } else {
            Live::Reload(Numbers::All)
        },
        content,
    };
    Ok(view.page(page).await)
}

/// Why the due events of a source wait, other than for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldBy {
    Pause,
    Breaker,
    Throttle,
}

impl HeldBy {
    fn of(view: &View<'_>, source: &Kind) -> Option<Self> {
        let (snapshot, caller) = (view.snapshot(), &view.visitor.caller);
        let name = source.as_str();
        let mut sources = snapshot.sources(caller);
        let status = sources.find(|it| it.info.name == name);
        if status.is_some_and(|it| it.sample.as_ref().is_some_and(|it| it.paused)) {
            return Some(Self::Pause);
        }
        let mut destinations = snapshot.destinations(caller);
        match destinations.find(|it| it.source == name)?.state {
            DestinationState::Paused => Some(Self::Pause),
            DestinationState::Open => Some(Self::Breaker),
            DestinationState::Throttled => Some(Self::Throttle),
            DestinationState::Closed | DestinationState::HalfOpen => None,
        }
    }
}

/// What can be done with the event, for callers who may act.
fn buttons(view: &View<'_>, event: &EventRef, shown: &Event, is_paused: bool) -> Markup {
    if !view.visitor.caller.may_operate() {
        return html! {};
    }
    let path = path_of(event);
    let is_settled = shown.summary.state != EventState::Processing;
    html! {
        div.actions #event-actions role="group" aria-label="Actions" {
            @if shown.summary.state == EventState::Failed {
                form.inline method="post" action=(view.link(&format!("{path}/requeue"))) {
                    (view.form_token())
                    input type="hidden" name="to" value=(view.here());
                    button.primary #requeue type="submit" data-press="r" { "Requeue" }
                }
            }
            @if !is_settled {
                (action(view, "make-due", &format!("{path}/make-due"), "Make due now", "Make due now"))
            }
            a.button #replay href=(view.link(&format!("{path}/replay"))) { "Replay…" }
            @if is_settled && !shown.summary.body_deleted {
                a.button #erase href=(view.link_and_back(&format!("{path}/erase"))) data-dialog { "Erase the body…" }
            }
            @if is_paused {
                (action(view, "resume-source", &format!("/sources/{}/resume", event.kind), "Resume the source", "Resume the source"))
            } @else {
                a.button #pause-source href=(view.link_and_back(&format!("/sources/{}/pause", event.kind))) data-dialog { "Pause the source…" }
            }
        }
    }
}

fn conflicts_tab(shown: &Event) -> Markup {
    let first = shown.body.as_ref();
    html! {
        @if shown.conflicting_deliveries.is_empty() {
            p.faint #no-conflicts { "No delivery had this key and other content. Deliveries with the same content are duplicates, "
                "which change nothing." }
        } @else {
            p.lead { "The first delivery counts. " (number(shown.summary.conflicts))
                @if shown.summary.conflicts == 1 { " delivery" } @else { " deliveries" }
                " had its key and other content"
                @if (shown.conflicting_deliveries.len() as u64) < shown.summary.conflicts {
                    "; the latest " (shown.conflicting_deliveries.len()) " are kept"
                } "."
            }
            @for (index, conflict) in shown.conflicting_deliveries.iter().enumerate() {
                section.card id={ "conflict-" (index) } {
                    h2 { "Received " (exact(conflict.received_at)) ", " (ago(conflict.received_at)) }
                    @if let Some(first) = first {
                        @if conflict.body.masked || first.masked {
                            p.note { "Masked values are not compared." }
                        }
                        (difference(&text(first), &text(&conflict.body)))
                        @if conflict.body.truncated {
                            p.note { "Only the beginning of this delivery is stored." }
                        }
                    }
                    details { summary { "The whole delivery (" (bytes(conflict.body.bytes)) ")" } (body_view(&format!("conflict-{index}-body"), &conflict.body)) }
                }
            }
        }
    }
}

fn record_tab(shown: &Event) -> Markup {
    // Documents of this crate can always be written.
    let json = serde_json::to_string(shown).unwrap_or_default();
    html! {
        p.note { "The event as the API has it." }
        @match Value::parse(&json) {
            Some(value) => (json_tree("record", &value)),
            None => (code("record", "The record", &cut(&json, MAX_RAW_CHARS))),
        }
    }
}
