//! Compares what senders were told, what the database holds, and what handlers recorded.

mod effects;
mod handled;
mod kept;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::book::Entries;
use crate::ledger::{Line, What};
use crate::stored::Stored;

/// The evidence by which a run is judged.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) entries: &'a Entries,
    pub(crate) stored: &'a [Stored],
    /// The effects that handlers wrote to the database: the event and the fence of each.
    pub(crate) effects: &'a [(i64, i64)],
    pub(crate) lines: &'a [Line],
    /// How long after acceptance events fell due.
    pub(crate) delay: Duration,
    pub(crate) lease: Duration,
    pub(crate) max_attempts: u32,
    /// Key prefixes of the events whose stored body the run itself has changed.
    pub(crate) spoilt: Option<&'static str>,
    /// Whether no event may have needed a second attempt, except those that fail on purpose.
    pub(crate) spends_no_attempt: bool,
    /// Whether handlers recorded what they did.
    pub(crate) keeps_ledger: bool,
    /// Whether every event must have ended.
    pub(crate) is_over: bool,
}

/// The figures of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Events that a 202 acknowledged.
    pub acknowledged: usize,
    /// Events that were sent without an acknowledgement.
    pub unknown: usize,
    /// Events in the database.
    pub stored: usize,
    /// Events that were processed.
    pub processed: usize,
    /// Events that failed, each because its handler is told to fail.
    pub failed: usize,
    /// Events whose handler began more than once, except those that are told to fail at first.
    pub begun_twice: usize,
    /// Events whose handler succeeded more than once, so that its effects outside of the database
    /// happened twice.
    pub done_twice: usize,
    /// Effects that handlers wrote in the transactions that settled their events. A second effect
    /// of an event is a violation.
    pub effects: usize,
    /// Requests answered with 503.
    pub unavailable: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// How long after the end of the fault every node had accepted and processed a new event.
    pub recovery_seconds: f64,
    /// Violations of the promises. A good run has none.
    pub violations: Vec<String>,
    /// Other observations.
    pub notes: Vec<String>,
}

/// The number of violations of one sort that are listed. The rest is only counted.
const NAMED: usize = 5;

/// Compares all evidence.
pub(crate) fn reconcile(evidence: &Evidence<'_>) -> Tally {
    let entries = evidence.entries;
    let ended = |failed: bool| {
        let outcomes = evidence.stored.iter().filter_map(|it| it.outcome.as_ref());
        outcomes.filter(|outcome| outcome.failed == failed).count()
    };
    let acknowledged = entries.sent.values().filter(|it| it.is_acknowledged());
    let acknowledged = acknowledged.count();
    let mut complaints = Complaints::default();
    for odd in &entries.odd {
        complaints.add("odd answer", odd);
    }
    kept::check(evidence, &mut complaints);
    if evidence.keeps_ledger {
        handled::check(evidence, &mut complaints);
        effects::check(evidence, &mut complaints);
    }
    Tally {
        acknowledged,
        unknown: entries.sent.len() - acknowledged,
        stored: evidence.stored.len(),
        processed: ended(false),
        failed: ended(true),
        begun_twice: handled::begun_twice(evidence),
        done_twice: handled::done_twice(evidence),
        effects: evidence.effects.len(),
        unavailable: entries.unavailable,
        unanswered: entries.unanswered + entries.closed_while_idle,
        recovery_seconds: 0.0,
        violations: complaints.into_lines(),
        notes: Vec::new(),
    }
}

/// The violations by sort.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeMap<&'static str, Vec<String>>);

impl Complaints {
    pub(crate) fn add(&mut self, sort: &'static str, what: impl Into<String>) {
        self.0.entry(sort).or_default().push(what.into());
    }

    fn into_lines(self) -> Vec<String> {
        let mut lines = Vec::new();
        for (sort, complaints) in self.0 {
            for complaint in complaints.iter().take(NAMED) {
                lines.push(format!("{sort}: {complaint}"));
            }
            if complaints.len() > NAMED {
                lines.push(format!("{sort}: {} more", complaints.len() - NAMED));
            }
        }
        lines
    }
}

/// Returns the ledger lines of one kind.
fn lines_of<'a>(evidence: &Evidence<'a>, what: What) -> impl Iterator<Item = &'a Line> + use<'a> {
    evidence.lines.iter().filter(move |line| line.what == what)
}

/// Converts a duration to the database's unit.
fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
