//! The table: a row per fault.

use std::fmt::Write as _;

use serde::Serialize;

use crate::reconcile::Tally;

/// What became of all runs of one fault.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The fault.
    pub fault: &'static str,
    /// How many runs came to their end.
    pub runs: usize,
    /// The sums of all runs; of the recovery times the longest.
    pub total: Tally,
    /// Runs that came to no end, and why.
    pub broken: Vec<String>,
    /// Why this machine cannot run it.
    pub skipped: Option<String>,
}

impl Row {
    /// A row without runs.
    pub fn new(fault: &'static str) -> Self {
        Self {
            fault,
            ..Self::default()
        }
    }

    /// Adds a run, which had this seed.
    pub fn add(&mut self, seed: u64, tally: Tally) {
        self.runs += 1;
        let total = &mut self.total;
        total.acknowledged += tally.acknowledged;
        total.unknown += tally.unknown;
        total.stored += tally.stored;
        total.processed += tally.processed;
        total.failed += tally.failed;
        total.begun_twice += tally.begun_twice;
        total.unavailable += tally.unavailable;
        total.unanswered += tally.unanswered;
        total.recovery_seconds = total.recovery_seconds.max(tally.recovery_seconds);
        let named = |text: &String| format!("seed {seed}: {text}");
        total.violations.extend(tally.violations.iter().map(named));
        total.notes.extend(tally.notes.iter().map(named));
    }

    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.total.violations.is_empty()
    }
}

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | runs | acked | unknown | stored | processed | failed | begun twice | 503 | unanswered | recovery, longest | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let total = &row.total;
        let verdict = match (&row.skipped, row.is_good()) {
            (Some(_), _) => "SKIPPED",
            (None, true) => "ok",
            (None, false) => "FAILED",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} s | {verdict} |",
            row.fault,
            row.runs,
            total.acknowledged,
            total.unknown,
            total.stored,
            total.processed,
            total.failed,
            total.begun_twice,
            total.unavailable,
            total.unanswered,
            total.recovery_seconds,
        );
    }
    text
}
