//! The first screen: whether the inbox is healthy, and what fails.

use http::Response;
use maud::{Markup, html};

use super::components::{
    Column, Row, Tone, ago, badge, capped, code, duration, empty, event_path, number, rate, table,
    tile,
};
use super::destinations;
use super::frame::{Live, Page, Screen, View};
use super::snapshot::{Numbers, Snapshot, sum};
use super::sources::{
    self, Health, hour, last_minute, pause_or_resume, received_sparkline, test_button,
};
use crate::UiBody;
use crate::model::{
    Capped, Destination, DestinationState, Failures, Sample, Series, SourceOverview,
};

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
    let content = html! {
        div.title {
            h1 { "Overview" }
            (verdict(snapshot, &sources, &destinations))
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
            (failure_table(view, &failures))
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
fn verdict(
    snapshot: &Snapshot,
    sources: &[(&SourceOverview, Health)],
    destinations: &[&Destination],
) -> Markup {
    let with = |health: Health| -> Vec<&str> {
        let found = sources.iter().filter(|(_, it)| *it == health);
        found.map(|(source, _)| source.info.name.as_str()).collect()
    };
    let (failing, late, silent) = (
        with(Health::Failing),
        with(Health::Late),
        with(Health::Silent),
    );
    let paused = with(Health::Paused);
    let open = destinations
        .iter()
        .any(|it| it.state == DestinationState::Open);
    let (tone, text) = if let [outage, others @ ..] = snapshot.outages() {
        let problem = &outage.problem;
        let text = match others.len() {
            0 => problem.clone(),
            others => format!("{problem}, and {others} more"),
        };
        (Tone::Bad, text)
    } else if !failing.is_empty() || open {
        (Tone::Bad, format!("failing: {}", names(&failing)))
    } else if let Some(age) = snapshot.stale_seconds() {
        let age = duration(age);
        (Tone::Warn, format!("the numbers of events are {age} old"))
    } else if !late.is_empty() {
        (
            Tone::Warn,
            format!("events wait too long: {}", names(&late)),
        )
    } else if !silent.is_empty() {
        (Tone::Warn, format!("silent: {}", names(&silent)))
    } else if !paused.is_empty() {
        (Tone::Warn, format!("paused: {}", names(&paused)))
    } else if sources.is_empty() {
        (Tone::Idle, "no source yet".to_owned())
    } else if sources.iter().all(|(source, _)| is_untouched(source)) {
        (Tone::Idle, "nothing received yet".to_owned())
    } else {
        (Tone::Good, "healthy".to_owned())
    };
    html! { span #verdict { (badge(tone, &text)) } }
}

/// The first names, and how many there are beside them.
fn names(names: &[&str]) -> String {
    match names {
        [] => "a destination".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        _ => names.join(", "),
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

fn failure_table(view: &View<'_>, failures: &Failures) -> Markup {
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
            p.faint { "No event has failed." }
        } @else {
            (table("failures", "Newest groups of failures", &FAILURE_COLUMNS, &rows))
            p {
                @if failures.more { "Of the newest " (number(failures.examined)) " FAILED events. " }
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{InstanceInfo, Outage, Overview, SourceInfo, Time};

    /// A source that has received something, and of which nothing has failed.
    fn healthy() -> Snapshot {
        let mut info = SourceInfo {
            name: "shop".to_owned(),
            state: "enabled".to_owned(),
            path: Some("/v1/webhooks/shop".to_owned()),
            last_received_at: Some(Time::now()),
            ..SourceInfo::default()
        };
        info.counts.received = 1;
        Snapshot::of(Overview {
            instance: InstanceInfo::default(),
            sampled_at: Some(Time::now()),
            sources: vec![SourceOverview {
                info,
                sample: Some(Sample::default()),
                series: None,
            }],
            destinations: Vec::new(),
        })
    }

    fn verdict_of(change: impl FnOnce(&mut Overview)) -> String {
        let mut snapshot = healthy();
        change(&mut snapshot.overview);
        let sources = snapshot.overview.sources.iter();
        let sources: Vec<_> = sources
            .map(|it| (it, Health::of(it, None, snapshot.outages())))
            .collect();
        verdict(&snapshot, &sources, &[]).into_string()
    }

    fn away(count: usize) -> impl Fn(&mut Overview) {
        let outage = |number| Outage {
            problem: format!("partition {number} of 9 does not answer"),
            effect: "its events wait".to_owned(),
            since: Time::now(),
        };
        move |it| it.instance.outages = (0..count).map(outage).collect()
    }

    #[test]
    fn what_does_not_work_is_worse_than_anything_else() {
        let verdict = verdict_of(|_| {});
        assert!(verdict.contains("badge good") && verdict.contains("healthy"));
        for (count, expected) in [
            (1, "partition 0 of 9 does not answer<"),
            (3, "partition 0 of 9 does not answer, and 2 more<"),
        ] {
            for paused in [false, true] {
                let verdict = verdict_of(|it| {
                    away(count)(it);
                    it.sources[0].sample = Some(Sample {
                        paused,
                        ..Sample::default()
                    });
                });
                assert!(verdict.contains("badge bad"), "{verdict}");
                assert!(verdict.contains(expected), "{verdict}");
            }
        }
        // Before anything was received, too.
        let verdict = verdict_of(|it| {
            away(1)(it);
            it.sources.clear();
        });
        assert!(verdict.contains("badge bad"), "{verdict}");
    }

    #[test]
    fn nothing_is_healthy_by_old_numbers() {
        let verdict = verdict_of(|it| it.sampled_at = Some(SystemTime::UNIX_EPOCH.into()));
        assert!(verdict.contains("badge warn"), "{verdict}");
        assert!(verdict.contains("the numbers of events are "), "{verdict}");
    }

    #[test]
    fn no_source_is_healthy_while_the_store_is_away() {
        let mut snapshot = healthy();
        let health = |snapshot: &Snapshot| {
            Health::of(&snapshot.overview.sources[0], None, snapshot.outages())
        };
        assert_eq!(health(&snapshot), Health::Healthy);
        away(1)(&mut snapshot.overview);
        assert_eq!(health(&snapshot), Health::Away);
    }
}
