//! Ten thousand connections of one client that say nothing.
//!
//! They need more open files than some systems allow a process.

use std::net::SocketAddr;

use libtest_mimic::{Completion, Trial};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::support::client::{Client, Reply, post};
use crate::support::process::{Process, webhook_server};
use crate::support::{transaction, until};

/// As many connections as a single attacker may well hold.
const CONNECTIONS: usize = 10_000;

/// Open files of this process and of the server's beside these connections.
const OTHER_FILES: usize = 200;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("idle_connections_take_nothing_from_others", || {
            block_on(idle_connections_take_nothing_from_others());
        }),
        trial("idle_connections_over_the_limit_are_evicted", || {
            block_on(idle_connections_over_the_limit_are_evicted());
        }),
    ]
}

/// A test that is ignored where the limit on open files is too low.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let needed = CONNECTIONS + OTHER_FILES;
        let allowed = raise_limit();
        if allowed < needed {
            let reason = format!("needs {needed} open files; the system allows {allowed}");
            return Ok(Completion::ignored_with(reason));
        }
        test();
        Ok(Completion::Completed)
    })
}

fn block_on(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

/// Raises the limit on open files as far as it goes; how far that is.
fn raise_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let files = limit.maximum;
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap())
}

async fn idle_connections_take_nothing_from_others() {
    let limit = format!("--max-connections={}", CONNECTIONS + 100);
    let (process, addr) = start(&[&limit, "--header-timeout-seconds=600"]).await;
    let idle = open(addr).await;
    for _ in 0..100 {
        assert_eq!(deliver(addr).await.unwrap().status, 202);
    }
    let open = idle.iter().filter(|client| is_open(client)).count();
    assert_eq!(open, CONNECTIONS);
    stop(process).await;
}

async fn idle_connections_over_the_limit_are_evicted() {
    let (process, addr) = start(&["--max-connections=100", "--header-timeout-seconds=600"]).await;
    let idle = open(addr).await;
    // A second later they count as idle; clients that are refused until then get a 503.
    let mut refused = 0;
    until("a delivery is accepted", async || {
        match deliver(addr).await {
            Some(reply) if reply.status == 202 => true,
            Some(reply) => {
                reply.unavailable();
                refused += 1;
                false
            }
            None => false,
        }
    })
    .await;
    let open = idle.iter().filter(|client| is_open(client)).count();
    assert!(
        open <= 100,
        "{open} of {CONNECTIONS} are held, {refused} refused"
    );
    stop(process).await;
}

/// A server that accepts deliveries.
async fn start(args: &[&str]) -> (Process, SocketAddr) {
    let mut process = webhook_server(args).start();
    let addr = process.listens().await;
    assert_eq!(deliver(addr).await.unwrap().status, 202);
    (process, addr)
}

/// Ends it as an operator does: it must still be there, and its log is looked at.
async fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}

async fn open(addr: SocketAddr) -> Vec<Client> {
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        idle.push(Client::connect(addr).await);
    }
    idle
}

/// Whether the server still holds this connection.
fn is_open(client: &Client) -> bool {
    let read = client.stream.try_read(&mut [0; 512]);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn deliver(addr: SocketAddr) -> Option<Reply> {
    let mut client = Client::try_connect(addr).await.ok()?;
    client.send_some(post(transaction("good"))).await;
    client.try_reply().await
}
