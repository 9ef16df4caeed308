//! The first screen: whether the inbox is healthy, and what fails.

use http::Response;
use maud::{Markup, html};

use super::components::{
    Column, Row, Tone, ago, badge, capped, code, duration, empty, event_path, number, rate, table,
    tile,
};
use super::destinations;
use super::frame::{Live, Page, Screen, View};
use super::snapshot::{Numbers, sum};
use super::sources::{
    self, Health, hour, last_minute, pause_or_resume, received_sparkline, test_button,
};
use super::troubles::{Trouble, troubles};
use crate::UiBody;
use crate::model::{Capped, Failures, Sample, Series, SourceOverview};

/// How many groups of failures are shown.
const MAX_FAILURES: usize = 5;

/// How many sources without any event are shown with their examples.
const MAX_EXAMPLES: usize = 10;

/// How many minutes a row of the table behind the sparklines has.
const TABLE_MINUTES: usize = 5;

pub(super) async fn show(view: &View<'_>) -> Response<UiBody> {
    let snapshot = view.snapshot();
    let caller = &view.visitor.caller;
    let destinations: Vec<_> = snapshot.destinations(caller).collect();
    let sources: Vec<_> = snapshot
        .sources(caller)
        .map(|source| {
            let name = &source.info.name;
            let destination = destinations.iter().find(|it| it.source == *name);
            let health = Health::of(source, destination.map(|it| it.state), snapshot.outages());
            (source, health)
        })
        .collect();
    let is_sampled = snapshot.overview.sampled_at.is_some();
    let nothing_yet = sources.iter().all(|(source, _)| is_untouched(source));
    let failures = match nothing_yet {
        true => None,
        false => view
            .ui
            .dashboard()
            .failures(view.ui, caller, None)
            .await
            .ok(),
    };
    let troubles = troubles(snapshot, &sources, &destinations);
    let content = html! {
        div.title {
            h1 { "Overview" }
            (verdict(&troubles, &sources))
        }
        @if nothing_yet {
            (nothing_received(view, &sources))
        } @else {
            (tiles(view, &sources, is_sampled))
            h2 #sources-heading { "Sources" }
            (source_table(view, &sources, is_sampled))
            (minutes(&sources))
        }
        @if !destinations.is_empty() {
            h2 { "Destinations" }
            (destinations::overview(view, &destinations))
        }
        @if let Some(failures) = failures {
            h2 { "Newest failures" }
            (failure_table(view, &failures, &troubles))
        }
    };
    view.page(Page {
        screen: Some(Screen::Overview),
        title: "Overview".to_owned(),
        live: Live::Reload(Numbers::All),
        content,
    })
    .await
}

/// Whether a source has neither received anything nor events from before.
fn is_untouched(source: &SourceOverview) -> bool {
    let none = Capped::default();
    let sample = source.sample.clone().unwrap_or_default();
    source.info.counts.received == 0
        && source.info.counts.refused == 0
        && [sample.waiting, sample.due, sample.leased, sample.failed] == [none; 4]
}

/// What an operator sees in the first second.
fn verdict(troubles: &[Trouble], sources: &[(&SourceOverview, Health)]) -> Markup {
    html! {
        span #verdict {
            @if troubles.is_empty() {
                @if sources.is_empty() {
                    (badge(Tone::Idle, "no source yet"))
                } @else if sources.iter().all(|(source, _)| is_untouched(source)) {
                    (badge(Tone::Idle, "nothing received yet"))
                } @else {
                    (badge(Tone::Good, "healthy"))
                }
            }
            @for trouble in troubles { (badge(trouble.tone, &trouble.text)) " " }
        }
    }
}

/// What is not known is not 0.
fn known(value: Option<Markup>) -> Markup {
    value.unwrap_or_else(|| html! { span.faint { "–" } })
}

/// `is_sampled` tells whether the store was asked for its numbers yet.
fn tiles(view: &View<'_>, sources: &[(&SourceOverview, Health)], is_sampled: bool) -> Markup {
    let samples = || {
        let all = sources.iter();
        all.filter_map(|(source, _)| source.sample.as_ref())
    };
    let series = || {
        let all = sources.iter();
        all.filter_map(|(source, _)| source.series.as_ref())
    };
    let total = |of: fn(&Sample) -> Capped| capped(sum(samples().map(of)));
    let sampled = |of: fn(&Sample) -> Capped| known(is_sampled.then(|| html! { (total(of)) }));
    let oldest = samples()
        .filter_map(|it| it.oldest_due_age_seconds)
        .reduce(f64::max);
    let has_series = series().next().is_some();
    let minute = |of: fn(&Series) -> &Vec<u64>| series().map(|it| last_minute(of(it))).sum::<u64>();
    let counted = |text: String| known(has_series.then(|| html! { (text) }));
    html! {
        dl.tiles {
            (tile("total-received", "Received/s", &counted(rate(per_second(minute(|it| &it.received))))))
            (tile("total-processed", "Processed/min", &counted(number(minute(|it| &it.processed)))))
            (tile("total-due", "Due", &sampled(|it| it.due)))
            (tile("total-oldest", "Oldest due", &known(oldest.map(|age| html! { (duration(age)) }))))
            (tile("total-leased", "In flight", &sampled(|it| it.leased)))
            (tile("total-failed", "Failed", &known(is_sampled.then(|| html! {
                a href=(view.link("/failed")) { (total(|it| it.failed)) }
            }))))
            (tile("total-refused", "Refused, last hour", &counted(
                number(series().map(|it| hour(&it.refused)).sum())
            )))
        }
    }
}

/// The rate of a minute.
#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
fn per_second(minute: u64) -> f64 {
    minute as f64 / 60.0
}

const SOURCE_COLUMNS: [Column; 14] = [
    Column::heading("Source"),
    Column::text("State"),
    Column::number("Received per s"),
    Column::text("Last hour"),
    Column::number("Accept p99"),
    Column::number("Dupl. per h"),
    Column::number("Confl. per h"),
    Column::number("Refused per h"),
    Column::number("Due"),
    Column::number("Oldest"),
    Column::number("In flight"),
    Column::number("Done per min"),
    Column::number("Failed per min"),
    Column::control("Actions"),
];

fn source_table(
    view: &View<'_>,
    sources: &[(&SourceOverview, Health)],
    is_sampled: bool,
) -> Markup {
    let rows: Vec<Row> = sources
        .iter()
        .map(|(source, health)| source_row(view, source, *health, is_sampled))
        .collect();
    table("sources", "Sources", &SOURCE_COLUMNS, &rows)
}

fn source_row(view: &View<'_>, source: &SourceOverview, health: Health, is_sampled: bool) -> Row {
    let name = &source.info.name;
    let sample = source.sample.clone().unwrap_or_default();
    let series = source.series.as_ref();
    let link = view.link(&sources::path(name));
    let of_hour = |of: fn(&Series) -> &Vec<u64>| known(series.map(|it| quiet(hour(of(it)))));
    let of_minute =
        |of: fn(&Series) -> &Vec<u64>| known(series.map(|it| quiet(last_minute(of(it)))));
    let has = |of: fn(&Series) -> &Vec<u64>| series.is_some_and(|it| hour(of(it)) > 0);
    let count = |count: Capped| known(is_sampled.then(|| html! { (capped(count)) }));
    Row {
        id: Some(format!("source-{name}")),
        href: Some(link.clone()),
        key: Some(name.clone()),
        cells: vec![
            html! { a href=(link) { (name) } },
            health.badge(source),
            known(series.map(|it| html! { (rate(per_second(last_minute(&it.received)))) })),
            known(series.map(received_sparkline)),
            known(source.info.accept_p99_seconds.map(latency)),
            of_hour(|it| &it.duplicates),
            html! { span.strong[has(|it| &it.conflicts)] { (of_hour(|it| &it.conflicts)) } },
            of_hour(|it| &it.refused),
            count(sample.due),
            known(
                sample
                    .oldest_due_age_seconds
                    .map(|age| html! { (duration(age)) }),
            ),
            count(sample.leased),
            of_minute(|it| &it.processed),
            html! { span.strong[has(|it| &it.failed)] { (of_minute(|it| &it.failed)) } },
            pause_or_resume(view, "source", name, sample.paused),
        ],
    }
}

/// A time that is estimated from a histogram, whose first bucket ends at a millisecond.
fn latency(seconds: f64) -> Markup {
    html! { @if seconds < 0.001 { "< 1 ms" } @else { (duration(seconds)) } }
}

/// A number that is less visible if it is 0.
fn quiet(count: u64) -> Markup {
    html! { span.faint[count == 0] { (number(count)) } }
}

/// The table behind the sparklines.
fn minutes(sources: &[(&SourceOverview, Health)]) -> Markup {
    let with_series: Vec<_> = sources
        .iter()
        .filter_map(|(source, _)| Some((&source.info.name, source.series.as_ref()?)))
        .collect();
    let Some(minutes) = with_series
        .iter()
        .map(|(_, series)| series.received.len())
        .max()
    else {
        return html! {};
    };
    html! {
        details #received-table {
            summary { "Received in the last hour, as a table" }
            div.wide tabindex="0" role="region" aria-label="Received in the last hour" {
                table {
                    caption.unseen { "Events received, by source, in each five minutes" }
                    thead { tr {
                        th scope="col" { "Source" }
                        @for first in (0..minutes).step_by(TABLE_MINUTES) {
                            th.number scope="col" { "−" (minutes - first) " min" }
                        }
                    } }
                    tbody {
                        @for (name, series) in with_series {
                            tr {
                                th scope="row" { (name) }
                                @for minutes in series.received.chunks(TABLE_MINUTES) {
                                    td.number { (number(hour(minutes))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

const FAILURE_COLUMNS: [Column; 4] = [
    Column::heading("Reason"),
    Column::text("Source"),
    Column::number("Events"),
    Column::text("Last failed"),
];

fn failure_table(view: &View<'_>, failures: &Failures, troubles: &[Trouble]) -> Markup {
    let rows: Vec<Row> = failures
        .groups
        .iter()
        .take(MAX_FAILURES)
        .map(|group| {
            let sample = &group.sample;
            let link = view.link(&event_path(&sample.source, &sample.key));
            let reason = sample.error.as_deref().unwrap_or("no reason");
            Row {
                href: Some(link.clone()),
                cells: vec![
                    html! { a.reason href=(link) { (reason) } },
                    html! { a href=(view.link(&sources::path(&group.source))) { (group.source) } },
                    html! { (number(group.count)) },
                    html! { @if let Some(at) = group.last_failed_at { (ago(at)) } },
                ],
                ..Row::default()
            }
        })
        .collect();
    html! {
        @if rows.is_empty() {
            p.faint #no-failures {
                @if failures.stopped_early {
                    "No FAILED event was found before the search stopped early."
                } @else {
                    "No event is FAILED."
                }
                @if let Some(trouble) = troubles.first() {
                    " An event is FAILED only after its last attempt. Not everything is well: "
                    (trouble.text) "."
                }
            }
        } @else {
            (table("failures", "Newest groups of failures", &FAILURE_COLUMNS, &rows))
            p {
                @if failures.more {
                    "Of the newest " (number(failures.examined)) " FAILED events. "
                } @else if failures.stopped_early {
                    "Of the FAILED events that were found before the search stopped early. "
                }
                a #all-failures href=(view.link("/failed")) { "All failures" }
            }
        }
    }
}

/// What to do first.
fn nothing_received(view: &View<'_>, sources: &[(&SourceOverview, Health)]) -> Markup {
    let receiving: Vec<_> = sources
        .iter()
        .filter(|(source, _)| source.info.path.is_some())
        .collect();
    if receiving.is_empty() {
        return empty(
            "Nothing received yet",
            html! {
                p { "Events are shown here as soon as the app accepts one." }
            },
        );
    }
    html! {
        section.empty #nothing-yet {
            h2 { "Nothing received yet" }
            p { "Give its URL to a sender, or send a test event: it is signed, verified and stored as a real one." }
        }
        @for (source, _) in receiving.iter().take(MAX_EXAMPLES) {
            @let info = &source.info;
            section.card id={ "start-" (info.name) } aria-labelledby={ "start-" (info.name) "-name" } {
                div.title {
                    h3 id={ "start-" (info.name) "-name" } {
                        a href=(view.link(&sources::path(&info.name))) { (info.name) }
                    }
                    @if let Some(preset) = &info.preset { span.faint { (preset) } }
                    div.actions { (test_button(view, source)) }
                }
                @let url = info.url.as_deref().or(info.path.as_deref()).unwrap_or_default();
                (code(&format!("url-{}", info.name), &format!("URL of {}", info.name), url))
                @if let Some((hint, example)) = sources::example(view, info) {
                    p { (hint) }
                    (code(&format!("example-{}", info.name), &format!("Command for {}", info.name), &example))
                }
            }
        }
        @if receiving.len() > MAX_EXAMPLES {
            p { a href=(view.link("/sources")) { "All " (receiving.len()) " sources" } }
        }
    }
}
