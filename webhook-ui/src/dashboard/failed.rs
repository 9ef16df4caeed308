//! Failures, grouped by source, destination and reason.

use http::Response;
use maud::{Markup, html};
use webhook_core::{Kind, State};

use super::components::{
    Column, Row, SEARCH_BOUNDS, ago, empty, event_path, number, sparkline, stopped_early, table,
};
use super::events::{cut, events_path, plan_button};
use super::frame::{Live, Page, Screen, View};
use super::snapshot::Numbers;
use crate::api::kind;
use crate::filter::Filter;
use crate::model::{EventState, EventSummary, FailureGroup, Failures, JobAction};
use crate::{Problem, UiBody, data};

const COLUMNS: [Column; 7] = [
    Column::heading("Reason"),
    Column::text("Source"),
    Column::number("Events"),
    Column::text("Last 24 hours"),
    Column::text("First"),
    Column::text("Last"),
    Column::control("Actions"),
];

/// How many groups are shown.
const MAX_GROUPS: usize = 100;

/// The page with the groups.
pub(super) async fn list(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let caller = &view.visitor.caller;
    let asked = view.parameter("source").filter(|it| !it.is_empty());
    let source = match &asked {
        Some(name) => Some(kind(name).ok_or_else(Problem::no_such_source)?),
        None => None,
    };
    let dashboard = view.ui.dashboard();
    let failures = dashboard.failures(view.ui, caller, source.as_ref()).await?;
    let content = html! {
        h1 { "Failed" }
        @if let Some(source) = &source {
            ul.chips #chips aria-label="Filters" {
                li.chip {
                    span { "source: " strong { (source) } }
                    a href=(view.link("/failed")) aria-label="Remove the filter source" { span aria-hidden="true" { "✕" } }
                }
            }
        }
        @if failures.stopped_early {
            @let failed = Filter { source: source.clone(), state: Some(State::Failed), ..Filter::default() };
            (stopped_early(SEARCH_BOUNDS, &html! {
                @if source.is_none() { "Narrow it to one source, or look " } @else { "Look " }
                "for more in the " a href=(view.link(&events_path(&failed))) { "list of FAILED events" } "."
            }))
        }
        @if failures.groups.is_empty() {
            (nothing(view, source.as_ref(), failures.stopped_early))
        } @else {
            (groups(view, &failures))
        }
    };
    let page = Page {
        screen: Some(Screen::Failed),
        title: "Failed".to_owned(),
        live: Live::Reload(Numbers::Failed),
        content,
    };
    Ok(view.page(page).await)
}

fn nothing(view: &View<'_>, source: Option<&Kind>, stopped_early: bool) -> Markup {
    if stopped_early {
        return empty("No FAILED event was found so far", html! {});
    }
    let retried = Filter {
        source: source.cloned(),
        state: Some(State::Processing),
        ..Filter::default()
    };
    empty(
        "No event is FAILED",
        html! {
            p {
                @match source { Some(source) => { "No event of " (source) }, None => "No event" }
                " has failed for good. An event whose attempt fails is PROCESSING until its last attempt: see the "
                a #retried href=(view.link(&events_path(&retried))) { "events that are PROCESSING" } "."
            }
        },
    )
}

fn groups(view: &View<'_>, failures: &Failures) -> Markup {
    let rows: Vec<Row> = failures
        .groups
        .iter()
        .take(MAX_GROUPS)
        .enumerate()
        .map(|(index, group)| row(view, failures, group, index))
        .collect();
    html! {
        p.lead #failed-summary {
            @if failures.more { "The newest " } @else if failures.stopped_early { "At least " }
            (number(failures.examined)) " FAILED "
            @if failures.examined == 1 { "event" } @else { "events" }
            ", in groups with the same reason: " code { "#" } " stands for numbers."
            @if failures.more { " There are more FAILED events than that." }
        }
        (table("failures", "Groups of failures, the latest first", &COLUMNS, &rows))
        @if failures.groups.len() > MAX_GROUPS {
            p.note { "Only the first " (MAX_GROUPS) " groups are shown." }
        }
    }
}

fn row(view: &View<'_>, failures: &Failures, group: &FailureGroup, index: usize) -> Row {
    let filter = filter_of(&group.source, &group.reason);
    let events = view.link(&events_path(&filter));
    let sample = view.link(&event_path(&group.sample.source, &group.sample.key));
    let reason = if group.reason.is_empty() {
        "no reason was kept"
    } else {
        &group.reason
    };
    let share = match group.count.saturating_mul(100) / failures.examined.max(1) {
        0 => "< 1".to_owned(),
        share => share.to_string(),
    };
    let recent: u64 = group.last_24_hours.iter().sum();
    let label = format!("{} failed in the last 24 hours", number(recent));
    Row {
        id: Some(format!("group-{index}")),
        href: Some(events.clone()),
        key: Some(group.sample.key.clone()),
        cells: vec![
            html! {
                a.reason-link href=(events) { (cut(reason, 300)) }
                div.faint { "latest: " a.key href=(sample) { (group.sample.key) } }
            },
            html! {
                (group.source)
                @if let Some(destination) = &group.destination { div.faint { "to " (destination) } }
            },
            html! { (number(group.count)) " " span.faint { "(" (share) " %)" } },
            sparkline(&group.last_24_hours, &label),
            html! { @if let Some(at) = group.first_failed_at { (ago(at)) } @else { "–" } },
            html! { @if let Some(at) = group.last_failed_at { (ago(at)) } @else { "–" } },
            html! {
                (plan_button(view, &format!("requeue-group-{index}"), JobAction::Requeue, &filter, "Requeue…"))
            },
        ],
    }
}

/// The filter of the FAILED events of a source with the same reason, but for numbers. It has the longest part of the
/// reason between numbers, which other reasons may have as well: the plan of a job says how many events match.
fn filter_of(source: &str, reason: &str) -> Filter {
    let parts = reason.split('#').map(str::trim);
    let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
    Filter {
        source: Kind::new(source.to_owned()).ok(),
        state: Some(State::Failed),
        error: (!longest.is_empty()).then(|| longest.to_owned()),
        ..Filter::default()
    }
}

/// The filter of the events that failed like this one; `None` if it is not FAILED, or has no reason.
pub(super) fn alike(event: &EventSummary) -> Option<Filter> {
    let reason = event.error.as_deref()?;
    let is_failed = event.state == EventState::Failed;
    is_failed.then(|| filter_of(&event.source, &data::without_numbers(reason)))
}
