//! What holds, and what does not.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use webhook_core::conformance::Case;

use crate::logging::escaped;
use crate::views::{counted, plural};

/// The most lines of a failure that are shown.
const MAX_LINES: usize = 12;

/// Why a case failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) message: String,
    /// The line of the case that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
}

/// The results of all cases.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    database: String,
    extensions: BTreeMap<String, String>,
    cases: usize,
    failed: usize,
    seconds: f64,
    themes: Vec<Theme>,
}

/// The results of the cases that show one promise.
#[derive(Debug, Serialize)]
struct Theme {
    theme: &'static str,
    promise: &'static str,
    cases: usize,
    failed: Vec<FailedCase>,
}

#[derive(Debug, Serialize)]
struct FailedCase {
    case: &'static str,
    #[serde(flatten)]
    failure: Failure,
}

impl Report {
    /// The report of a run of `cases`, to which their results are added.
    pub(super) fn new(database: &str, extensions: &[(String, String)], cases: &[Case]) -> Self {
        let mut themes: Vec<Theme> = Vec::new();
        for case in cases {
            match themes.last_mut() {
                Some(theme) if theme.theme == case.theme() => theme.cases += 1,
                _ => themes.push(Theme {
                    theme: case.theme(),
                    promise: case.promise(),
                    cases: 1,
                    failed: Vec::new(),
                }),
            }
        }
        Self {
            database: database.to_owned(),
            extensions: extensions.iter().cloned().collect(),
            cases: cases.len(),
            failed: 0,
            seconds: 0.0,
            themes,
        }
    }

    pub(super) fn add(&mut self, case: Case, ended: Result<(), Failure>) {
        let Err(failure) = ended else { return };
        self.failed += 1;
        let mut themes = self.themes.iter_mut();
        if let Some(theme) = themes.find(|theme| theme.theme == case.theme()) {
            theme.failed.push(FailedCase {
                case: case.name(),
                failure,
            });
        }
    }

    pub(super) fn end(&mut self, took: Duration) {
        self.seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    }

    pub(super) const fn failed(&self) -> usize {
        self.failed
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", escaped(&self.database))?;
        if !self.extensions.is_empty() {
            let extensions = self.extensions.iter();
            let extensions: Vec<_> = extensions
                .map(|(name, version)| format!("{name} {version}"))
                .collect();
            writeln!(out, "extensions: {}", escaped(&extensions.join(", ")))?;
        }
        writeln!(out)?;
        for theme in &self.themes {
            theme.write(out)?;
        }
        let held = self.cases - self.failed;
        writeln!(
            out,
            "\n{held} of {} {}, {} failed, in {:.1} s",
            counted(self.cases, "case", "cases"),
            plural(&held, "holds", "hold"),
            self.failed,
            self.seconds
        )
    }
}

impl Theme {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let held = self.cases - self.failed.len();
        let result = if self.failed.is_empty() {
            "holds"
        } else {
            "FAILED"
        };
        let counts = format!("{held}/{}", self.cases);
        writeln!(
            out,
            "{result:<6}  {:<15} {counts:>7}  {}",
            self.theme, self.promise
        )?;
        for FailedCase { case, failure } in &self.failed {
            let location = failure.location.iter();
            let location: String = location.map(|it| format!(" ({it})")).collect();
            writeln!(out, "        {case}{}", escaped(&location))?;
            for line in failure.message.lines().take(MAX_LINES) {
                writeln!(out, "          {}", escaped(line))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use webhook_core::conformance::cases;

    use super::*;

    #[test]
    fn failures_are_shown_with_their_promise() {
        let of = |theme| {
            cases()
                .iter()
                .copied()
                .filter(move |case| case.theme() == theme)
        };
        let run: Vec<Case> = of("accept").chain(of("claim")).collect();
        let mut report = Report::new("PostgreSQL 15.1", &[("citus".into(), "14".into())], &run);
        for case in &run {
            let failure = Failure {
                message: "left: 1\nright: 2\u{1b}".to_owned(),
                location: Some("src/claim.rs:1:2".to_owned()),
            };
            let is_broken = case.name() == "events_are_never_early";
            report.add(*case, if is_broken { Err(failure) } else { Ok(()) });
        }
        report.end(Duration::from_millis(1_234));
        let mut text = Vec::new();
        report.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for shown in [
            "PostgreSQL 15.1\nextensions: citus 14\n",
            "holds   accept",
            "FAILED  claim",
            "never early\n        events_are_never_early (src/claim.rs:1:2)\n          left: 1\n          right: 2\\u{1b}\n",
            ", 1 failed, in 1.2 s",
        ] {
            assert!(text.contains(shown), "{shown:?} is missing: {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["failed"], 1);
        assert_eq!(
            json["themes"][1]["failed"][0]["case"],
            "events_are_never_early"
        );
    }
}
