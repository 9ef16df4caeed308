//! What HTTP lets a client say that it should not: each gets its answer, changes nothing, and harms
//! nobody else. docs/http-conformance.md shows the same cases.

mod case;
mod document;
mod framing;
mod idle;
mod ids;
mod logs;
mod methods;
mod pace;
mod requests;

use std::net::SocketAddr;

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::support::process::{Process, webhook_server};

use case::{Case, assert_unharmed};

/// Cases that belong together.
struct Group {
    title: &'static str,
    cases: fn() -> Vec<Case>,
}

const GROUPS: [Group; 13] = [
    group("Lengths", framing::lengths),
    group("Transfer codings", framing::transfer_codings),
    group("Chunks and trailers", framing::chunks),
    group("Request lines", requests::lines),
    group("Targets", requests::targets),
    group("Hosts", requests::hosts),
    group("Headers", requests::headers),
    group("Ids in `/v1/transactions/{id}`", ids::cases),
    group("Methods and other protocols", methods::protocols),
    group("Requests in a row", methods::in_a_row),
    group("Slow clients", pace::slow),
    group("Half-closed connections", pace::half_closed),
    group("Long bodies", pace::long),
];

const fn group(title: &'static str, cases: fn() -> Vec<Case>) -> Group {
    Group { title, cases }
}

/// A server that has the good transaction.
async fn start(args: &[&str]) -> (Process, SocketAddr) {
    let mut process = webhook_server(args).start();
    let addr = process.listens().await;
    assert_unharmed(addr, "before all").await;
    (process, addr)
}

/// Ends it as an operator does: it must still be there, and its log is looked at.
async fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}

async fn run(cases: Vec<Case>) {
    let (process, addr) = start(&[]).await;
    for case in cases {
        case.run(addr).await;
        assert_unharmed(addr, &case.name).await;
    }
    stop(process).await;
}

#[tokio::test]
async fn lengths() {
    run(framing::lengths()).await;
}

#[tokio::test]
async fn transfer_codings() {
    run(framing::transfer_codings()).await;
}

#[tokio::test]
async fn chunks_and_trailers() {
    run(framing::chunks()).await;
}

#[tokio::test]
async fn request_lines() {
    run(requests::lines()).await;
}

#[tokio::test]
async fn targets() {
    run(requests::targets()).await;
}

#[tokio::test]
async fn hosts() {
    run(requests::hosts()).await;
}

#[tokio::test]
async fn headers() {
    run(requests::headers()).await;
}

#[tokio::test]
async fn ids_in_paths() {
    run(ids::cases()).await;
}

#[tokio::test]
async fn methods_and_other_protocols() {
    run(methods::protocols()).await;
}

#[tokio::test]
async fn requests_in_a_row() {
    run(methods::in_a_row()).await;
}

#[tokio::test]
async fn half_closed_connections() {
    run(pace::half_closed()).await;
}

#[tokio::test]
async fn long_bodies() {
    run(pace::long()).await;
}

/// All at once, since each waits for a time-out.
#[tokio::test]
async fn slow_clients() {
    let (process, addr) = start(&pace::ARGS).await;
    join_all(pace::slow().iter().map(|case| case.run(addr))).await;
    assert_unharmed(addr, "slow clients").await;
    stop(process).await;
}
