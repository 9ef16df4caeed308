//! Sources: what they have received, and how they are set up.

use bytes::Bytes;
use http::Response;
use maud::{Markup, html};
use webhook_core::Kind;

use super::Form;
use super::components::{
    Column, Row, Tone, action, ago, badge, capped, code, duration, empty, events_path, exact,
    number, paused_badge, sparkline, table, tile,
};
use super::frame::{Live, Page, Screen, View};
use super::snapshot::Numbers;
use crate::api::kind;
use crate::model::{Capped, DestinationState, Outage, Series, SourceInfo, SourceOverview};
use crate::{Problem, UiBody, actions};

/// Events that wait longer for a worker mean that something fails.
const OLD_SECONDS: f64 = 300.0;

/// The minutes in which a failed event makes a source fail.
const RECENT_MINUTES: usize = 5;

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Failing,
    Away,
    Silent,
    Late,
    Paused,
    Off,
    New,
    Healthy,
}

impl Health {
    /// The worst that is true of the source.
    pub(super) fn of(
        source: &SourceOverview,
        destination: Option<DestinationState>,
        outages: &[Outage],
    ) -> Self {
        let sample = source.sample.as_ref();
        let oldest = sample.and_then(|it| it.oldest_due_age_seconds);
        if source.info.state != "enabled" {
            Self::Off
        } else if sample.is_some_and(|it| it.paused)
            || destination == Some(DestinationState::Paused)
        {
            Self::Paused
        } else if has_failed_lately(source) || destination == Some(DestinationState::Open) {
            Self::Failing
        } else if !outages.is_empty() {
            Self::Away
        } else if oldest.is_some_and(|it| it > OLD_SECONDS) {
            Self::Late
        } else if source.info.silent_since.is_some() {
            Self::Silent
        } else if source.info.path.is_some() && source.info.last_received_at.is_none() {
            Self::New
        } else {
            Self::Healthy
        }
    }

    pub(super) fn badge(self, source: &SourceOverview) -> Markup {
        match self {
            Self::Failing => badge(Tone::Bad, "failing"),
            Self::Away => badge(Tone::Warn, "store away"),
            Self::Silent => badge(Tone::Warn, "silent"),
            Self::Late => badge(Tone::Warn, "late"),
            Self::Paused => paused_badge(),
            Self::Off => badge(Tone::Idle, &source.info.state),
            Self::New => badge(Tone::Idle, "nothing yet"),
            Self::Healthy => badge(Tone::Good, "healthy"),
        }
    }

    /// What the word means here.
    fn explanation(self, source: &SourceOverview) -> String {
        match self {
            Self::Failing => {
                "Events have failed in the last five minutes, or the destination does not answer."
                    .to_owned()
            }
            Self::Away => {
                "The store, or a part of it, does not answer: deliveries that need it get 503."
                    .to_owned()
            }
            Self::Silent => "It has received nothing for longer than expected.".to_owned(),
            Self::Late => "The oldest due event waits for longer than five minutes.".to_owned(),
            Self::Paused => {
                "Events are accepted and wait. They are processed when the source is resumed."
                    .to_owned()
            }
            Self::Off => format!("The configuration says that it is {}.", source.info.state),
            Self::New => "It has received nothing since this process started.".to_owned(),
            Self::Healthy => {
                "It receives, and nothing has failed in the last five minutes.".to_owned()
            }
        }
    }
}

/// Whether an event has failed for good in the last [`RECENT_MINUTES`].
pub(super) fn has_failed_lately(source: &SourceOverview) -> bool {
    let series = source.series.as_ref();
    series.is_some_and(|it| recent(&it.failed) > 0)
}

/// The sum of the latest minutes.
fn recent(minutes: &[u64]) -> u64 {
    minutes
        .iter()
        .rev()
        .take(RECENT_MINUTES)
        .fold(0, |sum, it| sum.saturating_add(*it))
}

/// The sum of all minutes.
pub(super) fn hour(minutes: &[u64]) -> u64 {
    minutes.iter().fold(0, |sum, it| sum.saturating_add(*it))
}

/// The number of the last minute that has ended.
pub(super) fn last_minute(minutes: &[u64]) -> u64 {
    minutes.iter().rev().nth(1).copied().unwrap_or(0)
}

/// The bars of what a source has received, with words for who does not see them.
pub(super) fn received_sparkline(series: &Series) -> Markup {
    let received = &series.received;
    let most = received.iter().copied().max().unwrap_or(0);
    let label = format!(
        "{} received in the last hour, at most {} in a minute",
        number(hour(received)),
        number(most)
    );
    sparkline(received, &label)
}

/// The link to the page of a source. Names of sources need no escapes.
pub(super) fn path(name: &str) -> String {
    format!("/sources/{name}")
}

/// The button that pauses or resumes a source, for callers who may act. `place` keeps its id apart from those of other
/// places of the page.
pub(super) fn pause_or_resume(view: &View<'_>, place: &str, name: &str, is_paused: bool) -> Markup {
    if !view.visitor.caller.may_operate() {
        return html! {};
    }
    let path = path(name);
    if is_paused {
        let label = format!("Resume {name}");
        action(
            view,
            &format!("{place}-resume-{name}"),
            &format!("{path}/resume"),
            "Resume",
            &label,
        )
    } else {
        html! {
            a.button id={ (place) "-pause-" (name) } href=(view.link_and_back(&format!("{path}/pause"))) data-dialog
                aria-label={ "Pause " (name) }
            { "Pause" }
        }
    }
}

/// The button that sends a test event, for callers who may act.
pub(super) fn test_button(view: &View<'_>, source: &SourceOverview) -> Markup {
    let name = &source.info.name;
    if !source.info.can_test || !view.visitor.caller.may_operate() {
        return html! {};
    }
    let label = format!("Send test event to {name}");
    action(
        view,
        &format!("test-{name}"),
        &format!("{}/test-event", path(name)),
        "Send test event",
        &label,
    )
}

/// The body of the event that an example sends.
const EXAMPLE_BODY: &[u8] = br#"{"id":"evt_example","type":"example"}"#;

/// A command that sends an event as the sender of a source would, with what there is to know about it. One with a
/// signature is only for callers who may act.
pub(super) fn example(view: &View<'_>, source: &SourceInfo) -> Option<(&'static str, String)> {
    if let Some(example) = &source.example {
        return Some((
            "From a terminal, with SECRET set to the secret of the source:",
            example.clone(),
        ));
    }
    if !view.visitor.caller.may_operate() {
        return None;
    }
    let name = Kind::new(source.name.clone()).ok()?;
    let body = Bytes::from_static(EXAMPLE_BODY);
    let command = view.ui.instance().signed_curl(&name, &body)?;
    Some((
        "From a terminal. Load the page again when the signature is too old:",
        command,
    ))
}

/// The page with all sources.
pub(super) async fn list(view: &View<'_>) -> Response<UiBody> {
    let snapshot = view.snapshot();
    let caller = &view.visitor.caller;
    let sources: Vec<_> = snapshot.sources(caller).collect();
    let states: Vec<_> = snapshot
        .destinations(caller)
        .map(|it| (it.source.as_str(), it.state))
        .collect();
    let rows: Vec<Row> = sources
        .iter()
        .map(|source| {
            let info = &source.info;
            let destination = states.iter().find(|(name, _)| *name == info.name);
            let link = view.link(&path(&info.name));
            Row {
                id: Some(format!("source-{}", info.name)),
                href: Some(link.clone()),
                key: Some(info.name.clone()),
                cells: vec![
                    html! { a href=(link) { (info.name) } },
                    Health::of(source, destination.map(|(_, state)| *state), snapshot.outages()).badge(source),
                    html! {
                        @if let Some(preset) = &info.preset { (preset) }
                        @else if let Some(scheme) = &info.scheme { (scheme) }
                        @else { span.faint { "app" } }
                    },
                    secrets_word(source),
                    html! {
                        @if let Some(at) = info.last_received_at { (ago(at)) } @else { span.faint { "never" } }
                    },
                    html! {
                        @if let Some(seconds) = info.expect_every_seconds { "every " (duration(seconds)) }
                        @else { span.faint { "–" } }
                    },
                    html! { (number(info.counts.received)) },
                    html! { (number(info.counts.refused)) },
                ],
            }
        })
        .collect();
    let content = html! {
        h1 { "Sources" }
        @if sources.is_empty() {
            (empty("No source is configured", html! {
                p { "A source receives the webhooks of one sender. Add one to the configuration, and it is listed here." }
            }))
        } @else {
            p.lead { "Numbers count from the start of this process." }
            (table("sources", "Sources", &LIST_COLUMNS, &rows))
        }
    };
    view.page(Page {
        screen: Some(Screen::Sources),
        title: "Sources".to_owned(),
        live: Live::Reload(Numbers::All),
        content,
    })
    .await
}

const LIST_COLUMNS: [Column; 8] = [
    Column::heading("Source"),
    Column::text("State"),
    Column::text("Sender"),
    Column::text("Secret"),
    Column::text("Last received"),
    Column::text("Expected"),
    Column::number("Deliveries"),
    Column::number("Refused"),
];

/// Whether deliveries can be verified.
fn secrets_word(source: &SourceOverview) -> Markup {
    let info = &source.info;
    html! {
        @if info.scheme.is_none() {
            span.faint { "–" }
        } @else if !info.secrets.is_empty() {
            (number(info.secrets.len() as u64))
        } @else if is_unverified(source) {
            (badge(Tone::Warn, "none"))
        } @else {
            "none"
        }
    }
}

/// Whether everybody may deliver. A source may also be verified without a secret: by keys of its sender.
fn is_unverified(source: &SourceOverview) -> bool {
    source.info.scheme.as_deref() == Some(UNVERIFIED)
}

/// The scheme of sources that verify nothing.
const UNVERIFIED: &str = "none";

/// The page of one source.
pub(super) async fn show(view: &View<'_>, segment: &str) -> Result<Response<UiBody>, Problem> {
    let name = kind(segment).ok_or_else(Problem::no_such_source)?;
    let caller = &view.visitor.caller;
    let snapshot = view.snapshot();
    let source = snapshot
        .sources(caller)
        .find(|it| it.info.name == name.as_str());
    let source = source.ok_or_else(Problem::no_such_source)?;
    let destination = snapshot
        .destinations(caller)
        .find(|it| it.source == name.as_str());
    let health = Health::of(source, destination.map(|it| it.state), snapshot.outages());
    let info = &source.info;
    let sample = source.sample.clone().unwrap_or_default();
    let events = |state: &str| view.link(&events_path(&format!("source:{name} state:{state}")));
    let content = html! {
        div.title {
            h1 { (info.name) }
            (health.badge(source))
            div.actions {
                (test_button(view, source))
                (pause_or_resume(view, "source", &info.name, sample.paused))
            }
        }
        p.lead { (health.explanation(source)) }
        dl.facts {
            @if let Some(url) = &info.url { div { dt { "URL" } dd { code { (url) } } } }
            @else if let Some(path) = &info.path { div { dt { "Path" } dd { code { (path) } } } }
            @if let Some(preset) = &info.preset { div { dt { "Sender" } dd { (preset) } } }
            @if let Some(scheme) = &info.scheme { div { dt { "Verified by" } dd { (scheme) } } }
            @if info.scheme.is_some() {
                div { dt { "Secrets" } dd { (secrets(source)) } }
            }
            div { dt { "Last received" } dd {
                @if let Some(at) = info.last_received_at { (exact(at)) ", " (ago(at)) } @else { "nothing since this process started" }
            } }
            @if let Some(seconds) = info.expect_every_seconds {
                div { dt { "Expected" } dd { "every " (duration(seconds)) } }
            }
            @if let Some(since) = info.silent_since {
                div { dt { "Silent since" } dd { (exact(since)) ", " (ago(since)) } }
            }
            @if let Some(destination) = destination {
                div { dt { "Forwarded to" } dd {
                    a href=(view.link(&format!("/destinations/{name}"))) { (destination.url) }
                } }
            }
        }
        h2 { "Events now" }
        dl.tiles {
            @let is_sampled = source.sample.is_some() && snapshot.overview.sampled_at.is_some();
            @let count = |count: Capped| if is_sampled { capped(count) } else { "–".to_owned() };
            (tile("waiting", "Not due yet", &html! { (count(sample.waiting)) }))
            (tile("due", "Due", &html! { (count(sample.due)) }))
            (tile("oldest", "Oldest due", &html! {
                @match sample.oldest_due_age_seconds { Some(age) => (duration(age)), None => "–" }
            }))
            (tile("leased", "In flight", &html! { (count(sample.leased)) }))
            (tile("failed", "Failed", &html! { a href=(events("failed")) { (count(sample.failed)) } }))
        }
        h2 { "Since this process started" }
        dl.tiles {
            (tile("received", "Deliveries", &html! { (number(info.counts.received)) }))
            (tile("events", "New events", &html! { (number(info.counts.events)) }))
            (tile("duplicates", "Duplicates", &html! { (number(info.counts.duplicates)) }))
            (tile("conflicts", "Conflicts", &html! { (number(info.counts.conflicts)) }))
            (tile("refused", "Refused", &html! {
                // The requests are kept of sources that verify by a scheme of their own.
                @if info.scheme.is_some() {
                    a href=(view.link(&format!("/refused?source={name}"))) { (number(info.counts.refused)) }
                } @else {
                    (number(info.counts.refused))
                }
            }))
            (tile("unavailable", "Answered 503", &html! { (number(info.counts.unavailable)) }))
        }
        @if let Some(series) = &source.series {
            h2 { "The last 60 minutes" }
            (charts(series))
        }
        @if let Some((hint, example)) = example(view, info) {
            h2 { "Send one yourself" }
            p { (hint) }
            (code("example", "The command", &example))
        }
        @if let Some(setup) = &info.setup {
            h2 { "Configuration" }
            (code("setup", "The lines of the configuration", setup))
        }
    };
    Ok(view
        .page(Page {
            screen: Some(Screen::Sources),
            title: info.name.clone(),
            live: Live::Reload(Numbers::All),
            content,
        })
        .await)
}

fn secrets(source: &SourceOverview) -> Markup {
    let secrets = &source.info.secrets;
    html! {
        @if secrets.is_empty() && is_unverified(source) {
            (badge(Tone::Warn, "none: deliveries are not verified"))
        } @else if secrets.is_empty() {
            "none: this scheme needs no secret"
        } @else {
            ul.plain {
                @for secret in secrets {
                    li {
                        "Secret " (number(secret.number)) ", in use since " (ago(secret.since))
                        ", has verified " (number(secret.verified))
                    }
                }
            }
        }
    }
}

/// The series of a source as bars, and as a table.
fn charts(series: &Series) -> Markup {
    let all = [
        ("Received", &series.received),
        ("Refused", &series.refused),
        ("Duplicates", &series.duplicates),
        ("Conflicts", &series.conflicts),
        ("Processed", &series.processed),
        ("Failed", &series.failed),
    ];
    let columns: Vec<Column> = std::iter::once(Column::heading("Minutes ago"))
        .chain(all.iter().map(|(name, _)| Column::number(name)))
        .collect();
    let minutes = series.received.len();
    let rows: Vec<Row> = (0..minutes)
        .rev()
        .map(|index| Row {
            cells: std::iter::once(html! { (minutes - 1 - index) })
                .chain(all.iter().map(|(_, values)| {
                    html! { (number(values.get(index).copied().unwrap_or(0))) }
                }))
                .collect(),
            ..Row::default()
        })
        .collect();
    html! {
        dl.charts {
            @for (name, values) in all {
                @let label = format!("{name}: {} in the last hour", number(hour(values)));
                div.chart { dt { (name) " " span.faint { (number(hour(values))) } } dd { (sparkline(values, &label)) } }
            }
        }
        details #minutes { summary { "As a table" } (table("series", "Events in each minute", &columns, &rows)) }
    }
}

/// The page that asks whether to pause.
pub(super) async fn ask_to_pause(
    view: &View<'_>,
    segment: &str,
) -> Result<Response<UiBody>, Problem> {
    let name = kind(segment).ok_or_else(Problem::no_such_source)?;
    let caller = &view.visitor.caller;
    let snapshot = view.snapshot();
    let mut sources = snapshot.sources(caller);
    sources
        .find(|it| it.info.name == name.as_str())
        .ok_or_else(Problem::no_such_source)?;
    caller.check_operate()?;
    let path = path(name.as_str());
    let to = view.back(&path);
    let content = html! {
        h1 #dialog-title { "Pause " (name) "?" }
        p {
            "New events are still accepted, and senders notice nothing. No event of " strong { (name) }
            " is processed, in any process, until somebody resumes it. Events that are being processed now are finished."
        }
        form.inline method="post" action=(view.link(&format!("{path}/pause"))) {
            (view.form_token())
            input type="hidden" name="to" value=(to);
            button #confirm-pause type="submit" { "Pause " (name) }
            " "
            a.button.quiet data-close href=(to) { "Do not pause" }
        }
    };
    Ok(view
        .page(Page {
            screen: Some(Screen::Sources),
            title: format!("Pause {name}"),
            live: Live::Off,
            content,
        })
        .await)
}

fn named(segment: &str) -> Result<Kind, Problem> {
    kind(segment).ok_or_else(Problem::no_such_source)
}

/// Pauses a source.
pub(super) async fn pause(
    view: &View<'_>,
    segment: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let paused = actions::pause(view.ui, &view.visitor.caller, &named(segment)?).await?;
    view.ui.dashboard().refresh().await;
    let message = match paused.changed {
        true => format!(
            "{} is paused. Its events are accepted, and wait.",
            paused.source
        ),
        false => format!("{} was paused already.", paused.source),
    };
    Ok(view.redirect_back_with(form.field("to"), &path(&paused.source), &message))
}

/// Resumes a source.
pub(super) async fn resume(
    view: &View<'_>,
    segment: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let resumed = actions::resume(view.ui, &view.visitor.caller, &named(segment)?).await?;
    view.ui.dashboard().refresh().await;
    let message = match resumed.changed {
        true => format!(
            "{} is resumed. Its events are processed again.",
            resumed.source
        ),
        false => format!("{} was not paused.", resumed.source),
    };
    Ok(view.redirect_back_with(form.field("to"), &path(&resumed.source), &message))
}

/// Sends a test event to a source.
pub(super) async fn send_test(
    view: &View<'_>,
    segment: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let sent = actions::send_test(view.ui, &view.visitor.caller, &named(segment)?).await?;
    view.ui.dashboard().refresh().await;
    let message = match &sent.key {
        Some(key) => format!(
            "{} has stored the test event with the key {key}.",
            sent.source
        ),
        None if (200..300).contains(&sent.status) => {
            format!(
                "{} has taken the test event: it answered {}.",
                sent.source, sent.status
            )
        }
        None => format!(
            "{} answered {} to the test event: {}",
            sent.source, sent.status, sent.answer
        ),
    };
    Ok(view.redirect_back_with(form.field("to"), &path(&sent.source), &message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SecretInfo, Time};

    #[test]
    fn only_sources_that_verify_nothing_warn_of_missing_secrets() {
        let secret = SecretInfo {
            number: 1,
            since: Time::now(),
            verified: 0,
        };
        for (scheme, secrets, is_warned) in [
            ("none", vec![], true),
            ("jwt", vec![], false),
            ("fetched_certificate", vec![], false),
            ("hmac", vec![secret], false),
        ] {
            let source = SourceOverview {
                info: SourceInfo {
                    scheme: Some(scheme.to_owned()),
                    secrets,
                    ..Default::default()
                },
                sample: None,
                series: None,
            };
            let warning = badge(Tone::Warn, "none").into_string();
            let word = secrets_word(&source).into_string();
            assert_eq!(word == warning, is_warned, "{scheme}: {word}");
            let text = super::secrets(&source).into_string();
            assert_eq!(text.contains("not verified"), is_warned, "{scheme}: {text}");
        }
    }
}
