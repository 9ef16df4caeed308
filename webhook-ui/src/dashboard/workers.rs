//! The processes that serve the inbox.

use http::Response;
use maud::{Markup, html};

use super::components::{Column, Row, Tone, ago, badge, duration, empty, exact, number, table};
use super::frame::{Live, Page, Screen, View};
use crate::model::Node;
use crate::{Problem, UiBody, data};

/// A node that has not reported for longer is marked.
const LATE_SECONDS: f64 = 30.0;

pub(super) async fn list(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let nodes = data::nodes(view.ui, &view.visitor.caller).await?;
    let page = Page {
        screen: Some(Screen::Workers),
        title: "Workers".to_owned(),
        live: Live::Always,
        content: content(
            &nodes,
            !data::destinations(view.ui, &view.visitor.caller).is_empty(),
        ),
    };
    Ok(view.page(page).await)
}

/// `is_forwarding` tells whether there is a destination.
fn content(nodes: &[Node], is_forwarding: bool) -> Markup {
    let slots: u64 = nodes.iter().map(|node| u64::from(node.slots)).sum();
    let running: u64 = nodes.iter().map(|node| u64::from(node.running)).sum();
    html! {
        h1 { "Workers" }
        @if nodes.is_empty() {
            (empty("No process has reported yet", html! {
                p { "Each process that serves this inbox reports every few seconds, and is listed here." }
            }))
        } @else {
            p.lead {
                @if slots == 0 {
                    (badge(Tone::Warn, "No worker"))
                    " Events wait until a process with the role worker or all runs. Nothing is lost."
                } @else {
                    (number(running)) " of " (number(slots)) " slots have an event, in " (number(nodes.len() as u64))
                    @if nodes.len() == 1 { " process." } @else { " processes." }
                }
            }
            @if slots > 0 && is_forwarding {
                p.note #claimed-ahead {
                    "A source that is forwarded has two slots for each request that may run (its concurrency): one is for the \
                     event of the request, and one for an event that is claimed ahead and follows it at once. Destinations \
                     show how many requests are running."
                }
            }
            (table("nodes", "Processes", &COLUMNS, &nodes.iter().map(row).collect::<Vec<_>>()))
        }
    }
}

const COLUMNS: [Column; 7] = [
    Column::heading("Host"),
    Column::text("Role"),
    Column::text("State"),
    Column::number("Slots with an event"),
    Column::text("Version"),
    Column::text("Since"),
    Column::text("Last report"),
];

fn row(node: &Node) -> Row {
    let late = node.last_seen_at.age_seconds();
    let state = if late > LATE_SECONDS {
        badge(Tone::Warn, &format!("late by {}", duration(late)))
    } else if node.slots == 0 {
        badge(Tone::Good, "receives")
    } else if node.running >= node.slots {
        badge(Tone::Info, "full")
    } else {
        badge(Tone::Good, "ready")
    };
    Row {
        id: Some(format!("node-{}", node.id)),
        cells: vec![
            html! { (node.host) " " span.faint { (node.id.chars().take(8).collect::<String>()) } },
            html! { (node.role) },
            state,
            html! { (number(u64::from(node.running))) " of " (number(u64::from(node.slots))) },
            html! { (node.version) },
            exact(node.started_at),
            ago(node.last_seen_at),
        ],
        ..Row::default()
    }
}
