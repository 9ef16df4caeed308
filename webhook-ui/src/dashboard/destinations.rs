//! Destinations: where events are forwarded to, and how that goes.

use http::Response;
use maud::{Markup, html};

use super::components::{
    Column, Row, Tone, ago, badge, duration, empty, event_path, events_path, exact, number,
    paused_badge, table, tile,
};
use super::frame::{Live, Page, Screen, View};
use super::snapshot::Numbers;
use super::sources::{self, pause_or_resume};
use crate::api::kind;
use crate::model::{Answer, Destination, DestinationState};
use crate::{Problem, UiBody};

pub(super) fn path(source: &str) -> String {
    format!("/destinations/{source}")
}

/// How a destination is: the first of these that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answered that it wants no more events.
    Gone,
    /// Somebody paused its source.
    Paused,
    Open,
    HalfOpen,
    Throttled,
    /// The latest attempts failed.
    SomeFail,
    Healthy,
}

impl Condition {
    pub(super) fn of(destination: &Destination) -> Self {
        match destination.state {
            _ if is_paused(destination) && destination.paused_because.is_some() => Self::Gone,
            _ if is_paused(destination) => Self::Paused,
            DestinationState::Open => Self::Open,
            DestinationState::HalfOpen => Self::HalfOpen,
            DestinationState::Throttled => Self::Throttled,
            DestinationState::Closed if destination.consecutive_failures > 0 => Self::SomeFail,
            DestinationState::Closed | DestinationState::Paused => Self::Healthy,
        }
    }

    fn badge(self) -> Markup {
        match self {
            Self::Gone | Self::Paused => paused_badge(),
            Self::Open => badge(Tone::Bad, "breaker open"),
            Self::HalfOpen => badge(Tone::Warn, "breaker half open"),
            Self::Throttled => badge(Tone::Warn, "throttled"),
            Self::SomeFail => badge(Tone::Warn, "some fail"),
            Self::Healthy => badge(Tone::Good, "healthy"),
        }
    }
}

fn is_paused(destination: &Destination) -> bool {
    destination.paused || destination.state == DestinationState::Paused
}

/// What the condition means, and what happens next.
fn explanation(destination: &Destination) -> Markup {
    let until = html! { @if let Some(until) = destination.until { " until " (exact(until)) ", " (ago(until)) } };
    html! {
        @match Condition::of(destination) {
            Condition::Gone | Condition::Paused => {
                "Nothing is forwarded until somebody resumes it. Events are accepted, and wait."
                @if let Some(because) = &destination.paused_because { " Paused because: " (because) "." }
            }
            Condition::Open => {
                "The circuit breaker is open, since the destination failed too often: nothing is forwarded" (until) "."
            }
            Condition::HalfOpen => "Single events are forwarded, to find out whether the destination is back.",
            Condition::Throttled => {
                "The destination asked for fewer requests: nothing is forwarded" (until) "."
            }
            Condition::SomeFail => {
                "Events are forwarded. The last "
                @match destination.consecutive_failures { 1 => "attempt", failures => { (number(failures)) " attempts" } }
                " failed."
            }
            Condition::Healthy => "Events are forwarded.",
        }
    }
}

/// The status of an answer, or why there was none.
fn answer_word(answer: &Answer) -> Markup {
    let is_success = answer.error_class.is_none();
    html! {
        @match (&answer.status, &answer.error_class) {
            (Some(status), _) => (badge(if is_success { Tone::Good } else { Tone::Bad }, &status.to_string())),
            (None, Some(class)) => (badge(Tone::Bad, class)),
            (None, None) => (badge(Tone::Good, "taken")),
        }
    }
}

const COLUMNS: [Column; 8] = [
    Column::heading("Destination"),
    Column::text("State"),
    Column::text("Last answer"),
    Column::number("Requests running"),
    Column::number("Delivered"),
    Column::number("Failed"),
    Column::number("Oldest"),
    Column::control("Actions"),
];

/// The table of the overview, and of the page with all destinations.
pub(super) fn overview(view: &View<'_>, destinations: &[&Destination]) -> Markup {
    let rows: Vec<Row> = destinations
        .iter()
        .map(|it| {
            let link = view.link(&path(&it.source));
            Row {
                id: Some(format!("destination-{}", it.source)),
                href: Some(link.clone()),
                key: Some(it.source.clone()),
                cells: vec![
                    html! { a href=(link) { (it.source) } " " span.url { (it.url) } },
                    Condition::of(it).badge(),
                    html! {
                        @if let Some(answer) = it.last_answers.first() {
                            (answer_word(answer)) " " (ago(answer.at))
                        } @else { span.faint { "none yet" } }
                    },
                    html! { (number(it.in_flight)) " of " (number(it.window)) },
                    html! { (number(it.delivered)) },
                    html! { span.strong[it.consecutive_failures > 0] { (number(it.failed)) } },
                    html! {
                        @match it.oldest_due_age_seconds { Some(age) => (duration(age)), None => span.faint { "–" } }
                    },
                    pause_or_resume(view, "destination", &it.source, is_paused(it)),
                ],
            }
        })
        .collect();
    table("destinations", "Destinations", &COLUMNS, &rows)
}

/// The page with all destinations.
pub(super) async fn list(view: &View<'_>) -> Response<UiBody> {
    let snapshot = view.snapshot();
    let destinations: Vec<_> = snapshot.destinations(&view.visitor.caller).collect();
    let content = html! {
        h1 { "Destinations" }
        @if destinations.is_empty() {
            (empty("Nothing is forwarded", html! {
                p {
                    "A destination is the URL of an app that gets the events of a source. Without one, the handlers of \
                     this process work on them."
                }
            }))
        } @else {
            p.lead { "Numbers are those of this process, since it started." }
            (overview(view, &destinations))
        }
    };
    view.page(Page {
        screen: Some(Screen::Destinations),
        title: "Destinations".to_owned(),
        live: Live::Reload(Numbers::Destinations),
        content,
    })
    .await
}

const ANSWER_COLUMNS: [Column; 4] = [
    Column::text("Time"),
    Column::heading("Event"),
    Column::text("Answer"),
    Column::number("Took"),
];

/// The page of the destination of a source.
pub(super) async fn show(view: &View<'_>, segment: &str) -> Result<Response<UiBody>, Problem> {
    let not_found = || Problem::new(http::StatusCode::NOT_FOUND, "Destination not found");
    let name = kind(segment).ok_or_else(not_found)?;
    let snapshot = view.snapshot();
    let mut destinations = snapshot.destinations(&view.visitor.caller);
    let found = destinations.find(|it| it.source == name.as_str());
    let destination = found.ok_or_else(not_found)?;
    let answers: Vec<Row> = destination
        .last_answers
        .iter()
        .map(|it| answer_row(view, destination, it))
        .collect();
    let content = html! {
        div.title {
            h1 { "Destination of " (name) }
            (Condition::of(destination).badge())
            div.actions { (pause_or_resume(view, "destination", &destination.source, is_paused(destination))) }
        }
        p.lead { (explanation(destination)) }
        dl.facts {
            div { dt { "URL" } dd { code { (destination.url) } } }
            div { dt { "Source" } dd { a href=(view.link(&sources::path(&destination.source))) { (name) } } }
            div { dt { "Rate" } dd {
                @match &destination.rate { Some(rate) => { "at most " (rate) }, None => "no limit" }
            } }
            div { dt { "Concurrency" } dd {
                (number(destination.window)) " at the same time now, "
                (number(destination.concurrency)) " at most"
            } }
        }
        dl.tiles {
            (tile("in-flight", "Requests running", &html! { (number(destination.in_flight)) " of " (number(destination.window)) }))
            (tile("delivered", "Delivered", &html! { (number(destination.delivered)) }))
            (tile("attempts-failed", "Failed attempts", &html! { (number(destination.failed)) }))
            (tile("postponed", "Postponed", &html! { (number(destination.postponed)) }))
            (tile("in-a-row", "Failures in a row", &html! { (number(destination.consecutive_failures)) }))
            (tile("oldest-due", "Oldest due", &html! {
                @match destination.oldest_due_age_seconds { Some(age) => (duration(age)), None => "–" }
            }))
        }
        h2 { "Last answers" }
        @if answers.is_empty() {
            p.faint { "No event was forwarded since this process started." }
        } @else {
            (statuses(&destination.last_answers))
            (table("answers", "Last answers", &ANSWER_COLUMNS, &answers))
        }
        p { a #failed-events href=(view.link(&events_path(&format!("source:{name} state:failed")))) {
            "Failed events of " (name)
        } }
    };
    Ok(view
        .page(Page {
            screen: Some(Screen::Destinations),
            title: format!("Destination of {name}"),
            live: Live::Reload(Numbers::Destinations),
            content,
        })
        .await)
}

/// How many of the last answers were of which kind.
fn statuses(answers: &[Answer]) -> Markup {
    let mut counts: Vec<(String, u64)> = Vec::new();
    for answer in answers {
        let class = match (answer.status, &answer.error_class) {
            (Some(status), _) => format!("{}xx", status / 100),
            (None, Some(class)) => class.clone(),
            (None, None) => "taken".to_owned(),
        };
        match counts.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => counts.push((class, 1)),
        }
    }
    html! {
        p #statuses {
            @for (index, (class, count)) in counts.iter().enumerate() {
                @if index > 0 { ", " }
                (class) ": " (number(*count))
            }
        }
    }
}

fn answer_row(view: &View<'_>, destination: &Destination, answer: &Answer) -> Row {
    let link = view.link(&event_path(&destination.source, &answer.key));
    Row {
        href: Some(link.clone()),
        key: Some(answer.key.clone()),
        cells: vec![
            html! { (exact(answer.at)) " " span.faint { (ago(answer.at)) } },
            html! { a.key href=(link) { (answer.key) } },
            answer_word(answer),
            html! { @match answer.duration_ms { Some(ms) => (duration(ms / 1e3)), None => "–" } },
        ],
        ..Row::default()
    }
}
