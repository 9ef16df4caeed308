//! A record, outside of the database, of what nodes did, with one line for each fact.
//!
//! All nodes of a run append to one file, with one write for each line. A killed process therefore
//! leaves whole lines, and their order is the order of what happened.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};

use rustix::time::{ClockId, clock_gettime};

/// The ledger of a node.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    pid: u32,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A handler began.
    Begun,
    /// A handler succeeded, and its event is not settled yet.
    Ended,
    /// An attempt was settled as processed, and the store applied it.
    Processed,
    /// An attempt was settled as failed, and the store applied it.
    Failed,
    /// An attempt was settled for a retry, and the store applied it.
    Retried,
    /// An attempt was released, and the store applied it.
    Released,
    /// A claim returned with `event` events after `lag_us`.
    Claimed,
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub what: What,
    /// The id of the event.
    pub event: i64,
    /// The number of the attempt.
    pub attempt: u32,
    /// The fence of the lease.
    pub fence: i64,
    /// The id of the process.
    pub pid: u32,
    /// The time, in microseconds since 1970, by this machine's clock.
    pub at_us: i64,
    /// How long after it had fallen due the event was claimed.
    pub lag_us: i64,
    /// The event's key, if it is known.
    pub key: String,
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it.
    ///
    /// # Errors
    ///
    /// Returns errors of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file,
            pid: std::process::id(),
        })
    }

    /// Appends `line`, with the time and the process filled in.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be written, because a run without its ledger proves nothing.
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

/// Reads the machine's clock without the C library, so that libfaketime has no effect on it.
pub fn now_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Returns all lines of the ledger at `path`, or none if the file does not exist yet.
///
/// # Errors
///
/// Returns errors of the file system, and `InvalidData` for an invalid line.
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
    /// Returns an empty line to be filled in.
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
