//! A page that needs nothing else: no script, no font, no picture from elsewhere.

mod chart;

use std::fmt::Write as _;

use super::table::{self, Table};
use super::{Report, Run, Section};
use chart::{Chart, Line, Scale};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6b7280; --rule: #d5d9df; --paper: #fff;
  --one: #2563eb; --two: #d97706; --three: #b91c1c; --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa3af; --rule: #3a4049; --paper: #16181c;
    --one: #7aa7ff; --two: #f2b45c; --three: #f28b82; --good: #6fcf8a; --bad: #f28b82; } }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid var(--rule); text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dt { color: var(--soft); float: left; width: 7rem; } dd { margin-left: 8rem; }
h3 { margin: 1.5rem 0 .2rem; font-size: 1rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
.met { color: var(--good); } .missed, .failure { color: var(--bad); font-weight: 600; }
svg { width: 34rem; max-width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
svg .rule { stroke: var(--rule); } svg polyline { fill: none; stroke-width: 1.5; }
svg .one { stroke: var(--one); } svg .two { stroke: var(--two); } svg .three { stroke: var(--three); }
svg text.one { fill: var(--one); stroke: none; } svg text.two { fill: var(--two); stroke: none; }
svg text.three { fill: var(--three); stroke: none; }
";

pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load bench</title><style>{STYLE}</style>\n<h1>Load bench</h1>\n<dl>"
    );
    for (name, fact) in report.machine.lines() {
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&fact));
    }
    page.push_str("</dl>\n");
    if report.quick {
        page.push_str("<p class=\"failure\">Too small to mean anything: --quick</p>\n");
    }
    if let Some(verdicts) = table::verdicts(report) {
        page.push_str("<h2>Targets</h2>\n");
        push_table(&mut page, &verdicts);
    }
    for section in &report.sections {
        push_section(&mut page, section);
    }
    page.push_str("</html>\n");
    page
}

fn push_section(page: &mut String, section: &Section) {
    let _ = writeln!(
        page,
        "<h2>{}</h2><p>{}</p>",
        escape(section.name),
        escape(section.title)
    );
    for failure in &section.failures {
        let _ = writeln!(page, "<p class=\"failure\">Failed: {}</p>", escape(failure));
    }
    let tables = [
        table::runs(section),
        table::figures(section),
        table::peers(section),
    ];
    for table in tables.iter().flatten() {
        push_table(page, table);
    }
    for peer in &section.peers {
        let settings = format!("{} {}: {}", peer.queue, peer.version, peer.settings);
        let _ = writeln!(page, "<p>{}</p>", escape(&settings));
    }
    for run in section.runs.iter().filter(|run| run.points.len() > 1) {
        push_charts(page, run);
    }
    page.push_str("<div class=\"charts\">");
    for series in &section.series {
        let chart = Chart {
            title: series.title,
            scale: Scale::FromZero,
            lines: vec![Line {
                name: series.title,
                class: "one",
                points: series.points.clone(),
            }],
        };
        page.push_str(&chart.svg());
    }
    page.push_str("</div>\n");
}

fn push_charts(page: &mut String, run: &Run) {
    let line = |name, class, value: fn(&crate::recording::Point) -> f64| Line {
        name,
        class,
        points: run
            .points
            .iter()
            .map(|point| (point.at, value(point)))
            .collect(),
    };
    let _ = write!(page, "<h3>{}</h3><div class=\"charts\">", escape(&run.name));
    let throughput = Chart {
        title: "per second",
        scale: Scale::FromZero,
        lines: vec![line("rate", "one", |point| point.per_second)],
    };
    page.push_str(&throughput.svg());
    if run.latency.is_some() {
        let latency = Chart {
            title: "latency, ms",
            scale: Scale::Logarithmic,
            lines: vec![
                line("p50", "one", |point| point.p50),
                line("p99", "two", |point| point.p99),
                line("max", "three", |point| point.max),
            ],
        };
        page.push_str(&latency.svg());
    }
    page.push_str("</div>\n");
}

fn push_table(page: &mut String, (header, rows): &Table) {
    page.push_str("<table><tr>");
    for cell in header {
        let _ = write!(page, "<th>{}</th>", escape(cell));
    }
    page.push_str("</tr>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let class = match cell.as_str() {
                "met" => " class=\"met\"",
                "MISSED" => " class=\"missed\"",
                _ => "",
            };
            let _ = write!(page, "<td{class}>{}</td>", escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
