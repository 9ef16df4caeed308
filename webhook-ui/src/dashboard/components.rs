//! What pages are made of: states, times, numbers, tables, buttons.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::frame::View;
use crate::api::DOTS_MARK;
use crate::model::{Capped, Time};

/// What a state means for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look.
    Warn,
    /// Something fails.
    Bad,
    /// Nothing happens, on purpose or since nothing has come yet.
    Idle,
    /// It runs.
    Info,
}

/// The shape of an icon, so that a state is not told by its colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Triangle,
    Cross,
    Bars,
    Ring,
    Arrow,
}

/// An icon, which screen readers do not read: a word is beside it.
pub(crate) fn icon(shape: Shape) -> Markup {
    let path = match shape {
        Shape::Circle => "M6 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z",
        Shape::Triangle => "M6 1 11.5 11H.5z",
        Shape::Cross => {
            "M2.6 1 6 4.4 9.4 1 11 2.6 7.6 6 11 9.4 9.4 11 6 7.6 2.6 11 1 9.4 4.4 6 1 2.6z"
        }
        Shape::Bars => "M2.5 1.5h2.5v9H2.5zM7 1.5h2.5v9H7z",
        Shape::Ring => {
            "M6 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zm0 1.6a2.9 2.9 0 1 1 0 5.8 2.9 2.9 0 0 1 0-5.8z"
        }
        Shape::Arrow => "M3 1.2 10.5 6 3 10.8z",
    };
    html! {
        svg.icon viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" {
            path fill-rule="evenodd" d=(path) {}
        }
    }
}

/// A state, as a shape and a word.
pub(crate) fn badge(tone: Tone, word: &str) -> Markup {
    let (class, shape) = match tone {
        Tone::Good => ("good", Shape::Circle),
        Tone::Warn => ("warn", Shape::Triangle),
        Tone::Bad => ("bad", Shape::Cross),
        Tone::Idle => ("idle", Shape::Ring),
        Tone::Info => ("info", Shape::Arrow),
    };
    shaped_badge(class, shape, word)
}

/// That something is paused.
pub(crate) fn paused_badge() -> Markup {
    shaped_badge("warn", Shape::Bars, "paused")
}

fn shaped_badge(class: &str, shape: Shape, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { (icon(shape)) " " (word) } }
}

/// The state of an event.
pub(crate) fn event_state(state: crate::model::EventState) -> Markup {
    use crate::model::EventState;

    match state {
        EventState::Processing => badge(Tone::Info, "processing"),
        EventState::Processed => badge(Tone::Good, "processed"),
        EventState::Failed => badge(Tone::Bad, "failed"),
    }
}

/// An instant as its distance from now: `12 s ago`, `in 3 min`. The script of the page keeps it true.
pub(crate) fn ago(time: Time) -> Markup {
    let age = time.age_seconds();
    html! {
        time datetime=(time) title=(exact_text(time)) data-time="ago" {
            @if age < -0.5 { "in " (duration(-age)) } @else { (duration(age)) " ago" }
        }
    }
}

/// When something is due: `in 3 min`, `due for 12 s`. The script of the page keeps it true.
pub(crate) fn due_time(time: Time) -> Markup {
    let age = time.age_seconds();
    html! {
        time datetime=(time) title=(exact_text(time)) data-time="due" {
            @if age < -0.5 { "in " (duration(-age)) } @else { "due for " (duration(age)) }
        }
    }
}

/// An instant as date and time, which the script of the page writes in the time zone of the visitor.
pub(crate) fn exact(time: Time) -> Markup {
    html! { time datetime=(time) data-time="exact" { (exact_text(time)) } }
}

/// `2026-01-02 03:04:05 UTC`.
fn exact_text(time: Time) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text,
    }
}

/// A length of time with at most two digits of precision: `850 ms`, `12 s`, `3 min`, `2.5 h`, `4 d`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 0.001 => "0 s".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 36.0 * 3600.0 => format!("{} h", trimmed(s / 3600.0)),
        s => format!("{} d", trimmed(s / 86_400.0)),
    }
}

/// A number with one decimal, which is left out if it is 0 or if the number is not small.
fn trimmed(number: f64) -> String {
    let text = if number < 9.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A number with separators: `12,431`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that ends at a limit: `> 100,000` beyond it.
pub(crate) fn capped(count: Capped) -> String {
    if count.at_least {
        format!("> {}", number(count.count.saturating_sub(1)))
    } else {
        number(count.count)
    }
}

/// A number of events in a time: `0`, `0.4`, `12`, `1,204`.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        r if r < 0.05 => if r > 0.0 { "< 0.1" } else { "0" }.to_owned(),
        r if r < 9.95 => trimmed(r),
        // Rates are far below the limit, beyond which the largest number is shown.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at least 9, and casts of floats saturate"
        )]
        r => number(r.round() as u64),
    }
}

/// A number of bytes: `812 B`, `3.4 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
    let (size, mut units) = (bytes as f64, ["KiB", "MiB", "GiB", "TiB"].into_iter());
    if size < 1024.0 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (size / 1024.0, units.next().unwrap_or_default());
    for next in units {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    format!("{} {unit}", trimmed(size))
}

/// The bars of a sparkline are this high.
const SPARK_HEIGHT: u64 = 20;

/// One bar for each value. `label` says what it shows; the numbers are in a table of the page.
pub(crate) fn sparkline(values: &[u64], label: &str) -> Markup {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let mut path = String::new();
    for (index, value) in values.iter().enumerate() {
        if *value > 0 {
            // At least one unit, so that no event is invisible.
            let height = (u128::from(*value) * u128::from(SPARK_HEIGHT) / u128::from(most)).max(1);
            let _ = write!(path, "M{index} {SPARK_HEIGHT}v-{height}h.8v{height}z");
        }
    }
    html! {
        svg.spark role="img" aria-label=(label) preserveAspectRatio="none"
            viewBox={ "0 0 " (values.len().max(1)) " " (SPARK_HEIGHT) } width="120" height="24"
        {
            path d=(path) {}
        }
    }
}

/// That a search ended before it had looked at everything, and what to do then. `bounds` is what was limited.
pub(crate) fn stopped_early(bounds: &str, advice: &Markup) -> Markup {
    html! {
        p.note #stopped-early role="status" {
            "The search stopped early: one search looks at " (bounds) ". " (advice)
        }
    }
}

/// The bounds of a search for events.
pub(crate) const SEARCH_BOUNDS: &str = "a limited number of events, for a limited time";

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnKind {
    Heading,
    Text,
    Number,
    Control,
}

impl Column {
    /// The column that names the rows.
    pub(crate) const fn heading(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Heading,
        }
    }

    /// A column of texts.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Text,
        }
    }

    /// A column of numbers.
    pub(crate) const fn number(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Number,
        }
    }

    /// A column of buttons or checkboxes, whose name only screen readers read.
    pub(crate) const fn control(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Control,
        }
    }
}

/// A row of a table.
#[derive(Default)]
pub(crate) struct Row {
    /// The id of the element, which keeps it apart when a page loads its content again.
    pub(crate) id: Option<String>,
    /// What the key Enter opens.
    pub(crate) href: Option<String>,
    /// What the key `y` copies.
    pub(crate) key: Option<String>,
    /// One for each column.
    pub(crate) cells: Vec<Markup>,
}

/// A table, whose rows become blocks on narrow screens. The roles keep it a table there.
pub(crate) fn table(id: &str, caption: &str, columns: &[Column], rows: &[Row]) -> Markup {
    let class = |column: &Column| match column.kind {
        ColumnKind::Number => Some("number"),
        ColumnKind::Control => Some("control"),
        ColumnKind::Heading | ColumnKind::Text => None,
    };
    html! {
        table id=(id) role="table" aria-rowcount=[rows.is_empty().then_some("0")] {
            caption.unseen { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns {
                        th role="columnheader" scope="col" class=[class(column)] {
                            @if column.kind == ColumnKind::Control {
                                span.unseen { (column.name) }
                            } @else {
                                (column.name)
                            }
                        }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" id=[row.id.as_deref()] tabindex=[row.href.as_ref().map(|_| "-1")]
                        data-href=[row.href.as_deref()] data-key=[row.key.as_deref()]
                    {
                        @for (column, cell) in columns.iter().zip(&row.cells) {
                            @if column.kind == ColumnKind::Heading {
                                th role="rowheader" scope="row" data-label=(column.name) { div { (cell) } }
                            } @else {
                                td role="cell" class=[class(column)] data-label=(column.name) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Links to the pages before and after this one.
pub(crate) fn pager(newer: Option<&str>, older: Option<&str>) -> Markup {
    html! {
        @if newer.is_some() || older.is_some() {
            nav.pager aria-label="Pages" {
                @if let Some(newer) = newer { a #newer rel="prev" href=(newer) { "← Newer" } }
                @if let Some(older) = older { a #older rel="next" href=(older) { "Older →" } }
            }
        }
    }
}

/// What there is to see before there is anything.
pub(crate) fn empty(title: &str, content: Markup) -> Markup {
    html! { div.empty { h2 { (title) } (content) } }
}

/// The hidden field that each form needs.
pub(super) fn form_token(token: &str) -> Markup {
    html! { input type="hidden" name="form_token" value=(token); }
}

/// A form with nothing but a button, which goes back to this page.
pub(crate) fn action(view: &View<'_>, id: &str, path: &str, word: &str, label: &str) -> Markup {
    html! {
        form.inline method="post" action=(view.link(path)) {
            (view.form_token())
            input type="hidden" name="to" value=(view.here());
            button id=(id) type="submit" aria-label=[(label != word).then_some(label)] { (word) }
        }
    }
}

/// A text in a box, with a button that copies it where there are scripts.
pub(crate) fn code(id: &str, label: &str, text: &str) -> Markup {
    // Browsers read a carriage return as a line feed, unless it is escaped.
    let text = html! { (text) }.into_string().replace('\r', "&#13;");
    html! {
        div.code {
            pre id=(id) tabindex="0" role="region" aria-label=(label) { code { (PreEscaped(text)) } }
            button.plain.copy.scripted type="button" data-copy=(id) { "Copy" span.unseen { " " (label) } }
        }
    }
}

/// What a segment of a path may have as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The path of the page of an event, below the dashboard. Names of sources need no escapes.
pub(crate) fn event_path(source: &str, key: &str) -> String {
    // Browsers take a segment of dots for a folder, also if the dots are escaped.
    let mark = if matches!(key, "." | "..") {
        DOTS_MARK
    } else {
        ""
    };
    format!(
        "/events/{source}/{mark}{}",
        utf8_percent_encode(key, SEGMENT)
    )
}

/// The path of the page of the events that match a filter, below the dashboard.
pub(crate) fn events_path(filter: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::from("/events?"));
    query.append_pair("q", filter);
    query.finish()
}

/// A figure that is read at one glance.
pub(crate) fn tile(id: &str, name: &str, value: &Markup) -> Markup {
    html! { div.tile id=(id) { dt { (name) } dd { (value) } } }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn numbers_are_legible() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(12_431), "12,431");
        assert_eq!(number(u64::MAX), "18,446,744,073,709,551,615");
        let cap = |count, at_least| capped(Capped { count, at_least });
        assert_eq!(cap(7, false), "7");
        assert_eq!(cap(100_001, true), "> 100,000");
        for (value, text) in [
            (0.0, "0"),
            (0.01, "< 0.1"),
            (0.42, "0.4"),
            (3.0, "3"),
            (1_204.4, "1,204"),
        ] {
            assert_eq!(rate(value), text);
        }
        for (value, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 30, "5 GiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in [
            (-1.0, "0 s"),
            (0.25, "250 ms"),
            (12.3, "12 s"),
            (150.0, "2 min"),
            (9_000.0, "2.5 h"),
            (4.0 * 86_400.0, "4 d"),
        ] {
            assert_eq!(duration(value), text);
        }
    }

    #[test]
    fn times_are_relative_and_exact() {
        let time = Time::from(SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678));
        assert_eq!(
            exact(time).into_string(),
            "<time datetime=\"2026-01-02T03:04:05.678Z\" data-time=\"exact\">2026-01-02 03:04:05 UTC</time>"
        );
        let soon = Time::from(SystemTime::now() + Duration::from_secs(40));
        assert!(ago(soon).into_string().contains(">in 40 s<"));
        assert!(due_time(soon).into_string().contains(">in 40 s<"));
        let past = Time::from(SystemTime::now() - Duration::from_secs(40));
        assert!(due_time(past).into_string().contains(">due for 40 s<"));
    }

    #[test]
    fn sparklines_have_a_bar_for_each_value() {
        let path = |values: &[u64]| sparkline(values, "x").into_string();
        assert!(path(&[0, 1, 4]).contains("M1 20v-5h.8v5zM2 20v-20h.8v20z"));
        assert!(path(&[]).contains("viewBox=\"0 0 1 20\""));
        assert!(path(&[1, u64::MAX]).contains("M0 20v-1h"));
    }

    #[test]
    fn copied_texts_keep_carriage_returns() {
        let html = code("a", "b", "1\r\n2<\r").into_string();
        assert!(html.contains("<code>1&#13;\n2&lt;&#13;</code>"), "{html}");
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "<script>alert(1)</script>\" onload=\"x";
        let row = Row {
            id: Some(hostile.to_owned()),
            href: Some(hostile.to_owned()),
            key: Some(hostile.to_owned()),
            cells: vec![badge(Tone::Bad, hostile), code(hostile, hostile, hostile)],
        };
        let columns = [Column::heading("a"), Column::text("b")];
        let html = table(hostile, hostile, &columns, &[row]).into_string();
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("\" onload"), "{html}");
    }
}
