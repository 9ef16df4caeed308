//! One event: what has happened to it, what was delivered, and what can be done.

mod attempts;
mod replay;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use maud::{Markup, html};
use webhook_core::{EventRef, RunningLeases};

use super::Form;
use super::components::{
    Shape, Tone, action, ago, badge, bytes, code, duration, event_state, exact, icon, number,
};
use super::diff::difference;
use super::events::{api_request, cut, event_path, marks, quoted};
use super::frame::{Live, Page, Screen, View, add_security};
use super::hex::dump;
use super::json_tree::json_tree;
use super::refused::headers;
use crate::api::{key_in_path, kind};
use crate::json_text::Value;
use crate::model::{Body, BodyEncoding, Event, EventState, Time};
use crate::{Problem, UiBody, actions, data};

pub(super) use replay::{ask as ask_to_replay, send as send_replay};

/// How many characters of a raw body are shown.
const MAX_RAW_CHARS: usize = 256 * 1024;

/// How many bytes of a body are shown as hexadecimal digits.
const MAX_HEX_BYTES: usize = 16 * 1024;

/// A longer body is not copied as a command.
const MAX_COPIED_BYTES: usize = 64 * 1024;

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

/// How a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyForm {
    Tree,
    Raw,
    Hex,
}

impl BodyForm {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Tree, "tree", "Tree"),
        (Self::Raw, "raw", "Raw"),
        (Self::Hex, "hex", "Hex"),
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Raw => "raw",
            Self::Hex => "hex",
        }
    }
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
    let copies = match query.tab {
        Tab::Copy => Some(copies(view, &event, &shown).await?),
        _ => None,
    };
    let content = html! {
        p.back { a #back data-back href=(view.link(&query.list())) { "← Events" } }
        div.title {
            h1 #event-key { (event.key) }
            (event_state(shown.summary.state))
            (marks(&shown.summary))
        }
        p.lead {
            a href=(view.link(&format!("/sources/{}", event.kind))) { (event.kind) }
            @if let Some(name) = &shown.summary.event_type { " · " (name) }
            " · received " (ago(shown.summary.received_at))
        }
        @if shown.summary.state != EventState::Processed && let Some(error) = &shown.summary.error {
            p.reason-box #event-error {
                (icon(Shape::Cross)) " "
                strong { @if shown.summary.state == EventState::Failed { "Failed: " } @else { "The last attempt failed: " } }
                (error)
            }
        }
        (state_line(&shown))
        (buttons(view, &event, &shown))
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
                Tab::Body => (body_tab(view, &event, &shown, &query)),
                Tab::Request => (request_tab(&shown)),
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
            Live::Reload
        },
        content,
    };
    Ok(view.page(page).await)
}

/// What has happened, and what will: each step with its time, and the time since the step before.
fn state_line(event: &Event) -> Markup {
    let summary = &event.summary;
    let mut steps: Vec<Step> = vec![Step::done("Received and durable", summary.received_at)];
    let attempts = event.failed_attempts.iter().rev();
    for attempt in attempts {
        steps.push(Step {
            name: format!("Attempt {} failed", attempt.attempt),
            tone: Tone::Bad,
            at: Some(attempt.ended_at),
            note: Some(cut(&attempt.reason, 100)),
        });
    }
    match summary.state {
        EventState::Processing => {
            let next = summary.attempts.saturating_add(1);
            let is_leased = summary
                .leased_until
                .is_some_and(|it| it.age_seconds() < 0.0);
            if is_leased {
                steps.push(Step {
                    name: format!("Attempt {} runs", summary.attempts),
                    tone: Tone::Info,
                    at: None,
                    note: Some("a worker holds it".to_owned()),
                });
            } else if let Some(due) = summary.due_at {
                let is_due = due.age_seconds() >= 0.0;
                steps.push(Step {
                    name: if is_due {
                        "Due".to_owned()
                    } else {
                        format!("Attempt {next}")
                    },
                    tone: Tone::Idle,
                    at: Some(due),
                    note: is_due.then(|| "waits for a worker".to_owned()),
                });
            }
            steps.push(Step {
                name: "Processed".to_owned(),
                tone: Tone::Idle,
                at: None,
                note: Some("not yet".to_owned()),
            });
        }
        EventState::Processed => {
            let note = match summary.attempts {
                0 | 1 => "at the first attempt".to_owned(),
                attempts => format!("at attempt {attempts}"),
            };
            steps.push(Step {
                name: "Processed".to_owned(),
                tone: Tone::Good,
                at: summary.settled_at,
                note: Some(note),
            });
        }
        EventState::Failed => steps.push(Step {
            name: "Failed".to_owned(),
            tone: Tone::Bad,
            at: summary.settled_at,
            note: Some("until it is requeued".to_owned()),
        }),
    }
    let mut before: Option<Time> = None;
    html! {
        ol.steps #steps aria-label="What has happened" {
            @for step in &steps {
                li class=(step.class()) {
                    div.step-name { (icon(step.shape())) " " (step.name) }
                    @if let Some(at) = step.at {
                        div { (exact(at)) }
                        div.faint { (ago(at)) (gap(before, at)) }
                    }
                    @if let Some(note) = &step.note { div.step-note { (note) } }
                }
                @let () = before = step.at.or(before);
            }
        }
    }
}

fn gap(before: Option<Time>, at: Time) -> Markup {
    html! {
        @if let Some(before) = before {
            @let seconds = before.age_seconds() - at.age_seconds();
            @if seconds >= 0.001 { ", " (duration(seconds)) " later" }
        }
    }
}

/// A step of the state line.
struct Step {
    name: String,
    tone: Tone,
    at: Option<Time>,
    note: Option<String>,
}

impl Step {
    fn done(name: &str, at: Time) -> Self {
        Self {
            name: name.to_owned(),
            tone: Tone::Good,
            at: Some(at),
            note: None,
        }
    }

    const fn class(&self) -> &'static str {
        match self.tone {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Idle => "idle",
            Tone::Info => "info",
        }
    }

    const fn shape(&self) -> Shape {
        match self.tone {
            Tone::Good => Shape::Circle,
            Tone::Warn => Shape::Triangle,
            Tone::Bad => Shape::Cross,
            Tone::Idle => Shape::Ring,
            Tone::Info => Shape::Arrow,
        }
    }
}

/// What can be done with the event, for callers who may act.
fn buttons(view: &View<'_>, event: &EventRef, shown: &Event) -> Markup {
    if !view.visitor.caller.may_operate() {
        return html! {};
    }
    let path = path_of(event);
    let samples = view.ui.instance().samples();
    let is_paused = samples
        .sources
        .iter()
        .any(|it| it.source == event.kind.as_str() && it.paused);
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
                a.button #erase href=(view.link(&format!("{path}/erase"))) data-dialog { "Erase the body…" }
            }
            @if is_paused {
                (action(view, "resume-source", &format!("/sources/{}/resume", event.kind), "Resume the source", "Resume the source"))
            } @else {
                a.button #pause-source href=(view.link(&format!("/sources/{}/pause", event.kind))) data-dialog { "Pause the source…" }
            }
        }
    }
}

fn body_tab(view: &View<'_>, event: &EventRef, shown: &Event, query: &Query) -> Markup {
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
pub(super) fn body_view(id: &str, body: &Body) -> Markup {
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
fn text(body: &Body) -> String {
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

fn request_tab(shown: &Event) -> Markup {
    html! {
        (headers("Headers that were stored with the event, with secrets masked", &shown.headers))
        dl.facts {
            div { dt { "Digest of the content" } dd { code { (shown.fingerprint) } } }
        }
        p.note { "The digest decides whether another delivery with this key is a duplicate or a conflict. Duplicates leave nothing: "
            "the overview counts them." }
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

/// Commands that send the event again, or show it.
async fn copies(view: &View<'_>, event: &EventRef, shown: &Event) -> Result<Markup, Problem> {
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
                @else if !is_short { "The body is too long for a command. Download it instead." }
                @else { "The deliveries of this source cannot be signed here." }
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

/// The body as it was delivered, for callers who may act.
pub(super) async fn download(
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
pub(super) fn attachment(content_type: &'static str, name: &str, body: UiBody) -> Response<UiBody> {
    let mut response = Response::new(body);
    add_security(&mut response);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// Requeues a FAILED event.
pub(super) async fn requeue(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let done = actions::requeue(view.ui, &view.visitor.caller, &event).await;
    finish(
        view,
        form,
        &event,
        done.map(|_| "The event is requeued: it is due now."),
    )
    .await
}

/// Makes a waiting event due.
pub(super) async fn make_due(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let done = actions::make_due(view.ui, &view.visitor.caller, &event, RunningLeases::Keep).await;
    finish(view, form, &event, done.map(|_| "The event is due now.")).await
}

/// Goes back to where the form was, with what happened. That the state of the event does not allow the action is no error
/// page: somebody else was faster.
async fn finish(
    view: &View<'_>,
    form: &Form,
    event: &EventRef,
    done: Result<&str, Problem>,
) -> Result<Response<UiBody>, Problem> {
    view.ui.dashboard().refresh().await;
    let message = match &done {
        Ok(message) => (*message).to_owned(),
        Err(problem) if problem.status().as_u16() == 409 => format!("{}.", problem.detail()),
        Err(problem) => return Err(problem.clone()),
    };
    Ok(view.redirect_back_with(form.field("to"), &path_of(event), &message))
}

/// The page that asks whether to erase the body.
pub(super) async fn ask_to_erase(
    view: &View<'_>,
    source: &str,
    id: &str,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let caller = &view.visitor.caller;
    caller.check_operate()?;
    data::event(view.ui, caller, &event, false).await?;
    let path = path_of(&event);
    let content = html! {
        h1 #dialog-title { "Erase the body of " (event.key) "?" }
        p { "The headers and the body are deleted, and those of its conflicts and attempts. The key stays, so that redeliveries "
            "are still known. " strong { "This cannot be undone." } }
        form.stack #erase-form method="post" action=(view.link(&format!("{path}/erase"))) {
            (view.form_token())
            label for="typed-key" { "Type the key, " strong { code { (event.key) } } ", to confirm" }
            input #typed-key name="key" autocomplete="off" autocapitalize="off" spellcheck="false" required;
            p {
                button.danger #confirm-erase type="submit" { "Erase the body" }
                " "
                a.button.quiet data-close href=(view.link(&path)) { "Cancel" }
            }
        }
    };
    let page = Page {
        screen: Some(Screen::Events),
        title: "Erase a body".to_owned(),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

/// Erases the body, if the key was typed.
pub(super) async fn erase(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    if form.field("key").map(str::trim) != Some(event.key.as_str().trim()) {
        let path = format!("{}/erase", path_of(&event));
        return Ok(view.redirect(
            &path,
            "The typed key is not the key of the event. Nothing was erased.",
        ));
    }
    let done = actions::erase(view.ui, &view.visitor.caller, &event).await;
    finish(view, form, &event, done.map(|()| "The body is erased.")).await
}
