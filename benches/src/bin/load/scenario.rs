//! Runs the scenarios in order.

mod backlog;
mod contention;
mod drain;
mod duplicates;
mod idle;
mod ingest;
mod kinds;
mod lateness;
mod memory;
mod mixed;
mod peers;
mod scale;
mod sustained;
mod variants;

use crate::bench::Bench;
use crate::options::Scenario;
use crate::report::Section;

/// Runs the chosen scenarios. The failure of one does not stop the others.
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
        let mut section = Section::new("variants", "several servers, in turns");
        if let Err(error) = variants::run(bench, &mut section).await {
            section.failures.push(format!("{error:#}"));
        }
        bench.report.sections.push(section);
        return;
    }
    for scenario in [
        Scenario::Ingest,
        Scenario::Duplicates,
        Scenario::Drain,
        Scenario::Contention,
        Scenario::Sustained,
        Scenario::Backlog,
        Scenario::Lateness,
        Scenario::Idle,
        Scenario::Kinds,
        Scenario::Mixed,
        Scenario::Scale,
        Scenario::Memory,
    ] {
        if bench.options.wants(scenario) {
            let mut section = title(scenario);
            bench
                .progress
                .say(&format!("{}: {}", section.name, section.title));
            if let Err(error) = run(scenario, bench, &mut section).await {
                section.failures.push(format!("{error:#}"));
            }
            for failure in &section.failures {
                bench.progress.say(&format!("  FAILED: {failure}"));
            }
            bench.report.sections.push(section);
        }
    }
}

async fn run(scenario: Scenario, bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    match scenario {
        Scenario::Ingest => ingest::run(bench, section).await,
        Scenario::Duplicates => duplicates::run(bench, section).await,
        Scenario::Drain => drain::run(bench, section).await,
        Scenario::Contention => contention::run(bench, section).await,
        Scenario::Sustained => sustained::run(bench, section).await,
        Scenario::Backlog => backlog::run(bench, section).await,
        Scenario::Lateness => lateness::run(bench, section).await,
        Scenario::Idle => idle::run(bench, section).await,
        Scenario::Kinds => kinds::run(bench, section).await,
        Scenario::Mixed => mixed::run(bench, section).await,
        Scenario::Scale => scale::run(bench, section).await,
        Scenario::Memory => memory::run(bench, section).await,
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
        Scenario::Scale => ("scale", "several processes, and what an event costs"),
        Scenario::Memory => ("memory", "the backend in memory, in this process"),
    };
    Section::new(name, title)
}
