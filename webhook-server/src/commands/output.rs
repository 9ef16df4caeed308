//! The output of commands, as text or JSON, and their progress bars.

use std::io::{self, StdoutLock, Write, stdout};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;
use webhook_core::Kind;

use crate::logging::{Escaping, escaped, print_to_stderr};

/// Standard output, as text or as lines of JSON.
pub(super) struct Output {
    json: bool,
    stdout: StdoutLock<'static>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            stdout: stdout().lock(),
        }
    }

    /// Writes `document` as one line of JSON, or what `human` writes. In JSON, control and invisible
    /// characters are `\\u` escapes, which parsers decode.
    pub(super) fn write(
        &mut self,
        document: &impl Serialize,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.json {
            let line = &mut self.stdout;
            document.serialize(&mut serde_json::Serializer::with_formatter(line, Escaping))?;
            writeln!(self.stdout)?;
        } else {
            human(&mut self.stdout)?;
        }
        self.stdout.flush()
    }
}

/// A time in whole seconds: `2026-01-02 03:04:05Z`.
pub(super) fn instant(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "(no such time)".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// Text from outside, with control and invisible characters escaped, cut to `width` characters.
pub(super) fn plain(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => escaped(text).into_owned(),
        Some(_) => {
            let end = text.char_indices().nth(width.saturating_sub(1));
            let end = end.map_or(text.len(), |(at, _)| at);
            format!("{}…", escaped(&text[..end]))
        }
    }
}

/// Says on standard error that no event matches. A kind that was forgotten or mistyped has none.
pub(super) fn say_nothing_matches(kind: &Kind) {
    print_to_stderr(&format!(
        "no event of kind {kind} matches; --kind selects another kind, such as the name of a source"
    ));
}

/// A progress bar on standard error, which is hidden if that is no terminal.
pub(super) fn progress(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {msg} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// How often a line tells how far long work is.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of work that takes minutes, on standard error: a bar on a terminal, and otherwise a line every
/// few seconds.
pub(super) struct LongWork {
    what: String,
    of: &'static str,
    done: u64,
    total: u64,
    bar: ProgressBar,
    next_line: Instant,
}

impl LongWork {
    /// Begins `what`, of about `total` things, which are called `of`.
    pub(super) fn begin(what: &'static str, of: &'static str, total: u64) -> Self {
        Self {
            what: what.to_owned(),
            of,
            done: 0,
            total,
            bar: progress(total).with_message(what),
            next_line: Instant::now() + LINE_INTERVAL,
        }
    }

    /// Says what is done from now on.
    pub(super) fn doing(&mut self, what: String) {
        self.bar.set_message(what.clone());
        self.what = what;
    }

    pub(super) fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }

    pub(super) fn set(&mut self, done: u64) {
        self.done = done;
        self.bar.set_position(done);
        if self.bar.is_hidden() && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_INTERVAL;
            let Self {
                what, of, total, ..
            } = self;
            print_to_stderr(&format!("{what}: {done} of {total} {of}"));
        }
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner on standard error, for work of unknown length.
pub(super) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_cut_and_escaped() {
        assert_eq!(plain("a\u{1b}[31mb\n", 20), "a\\u{1b}[31mb\\n");
        assert_eq!(plain("\u{202e}abc", 3), "\\u{202e}a…");
        assert_eq!(plain("äöü", 3), "äöü");
        assert_eq!(plain("äöüß", 3), "äö…");
    }
}
