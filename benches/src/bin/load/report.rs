//! The results, and how they are shown: as tables, as JSON and as an HTML page.

mod html;
mod table;
mod targets;

use std::io::Write;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::machine::Machine;
use crate::process::Share;
use crate::recording::{Answers, Latency, Point, Recorded};

pub(crate) use targets::Verdict;

/// The results of one run of the command.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Whether sizes were too small for the figures to mean anything.
    pub(crate) quick: bool,
    /// The backends that were chosen.
    pub(crate) backends: Vec<Backend>,
    pub(crate) sections: Vec<Section>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// The results of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// `None` if the scenario has no backend, or several.
    pub(crate) backend: Option<Backend>,
    pub(crate) runs: Vec<Run>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) series: Vec<Series>,
    pub(crate) peers: Vec<Peer>,
    /// The measurements that were left out, with the reasons.
    pub(crate) notes: Vec<&'static str>,
    /// Failures, such as an answer that was not 202, or a missing event.
    pub(crate) failures: Vec<String>,
}

/// One measurement with a rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Unique within the sections of its backend; targets name it.
    pub(crate) name: String,
    /// How long the run took.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// In milliseconds; `None` if nothing waited for an answer.
    pub(crate) latency: Option<Latency>,
    /// The distribution that `latency` summarises.
    #[serde(skip)]
    pub(crate) histogram: Option<Histogram<u64>>,
    pub(crate) answers: Option<Answers>,
    pub(crate) shares: Vec<Share>,
    pub(crate) points: Vec<Point>,
}

/// A number other than a rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Unique within the sections of its backend; targets name it.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A number over time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) title: &'static str,
    /// Seconds from the start, and the value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A queue among others, as `benches/peers` prints it; times are in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) queue: String,
    pub(crate) version: String,
    /// The settings that differ from its defaults.
    pub(crate) settings: String,
    pub(crate) enqueue_per_second: f64,
    pub(crate) drain_per_second: f64,
    /// The time from the call that enqueues to the start of the handler.
    pub(crate) pickup_p50: f64,
    pub(crate) pickup_p99: f64,
    /// The time from the return of that call to the start of the handler.
    pub(crate) after_enqueue_p50: f64,
    pub(crate) after_enqueue_p99: f64,
}

impl Run {
    pub(crate) fn of(name: impl Into<String>, recorded: Recorded, shares: Vec<Share>) -> Self {
        Self {
            latency: Latency::of(&recorded.latency),
            histogram: Some(recorded.latency),
            answers: Some(recorded.answers),
            shares,
            points: recorded.points,
            ..Self::counted(name, recorded.per_second, recorded.seconds)
        }
    }

    /// Makes a run in which nothing waited for an answer.
    pub(crate) fn counted(name: impl Into<String>, per_second: f64, seconds: f64) -> Self {
        Self {
            name: name.into(),
            seconds,
            per_second,
            latency: None,
            histogram: None,
            answers: None,
            shares: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Adds a later part of the same measurement.
    fn join(&mut self, next: Self) {
        let before = self.seconds;
        self.seconds += next.seconds;
        let mean =
            |one: f64, other: f64| (one * before + other * next.seconds) / (before + next.seconds);
        self.per_second = mean(self.per_second, next.per_second);
        if let (Some(all), Some(more)) = (&mut self.histogram, &next.histogram) {
            all.add(more).expect("they have the same bounds");
            self.latency = Latency::of(all);
        }
        if let (Some(all), Some(more)) = (&mut self.answers, next.answers) {
            all.add(more);
        }
        for share in &mut self.shares {
            let more = next.shares.iter().find(|more| more.who == share.who);
            share.cores = mean(share.cores, more.map_or(0.0, |more| more.cores));
        }
        self.points
            .extend(next.points.into_iter().map(|point| Point {
                at: before + point.at,
                ..point
            }));
    }

    /// Returns a line that summarises the run.
    pub(crate) fn line(&self) -> String {
        let latency = self.latency.map_or_else(String::new, |latency| {
            format!(
                ", p50 {} ms, p99 {} ms",
                table::short(latency.p50),
                table::short(latency.p99)
            )
        });
        let shares: Vec<String> = self
            .shares
            .iter()
            .map(|share| format!("{} {:.2}", share.who, share.cores))
            .collect();
        format!(
            "  {}: {}/s{latency}; cores: {}",
            self.name,
            table::short(self.per_second),
            shares.join(", ")
        )
    }
}

impl Section {
    pub(crate) fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            backend: None,
            runs: Vec::new(),
            figures: Vec::new(),
            series: Vec::new(),
            peers: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// The same on this backend.
    pub(crate) fn on(self, backend: Backend) -> Self {
        Self {
            backend: Some(backend),
            ..self
        }
    }

    /// Its name, its backend and its title.
    pub(crate) fn headline(&self) -> String {
        match self.backend {
            Some(backend) => format!("{} on {backend}: {}", self.name, self.title),
            None => format!("{}: {}", self.name, self.title),
        }
    }

    /// Adds a run, or joins it to the run of the same name.
    pub(crate) fn add(&mut self, run: Run) {
        match self.runs.iter_mut().find(|it| it.name == run.name) {
            Some(known) => known.join(run),
            None => self.runs.push(run),
        }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    /// Records a failure unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(failure());
        }
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, quick: bool, backends: Vec<Backend>) -> Self {
        Self {
            machine,
            quick,
            backends,
            sections: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// Returns a run on this backend, or on none or several.
    pub(crate) fn run(&self, backend: Backend, name: &str) -> Option<&Run> {
        let mut runs = self.sections_of(backend).flat_map(|section| &section.runs);
        runs.find(|run| run.name == name)
    }

    pub(crate) fn value(&self, backend: Backend, name: &str) -> Option<f64> {
        let mut figures = self
            .sections_of(backend)
            .flat_map(|section| &section.figures);
        Some(figures.find(|figure| figure.name == name)?.value)
    }

    fn sections_of(&self, backend: Backend) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(move |section| section.backend.is_none_or(|it| it == backend))
    }

    /// Returns this inbox, and the queues that it is compared with.
    fn peers(&self) -> Option<(&Peer, &[Peer])> {
        let peers = self
            .sections
            .iter()
            .find(|section| !section.peers.is_empty())?;
        peers.peers.split_first()
    }

    /// Compares the figures with the targets.
    pub(crate) fn judge(&mut self) {
        self.verdicts = targets::judge(self);
    }

    /// Returns all failures, each with the name of its section.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.sections
            .iter()
            .flat_map(|section| section.failures.iter().map(|it| (section.name, it)))
    }

    /// Prints the results as tables.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        table::print(self, out)
    }

    /// Writes the results as JSON.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    /// Writes the results as an HTML page without external resources.
    pub(crate) fn write_html(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, html::page(self)?)?)
    }
}
