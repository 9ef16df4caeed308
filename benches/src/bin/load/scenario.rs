//! Runs the scenarios in order.

mod backends;
mod backlog;
mod contention;
pub(crate) mod dashboard;
mod drain;
mod duplicates;
mod forward;
mod idle;
mod in_process;
mod ingest;
mod kinds;
mod lateness;
mod memory;
mod mixed;
mod partitions;
mod peers;
mod scale;
mod signed;
mod sustained;
mod variants;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::options::Scenario;
use crate::report::Section;

pub(crate) use in_process::Measured;

/// Why several processes are not measured.
const ONE_SERVER: &str =
    "several processes are measured on PostgreSQL only; the others have one server";

/// Runs the chosen scenarios on the chosen backends. The failure of one does not stop the others.
pub(crate) async fn run_all(bench: &mut Bench) {
    if bench.options.peers {
        let mut section = Section::new("peers", "the same job through other queues");
        if let Err(error) = peers::run(bench, &mut section).await {
            section.failures.push(format!("{error:#}"));
        }
        bench.report.sections.push(section);
        return;
    }
    if !bench.options.variants.is_empty() {
        for backend in bench.options.backends() {
            bench.backend = backend;
            let mut section = Section::new("variants", "several servers, in turns").on(backend);
            if let Err(error) = variants::run(bench, &mut section).await {
                section.failures.push(format!("{error:#}"));
            }
            bench.report.sections.push(section);
        }
        return;
    }
    for scenario in [
        Scenario::Ingest,
        Scenario::Duplicates,
        Scenario::Drain,
        Scenario::Contention,
        Scenario::Forward,
        Scenario::Dashboard,
        Scenario::Sustained,
        Scenario::Backlog,
        Scenario::Lateness,
        Scenario::Idle,
        Scenario::Kinds,
        Scenario::Mixed,
        Scenario::Signed,
        Scenario::Scale,
        Scenario::Partitions,
        Scenario::Memory,
        Scenario::InProcess,
        Scenario::Backends,
    ] {
        if !bench.options.wants(scenario) {
            continue;
        }
        if matches!(
            scenario,
            Scenario::Memory | Scenario::InProcess | Scenario::Backends
        ) {
            run_one(scenario, bench, title(scenario)).await;
            continue;
        }
        for backend in bench.options.backends() {
            bench.backend = backend;
            let section = title(scenario).on(backend);
            run_one(scenario, bench, section).await;
        }
    }
}

async fn run_one(scenario: Scenario, bench: &mut Bench, mut section: Section) {
    bench.progress.say(&section.headline());
    match section
        .backend
        .and_then(|backend| left_out(scenario, backend))
    {
        Some(reason) => section.notes.push(reason),
        None => {
            if let Err(error) = run(scenario, bench, &mut section).await {
                section.failures.push(format!("{error:#}"));
            }
        }
    }
    for note in &section.notes {
        bench.progress.say(&format!("  left out: {note}"));
    }
    for failure in &section.failures {
        bench.progress.say(&format!("  FAILED: {failure}"));
    }
    bench.report.sections.push(section);
}

/// Why a scenario is not run on a backend.
fn left_out(scenario: Scenario, backend: Backend) -> Option<&'static str> {
    match (backend, scenario) {
        (Backend::Sqlite | Backend::Memory, Scenario::Scale) => Some(ONE_SERVER),
        (
            Backend::Memory,
            Scenario::Drain
            | Scenario::Contention
            | Scenario::Forward
            | Scenario::Dashboard
            | Scenario::Sustained
            | Scenario::Backlog
            | Scenario::Lateness
            | Scenario::Kinds
            | Scenario::Partitions,
        ) => Some("the memory of a server cannot be filled beforehand or looked into"),
        (Backend::Memory, Scenario::Mixed) => {
            Some("bodies of 64 KiB would fill the machine's memory")
        }
        _ => None,
    }
}

async fn run(scenario: Scenario, bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    match scenario {
        Scenario::Ingest => ingest::run(bench, section).await,
        Scenario::Duplicates => duplicates::run(bench, section).await,
        Scenario::Drain => drain::run(bench, section).await,
        Scenario::Contention => contention::run(bench, section).await,
        Scenario::Forward => forward::run(bench, section).await,
        Scenario::Dashboard => dashboard::run(bench, section).await,
        Scenario::Sustained => sustained::run(bench, section).await,
        Scenario::Backlog => backlog::run(bench, section).await,
        Scenario::Lateness => lateness::run(bench, section).await,
        Scenario::Idle => idle::run(bench, section).await,
        Scenario::Kinds => kinds::run(bench, section).await,
        Scenario::Mixed => mixed::run(bench, section).await,
        Scenario::Signed => signed::run(bench, section).await,
        Scenario::Scale => scale::run(bench, section).await,
        Scenario::Partitions => partitions::run(bench, section).await,
        Scenario::Memory => memory::run(bench, section).await,
        Scenario::InProcess => in_process::run(bench, section).await,
        Scenario::Backends => backends::run(bench, section).await,
    }
}

/// Compares the runs of a section, whose names end with a backend, with those on PostgreSQL.
fn compare_backends(section: &mut Section, backends: &[Backend]) {
    let rate = |name: &str| {
        let run = section.runs.iter().find(|run| run.name == name);
        run.map(|run| run.per_second)
    };
    let mut ratios = Vec::new();
    for run in &section.runs {
        let Some(what) = run.name.strip_suffix(&format!(", {}", Backend::Postgres)) else {
            continue;
        };
        for backend in backends.iter().filter(|it| **it != Backend::Postgres) {
            if let Some(other) = rate(&format!("{what}, {backend}")) {
                let name = format!("{what}: {backend} over {}", Backend::Postgres);
                ratios.push((name, other / run.per_second));
            }
        }
    }
    for (name, ratio) in ratios {
        section.figure(name, ratio, "x");
    }
}

fn title(scenario: Scenario) -> Section {
    let (name, title) = match scenario {
        Scenario::Ingest => (
            "ingest",
            "unique events until they are durable, and the limits of this machine",
        ),
        Scenario::Duplicates => ("duplicates", "repeated deliveries"),
        Scenario::Drain => ("drain", "due events through claim, handler and settle"),
        Scenario::Contention => ("contention", "ingest while a backlog drains"),
        Scenario::Forward => (
            "forward",
            "events forwarded to a receiver, beside a bare client",
        ),
        Scenario::Dashboard => (
            "dashboard",
            "the dashboard open in ten tabs, beside ingest and drain, in turns",
        ),
        Scenario::Sustained => (
            "sustained",
            "ingest and processing together at a constant rate",
        ),
        Scenario::Backlog => (
            "backlog",
            "ingest and drain beside many waiting events, and beside many processed ones",
        ),
        Scenario::Lateness => ("lateness", "how long past due handlers begin"),
        Scenario::Kinds => (
            "kinds",
            "a worker of 200 kinds compared with a worker of one",
        ),
        Scenario::Idle => ("idle", "processor time and queries with nothing to do"),
        Scenario::Mixed => ("mixed", "bodies of several sizes, 64 connections"),
        Scenario::Signed => (
            "signed",
            "signed deliveries to 20 sources, beside transactions, in turns",
        ),
        Scenario::Scale => ("scale", "several processes, and what an event costs"),
        Scenario::Partitions => (
            "partitions",
            "an inbox without partitions, with one and with eight, in turns",
        ),
        Scenario::Memory => ("memory", "the backend in memory, in this process"),
        Scenario::InProcess => (
            "in-process",
            "accept and drain without HTTP, on each backend in turns",
        ),
        Scenario::Backends => ("backends", "servers on each backend, in turns"),
    };
    Section::new(name, title)
}
