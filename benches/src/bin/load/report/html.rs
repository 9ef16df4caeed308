//! The report as an HTML page without scripts and without external fonts or images.

mod chart;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;

use super::table::{self, Table};
use super::{Report, Run, Section};
use crate::recording::Point;
use chart::{Chart, Line, Scale};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6b7280; --rule: #d5d9df; --paper: #fff;
  --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa3af; --rule: #3a4049; --paper: #16181c;
    --good: #6fcf8a; --bad: #f28b82; } }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid var(--rule); text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dt { color: var(--soft); float: left; width: 7rem; } dd { margin-left: 8rem; }
h3 { margin: 1.5rem 0 .2rem; font-size: 1rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
.met { color: var(--good); } .missed, .failure { color: var(--bad); font-weight: 600; }
svg { max-width: 100%; height: auto; }
";

// Readable on light and on dark paper.
const BLUE: RGBColor = RGBColor(59, 130, 246);
const ORANGE: RGBColor = RGBColor(217, 119, 6);
const RED: RGBColor = RGBColor(220, 38, 38);

pub(super) fn page(report: &Report) -> anyhow::Result<String> {
    let sections: Vec<Markup> = report
        .sections
        .iter()
        .map(section)
        .collect::<anyhow::Result<_>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Load bench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Load bench" }
                dl {
                    @for (name, fact) in report.machine.lines() { dt { (name) } dd { (fact) } }
                }
                @if report.quick {
                    p.failure { "--quick: too small for the figures to mean anything" }
                }
                @if let Some(verdicts) = table::verdicts(report) {
                    h2 { "Targets" }
                    (rows(&verdicts))
                }
                @for section in sections { (section) }
            }
        }
    };
    Ok(page.into_string())
}

fn section(section: &Section) -> anyhow::Result<Markup> {
    let tables = [
        table::runs(section),
        table::figures(section),
        table::peers(section),
    ];
    let runs: Vec<(&str, Vec<String>)> = section
        .runs
        .iter()
        .filter(|run| run.points.len() > 1)
        .map(|run| Ok((run.name.as_str(), charts(run)?)))
        .collect::<anyhow::Result<_>>()?;
    let series: Vec<String> = section
        .series
        .iter()
        .map(|series| {
            let line = Line {
                name: series.title,
                colour: BLUE,
                points: series.points.clone(),
            };
            let lines = vec![line];
            let (title, scale) = (series.title, Scale::Linear);
            Chart {
                title,
                scale,
                lines,
            }
            .svg()
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(html! {
        h2 {
            (section.name)
            @if let Some(backend) = section.backend { " on " (backend) }
        }
        p { (section.title) }
        @for note in &section.notes { p { "Left out: " (note) } }
        @for failure in &section.failures { p.failure { "Failed: " (failure) } }
        @for table in tables.iter().flatten() { (rows(table)) }
        @for peer in &section.peers {
            p { (peer.queue) " " (peer.version) ": " (peer.settings) }
        }
        @for (name, charts) in runs {
            h3 { (name) }
            div.charts { @for svg in charts { (PreEscaped(svg)) } }
        }
        div.charts { @for svg in series { (PreEscaped(svg)) } }
    })
}

/// Throughput over time and, where callers waited for answers, latency.
fn charts(run: &Run) -> anyhow::Result<Vec<String>> {
    let line = |name, colour, value: fn(&Point) -> f64| Line {
        name,
        colour,
        points: run
            .points
            .iter()
            .map(|point| (point.at, value(point)))
            .collect(),
    };
    let throughput = Chart {
        title: "per second",
        scale: Scale::Linear,
        lines: vec![line("rate", BLUE, |point| point.per_second)],
    };
    let latency = run.latency.map(|_| Chart {
        title: "latency, ms",
        scale: Scale::Logarithmic,
        lines: vec![
            line("p50", BLUE, |point| point.p50),
            line("p99", ORANGE, |point| point.p99),
            line("max", RED, |point| point.max),
        ],
    });
    [Some(throughput), latency]
        .iter()
        .flatten()
        .map(Chart::svg)
        .collect()
}

fn rows((header, rows): &Table) -> Markup {
    html! {
        table {
            tr { @for cell in header { th { (cell) } } }
            @for row in rows {
                tr {
                    @for cell in row {
                        td.met[cell == "met"].missed[cell == "MISSED"] { (cell) }
                    }
                }
            }
        }
    }
}
