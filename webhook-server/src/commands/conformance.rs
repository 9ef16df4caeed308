//! `conformance`: runs the cases that every backend must pass on the database of the configuration.

mod panics;
mod report;
mod trial;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Args, value_parser};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use webhook_core::conformance::{Case, cases, partition_cases, transfer_cases};

use super::output::LongWork;
use super::{CommandError, Output};
use crate::config::Config;
use crate::logging::{escaped, print_to_stderr};
use crate::signals::Signals;
use crate::views::counted;
use report::{Failure, Report};
use trial::Trial;
pub(super) use trial::TrialError;

/// The options of `conformance`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "In PostgreSQL, or in a database that speaks its protocol, each case runs in a schema of its own, \
        webhook_conformance_RUN_NUMBER, which is dropped afterwards; the role needs CREATE on the database. With \
        SQLite, each case runs in a file of its own, in a folder beside the file of the URL. Nothing else is \
        changed, and events are neither read nor written.\n\nExample:\n\n  \
        webhook-server conformance --database-url postgres://user@host/database\n\n\
        Exit codes: 0 every case holds, 1 a case failed, 2 usage error"
)]
pub struct Conformance {
    /// Run only the cases whose names contain this text, such as claim or claim::events_are_never_early; may be
    /// repeated
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// List the cases, and run none
    #[arg(long)]
    list: bool,
    /// How many cases run at the same time. Each one uses up to DATABASE_POOL_SIZE connections, and two more
    #[arg(long, value_name = "COUNT", default_value = "4", value_parser = value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Print one JSON object instead of text, or one for each case with --list
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ListedCase {
    theme: &'static str,
    case: &'static str,
    promise: &'static str,
}

impl Conformance {
    /// Runs the cases. The first signal ends them and removes what they made; a second one ends the process at
    /// once. Returns the exit code.
    pub(super) async fn run(
        &self,
        config: &Config,
        signals: &mut Signals,
    ) -> Result<i32, CommandError> {
        let cases = self.cases();
        if cases.is_empty() {
            return Err(CommandError::NoCase);
        }
        if self.list {
            return self.list(&cases).map(|()| 0);
        }
        let stop = CancellationToken::new();
        let mut running = pin!(self.run_cases(config, cases, &stop));
        let signal = tokio::select! {
            done = &mut running => return done.map(|()| 0),
            signal = signals.next_stop() => signal,
        };
        print_to_stderr("stopping: what the cases made is removed; a second signal stops at once");
        stop.cancel();
        tokio::select! {
            // It says itself what it could not remove.
            _ = running => Ok(signal.exit_code()),
            signal = signals.next_stop() => Ok(signal.exit_code()),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let is_wanted = |case: &Case| {
            let name = format!("{}::{}", case.theme(), case.name());
            self.filter.is_empty() || self.filter.iter().any(|part| name.contains(part))
        };
        let all = cases().iter().chain(transfer_cases());
        let all = all.chain(partition_cases()).copied();
        all.filter(is_wanted).collect()
    }

    fn list(&self, cases: &[Case]) -> Result<(), CommandError> {
        let mut output = Output::new(self.json);
        for case in cases {
            let listed = ListedCase {
                theme: case.theme(),
                case: case.name(),
                promise: case.promise(),
            };
            output.write(&listed, |out| {
                writeln!(out, "{}::{}", listed.theme, listed.case)
            })?;
        }
        Ok(())
    }

    async fn run_cases(
        &self,
        config: &Config,
        mut cases: Vec<Case>,
        stop: &CancellationToken,
    ) -> Result<(), CommandError> {
        let trial = Trial::open(config).await?;
        if !trial.has_transfer() {
            cases.retain(|case| !transfer_cases().iter().any(|it| it.name() == case.name()));
        }
        let count = cases.len();
        print_to_stderr(&format!(
            "{} on {}, {} at a time; {}",
            counted(count, "case", "cases"),
            escaped(trial.name()),
            self.jobs,
            trial.what_is_made()
        ));
        for note in trial.notes().await {
            print_to_stderr(&format!("note: {}", escaped(&note)));
        }
        // Whether the tables can be made at all shows here, and not as a failure of each case.
        trial.probe().await?;
        let mut report = Report::new(trial.name(), trial.extensions(), &cases);
        let started = Instant::now();
        let mut progress = LongWork::begin("", "cases", count as u64);
        let mut results = start(Arc::clone(&trial), cases, self.jobs, stop)?;
        while let Some((case, ended)) = results.recv().await {
            progress.doing(format!("{}: {}", case.theme(), case.name()));
            progress.add(1);
            report.add(case, ended);
        }
        progress.end();
        for left in trial.remove().await {
            print_to_stderr(&format!("warning: {}", escaped(&left)));
        }
        if stop.is_cancelled() {
            return Ok(());
        }
        report.end(started.elapsed());
        Output::new(self.json).write(&report, |out| report.write(out))?;
        match report.failed() {
            0 => Ok(()),
            failed => Err(CommandError::NotConforming {
                failed,
                cases: count,
            }),
        }
    }
}

/// A case that has run, and what is wrong.
type Ended = (Case, Result<(), Failure>);

/// Runs the cases on `jobs` threads, and returns their results as they come. Ends when all have run, or soon
/// after `stop`.
///
/// Each case has a runtime of its own, as in a test: tasks that it leaves behind end with it.
fn start(
    trial: Arc<Trial>,
    cases: Vec<Case>,
    jobs: u16,
    stop: &CancellationToken,
) -> Result<mpsc::UnboundedReceiver<Ended>, CommandError> {
    panics::keep_quiet();
    // As many results as cases.
    let (results, ended) = mpsc::unbounded_channel();
    let cases: Arc<[Case]> = cases.into();
    let next = Arc::<AtomicUsize>::default();
    for job in 0..jobs {
        let (trial, cases, next) = (Arc::clone(&trial), Arc::clone(&cases), Arc::clone(&next));
        let (results, stop) = (results.clone(), stop.clone());
        let work = move || {
            while !stop.is_cancelled()
                && let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let ended = trial.run(*case, &stop);
                if results.send((*case, ended)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("conformance-{job}"));
        thread.spawn(work).map_err(TrialError::Thread)?;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        suite: Conformance,
    }

    fn names(args: &[&str]) -> Vec<&'static str> {
        let line = Line::parse_from([&["conformance"], args].concat());
        line.suite.cases().iter().map(Case::name).collect()
    }

    #[test]
    fn filters_select_cases_by_parts_of_their_names() {
        let all = names(&[]).len();
        let lists = [cases(), transfer_cases(), partition_cases()];
        assert_eq!(all, lists.concat().len());
        assert_eq!(
            names(&["--filter", "claim::events_are_never_early"]),
            ["events_are_never_early"]
        );
        let of_two = names(&["--filter=search::", "--filter=sample::"]).len();
        assert_eq!(
            of_two,
            names(&["--filter=search::"]).len() + names(&["--filter=sample::"]).len()
        );
        assert!(of_two > 0 && of_two < all);
        assert!(names(&["--filter=no such case"]).is_empty());
        for jobs in ["0", "65", "x"] {
            assert!(Line::try_parse_from(["conformance", "--jobs", jobs]).is_err());
        }
    }
}
