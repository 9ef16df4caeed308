//! The list of events: search, filters, selection, and jobs for all that match.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::Response;
use maud::{Markup, html};
use tokio::time::{Instant, timeout_at};
use webhook_core::{EventRef, RunningLeases};

use super::Form;
use super::components::{
    Column, Row, SEARCH_BOUNDS, Tone, ago, badge, code, due_time, event_path, event_state, exact,
    number, pager, stopped_early, table,
};
use super::event::attachment;
use super::frame::{Live, Page, Screen, View, is_own};
use crate::actions;
use crate::api::{key_in_path, kind};
use crate::filter::Filter;
use crate::model::{EventState, EventSummary, JobAction};
use crate::{Problem, UiBody, data, session, stream};

/// How many events a page has.
const PAGE: NonZeroUsize = NonZeroUsize::new(50).expect("fifty is not zero");

/// How many pages back the link to newer events leads. Beyond it, it leads to the newest.
const MAX_TRAIL: usize = 50;

/// How many events are counted for a filter that would match more than all filters together.
const MAX_ALONE: NonZeroUsize = NonZeroUsize::new(100).expect("a hundred is not zero");

/// How long the counts for all filters may take together.
const ALONE_TIMEOUT: Duration = Duration::from_millis(500);

/// How many selected events an action takes: more than a page has.
const MAX_SELECTED: usize = 200;

/// How many characters of an error are shown in a row.
const MAX_ERROR_CHARS: usize = 120;

/// The path of the list of events that match.
pub(super) fn events_path(filter: &Filter) -> String {
    let query = filter.to_query();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/events{mark}{query}")
}

/// The form that plans a job for all events that match. Its button is disabled for callers who may not act.
pub(super) fn plan_button(
    view: &View<'_>,
    id: &str,
    action: JobAction,
    filter: &Filter,
    word: &str,
) -> Markup {
    html! {
        @if view.visitor.caller.may_operate() {
            form.inline method="post" action=(view.link("/jobs")) {
                (view.form_token())
                input type="hidden" name="action" value=(action.as_str());
                input type="hidden" name="filter" value=(filter);
                button id=(id) type="submit" { (word) }
            }
        }
    }
}

/// What the query of the list says.
struct Query {
    filter: Filter,
    /// The text of the search field.
    text: String,
    /// What is wrong with the filter.
    error: Option<String>,
    before: Option<i64>,
    /// The `before` of the pages that were shown before this one, the latest last. 0 is the first page.
    trail: Vec<i64>,
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parsed = Self {
            filter: Filter::default(),
            text: String::new(),
            error: None,
            before: None,
            trail: Vec::new(),
        };
        let mut searched = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let set = match &*name {
                "q" => {
                    searched = Some(value.trim().to_owned());
                    Ok(())
                }
                "before" => {
                    parsed.before = value.parse().ok();
                    Ok(())
                }
                "trail" => {
                    let ids = value.split('.').filter_map(|id| id.parse().ok());
                    parsed.trail = ids.take(MAX_TRAIL).collect();
                    Ok(())
                }
                name => parsed.filter.set(name, &value),
            };
            if let Err(error) = set {
                parsed.error = Some(error.to_string());
            }
        }
        if let Some(text) = &searched {
            match Filter::parse(text) {
                Ok(filter) => parsed.filter = filter,
                Err(error) => parsed.error = Some(error.to_string()),
            }
        }
        parsed.text = match (searched, &parsed.error) {
            (Some(text), Some(_)) => text,
            _ => parsed.filter.to_string(),
        };
        parsed
    }

    /// The path of another page of the same filter.
    fn path(&self, before: Option<i64>, trail: &[i64]) -> String {
        let mut query = form_urlencoded::Serializer::new(self.filter.to_query());
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        if !trail.is_empty() {
            let ids: Vec<String> = trail.iter().map(i64::to_string).collect();
            query.append_pair("trail", &ids.join("."));
        }
        format!("/events?{}", query.finish())
    }

    fn older(&self, before: i64) -> String {
        let mut trail = self.trail.clone();
        trail.push(self.before.unwrap_or(0));
        let first = trail.len().saturating_sub(MAX_TRAIL);
        self.path(Some(before), &trail[first..])
    }

    fn newer(&self) -> Option<String> {
        self.before?;
        let (last, rest) = self.trail.split_last().unwrap_or((&0, &[]));
        Some(self.path((*last != 0).then_some(*last), rest))
    }
}

/// The page with the events that match.
pub(super) async fn list(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let query = Query::parse(view.query());
    let caller = &view.visitor.caller;
    let live = match query.before {
        None => Live::Count,
        Some(_) => Live::Off,
    };
    // Read before the list: an event that arrives in between is shown and counted, and none is missed.
    let accepted = stream::accepted(view.ui, caller);
    let found = match &query.error {
        Some(_) => None,
        None => Some(data::events(view.ui, caller, &query.filter, query.before, PAGE).await?),
    };
    let alone = match &found {
        Some(page) if page.events.is_empty() => alone(view, &query.filter).await,
        _ => Vec::new(),
    };
    let content = html! {
        div.title {
            h1 { "Events" }
            @if let Some(page) = &found { (shown(page.events.len())) }
        }
        (search(view, &query))
        (chips(view, &query.filter))
        @if let Some(page) = &found {
            @if live == Live::Count {
                a.new-events #new-events data-events=(accepted) href=(view.link(&events_path(&query.filter))) {}
            }
            @let older = page.next_before.map(|before| view.link(&query.older(before)));
            @let newer = query.newer().map(|path| view.link(&path));
            @if page.stopped_early {
                (stopped_early(SEARCH_BOUNDS, &html! {
                    "Narrow it with a source, a state, a type or a key"
                    @if let Some(older) = &older { ", or " a href=(older) { "search on in older events" } } "."
                }))
            }
            @if page.events.is_empty() {
                (nothing(view, &query, page.stopped_early, &alone))
            } @else {
                (selection(view, &query.filter, &page.events))
            }
            (pager(newer.as_deref(), older.as_deref()))
        }
    };
    let page = Page {
        screen: Some(Screen::Events),
        title: "Events".to_owned(),
        live,
        content,
    };
    Ok(view.page(page).await)
}

fn shown(events: usize) -> Markup {
    html! { span.faint #shown aria-live="polite" {
        @if events == 1 { "1 event on this page" } @else { (events) " events on this page" }
    } }
}

fn search(view: &View<'_>, query: &Query) -> Markup {
    let sources = data::sources(view.ui, &view.visitor.caller);
    html! {
        form.filter #filter-form role="search" aria-label="Filter of events" method="get" action=(view.link("/events")) {
            label for="filter" { "Filter" }
            input #filter name="q" type="text" value=(query.text) autocomplete="off" autocapitalize="off" spellcheck="false"
                list="filter-terms" aria-describedby="filter-help"
                aria-invalid=[query.error.as_ref().map(|_| "true")]
                placeholder="source:stripe state:failed type:invoice.* error:\"timed out\" since:2h";
            datalist #filter-terms {
                option value="state:failed" {}
                option value="state:processing" {}
                option value="state:processed" {}
                option value="since:1h" {}
                option value="since:1d" {}
                @for source in &sources { option value={ "source:" (source.info.name) } {} }
            }
            button type="submit" { "Search" }
            @if let Some(error) = &query.error {
                p.error #filter-error role="alert" { "The filter cannot be read: " (error) "." }
            }
        }
        details.help #filter-help {
            summary { "What a filter can have" }
            dl.terms {
                @for (term, meaning) in TERMS {
                    div { dt { code { (term) } } dd { (meaning) } }
                }
            }
            p { "A word without a colon is a key. A value with spaces needs quotation marks; a backslash stands before each "
                "quotation mark and each backslash in them. A " code { "*" } " in quotation marks is a part of the value. "
                "Each name may be there once."
            }
        }
    }
}

const TERMS: [(&str, &str); 9] = [
    ("source:stripe", "events of this source"),
    ("state:failed", "processing, processed or failed"),
    (
        "type:invoice.*",
        "the event type, or the beginning of it and *",
    ),
    ("key:evt_1", "the key, or the beginning of it and *"),
    ("key:\"a*\"", "the key a*, and no other that begins with a"),
    ("error:\"timed out\"", "a part of the reason of a failure"),
    ("header.x-id:abc", "a stored header has this value"),
    (
        "since:2h",
        "received in the last 2 hours; also d, m, s, or an instant such as 2026-01-02T03:04:05Z",
    ),
    ("until:10m", "received before that, in the same forms"),
];

/// The filters, each with a link that removes it.
fn chips(view: &View<'_>, filter: &Filter) -> Markup {
    html! {
        @if !filter.is_empty() {
            ul.chips #chips aria-label="Filters" {
                @for (name, value) in filter.terms() {
                    li.chip {
                        span { (name) ": " strong { (value) } }
                        a href=(view.link(&events_path(&filter.without(&name)))) aria-label={ "Remove the filter " (name) } {
                            span aria-hidden="true" { "✕" }
                        }
                    }
                }
                li { a #clear-filters href=(view.link("/events")) { "Remove all" } }
            }
        }
    }
}

/// What one filter of several would match alone.
struct Alone {
    text: String,
    filter: Filter,
    /// How many events, and whether there may be more; `None` if counting takes too long.
    count: Option<(usize, bool)>,
}

/// What each filter alone would match, where there is more than one: at most [`MAX_ALONE`].
async fn alone(view: &View<'_>, filter: &Filter) -> Vec<Alone> {
    let terms = filter.terms();
    if terms.len() < 2 {
        return Vec::new();
    }
    let deadline = Instant::now() + ALONE_TIMEOUT;
    let mut counts = Vec::new();
    for (name, value) in terms {
        let mut single = Filter::default();
        if single.set(&name, &value).is_err() {
            continue;
        }
        let search = data::events(view.ui, &view.visitor.caller, &single, None, MAX_ALONE);
        let found = timeout_at(deadline, search).await;
        let count = match found {
            Ok(Ok(page)) if !page.stopped_early || !page.events.is_empty() => {
                Some((page.events.len(), page.next_before.is_some()))
            }
            _ => None,
        };
        counts.push(Alone {
            text: single.to_string(),
            filter: single,
            count,
        });
    }
    counts
}

fn nothing(view: &View<'_>, query: &Query, stopped_early: bool, alone: &[Alone]) -> Markup {
    html! {
        div.empty #no-events {
            @if stopped_early {
                h2 { "No event was found so far" }
            } @else if query.filter.is_empty() && query.before.is_none() {
                h2 { "Nothing received yet" }
                p { "The events of all sources appear here. "
                    a href=(view.link("/sources")) { "The sources" } " have their URLs, and buttons that send a test event."
                }
            } @else {
                h2 { "No event matches" }
                @if query.before.is_some() { p { "There are no older events that match." } }
            }
            @if !alone.is_empty() {
                p { "Each filter alone would match:" }
                ul #alone {
                    @for alone in alone {
                        li {
                            a href=(view.link(&events_path(&alone.filter))) { code { (alone.text) } }
                            " "
                            @match alone.count {
                                Some((count, true)) => { (count) " or more" },
                                Some((count, false)) => (count),
                                None => "not counted: it takes too long",
                            }
                        }
                    }
                }
            } @else if let [(name, _)] = &query.filter.terms()[..] {
                p { a href=(view.link("/events")) { "Remove the filter " (name) } " to see all events." }
            }
        }
    }
}

const COLUMNS: [Column; 10] = [
    Column::control("Selected"),
    Column::text("Received"),
    Column::text("Age"),
    Column::text("Source"),
    Column::text("Type"),
    Column::heading("Key"),
    Column::text("State"),
    Column::number("Attempts"),
    Column::text("Next attempt"),
    Column::text("Marks"),
];

/// The events, with what can be done to the selected ones, or to all that match.
fn selection(view: &View<'_>, filter: &Filter, events: &[EventSummary]) -> Markup {
    let may_operate = view.visitor.caller.may_operate();
    let rows: Vec<Row> = events
        .iter()
        .map(|event| row(view, event, may_operate))
        .collect();
    let columns = if may_operate {
        &COLUMNS[..]
    } else {
        &COLUMNS[1..]
    };
    html! {
        form #selection method="post" action=(view.link("/events/selected")) {
            (view.form_token())
            input type="hidden" name="to" value=(view.here());
            input type="hidden" name="filter" value=(filter);
            div.bulk #bulk {
                @if may_operate {
                    label.choice.scripted { input #select-all type="checkbox"; span.unseen { "Select all events on this page" } }
                    div.bulk-selected #selected role="group" aria-label="Actions on the selected events" {
                        span { "Selected" strong #selected-count {} ":" }
                        @for action in JobAction::ALL {
                            button.quiet id={ "selected-" (action.as_str()) } type="submit" name="action" value=(action.as_str())
                                data-press=[(action == JobAction::Requeue).then_some("r")]
                            { (action_word(action)) }
                        }
                    }
                }
                details.all-matching #all-matching {
                    summary { "With all that match…" }
                    div.bulk-all role="group" aria-label="Actions on all events that match" {
                        @if may_operate {
                            @for action in JobAction::ALL {
                                button.quiet id={ "all-" (action.as_str()) } type="submit" name="action" value=(action.as_str())
                                    formaction=(view.link("/jobs"))
                                { (action_word(action)) "…" }
                            }
                        }
                        a.button.quiet #export href=(view.link(&export_path(filter))) download="events.ndjson" { "Export as NDJSON" }
                    }
                    (code("copy-list", "The request to the API", &api_request(view, &filter_path(filter))))
                    @if may_operate {
                        p.note { "The next page shows how many events match and what will happen, before anything does." }
                    }
                }
            }
            (table("events", "Events, the newest first", columns, &rows))
        }
    }
}

/// All events that match, one JSON document a line.
pub(super) fn export(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let query = Query::parse(view.query());
    if let Some(error) = query.error {
        return Err(Problem::bad_request(format!("Filter: {error}")));
    }
    let (ui, caller) = (view.ui, &view.visitor.caller);
    let is_allowed = session::watch(ui, view.head(), caller);
    let body = data::export(ui, caller, &query.filter, is_allowed)?;
    Ok(attachment("application/x-ndjson", "events.ndjson", body))
}

/// The path of the events that match in the API.
fn filter_path(filter: &Filter) -> String {
    format!("/events?{}", filter.to_query())
}

/// A cURL command that reads a path of the admin API.
pub(super) fn api_request(view: &View<'_>, path: &str) -> String {
    // The URL of the server is not known here.
    let path = quoted(&format!("{}/v1/operator{path}", view.ui.mount()));
    format!("curl -H \"Authorization: Bearer $TOKEN\" \"$URL\"{path}")
}

/// A text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The path of the export of all events that match.
pub(super) fn export_path(filter: &Filter) -> String {
    format!("/events/export?{}", filter.to_query())
}

/// The name of an action on a button.
pub(super) const fn action_word(action: JobAction) -> &'static str {
    match action {
        JobAction::Requeue => "Requeue",
        JobAction::Replay => "Replay",
        JobAction::MakeDue => "Make due now",
        JobAction::Delete => "Delete",
        JobAction::Erase => "Erase bodies",
    }
}

fn row(view: &View<'_>, event: &EventSummary, may_operate: bool) -> Row {
    let path = event_path(&event.source, &event.key);
    let href = match view.query() {
        "" => view.link(&path),
        query => {
            let from: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
            format!("{}?from={from}", view.link(&path))
        }
    };
    let select = html! {
        label.select {
            input type="checkbox" name="event" value=(path) data-select;
            span.unseen { "Select " (event.key) }
        }
    };
    let mut cells = vec![
        exact(event.received_at),
        ago(event.received_at),
        html! { a href=(view.link(&format!("/events?source={}", event.source))) { (event.source) } },
        html! { @match &event.event_type { Some(name) => span.type { (name) }, None => span.faint { "–" } } },
        html! {
            a.key href=(href) { (event.key) }
            @if let Some(error) = &event.error { div.reason { (cut(error, MAX_ERROR_CHARS)) } }
        },
        event_state(event.state),
        html! { (event.attempts) },
        next_attempt(event),
        marks(event),
    ];
    if may_operate {
        cells.insert(0, select);
    }
    Row {
        id: Some(format!("event-{}", event.id)),
        href: Some(href),
        key: Some(event.key.clone()),
        cells,
    }
}

/// When the next attempt begins, or what keeps it.
pub(super) fn next_attempt(event: &EventSummary) -> Markup {
    html! {
        @if event.state != EventState::Processing {
            span.faint { "–" }
        } @else if let Some(until) = event.leased_until {
            @if until.age_seconds() < 0.0 { "running now" } @else { "lease has ended" }
        } @else if let Some(due) = event.due_at {
            (due_time(due))
        }
    }
}

/// What is special about an event.
pub(super) fn marks(event: &EventSummary) -> Markup {
    html! {
        @if event.conflicts > 0 {
            (badge(Tone::Warn, &format!("conflict ×{}", number(event.conflicts))))
        }
        @if event.body_deleted { " " (badge(Tone::Idle, "erased")) }
    }
}

/// The beginning of a text.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The event that a path below the dashboard is of.
fn event_of_path(path: &str) -> Option<EventRef> {
    let (source, id) = path.strip_prefix("/events/")?.split_once('/')?;
    Some(EventRef {
        kind: kind(source)?,
        key: key_in_path(id)?,
    })
}

/// The events of a form that are selected.
fn selected(form: &Form) -> Result<Vec<EventRef>, Problem> {
    let events: Option<Vec<EventRef>> = form.fields("event").map(event_of_path).collect();
    let events = events.ok_or_else(Problem::no_such_event)?;
    match events.len() {
        0..=MAX_SELECTED => Ok(events),
        _ => Err(Problem::bad_request(format!(
            "At most {MAX_SELECTED} events can be selected; use a filter and all that match for more"
        ))),
    }
}

/// Acts on the selected events, one after another.
pub(super) async fn act(view: &View<'_>, form: &Form) -> Result<Response<UiBody>, Problem> {
    let action = form.field("action").unwrap_or_default();
    let action = JobAction::ALL.into_iter().find(|it| it.as_str() == action);
    let action = action.ok_or_else(|| Problem::bad_request("No such action"))?;
    let events = selected(form)?;
    if events.is_empty() {
        let message = "No event is selected. Select rows first.";
        return Ok(view.redirect_back_with(form.field("to"), "/events", message));
    }
    let (ui, caller) = (view.ui, &view.visitor.caller);
    caller.check_operate()?;
    let is_destructive = matches!(action, JobAction::Delete | JobAction::Erase);
    let typed = form.field("confirmed");
    let typed = typed.and_then(|it| it.trim().parse().ok());
    if is_destructive && typed != Some(events.len()) {
        return Ok(ask(view, form, action, &events).await);
    }
    let (mut changed, mut problems) = (0_usize, Vec::new());
    for event in &events {
        let result = match action {
            JobAction::Requeue => actions::requeue(ui, caller, event).await.map(drop),
            JobAction::Replay => {
                actions::replay(ui, caller, event, actions::Replay::default()).await
            }
            JobAction::MakeDue => actions::make_due(ui, caller, event, RunningLeases::Keep)
                .await
                .map(drop),
            JobAction::Delete => actions::delete(ui, caller, event).await,
            JobAction::Erase => actions::erase(ui, caller, event).await,
        };
        match result {
            Ok(()) => changed += 1,
            Err(problem) => problems.push(format!("{}: {}", event.key, problem.detail())),
        }
    }
    ui.dashboard().refresh().await;
    let done = match action {
        JobAction::Requeue => "requeued",
        JobAction::Replay => "replayed",
        JobAction::MakeDue => "made due",
        JobAction::Delete => "deleted",
        JobAction::Erase => "erased",
    };
    let verb = if events.len() == 1 { "was" } else { "were" };
    let mut message = format!("{changed} of {} {verb} {done}.", in_words(&events));
    if let Some(first) = problems.first() {
        message.push_str(&format!(" {} were not; {first}.", problems.len()));
    }
    Ok(view.redirect_back_with(form.field("to"), "/events", &message))
}

/// The number of the selected events, with its noun.
fn in_words(events: &[EventRef]) -> String {
    match events.len() {
        1 => "1 selected event".to_owned(),
        more => format!("{more} selected events"),
    }
}

/// Asks whether to delete or erase the selected events.
async fn ask(
    view: &View<'_>,
    form: &Form,
    action: JobAction,
    events: &[EventRef],
) -> Response<UiBody> {
    let word = action_word(action);
    let selected = in_words(events);
    let question = match action {
        JobAction::Erase => format!("{word} of {selected}?"),
        _ => format!("{word} {selected}?"),
    };
    let to = form.field("to").filter(|to| is_own(view.ui, to));
    let to = to.map_or_else(|| view.link("/events"), str::to_owned);
    let content = html! {
        h1 #dialog-title { (question) }
        p { (super::jobs::effect(action)) " This cannot be undone." }
        @if form.field("confirmed").is_some() {
            p.error role="alert" { "The typed number is not " (events.len()) ". Nothing was changed." }
        }
        ul #selected-events {
            @for event in events { li { code { (event.kind) "/" (event.key) } } }
        }
        form.stack #confirm-form method="post" action=(view.link("/events/selected")) {
            (view.form_token())
            input type="hidden" name="to" value=(to);
            input type="hidden" name="action" value=(action.as_str());
            @for event in events {
                input type="hidden" name="event" value=(event_path(event.kind.as_str(), event.key.as_str()));
            }
            label for="confirmed" { "Type the number of events, " strong { (events.len()) } ", to confirm" }
            input #confirmed name="confirmed" inputmode="numeric" autocomplete="off" required;
            p {
                button.danger #confirm type="submit" { (word) }
                " "
                a.button.quiet data-close href=(to) { "Cancel" }
            }
        }
    };
    view.page(Page {
        screen: Some(Screen::Events),
        title: word.to_owned(),
        live: Live::Off,
        content,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_events_are_read_back() {
        for (source, id) in [
            ("a", "b"),
            ("a.b-c_d", "x/y?z#%25 é\"<>&+"),
            ("a", "%2F"),
            ("a", "."),
            ("a", ".."),
            ("a", ";.."),
            ("a", "..."),
        ] {
            let event = event_of_path(&event_path(source, id)).unwrap();
            assert_eq!((event.kind.as_str(), event.key.as_str()), (source, id));
            let path = event_path(source, id);
            let is_folder = |segment: &str| matches!(segment, "." | "..");
            assert!(!path.split('/').any(is_folder), "{path}");
        }
        for path in [
            "",
            "/events/a",
            "/events/A/b",
            "/events/a/%",
            "/events/a/%00",
        ] {
            assert!(event_of_path(path).is_none(), "{path}");
        }
    }

    #[test]
    fn cursors_lead_back_and_forth() {
        let query = Query::parse("q=state%3Afailed");
        assert_eq!((query.text.as_str(), query.newer()), ("state:failed", None));
        let second = query.older(90);
        assert_eq!(second, "/events?state=failed&before=90&trail=0");
        let query = Query::parse(second.split_once('?').unwrap().1);
        assert_eq!(query.newer().unwrap(), "/events?state=failed");
        let third = query.older(50);
        let query = Query::parse(third.split_once('?').unwrap().1);
        assert_eq!(query.newer().unwrap(), second);
        let query = Query::parse("before=5");
        assert_eq!(query.newer().unwrap(), "/events?");
    }

    #[test]
    fn wrong_filters_are_kept_in_the_field() {
        let query = Query::parse("q=colour%3Ared");
        assert_eq!(query.text, "colour:red");
        assert!(query.error.unwrap().contains("known are"));
        let query = Query::parse("colour=red");
        assert!(query.error.is_some());
    }

    #[test]
    fn words_of_shells_are_quoted() {
        assert_eq!(quoted("a'b $x"), r"'a'\''b $x'");
        assert_eq!(quoted("-rf"), "'-rf'");
    }

    #[test]
    fn errors_are_cut_between_characters() {
        assert_eq!(cut("éé", 1), "é…");
        assert_eq!(cut("éé", 2), "éé");
    }
}
