//! The targets. They hold for a machine of two cores that also runs PostgreSQL and the generator.

use serde::Serialize;

use super::{Peer, Report};
use crate::backend::Backend;
use crate::recording::Latency;
use crate::scenario::dashboard;

/// A target, and the figure measured for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) figure: String,
    pub(crate) target: f64,
    pub(crate) bound: Bound,
    pub(crate) unit: &'static str,
    /// `None` if the scenario did not run.
    pub(crate) measured: Option<f64>,
}

/// Whether the target is a lower or an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

impl Verdict {
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.measured.map(|measured| match self.bound {
            Bound::AtLeast => measured >= self.target,
            Bound::AtMost => measured <= self.target,
        })
    }

    /// How many times better the figure is than the target. The target is met from 1 on.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let measured = self.measured?;
        let ratio = match self.bound {
            Bound::AtLeast => measured / self.target,
            Bound::AtMost => self.target / measured,
        };
        ratio.is_finite().then_some(ratio)
    }

    pub(super) fn wanted(&self) -> String {
        let bound = match self.bound {
            Bound::AtLeast => "at least",
            Bound::AtMost => "at most",
        };
        format!("{bound} {} {}", super::table::short(self.target), self.unit)
            .trim_end()
            .to_owned()
    }

    pub(super) fn word(&self) -> &'static str {
        match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

pub(super) fn judge(report: &Report) -> Vec<Verdict> {
    match report.peers() {
        Some((inbox, others)) => judge_among(inbox, others),
        None => report
            .backends
            .iter()
            .flat_map(|&backend| match backend {
                Backend::Postgres => [
                    judge_postgres(report),
                    judge_partitions(report, backend, ""),
                    judge_forwarding(report, backend, ""),
                    judge_dashboard(report, backend, ""),
                ]
                .concat(),
                Backend::Sqlite => [
                    judge_sqlite(report),
                    judge_partitions(report, backend, "SQLite: "),
                    judge_forwarding(report, backend, "SQLite: "),
                    judge_dashboard(report, backend, "SQLite: "),
                ]
                .concat(),
                Backend::Memory => Vec::new(),
            })
            .collect(),
    }
}

fn at_least(figure: &str, target: f64, unit: &'static str, measured: Option<f64>) -> Verdict {
    Verdict {
        figure: figure.to_owned(),
        target,
        bound: Bound::AtLeast,
        unit,
        measured,
    }
}

fn at_most(figure: &str, target: f64, unit: &'static str, measured: Option<f64>) -> Verdict {
    Verdict {
        bound: Bound::AtMost,
        ..at_least(figure, target, unit, measured)
    }
}

/// Compares this inbox with the best of the other queues, figure by figure.
fn judge_among(inbox: &Peer, others: &[Peer]) -> Vec<Verdict> {
    let over_highest = |of: fn(&Peer) -> f64| {
        let highest = others.iter().map(of).reduce(f64::max)?;
        Some(of(inbox) / highest)
    };
    let over_lowest = |of: fn(&Peer) -> f64| {
        let lowest = others.iter().map(of).reduce(f64::min)?;
        Some(of(inbox) / lowest)
    };
    vec![
        at_least(
            "enqueued per second over the best of the others",
            10.0,
            "x",
            over_highest(|peer| peer.enqueue_per_second),
        ),
        at_least(
            "drained per second over the best of the others",
            1.5,
            "x",
            over_highest(|peer| peer.drain_per_second),
        ),
        at_most(
            "picked up after, p50, over the best of the others",
            1.0,
            "x",
            over_lowest(|peer| peer.pickup_p50),
        ),
        at_most(
            "picked up after, p99, over the best of the others",
            1.0,
            "x",
            over_lowest(|peer| peer.pickup_p99),
        ),
    ]
}

fn judge_postgres(report: &Report) -> Vec<Verdict> {
    let backend = Backend::Postgres;
    let rate = |run: &str| Some(report.run(backend, run)?.per_second);
    let latency = |run: &str, pick: fn(Latency) -> f64| report.run(backend, run)?.latency.map(pick);
    let over = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let value = |name: &str| report.value(backend, name);
    let p50 = |latency: Latency| latency.p50;
    let p99 = |latency: Latency| latency.p99;

    let one = rate("64 connections");
    vec![
        at_least(
            "202s per second, 64 connections, over pgbench's single-row inserts, 64 clients",
            2.0,
            "x",
            over(one, rate("pgbench, 64 clients")),
        ),
        at_least(
            "202s per second, 64 connections, over the same server with batching off",
            3.5,
            "x",
            over(one, rate("64 connections, batching off")),
        ),
        at_least(
            "202s per second, 256 connections, of the bare server's",
            28.0,
            "%",
            over(
                rate("256 connections"),
                rate("bare server, 256 connections"),
            )
            .map(|it| it * 100.0),
        ),
        at_most(
            "one connection: p50 over that with batching off",
            1.25,
            "x",
            over(
                latency("1 connection", p50),
                latency("1 connection, batching off", p50),
            ),
        ),
        at_most(
            "p99, 64 connections",
            8.0,
            "ms",
            latency("64 connections", p99),
        ),
        at_most(
            "p99, 256 connections",
            20.0,
            "ms",
            latency("256 connections", p99),
        ),
        at_least(
            "99 % duplicates over unique events, 64 connections",
            1.0,
            "x",
            over(rate("99 % repeats"), rate("no repeats, 64 connections")),
        ),
        at_least(
            "a hot key over unique events, 256 connections",
            1.0,
            "x",
            over(rate("hot key"), rate("no repeats, 256 connections")),
        ),
        at_least("drain, one worker", 30_000.0, "/s", rate("drain, 1 worker")),
        at_least(
            "drain, two workers",
            30_000.0,
            "/s",
            rate("drain, 2 workers"),
        ),
        at_least("sustained, in", 10_000.0, "/s", rate("sustained")),
        at_least(
            "sustained, processed",
            10_000.0,
            "/s",
            rate("sustained, processed"),
        ),
        at_most(
            "sustained: p99 at the end over that at the start",
            1.5,
            "x",
            value("sustained: p99 at the end over that at the start"),
        ),
        at_most(
            "sustained: most memory",
            100.0,
            "MB",
            value("sustained: most memory"),
        ),
        at_most(
            "sustained: most dead rows of the second half over those of the first",
            1.5,
            "x",
            value("sustained: most dead rows of the second half over those of the first"),
        ),
        at_least(
            "ingest while a backlog drains, over ingest without",
            0.5,
            "x",
            over(
                rate("ingest while a backlog drains"),
                rate("ingest without a backlog"),
            ),
        ),
        at_most(
            "p99 of ingest while a backlog drains",
            50.0,
            "ms",
            latency("ingest while a backlog drains", p99),
        ),
        at_most(
            "pick-up at 50/s: p50",
            3.0,
            "ms",
            value("late at 50/s, 1 node: p50"),
        ),
        at_most(
            "pick-up at 50/s: p99",
            7.0,
            "ms",
            value("late at 50/s, 1 node: p99"),
        ),
        at_least(
            "ingest with events waiting, over that into an empty table",
            0.8,
            "x",
            over(
                rate("ingest, events waiting"),
                rate("ingest, empty table, beside that of events waiting"),
            ),
        ),
        at_least(
            "processing with events waiting, over that of an empty table",
            0.8,
            "x",
            over(
                rate("drain, events waiting"),
                rate("drain, empty table, beside that of events waiting"),
            ),
        ),
        at_least(
            "ingest with processed events behind, over that into an empty table",
            0.8,
            "x",
            over(
                rate("ingest, events processed"),
                rate("ingest, empty table, beside that of events processed"),
            ),
        ),
        at_least(
            "processing with processed events behind, over that of an empty table",
            0.8,
            "x",
            over(
                rate("drain, events processed"),
                rate("drain, empty table, beside that of events processed"),
            ),
        ),
        at_least(
            "signed deliveries to 20 sources over transactions, 64 connections",
            0.9,
            "x",
            value("signed deliveries over transactions, 64 connections"),
        ),
        at_most(
            "lateness at 1,000/s: median",
            5.0,
            "ms",
            value("late at 1000/s, 1 node: p50"),
        ),
        at_most(
            "lateness at 1,000/s: p99",
            50.0,
            "ms",
            value("late at 1000/s, 1 node: p99"),
        ),
        at_most(
            "idle: processor time of the stack, of one core",
            0.3,
            "%",
            value("idle, direct: processor"),
        ),
        at_most(
            "idle: queries of one node",
            1.0,
            "/s",
            value("idle, direct: queries"),
        ),
        at_most(
            "idle through a pooler: processor time of the stack, of one core",
            0.3,
            "%",
            value("idle, pooler: processor"),
        ),
        at_most(
            "idle through a pooler: queries of one node",
            1.0,
            "/s",
            value("idle, pooler: queries"),
        ),
        at_least(
            "200 kinds: drain, beside one kind",
            0.9,
            "x",
            value("kinds: drain of 200 beside one"),
        ),
        at_most(
            "200 kinds: queries with nothing to do, beside one kind",
            1.1,
            "x",
            over(
                value("idle, 200 kinds: queries"),
                value("idle, 1 kind: queries"),
            ),
        ),
        at_least(
            "memory backend, whole pipeline, in process",
            400_000.0,
            "/s",
            rate("memory pipeline"),
        ),
    ]
}

/// The targets of the scenario `forward`, each with `start` before it.
fn judge_forwarding(report: &Report, backend: Backend, start: &str) -> Vec<Verdict> {
    let rate = |run: &str| Some(report.run(backend, run)?.per_second);
    let over = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let value = |name: &str| report.value(backend, name);
    vec![
        at_least(
            &format!("{start}forwarded, 64 connections, of the bare client's"),
            60.0,
            "%",
            value("forwarded, of the bare client's"),
        ),
        at_least(
            &format!("{start}forwarded, 64 connections"),
            10_000.0,
            "/s",
            rate("forwarded, 64 connections"),
        ),
        at_least(
            &format!("{start}ingest while a backlog is forwarded, over ingest without"),
            0.5,
            "x",
            over(
                rate("ingest while a backlog is forwarded"),
                rate("ingest while nothing is forwarded"),
            ),
        ),
        at_most(
            &format!("{start}100,000 events behind an open breaker, of one core"),
            1.0,
            "%",
            value("behind an open breaker: processor"),
        ),
    ]
}

/// The targets of the scenario `partitions`, each with `start` before it.
fn judge_partitions(report: &Report, backend: Backend, start: &str) -> Vec<Verdict> {
    [
        ("in process, 256 callers: 1 partition over none", 0.97),
        ("in process, drain: 1 partition over none", 0.97),
        ("256 connections: 8 partitions over none", 0.70),
        ("in process, drain: 8 partitions over none", 0.80),
    ]
    .into_iter()
    .map(|(figure, target)| {
        at_least(
            &format!("{start}{figure}"),
            target,
            "x",
            report.value(backend, figure),
        )
    })
    .collect()
}

/// The targets of the scenario `dashboard`, each with `start` before it.
fn judge_dashboard(report: &Report, backend: Backend, start: &str) -> Vec<Verdict> {
    vec![
        at_least(
            &format!("{start}ingest with ten tabs of the dashboard, over ingest without"),
            0.98,
            "x",
            report.value(backend, dashboard::INGEST),
        ),
        at_least(
            &format!("{start}drain with ten tabs of the dashboard, over drain without"),
            0.98,
            "x",
            report.value(backend, dashboard::DRAIN),
        ),
        at_most(
            &format!("{start}slowest page of the dashboard"),
            200.0,
            "ms",
            report.value(backend, "slowest page"),
        ),
    ]
}

fn judge_sqlite(report: &Report) -> Vec<Verdict> {
    let backend = Backend::Sqlite;
    let rate = |run: &str| Some(report.run(backend, run)?.per_second);
    let latency = |run: &str, pick: fn(Latency) -> f64| report.run(backend, run)?.latency.map(pick);
    let over = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let value = |name: &str| report.value(backend, name);
    let p50 = |latency: Latency| latency.p50;
    let p99 = |latency: Latency| latency.p99;
    vec![
        at_least(
            "SQLite in process: 256 callers",
            60_000.0,
            "/s",
            rate("in process, 256 callers, sqlite"),
        ),
        at_least(
            "SQLite in process: 256 callers, over PostgreSQL",
            1.0,
            "x",
            value("in process, 256 callers: sqlite over postgres"),
        ),
        at_least(
            "SQLite in process: drain, one worker",
            80_000.0,
            "/s",
            rate("in process, drain, concurrency 256, sqlite"),
        ),
        at_least(
            "SQLite in process: drain, one worker, over PostgreSQL",
            1.2,
            "x",
            value("in process, drain, concurrency 256: sqlite over postgres"),
        ),
        at_least(
            "SQLite: 202s per second, 64 connections, over PostgreSQL",
            1.0,
            "x",
            value("64 connections: sqlite over postgres"),
        ),
        at_least(
            "SQLite: 202s per second, 256 connections, over PostgreSQL",
            1.0,
            "x",
            value("256 connections: sqlite over postgres"),
        ),
        at_most(
            "SQLite: p99, 64 connections",
            10.0,
            "ms",
            latency("64 connections, sqlite", p99),
        ),
        at_most(
            "SQLite: p99, 256 connections",
            25.0,
            "ms",
            latency("256 connections, sqlite", p99),
        ),
        at_most(
            "SQLite: one connection, p50 over PostgreSQL",
            1.0,
            "x",
            over(
                latency("1 connection, sqlite", p50),
                latency("1 connection, postgres", p50),
            ),
        ),
        at_least(
            "SQLite: drain, one server, over PostgreSQL",
            1.2,
            "x",
            value("drain: sqlite over postgres"),
        ),
        at_least(
            "SQLite: signed deliveries to 20 sources over transactions, 64 connections",
            0.9,
            "x",
            value("signed deliveries over transactions, 64 connections"),
        ),
        at_least("SQLite: sustained, in", 15_000.0, "/s", rate("sustained")),
        at_least(
            "SQLite: sustained, processed",
            15_000.0,
            "/s",
            rate("sustained, processed"),
        ),
        at_most(
            "SQLite: sustained, p99 at the end over that at the start",
            1.5,
            "x",
            value("sustained: p99 at the end over that at the start"),
        ),
        at_most(
            "SQLite: sustained, longest write-ahead log of the second half over that of the first",
            1.5,
            "x",
            value("sustained: longest write-ahead log of the second half over that of the first"),
        ),
        at_most(
            "SQLite: sustained, most memory",
            150.0,
            "MB",
            value("sustained: most memory"),
        ),
        at_least(
            "SQLite: ingest with events waiting, over that into an empty file",
            0.5,
            "x",
            over(
                rate("ingest, events waiting"),
                rate("ingest, empty table, beside that of events waiting"),
            ),
        ),
        at_least(
            "SQLite: processing with events waiting, over that of an empty file",
            0.8,
            "x",
            over(
                rate("drain, events waiting"),
                rate("drain, empty table, beside that of events waiting"),
            ),
        ),
        at_most(
            "SQLite: idle, processor time of the server, of one core",
            0.1,
            "%",
            value("idle, direct: server"),
        ),
        at_most(
            "SQLite: idle, written",
            0.0,
            "B",
            value("idle, direct: written"),
        ),
    ]
}
