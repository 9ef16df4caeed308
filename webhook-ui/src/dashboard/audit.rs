//! What operators did, with an export.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use http::Response;
use maud::{Markup, html};

use super::components::{
    Column, Row, Tone, ago, badge, empty, exact, number, pager, stopped_early, table,
};
use super::csv;
use super::event::attachment;
use super::events::cut;
use super::frame::{Live, Page, Screen, View};
use crate::model::AuditRecord;
use crate::{Problem, UiBody, data, session};

/// How many records a page has.
const PAGE: NonZeroUsize = NonZeroUsize::new(100).expect("a hundred is not zero");

/// How many records a piece of an export has.
const EXPORT_PAGE: NonZeroUsize = NonZeroUsize::new(1_000).expect("a thousand is not zero");

/// How many records an export has at most: as many as the store keeps.
const MAX_EXPORTED: usize = 100_000;

const COLUMNS: [Column; 7] = [
    Column::text("Time"),
    Column::text("Who"),
    Column::heading("Action"),
    Column::text("Target"),
    Column::number("Events"),
    Column::text("Result"),
    Column::text("Details"),
];

/// The page with the records.
pub(super) async fn list(view: &View<'_>) -> Result<Response<UiBody>, Problem> {
    let text = view.parameter("text").filter(|it| !it.is_empty());
    let before = view.parameter("before").and_then(|it| it.parse().ok());
    let caller = &view.visitor.caller;
    let page = data::audit(view.ui, caller, text.as_deref(), before, PAGE).await?;
    let older = page
        .next_before
        .map(|before| view.link(&path(text.as_deref(), Some(before))));
    let newest = before.map(|_: i64| view.link(&path(text.as_deref(), None)));
    // There are more records, and none of them was found yet.
    let is_short = page.next_before.is_some() && page.records.len() < PAGE.get();
    let rows: Vec<Row> = page.records.iter().map(row).collect();
    let content = html! {
        h1 { "Audit" }
        form.filter #audit-form role="search" aria-label="Filter of records" method="get" action=(view.link("/audit")) {
            label for="text" { "Filter" }
            input #text name="text" type="text" value=(text.as_deref().unwrap_or_default()) autocomplete="off"
                placeholder="a part of a name, an action or a target";
            button type="submit" { "Search" }
        }
        @if let Some(text) = &text {
            ul.chips #chips aria-label="Filters" { li.chip {
                span { "text: " strong { (text) } }
                a href=(view.link("/audit")) aria-label="Remove the filter" { span aria-hidden="true" { "✕" } }
            } }
        }
        @if let Some(older) = older.as_ref().filter(|_| is_short) {
            (stopped_early("a limited number of records", &html! {
                a href=(older) { "Search on in older records" } "."
            }))
        }
        @if page.records.is_empty() {
            (nothing(text.as_deref(), is_short))
        } @else {
            p.exports #audit-export { "Export all that match: "
                a #export-csv href=(view.link(&export_path("csv", text.as_deref()))) download="audit.csv" { "CSV" } ", "
                a #export-ndjson href=(view.link(&export_path("ndjson", text.as_deref()))) download="audit.ndjson" { "NDJSON" }
            }
            (table("audit", "What operators did, the latest first", &COLUMNS, &rows))
        }
        (pager(newest.as_deref(), older.as_deref()))
    };
    let page = Page {
        screen: Some(Screen::Audit),
        title: "Audit".to_owned(),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

fn path(text: Option<&str>, before: Option<i64>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(text) = text {
        query.append_pair("text", text);
    }
    if let Some(before) = before {
        query.append_pair("before", &before.to_string());
    }
    format!("/audit?{}", query.finish())
}

fn export_path(format: &str, text: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(text) = text {
        query.append_pair("text", text);
    }
    format!("/audit/export.{format}?{}", query.finish())
}

fn nothing(text: Option<&str>, stopped_early: bool) -> Markup {
    if stopped_early {
        return empty("No record was found so far", html! {});
    }
    empty(
        "No records",
        html! {
            @match text {
                Some(_) => p { "No record has this text in its name, its action or its target." },
                None => p { "Each action of an operator leaves a record here: who did what to which events, and when." },
            }
        },
    )
}

fn row(record: &AuditRecord) -> Row {
    let details = record.details.get();
    Row {
        id: Some(format!("audit-{}", record.id)),
        href: None,
        key: Some(record.target.clone()),
        cells: vec![
            html! { (exact(record.at)) div.faint { (ago(record.at)) } },
            html! { (record.actor) },
            html! { (record.action) },
            html! { code { (cut(&record.target, 200)) } },
            html! { @match record.count { Some(count) => (number(count)), None => "–" } },
            html! {
                @if record.result == "done" { (badge(Tone::Good, "done")) }
                @else { (badge(Tone::Warn, "not done")) div.faint { (cut(&record.result, 200)) } }
            },
            html! { @if !matches!(details, "null" | "{}") { code { (cut(details, 200)) } } },
        ],
    }
}

/// How the records of an export are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// All records that match, the newest first. A store that fails ends the export with a line that says so.
pub(super) fn export(view: &View<'_>, name: &str) -> Result<Response<UiBody>, Problem> {
    let (format, content_type) = match name {
        "export.csv" => (Format::Csv, "text/csv; charset=utf-8"),
        "export.ndjson" => (Format::Ndjson, "application/x-ndjson"),
        _ => return Err(Problem::no_such_path()),
    };
    let text = view.parameter("text").filter(|it| !it.is_empty());
    let permit = view.ui.exports().begin()?;
    let (ui, caller) = (view.ui.clone(), view.visitor.caller.clone());
    let is_allowed = session::watch(&ui, view.head(), &caller);
    let (sender, body) = UiBody::streamed();
    tokio::spawn(async move {
        let _permit = permit;
        let mut piece = String::new();
        if format == Format::Csv {
            csv::write_line(
                &mut piece,
                [
                    "id", "at", "actor", "action", "target", "count", "result", "details",
                ],
            );
        }
        let (mut before, mut written) = (None, 0);
        loop {
            let page = data::audit(&ui, &caller, text.as_deref(), before, EXPORT_PAGE).await;
            let next = match page {
                Ok(page) => {
                    written += page.records.len();
                    for record in &page.records {
                        write(&mut piece, format, record);
                    }
                    page.next_before.filter(|_| written < MAX_EXPORTED)
                }
                Err(problem) => {
                    // Writing to a string never fails.
                    let _ = match format {
                        Format::Csv => write!(piece, "incomplete: {}\r\n", problem.detail()),
                        Format::Ndjson => {
                            let line = serde_json::json!({ "incomplete": problem.detail() });
                            writeln!(piece, "{line}")
                        }
                    };
                    None
                }
            };
            let is_read = data::send_piece(&sender, std::mem::take(&mut piece).into()).await;
            if !is_read || next.is_none() || ui.is_stopping() || !is_allowed(&ui) {
                return;
            }
            before = next;
        }
    });
    let name = name.replace("export", "audit");
    Ok(attachment(content_type, &name, body))
}

fn write(piece: &mut String, format: Format, record: &AuditRecord) {
    match format {
        Format::Ndjson => {
            // Documents of this crate can always be written.
            piece.push_str(&serde_json::to_string(record).unwrap_or_default());
            piece.push('\n');
        }
        Format::Csv => {
            let (id, at) = (record.id.to_string(), record.at.to_string());
            let count = record.count.map(|it| it.to_string()).unwrap_or_default();
            let details = match record.details.get() {
                "null" => "",
                details => details,
            };
            let fields = [
                id.as_str(),
                &at,
                &record.actor,
                &record.action,
                &record.target,
                &count,
                &record.result,
                details,
            ];
            csv::write_line(piece, fields);
        }
    }
}
