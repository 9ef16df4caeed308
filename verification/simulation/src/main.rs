//! Runs seeds until one fails, or prints the history of one seed.

use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::{Run, Violation};

/// Tests the inbox in simulated time, seed by seed, and checks every promise.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000, conflicts_with = "seconds")]
    seeds: u64,
    /// Run seeds for this many seconds instead.
    #[arg(long)]
    seconds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed, and print its history.
    #[arg(long, conflicts_with_all = ["seeds", "seconds", "from"])]
    seed: Option<u64>,
    /// How many threads run seeds [default: the number of cores].
    #[arg(long)]
    threads: Option<usize>,
}

/// A seed that failed.
struct Failure {
    seed: u64,
    /// The run and its violations, unless the run panicked.
    run: Option<Box<(Run, Vec<Violation>)>>,
}

/// How many facts of a failed seed are printed.
const TAIL: usize = 60;

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    match args.seed {
        Some(seed) => replay(seed, &mut out),
        None => attack(&args, &mut out),
    }
}

/// Prints the history of one seed.
fn replay(seed: u64, out: &mut impl Write) -> io::Result<ExitCode> {
    let run = Run::of(seed);
    writeln!(out, "{:#?}", run.plan)?;
    for (number, record) in run.history.iter().enumerate() {
        writeln!(out, "{number:>6} {record}")?;
    }
    let violations = run.violations();
    for violation in &violations {
        writeln!(out, "VIOLATED {violation}")?;
    }
    Ok(ExitCode::from(u8::from(!violations.is_empty())))
}

/// Runs seed after seed.
fn attack(args: &Args, out: &mut impl Write) -> io::Result<ExitCode> {
    let begun = Instant::now();
    let deadline = args
        .seconds
        .map(|seconds| begun + Duration::from_secs(seconds));
    let end = match deadline {
        Some(_) => u64::MAX,
        None => args.from.saturating_add(args.seeds),
    };
    let bar = match deadline {
        Some(_) => ProgressBar::new_spinner(),
        None => ProgressBar::new(args.seeds),
    };
    let style =
        ProgressStyle::with_template("{wide_bar} {pos} seeds, {per_sec}, {elapsed}, eta {eta}");
    bar.set_style(style.map_err(io::Error::other)?);
    let next = AtomicU64::new(args.from);
    let records = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into));
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or(1) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed)
                    && deadline.is_none_or(|it| Instant::now() < it)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    match examine(seed) {
                        Ok(length) => {
                            records.fetch_add(length as u64, Ordering::Relaxed);
                        }
                        Err(failure) => {
                            failed.store(true, Ordering::Relaxed);
                            if let Ok(mut failures) = failures.lock() {
                                failures.push(failure);
                            }
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort_by_key(|failure| failure.seed);
    let (seeds, records, elapsed) = (bar.position(), records.into_inner(), begun.elapsed());
    match failures.first() {
        None => {
            let from = args.from;
            writeln!(
                out,
                "{seeds} seeds from {from}, {records} records, {elapsed:.0?}: every property holds"
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Some(failure) => {
            report(failure, out)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Returns the number of facts of a seed whose properties hold.
fn examine(seed: u64) -> Result<usize, Failure> {
    let Ok(run) = panic::catch_unwind(|| Run::of(seed)) else {
        return Err(Failure { seed, run: None });
    };
    let violations = run.violations();
    if violations.is_empty() {
        return Ok(run.history.len());
    }
    let run = Some(Box::new((run, violations)));
    Err(Failure { seed, run })
}

fn report(failure: &Failure, out: &mut impl Write) -> io::Result<()> {
    let seed = failure.seed;
    match &failure.run {
        None => writeln!(out, "seed {seed} panicked, see above")?,
        Some(run) => {
            let (run, violations) = &**run;
            let last = violations.iter().find_map(|it| it.line);
            let end = last.map_or(run.history.len(), |line| line + 1);
            let tail = end.saturating_sub(TAIL);
            for (number, record) in run.history[..end].iter().enumerate().skip(tail) {
                writeln!(out, "{number:>6} {record}")?;
            }
            writeln!(out, "seed {seed} failed:")?;
            for violation in violations {
                writeln!(out, "  {violation}")?;
            }
        }
    }
    writeln!(
        out,
        "replay: cargo run --release -p simulation -- --seed {seed}"
    )
}
