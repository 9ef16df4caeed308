//! What nodes did, written down outside of the database: one line for each thing.
//!
//! Every node of a run appends to one file, each line with one write, so that a killed process
//! leaves whole lines and the order of the lines is the order of what happened.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};

use rustix::time::{ClockId, clock_gettime};

/// The ledger, as a node sees it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    pid: u32,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A handler began.
    Begun,
    /// A handler ended well, and its end is yet to be settled.
    Ended,
    /// An attempt was settled as processed, and the store answered that this stands.
    Processed,
    /// The same, as failed.
    Failed,
    /// The same, to be repeated.
    Retried,
    /// The same, handed back.
    Released,
    /// A claim came back: with `event` events after `lag_us`.
    Claimed,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub what: What,
    /// To which event, by its id.
    pub event: i64,
    /// In which attempt.
    pub attempt: u32,
    /// Under which fence.
    pub fence: i64,
    /// In which process.
    pub pid: u32,
    /// When, in microseconds since 1970, by this machine's clock.
    pub at_us: i64,
    /// How long past due it was claimed.
    pub lag_us: i64,
    /// The event's key, where it is known.
    pub key: String,
}

impl Ledger {
    /// Opens the ledger at `path`, and makes it if need be.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file,
            pid: std::process::id(),
        })
    }

    /// Appends `line`, whose time and process are filled in.
    ///
    /// # Panics
    ///
    /// When it cannot be written: a run without its ledger proves nothing.
    pub fn write(&self, line: Line) {
        let line = Line {
            pid: self.pid,
            at_us: now_us(),
            ..line
        };
        (&self.file)
            .write_all(line.to_text().as_bytes())
            .expect("the ledger can be written");
    }
}

/// The machine's clock, asked past the C library: libfaketime does not reach it.
pub fn now_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// All lines of the ledger at `path`; none where there is no ledger yet.
///
/// # Errors
///
/// Those of the file system; `InvalidData` for what is no line.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    text.lines()
        .map(|line| {
            Line::from_text(line)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.to_owned()))
        })
        .collect()
}

impl Line {
    /// A line about nothing in particular, to be filled in.
    pub const fn of(what: What) -> Self {
        Self {
            what,
            event: 0,
            attempt: 0,
            fence: 0,
            pid: 0,
            at_us: 0,
            lag_us: 0,
            key: String::new(),
        }
    }

    fn to_text(&self) -> String {
        let key = if self.key.is_empty() { "-" } else { &self.key };
        format!(
            "{:<9} {:>12} {:>4} {:>6} {:>8} {:>17} {:>12} {key}\n",
            self.what.word(),
            self.event,
            self.attempt,
            self.fence,
            self.pid,
            self.at_us,
            self.lag_us,
        )
    }

    fn from_text(text: &str) -> Option<Self> {
        fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
            words.next()?.parse().ok()
        }
        let mut words = text.split_whitespace();
        let word = words.next()?;
        Some(Self {
            what: What::ALL.into_iter().find(|it| it.word() == word)?,
            event: next(&mut words)?,
            attempt: next(&mut words)?,
            fence: next(&mut words)?,
            pid: next(&mut words)?,
            at_us: next(&mut words)?,
            lag_us: next(&mut words)?,
            key: match words.next()? {
                "-" => String::new(),
                key => key.to_owned(),
            },
        })
    }
}

impl What {
    const ALL: [Self; 7] = [
        Self::Begun,
        Self::Ended,
        Self::Processed,
        Self::Failed,
        Self::Retried,
        Self::Released,
        Self::Claimed,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Ended => "ended",
            Self::Processed => "processed",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Released => "released",
            Self::Claimed => "claimed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        for what in What::ALL {
            let line = Line {
                event: 12,
                attempt: 1,
                fence: 2,
                pid: 3,
                at_us: now_us(),
                lag_us: -4,
                key: "well-1".to_owned(),
                ..Line::of(what)
            };
            assert_eq!(Line::from_text(&line.to_text()), Some(line));
        }
        assert_eq!(Line::from_text("begun 1 2"), None);
    }
}
