//! The report: a table with a row for each fault.

use std::fmt::Write as _;

use serde::Serialize;

use crate::fault::Fault;
use crate::reconcile::Tally;

/// The results of all runs of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The name of the fault.
    pub fault: &'static str,
    /// What happens.
    pub what: &'static str,
    /// The test that runs it, or the reason why there is none.
    pub test: String,
    /// The number of runs that finished.
    pub runs: usize,
    /// The sums of all runs, with the longest of the recovery times.
    pub total: Tally,
    /// The recovery time of each run, in seconds.
    pub recoveries: Vec<f64>,
    /// The runs that did not finish, and why.
    pub broken: Vec<String>,
    /// The reason why this machine cannot run the fault.
    pub skipped: Option<String>,
}

impl Row {
    /// Returns a row without runs.
    pub fn new(fault: &Fault) -> Self {
        let test = match fault.no_test {
            None => format!("`{}`", fault.test_name()),
            Some(why) => format!("long run only: {why}"),
        };
        Self {
            fault: fault.name,
            what: fault.about,
            test,
            runs: 0,
            total: Tally::default(),
            recoveries: Vec::new(),
            broken: Vec::new(),
            skipped: None,
        }
    }

    /// Adds a run with this seed.
    pub fn add(&mut self, seed: u64, tally: Tally) {
        self.runs += 1;
        self.recoveries.push(tally.recovery_seconds);
        let total = &mut self.total;
        total.acknowledged += tally.acknowledged;
        total.unknown += tally.unknown;
        total.stored += tally.stored;
        total.processed += tally.processed;
        total.failed += tally.failed;
        total.begun_twice += tally.begun_twice;
        total.done_twice += tally.done_twice;
        total.effects += tally.effects;
        total.unavailable += tally.unavailable;
        total.unanswered += tally.unanswered;
        total.recovery_seconds = total.recovery_seconds.max(tally.recovery_seconds);
        let named = |text: &String| format!("seed {seed}: {text}");
        total.violations.extend(tally.violations.iter().map(named));
        total.notes.extend(tally.notes.iter().map(named));
    }

    /// Returns whether no run failed or reported a violation.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.total.violations.is_empty()
    }

    fn median_recovery_seconds(&self) -> f64 {
        let mut sorted = self.recoveries.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    fn verdict(&self) -> &'static str {
        match (&self.skipped, self.is_good()) {
            (Some(_), _) => " SKIPPED",
            (None, true) => "",
            (None, false) => " FAILED",
        }
    }
}

/// Formats the rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | what | runs | acked | stored | processed | failed | duplicates of effect \
         | recovery, median | longest | test |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let total = &row.total;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {}{} | {} | {} | {} | {} | {} | {} | {} | {:.2} s | {:.2} s | {} |",
            row.fault,
            row.verdict(),
            row.what,
            row.runs,
            total.acknowledged,
            total.stored,
            total.processed,
            total.failed,
            total.done_twice,
            row.median_recovery_seconds(),
            total.recovery_seconds,
            row.test,
        );
    }
    text
}
