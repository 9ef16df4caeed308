//! [`Tally`]: what came of the copies, and how far a replay is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;
use webhook_core::EventId;

use super::Outcome;
use crate::commands::output::{LongWork, plain};
use crate::config::DestinationUrl;
use crate::logging::print_to_stderr;

/// How many different reasons are counted.
const MAX_REASONS: usize = 50;

/// The most characters of a reason in the summary.
const REASON_CHARS: usize = 300;

/// Counts copies. If it is dropped before its end, it says how far the replay came.
pub(super) struct Tally {
    /// `None` once it has ended.
    work: Option<LongWork>,
    running: BTreeSet<EventId>,
    /// The last event that was begun, or the one after which the replay began.
    last: Option<i64>,
    delivered: u64,
    failures: BTreeMap<String, u64>,
    skipped: u64,
}

/// The result of a replay.
#[derive(Serialize)]
pub(super) struct Report {
    dry_run: bool,
    source: String,
    to: String,
    pub(super) sent: u64,
    delivered: u64,
    pub(super) failed: u64,
    failures: Vec<Failures>,
    /// Events whose bodies were deleted.
    skipped: u64,
    /// The number of the last event.
    last: Option<i64>,
}

/// Copies that were not delivered for the same reason.
#[derive(Serialize)]
struct Failures {
    reason: String,
    copies: u64,
}

impl Tally {
    /// Begins to count the copies of events after `after`, for which about `total` events are read.
    pub(super) fn begin(after: Option<i64>, total: u64) -> Self {
        Self {
            work: Some(LongWork::begin("replaying", "events", total)),
            running: BTreeSet::new(),
            last: after,
            delivered: 0,
            failures: BTreeMap::new(),
            skipped: 0,
        }
    }

    /// Notes that a copy is being sent, to find which this many events were read.
    pub(super) fn begin_copy(&mut self, id: EventId, read: u64) {
        self.running.insert(id);
        self.last = self.last.max(Some(id.get()));
        if let Some(work) = &mut self.work {
            work.add(read);
        }
    }

    pub(super) fn end_copy(&mut self, id: EventId, outcome: Outcome) {
        self.running.remove(&id);
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed(reason) => {
                let is_full = self.failures.len() >= MAX_REASONS;
                let reason = match self.failures.contains_key(&reason) {
                    false if is_full => "other reasons".to_owned(),
                    _ => reason,
                };
                *self.failures.entry(reason).or_default() += 1;
            }
        }
    }

    pub(super) fn end(mut self, source: String, to: &DestinationUrl) -> Report {
        if let Some(work) = self.work.take() {
            work.end();
        }
        let failures = self.failures.iter().map(|(reason, copies)| Failures {
            reason: reason.clone(),
            copies: *copies,
        });
        let mut failures: Vec<_> = failures.collect();
        failures.sort_by_key(|it| std::cmp::Reverse(it.copies));
        Report {
            dry_run: false,
            source,
            to: to.to_string(),
            sent: self.delivered + self.failed(),
            delivered: self.delivered,
            failed: self.failed(),
            failures,
            skipped: self.skipped,
            last: self.last,
        }
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The number of the event up to which all have ended.
    fn ended(&self) -> Option<i64> {
        match self.running.first() {
            Some(first) => Some(first.get() - 1),
            None => self.last,
        }
    }

    /// How far the replay came.
    fn interruption(&self) -> String {
        let mut text = format!(
            "the replay has not reached its end: {} delivered, {} failed, {} skipped",
            self.delivered,
            self.failed(),
            self.skipped
        );
        if let Some(ended) = self.ended() {
            text.push_str(&format!("; to go on, run it again with --after {ended}"));
        }
        text
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            work.end();
            print_to_stderr(&self.interruption());
        }
    }
}

impl Report {
    pub(super) fn write(&self, what: &str, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            to,
            delivered,
            failed,
            ..
        } = self;
        writeln!(
            out,
            "sent copies of {what} to {to}: {delivered} delivered, {failed} failed"
        )?;
        for Failures { reason, copies } in &self.failures {
            writeln!(out, "{copies:>10}  {}", plain(reason, REASON_CHARS))?;
        }
        write_skipped(self.skipped, out)
    }
}

/// Says how many events were skipped, if any were.
pub(super) fn write_skipped(skipped: u64, out: &mut dyn Write) -> io::Result<()> {
    if skipped > 0 {
        writeln!(out, "{skipped:>10}  skipped: their bodies are deleted")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> EventId {
        EventId::new(number)
    }

    #[test]
    fn goes_on_after_the_last_event_before_those_that_run() {
        let mut tally = Tally::begin(None, 10);
        assert_eq!(tally.ended(), None);
        for number in [3, 5, 9] {
            tally.begin_copy(id(number), 1);
        }
        tally.end_copy(id(5), Outcome::Delivered);
        assert_eq!(tally.ended(), Some(2));
        tally.end_copy(id(3), Outcome::Skipped);
        assert_eq!(tally.ended(), Some(8));
        tally.end_copy(id(9), Outcome::Failed("answered 500".to_owned()));
        assert_eq!(tally.ended(), Some(9));
        assert_eq!(
            tally.interruption(),
            "the replay has not reached its end: 1 delivered, 1 failed, 1 skipped; to go on, run it again with \
             --after 9"
        );
    }

    #[test]
    fn reasons_are_grouped_and_bounded() {
        let mut tally = Tally::begin(Some(7), 1_000);
        for number in 0..100 {
            tally.begin_copy(id(number), 1);
            let reason = format!("reason {}", number % 70);
            tally.end_copy(id(number), Outcome::Failed(reason));
        }
        let to = "http://127.0.0.1:1/?a=b".parse().unwrap();
        let report = tally.end("stripe".to_owned(), &to);
        assert_eq!((report.sent, report.failed), (100, 100));
        assert_eq!(report.failures.len(), MAX_REASONS + 1);
        assert_eq!(report.failures[0].reason, "other reasons");
        assert_eq!(report.failures[0].copies, 20);
        assert_eq!(report.to, "http://127.0.0.1:1/");
    }
}
