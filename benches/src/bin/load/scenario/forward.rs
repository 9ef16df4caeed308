//! Events forwarded to a receiver on this machine, beside a bare client that sends the same bodies;
//! ingest beside that; and events behind an open circuit breaker.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::port::Port;

use crate::bench::Bench;
use crate::database::Preload;
use crate::receiver;
use crate::report::Section;
use crate::scenario::contention::{self, Names};
use crate::scenario::drain;
use crate::scenario::in_process::{self, Threads};
use crate::server::Variant;

/// How many requests run at the same time.
const CONCURRENCY: usize = 64;

/// The most events that are forwarded in one turn, and while events are accepted.
const MOST_IN_A_TURN: u64 = 100_000;
const MOST_BESIDE_INGEST: u64 = 300_000;

/// The most events behind the open breaker.
const MOST_HELD: u64 = 100_000;

/// A key that signs what is forwarded.
const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const FORWARDED: &str = "forwarded, 64 connections";
const BARE: &str = "bare client, 64 connections";

const BESIDE_INGEST: Names = Names {
    without: "ingest while nothing is forwarded",
    with: "ingest while a backlog is forwarded",
    meanwhile: "forwarded meanwhile",
    left: "backlog to forward left in the end",
};

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let receiver = bench.programs.serve_receiver(Port::reserve()?).await?;
    let variant = forwarding(&receiver.address.to_string());
    beside_bare_client(bench, section, &variant, receiver.address).await?;
    let events = bench.scale.drain_events.min(MOST_BESIDE_INGEST);
    contention::compare(bench, section, &variant, events, &BESIDE_INGEST).await?;
    drop(receiver);
    behind_open_breaker(bench, section).await
}

/// A server that forwards transactions to the receiver at `address`.
fn forwarding(address: &str) -> Variant {
    Variant::default()
        .with_env("FORWARD_URL", format!("http://{address}/hooks"))
        .with_env("FORWARD_SECRETS", SIGNING_KEY)
        .with_env("WORKER_CONCURRENCY", CONCURRENCY.to_string())
}

async fn beside_bare_client(
    bench: &mut Bench,
    section: &mut Section,
    variant: &Variant,
    receiver: SocketAddr,
) -> anyhow::Result<()> {
    let threads = Threads::start()?;
    let turns = bench.scale.turns;
    let events = (bench.scale.drain_events / u64::from(turns)).clamp(1, MOST_IN_A_TURN);
    for _ in 0..turns {
        let mut bed = bench.bed_of("forward", variant.clone()).await?;
        bench.preload(&mut bed, Preload::Due, events).await?;
        let run = drain::drain(bench, &bed, FORWARDED.to_owned(), 1).await?;
        section.add(run);
        bench.close(bed, section).await?;
        let work = receiver::send(receiver, CONCURRENCY, bench.scale.measure / turns);
        section.add(in_process::measure(bench, &threads, BARE.to_owned(), work).await?);
    }
    bench.say_runs(section, 2);
    let rate = |name: &str| {
        let run = section.runs.iter().find(|run| run.name == name);
        run.map(|run| run.per_second)
    };
    if let (Some(forwarded), Some(bare)) = (rate(FORWARDED), rate(BARE)) {
        section.figure(
            "forwarded, of the bare client's",
            forwarded / bare * 100.0,
            "%",
        );
    }
    Ok(())
}

/// Nobody listens at the destination, so that the breaker opens and all events wait.
async fn behind_open_breaker(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let port = Port::reserve()?;
    let variant = forwarding(&port.addr().to_string());
    let mut bed = bench.bed_of("breaker", variant).await?;
    let events = bench.scale.drain_events.min(MOST_HELD);
    bench.preload(&mut bed, Preload::Due, events).await?;
    bench.checkpoint().await?;
    let server = bench.serve(&bed, "worker", Duration::ZERO).await?;
    server.until_logged("circuit breaker opened").await?;
    let length = bench.scale.idle;
    tokio::time::sleep(length / 6).await;

    bench.progress.begin("behind an open breaker", 1);
    let watched = bench.watched(&[&server]);
    let before = watched.usage();
    tokio::time::sleep(length).await;
    let mut stack = 0.0;
    for share in watched.usage().since(&before) {
        if ["server", "postgres"].contains(&share.who) {
            let name = format!("behind an open breaker: {}", share.who);
            section.figure(name, share.cores * 100.0, "% of a core");
            stack += share.cores * 100.0;
        }
    }
    let name = "behind an open breaker: processor";
    section.figure(name, stack, "% of a core");
    bench
        .progress
        .say(&format!("  {name} {stack:.2} % of a core"));
    server.stop().await?;

    let _receiver = bench.programs.serve_receiver(port).await?;
    bench.close(bed, section).await
}
