//! The output of commands, as text or JSON, and their progress bars.

use std::io::{self, StdoutLock, Write, stdout};
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use crate::logging::{Escaping, escaped};

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

/// A progress bar on standard error, which is hidden if that is no terminal.
pub(super) fn progress(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {msg} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
