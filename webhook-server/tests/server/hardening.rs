//! Malformed, hostile and unusual HTTP: each case gets its answer, changes nothing, and harms no other
//! client. docs/http-conformance.md shows the same cases.

mod case;
mod document;
mod framing;
mod ids;
mod logs;
mod methods;
mod pace;
mod requests;
mod sources;

use std::net::SocketAddr;

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::sources::Setup;
use crate::support::process::Process;

use case::{Case, assert_unharmed};

/// Cases that belong together.
struct Group {
    title: &'static str,
    cases: fn() -> Vec<Case>,
}

/// Makes the list of groups, which the document shows, and a test of each group.
macro_rules! groups {
    ($(fn $test:ident: $title:literal, $cases:path, $run:path;)+) => {
        const GROUPS: &[Group] = &[$(Group { title: $title, cases: $cases }),+];

        $(
            #[tokio::test]
            async fn $test() {
                $run($cases()).await;
            }
        )+
    };
}

groups! {
    fn lengths: "Lengths", framing::lengths, one_by_one;
    fn transfer_codings: "Transfer codings", framing::transfer_codings, one_by_one;
    fn chunks_and_trailers: "Chunks and trailers", framing::chunks, one_by_one;
    fn request_lines: "Request lines", requests::lines, one_by_one;
    fn targets: "Targets", requests::targets, one_by_one;
    fn hosts: "Hosts", requests::hosts, one_by_one;
    fn headers: "Headers", requests::headers, one_by_one;
    fn ids_in_paths: "Ids in `/v1/transactions/{id}`", ids::cases, one_by_one;
    fn methods_and_other_protocols: "Methods and other protocols", methods::protocols, one_by_one;
    fn requests_in_a_row: "Requests in a row", methods::in_a_row, one_by_one;
    fn slow_clients: "Slow clients", pace::slow, all_at_once;
    fn half_closed_connections: "Half-closed connections", pace::half_closed, one_by_one;
    fn long_bodies: "Long bodies", pace::long, one_by_one;
    fn ends_of_signed_deliveries: "The ends of deliveries to a source", sources::framing, one_by_one;
    fn signed_deliveries: "Deliveries to a source", sources::requests, one_by_one;
    fn slow_senders: "Slow senders of a source", sources::slow, all_at_once;
    fn lengths_of_signed_deliveries: "Half-closed connections and long bodies of a source", sources::lengths, one_by_one;
}

/// A server with a source, which has accepted the good transaction.
async fn start(args: &[&str]) -> (Process, SocketAddr) {
    let setup = Setup::new(sources::TOML);
    let mut process = setup.server(args).start();
    let addr = process.listens().await;
    assert_unharmed(addr, "before all").await;
    (process, addr)
}

/// Stops the server as an operator does. It must still run, and its log is checked.
async fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}

async fn one_by_one(cases: Vec<Case>) {
    let (process, addr) = start(&[]).await;
    for case in cases {
        case.run(addr).await;
        assert_unharmed(addr, &case.name).await;
    }
    stop(process).await;
}

/// For cases that each wait for a time-out.
async fn all_at_once(cases: Vec<Case>) {
    let (process, addr) = start(&pace::ARGS).await;
    join_all(cases.iter().map(|case| case.run(addr))).await;
    assert_unharmed(addr, "cases at once").await;
    stop(process).await;
}
