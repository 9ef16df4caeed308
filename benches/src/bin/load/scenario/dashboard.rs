//! The dashboard open in ten tabs, beside ingest and drain, with many events in the store; and how long each of its
//! pages takes there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testkit::http;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::Bench;
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
    for turn in 0..bench.scale.turns {
        // Each side goes first as often as the other: the table grows.
        let mut sides = SIDES;
        if turn % 2 == 1 {
            sides.reverse();
        }
        for (side, tabs) in sides {
            let server = bench.serve(&ingest_bed, "all", parked).await?;
            let open = open_tabs(server.address, tabs).await?;
            let servers = [&server];
            // Longer than a turn elsewhere: what tabs ask for when they are opened is not the point.
            let load = bench.closed(&servers, 64);
            let name = format!("ingest, {side}");
            section.add(bench.stretch(&ingest_bed, name, &load).await?);
            close_tabs(open).await?;
            server.stop().await?;
        }
        for (side, tabs) in sides {
            let since = drain_bed.database.tables()?.now_micros().await?;
            let server = bench.serve(&drain_bed, "all", Duration::ZERO).await?;
            let open = open_tabs(server.address, tabs).await?;
            let length = bench.scale.idle / 10;
            bench.progress.begin(&format!("drain, {side}"), 1);
            tokio::time::sleep(length).await;
            let tables = drain_bed.database.tables()?;
            let settled = tables.settled(since, length / 10).await?;
            section.add(Run {
                points: settled.points,
                ..Run::counted(
                    format!("drain, {side}"),
                    settled.per_second,
                    settled.seconds,
                )
            });
            close_tabs(open).await?;
            server.stop().await?;
        }
    }
    bench.say_runs(section, 4);
    // With nothing left, the figures of the drain say little.
    let left = drain_bed.database.tables()?.due().await?;
    section.figure("backlog left in the end", float(left), "events");

    let server = bench.serve(&ingest_bed, "all", parked).await?;
    let mut slowest = Duration::ZERO;
    for page in PAGES {
        let mut worst = Duration::ZERO;
        for _ in 0..LOADS {
            worst = worst.max(load_page(server.address, page).await?);
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

/// Opens tabs, each with a page of its own, as a browser does: a stream says when the page has changed, and then the
/// tab loads it again.
async fn open_tabs(server: SocketAddr, tabs: usize) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut open = JoinSet::new();
    for page in PAGES.into_iter().cycle().take(tabs) {
        load_page(server, page).await?;
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("GET /dashboard/live HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        open.spawn(async move {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await?;
            ensure!(
                chunk[..read].starts_with(b"HTTP/1.1 200"),
                "the stream is refused: {}",
                String::from_utf8_lossy(&chunk[..read])
            );
            loop {
                let read = stream.read(&mut chunk).await?;
                ensure!(read > 0, "the stream has ended");
                if chunk[..read].windows(5).any(|bytes| bytes == b"data:") {
                    load_page(server, page).await?;
                }
            }
        });
    }
    Ok(open)
}

/// Closes tabs. A tab that could not load its page is an error.
async fn close_tabs(mut open: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = open.try_join_next() {
        ended?.context("a tab of the dashboard")?;
    }
    open.shutdown().await;
    Ok(())
}

/// Loads a page, and returns how long that took.
async fn load_page(server: SocketAddr, page: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let reply = http::request(&server.to_string(), "GET", page, &[], "").await?;
    ensure!(reply.status == 200, "{page}: {}", reply.text());
    Ok(begun.elapsed())
}
