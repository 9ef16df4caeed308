//! As many connections as the machine lets one client open, which say nothing.

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::support::client::{Client, Reply, post};
use crate::support::{transaction, until};

use super::{start, stop};

/// What a single attacker may well hold.
const WANTED: usize = 10_000;

/// Open files of this process beside these connections: those of the other tests.
const OTHERS: usize = 2_000;

/// Held by the one test that has so many open.
static TURN: Mutex<()> = Mutex::const_new(());

/// Raises the limit on open files as far as it goes; how many connections it leaves.
fn affordable() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let files = limit
        .maximum
        .map_or(usize::MAX, |it| usize::try_from(it).unwrap());
    let count = WANTED.min(files.saturating_sub(OTHERS));
    if count < WANTED {
        eprintln!(
            "with {count} connections instead of {WANTED}: the limit on open files is {files}"
        );
    }
    assert!(count >= 100, "the limit on open files is {files}");
    count
}

async fn open(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(Client::connect(addr).await.into_stream());
    }
    idle
}

/// Whether the server still holds this connection.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0; 512]);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn deliver(addr: SocketAddr) -> Option<Reply> {
    let mut client = Client::try_connect(addr).await.ok()?;
    client.send_some(post(transaction("good"))).await;
    client.try_reply().await
}

#[tokio::test]
async fn idle_connections_take_nothing_from_others() {
    let _turn = TURN.lock().await;
    let count = affordable();
    let limit = format!("--max-connections={}", count + 100);
    let (process, addr) = start(&[&limit, "--header-timeout-seconds=600"]).await;
    let idle = open(addr, count).await;
    for _ in 0..100 {
        assert_eq!(deliver(addr).await.unwrap().status, 202);
    }
    assert_eq!(idle.iter().filter(|stream| is_open(stream)).count(), count);
    stop(process).await;
}

#[tokio::test]
async fn idle_connections_beyond_the_limit_make_room() {
    let _turn = TURN.lock().await;
    let count = affordable();
    let (process, addr) = start(&["--max-connections=100", "--header-timeout-seconds=600"]).await;
    let idle = open(addr, count).await;
    // A second later they count as idle, whoever is refused until then is told so.
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
    let open = idle.iter().filter(|stream| is_open(stream)).count();
    assert!(open <= 100, "{open} of {count} are held, {refused} refused");
    stop(process).await;
}
