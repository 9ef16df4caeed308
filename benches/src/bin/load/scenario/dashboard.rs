//! The dashboard open in ten tabs, beside ingest and drain, with many events in the store; and how long each of its
//! pages takes there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testkit::http;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::{Bench, in_order_of};
use crate::database::{Preload, float};
use crate::report::{Run, Section};

/// How many tabs are open.
const TABS: usize = 10;

/// The pages that the tabs show, and that are timed.
const PAGES: [&str; 9] = [
    "/dashboard",
    "/dashboard/events",
    "/dashboard/failed",
    "/dashboard/refused",
    "/dashboard/sources",
    "/dashboard/destinations",
    "/dashboard/workers",
    "/dashboard/jobs",
    "/dashboard/events?q=source%3Atransaction+state%3Aprocessing",
];

/// How often each page is timed.
const LOADS: usize = 5;

/// The runs with the tabs closed and open.
const SIDES: [(&str, usize); 2] = [("without the dashboard", 0), ("ten tabs open", TABS)];

/// The figures that are compared with targets.
pub(crate) const INGEST: &str = "ingest with ten tabs open, over ingest without: median of turns";
pub(crate) const DRAIN: &str = "drain with ten tabs open, over drain without: median of turns";

/// The processor time that the server and its database take for an event. Other users of a shared machine change it less
/// than the rates.
const INGEST_COST: &str =
    "ingest: processor time of an event with ten tabs open, over that without: median of turns";
const DRAIN_COST: &str =
    "drain: processor time of an event with ten tabs open, over that without: median of turns";

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    // New events fall due after all turns.
    let parked = bench.scale.parked * 8;
    let mut ingest_bed = bench.bed("dashboard").await?;
    let waiting = bench.scale.waiting_events;
    let mut drain_bed = bench.bed("dashboard_drain").await?;
    bench
        .preload(&mut ingest_bed, Preload::Waiting, waiting)
        .await?;
    // More than all turns drain.
    let due = bench.scale.drain_events * 5;
    bench.preload(&mut drain_bed, Preload::Due, due).await?;
    bench.checkpoint().await?;
    // An even number, so that each side goes first as often as the other.
    let turns = bench.scale.turns.next_multiple_of(2);
    let mut ratios = [const { Vec::new() }; 4];
    for turn in 0..turns {
        // Without the tabs, and with them.
        let [mut ingest, mut ingest_cost, mut drain, mut drain_cost] = [[0.0; 2]; 4];
        for &(side, tabs) in in_order_of(turn, &SIDES) {
            let server = bench.serve(&ingest_bed, "all", parked).await?;
            let open = open_tabs(server.address, tabs).await?;
            let servers = [&server];
            // Longer than a turn elsewhere: what tabs ask for when they are opened is not the point.
            let load = bench.closed(&servers, 64);
            let name = format!("ingest, {side}");
            let run = bench.stretch(&ingest_bed, name, &load).await?;
            ingest[usize::from(tabs > 0)] = run.per_second;
            ingest_cost[usize::from(tabs > 0)] = processor_time(&run);
            section.add(run);
            close_tabs(open).await?;
            server.stop().await?;
        }
        for &(side, tabs) in in_order_of(turn, &SIDES) {
            let server = bench.serve(&drain_bed, "all", Duration::ZERO).await?;
            let open = open_tabs(server.address, tabs).await?;
            tokio::time::sleep(bench.scale.warm_up).await;
            let since = drain_bed.database.tables()?.now_micros().await?;
            let length = bench.scale.idle / 10;
            bench.progress.begin(&format!("drain, {side}"), 1);
            let watched = bench.watched(&[&server]);
            let before = watched.usage();
            tokio::time::sleep(length).await;
            let shares = watched.usage().since(&before);
            let tables = drain_bed.database.tables()?;
            let settled = tables.settled(since, length / 10).await?;
            let run = Run {
                points: settled.points,
                shares,
                ..Run::counted(
                    format!("drain, {side}"),
                    settled.per_second,
                    settled.seconds,
                )
            };
            drain[usize::from(tabs > 0)] = run.per_second;
            drain_cost[usize::from(tabs > 0)] = processor_time(&run);
            section.add(run);
            close_tabs(open).await?;
            server.stop().await?;
        }
        let pairs = [ingest, ingest_cost, drain, drain_cost];
        for (ratios, [without, with]) in ratios.iter_mut().zip(pairs) {
            // A short run may take less processor time than the system counts.
            ratios.extend(Some(with / without).filter(|it| it.is_finite()));
        }
    }
    bench.say_runs(section, 4);
    let names = [INGEST, INGEST_COST, DRAIN, DRAIN_COST];
    for (name, ratios) in names.into_iter().zip(ratios) {
        let all: Vec<_> = ratios.iter().map(|it| format!("{it:.3}")).collect();
        bench.progress.say(&format!("  {name}: {}", all.join(" ")));
        if let Some(median) = median(ratios) {
            section.figure(name, median, "x");
        }
    }
    // With nothing left, the figures of the drain say little.
    let left = drain_bed.database.tables()?.due().await?;
    section.figure("backlog left in the end", float(left), "events");

    let server = bench.serve(&ingest_bed, "all", parked).await?;
    let mut slowest = Duration::ZERO;
    for page in PAGES {
        let mut worst = Duration::ZERO;
        for _ in 0..LOADS {
            worst = worst.max(Page::load(server.address, page).await?.took);
        }
        let millis = worst.as_secs_f64() * 1e3;
        section.figure(format!("page {page}: slowest of {LOADS}"), millis, "ms");
        slowest = slowest.max(worst);
    }
    let millis = slowest.as_secs_f64() * 1e3;
    section.figure("slowest page", millis, "ms");
    bench
        .progress
        .say(&format!("  slowest page: {millis:.0} ms"));
    server.stop().await?;
    bench.close(drain_bed, section).await?;
    bench.close(ingest_bed, section).await
}

/// The median: one turn beside a checkpoint does not decide.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// Opens tabs, each with a page of its own. Nobody looks away from any of them, so none pauses.
async fn open_tabs(server: SocketAddr, tabs: usize) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut open = JoinSet::new();
    for path in PAGES.into_iter().cycle().take(tabs) {
        let page = Page::load(server, path).await?;
        open.spawn(watch(server, page));
    }
    Ok(open)
}

/// Does what the script of a page does: it loads the page again when the stream says that its numbers have changed, or
/// every four seconds, as the page says.
async fn watch(server: SocketAddr, mut page: Page) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET /dashboard/live HTTP/1.1\r\nHost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await?.unwrap_or_default();
    ensure!(status.contains(" 200 "), "the stream is refused: {status}");
    let mut always = tokio::time::interval(Duration::from_secs(4));
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let line = line?.context("the stream has ended")?;
                let Some(sample) = line.strip_prefix("data: ") else {
                    continue;
                };
                let sample: serde_json::Value = serde_json::from_str(sample)?;
                let numbers = page.attribute("numbers");
                let version = sample["versions"][numbers.unwrap_or_default()].as_str();
                if page.attribute("live") == Some("reload") && page.attribute("version") != version {
                    page = Page::load(server, page.path).await?;
                }
            }
            _ = always.tick() => {
                if page.attribute("live") == Some("always") {
                    page = Page::load(server, page.path).await?;
                }
            }
        }
    }
}

/// Closes tabs. A tab that could not load its page is an error.
async fn close_tabs(mut open: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = open.try_join_next() {
        ended?.context("a tab of the dashboard")?;
    }
    open.shutdown().await;
    Ok(())
}

/// A page of the dashboard.
struct Page {
    path: &'static str,
    html: String,
    took: Duration,
}

impl Page {
    async fn load(server: SocketAddr, path: &'static str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let reply = http::request(&server.to_string(), "GET", path, &[], "").await?;
        ensure!(reply.status == 200, "{path}: {}", reply.text());
        let page = Self {
            path,
            html: reply.text().to_owned(),
            took: begun.elapsed(),
        };
        ensure!(
            page.attribute("live").is_some(),
            "{path} does not say when to load it again"
        );
        Ok(page)
    }

    /// A value that the page has for its script.
    fn attribute(&self, name: &str) -> Option<&str> {
        let (_, page) = self.html.split_once("<div id=\"page\"")?;
        let (attributes, _) = page.split_once('>')?;
        let (_, value) = attributes.split_once(&format!(" data-{name}=\""))?;
        value.split('"').next()
    }
}

/// The processor time that an event took, in seconds.
fn processor_time(run: &Run) -> f64 {
    let shares = run.shares.iter();
    let shares = shares.filter(|share| ["server", "postgres"].contains(&share.who));
    shares.map(|share| share.cores).sum::<f64>() / run.per_second
}
