//! Injects faults into the inbox: see `cargo run -p faults -- --help`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use faults::report::{Row, table};
use faults::{FAULTS, Fault, Run, Tools, Unsupported};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::RngExt as _;
use testkit::folder::default_parent;

/// Starts a database, nodes and senders, injects a fault under load, and compares every
/// acknowledgement with the database and with what handlers recorded.
///
/// Exits with 1 if an event is lost, or settled twice or early, or if the inbox does not recover.
#[derive(Debug, Parser)]
#[command(name = "faults")]
struct Line {
    /// The faults to inject [default: all]
    #[arg(value_name = "FAULT")]
    faults: Vec<String>,

    /// Only list the faults
    #[arg(long)]
    list: bool,

    /// The number of runs of each fault
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    runs: u32,

    /// The approximate duration of the load
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,

    /// The number of events that are sent each second
    #[arg(long, default_value_t = 400.0)]
    rate: f64,

    /// The seed of the first run; each further run uses the next seed [default: random]
    #[arg(long)]
    seed: Option<u64>,

    /// The `webhook-server` of the previous release, which `upgrade` replaces by the current one
    /// [default: the current one]. To build it:
    /// `git worktree add ../former COMMIT && cd ../former && cargo build --release --locked -p webhook-server`;
    /// the program is `../former/target/release/webhook-server`
    #[arg(long, value_name = "PROGRAM")]
    from: Option<PathBuf>,

    /// Where to put databases, logs and ledgers; a file system in memory is quicker
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Exit with 0 even if some faults are not possible on this machine
    #[arg(long)]
    skip_unsupported: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let line = Line::parse();
    let interrupted = tokio::signal::ctrl_c();
    let ended = tokio::select! {
        ended = attack(&line) => ended,
        _ = interrupted => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all runs succeeded.
async fn attack(line: &Line) -> anyhow::Result<bool> {
    let chosen = choose(&line.faults)?;
    if line.list {
        let width = chosen.iter().map(|it| it.name.len()).max().unwrap_or(0);
        for fault in chosen {
            print(&format!("{:width$}  {}\n", fault.name, fault.about))?;
        }
        return Ok(true);
    }
    let programs = build()?;
    let node = programs.join("faults-node");
    let server = programs.join("faults-server");
    let place = line.folder.clone().unwrap_or_else(default_parent);
    let tools = Arc::new(Tools::new(node, server, place));
    let first_seed = line
        .seed
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let progress = Progress::new(u64::from(line.runs) * u64::try_from(chosen.len())?);
    let mut rows = Vec::new();
    for fault in chosen {
        let mut row = Row::new(fault);
        for number in 0..line.runs {
            let seed = first_seed + u64::from(number);
            progress.at(fault, number, seed);
            let run = Run {
                tools: Arc::clone(&tools),
                seconds: line.seconds,
                rate: line.rate,
                seed,
                former_server: line.from.clone(),
            };
            match fault.run(run).await {
                Ok(tally) => {
                    for violation in &tally.violations {
                        progress.say(&format!("{}, seed {seed}: {violation}", fault.name));
                    }
                    for note in &tally.notes {
                        progress.say(&format!("{}, seed {seed}: {note}", fault.name));
                    }
                    row.add(seed, tally);
                }
                Err(error) if error.is::<Unsupported>() => {
                    progress.say(&format!("SKIPPED {}: {error:#}", fault.name));
                    row.skipped = Some(format!("{error:#}"));
                    break;
                }
                Err(error) => {
                    progress.say(&format!("{}, seed {seed}: {error:#}", fault.name));
                    row.broken.push(format!("seed {seed}: {error:#}"));
                }
            }
        }
        rows.push(row);
    }
    progress.bar.finish_and_clear();
    report(line, &rows)
}

fn report(line: &Line, rows: &[Row]) -> anyhow::Result<bool> {
    if line.json {
        print(&format!("{}\n", serde_json::to_string_pretty(rows)?))?;
    } else {
        print(&table(rows))?;
    }
    let skipped: Vec<_> = rows.iter().filter(|row| row.skipped.is_some()).collect();
    for row in &skipped {
        eprintln!(
            "NOT RUN: {}: {}",
            row.fault,
            row.skipped.as_deref().unwrap_or("")
        );
    }
    for row in rows.iter().filter(|row| !row.is_good()) {
        let complaints = row.broken.len() + row.total.violations.len();
        eprintln!("{} FAILED: {complaints} complaints, see above", row.fault);
    }
    Ok(rows.iter().all(Row::is_good) && (skipped.is_empty() || line.skip_unsupported))
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Fault>> {
    if names.is_empty() {
        return Ok(FAULTS.iter().collect());
    }
    let find = |name: &String| {
        let found = FAULTS.iter().find(|fault| fault.name == name);
        found.with_context(|| format!("unknown fault {name}: --list shows the names"))
    };
    names.iter().map(find).collect()
}

/// Builds the other programs if cargo runs this one; returns their folder.
fn build() -> anyhow::Result<PathBuf> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut cargo = Command::new(cargo);
        cargo.args(["build", "--quiet", "--package", "faults", "--bins"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        ensure!(cargo.status()?.success(), "failed to build the nodes");
    }
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program is in a folder")?;
    Ok(folder.to_owned())
}

fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}

/// A progress bar on a terminal; otherwise a line for each run.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(runs: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
        let style = "{spinner} {bar:30} {pos}/{len}  {elapsed}  {wide_msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    fn at(&self, fault: &Fault, number: u32, seed: u64) {
        let message = format!("{} {}, seed {seed}", fault.name, number + 1);
        if !std::io::stderr().is_terminal() {
            eprintln!("{message}");
        }
        self.bar.inc(u64::from(number > 0));
        self.bar.set_message(message);
    }

    fn say(&self, line: &str) {
        if std::io::stderr().is_terminal() {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}
