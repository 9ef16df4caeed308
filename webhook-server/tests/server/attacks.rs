//! Attacks by unauthenticated clients on a server process, while senders deliver signed events.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::support::client::{Client, post_as};
use crate::support::process::{Process, Starter, webhook_server};
use crate::support::signed::{Signer, signed};
use crate::support::{in_time, transaction, until};

const SECRET: &str = "whsec_of_a_sender";

/// On Linux all of 127.0.0.0/8 is this machine.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const SENDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const MONITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn server() -> Starter {
    webhook_server(&[])
        .env("WEBHOOK_SIGNATURE_SCHEME", "stripe")
        .env("WEBHOOK_SECRETS", SECRET)
}

async fn connect(from: Ipv4Addr, addr: SocketAddr) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    let stream = in_time("connecting", socket.connect(addr)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Client::over(stream)
}

/// Every delivery that is signed is accepted, each over a connection of its own and in two parts,
/// and the server is seen alive and ready.
async fn serves_others(addr: SocketAddr) {
    let signer = Signer::new("stripe", SECRET);
    for number in 0..30 {
        let padding = " ".repeat(20_000);
        let body = transaction(&format!("tx-{number}")) + &padding;
        let delivery = signed(&signer, &body);
        let mut client = connect(SENDER, addr).await;
        let (first, second) = delivery.split_at(delivery.len() - 19_000);
        client.send(first).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.ask(second).await.acknowledged("ACCEPTED");
        let mut monitor = connect(MONITOR, addr).await;
        for path in ["/", "/readyz"] {
            assert_eq!(monitor.get(path).await.status, 200, "{path}");
        }
    }
}

/// The head of a delivery whose signature looks like one, of a body of `body_bytes`.
fn plausible_head(body_bytes: usize) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let headers = format!(
        "Content-Type: application/json\r\nStripe-Signature: t={},v1={}\r\n",
        now.as_secs(),
        "ab".repeat(32)
    );
    let mut request = post_as(&headers, vec![b'x'; body_bytes]);
    request.truncate(request.len() - body_bytes);
    request
}

#[tokio::test]
async fn one_address_with_all_connections_does_not_block_others() {
    let mut process = server().env("MAX_CONNECTIONS", "200").start();
    let addr = process.listens().await;
    let mut attackers = JoinSet::new();
    for _ in 0..400 {
        attackers.spawn(async move {
            loop {
                let mut client = connect(ATTACKER, addr).await;
                client.send_some("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                while client.try_reply().await.is_some() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    client.send_some("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                }
            }
        });
    }
    until("the address has as many as it may", async || {
        // One more of them may as well make room for another.
        let mut client = connect(ATTACKER, addr).await;
        client.send_some("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let reply = client.try_reply().await;
        reply.is_some_and(|reply| reply.status == 503)
    })
    .await;
    serves_others(addr).await;
    attackers.shutdown().await;
}

#[tokio::test]
async fn unsigned_bodies_of_one_address_leave_room_to_others() {
    let mut process = server().env("MAX_QUEUED_BYTES", "1048576").start();
    let addr = process.listens().await;
    let mut uploads = Vec::new();
    for sent_bytes in [60_000, 9_000] {
        let upload = [plausible_head(100_000), vec![b'x'; sent_bytes]].concat();
        until("the address has all the room that it may", async || {
            let mut client = connect(ATTACKER, addr).await;
            client.send_some(&upload).await;
            let refused = tokio::time::timeout(Duration::from_millis(50), client.try_reply()).await;
            let is_refused = matches!(refused, Ok(Some(reply)) if reply.status == 503);
            uploads.push(client);
            is_refused
        })
        .await;
    }
    serves_others(addr).await;
}

#[tokio::test]
async fn flood_of_readiness_probes_delays_no_delivery() {
    let mut process = server().start();
    let addr = process.listens().await;
    let mut attackers = JoinSet::new();
    for _ in 0..50 {
        attackers.spawn(async move {
            let requests = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10);
            let mut client = connect(ATTACKER, addr).await;
            loop {
                client.send(&requests).await;
                for _ in 0..10 {
                    assert_eq!(client.reply().await.status, 200);
                }
            }
        });
    }
    serves_others(addr).await;
    attackers.shutdown().await;
}

fn resident_kib(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// The most memory that a client can make the server hold without a signature: an unfinished head or
/// body.
#[tokio::test]
async fn unauthenticated_connection_takes_at_most_48_kib() {
    const CONNECTIONS: usize = 300;
    let long_head = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(bytes));
    for (what, request, kept_kib) in [
        ("head", long_head(16_000).into_bytes(), 14),
        ("head", long_head(60_000).into_bytes(), 4),
        (
            "body",
            [plausible_head(900_000), vec![b'x'; 8_000]].concat(),
            6,
        ),
        (
            "body",
            [plausible_head(900_000), vec![b'x'; 200_000]].concat(),
            6,
        ),
    ] {
        let mut process = server()
            .env("HEADER_TIMEOUT_SECONDS", "600")
            .env("BODY_TIMEOUT_SECONDS", "600")
            // The memory of the room for bodies is limited separately.
            .env("MAX_QUEUED_BYTES", "65536")
            .start();
        let addr = process.listens().await;
        let mut clients = vec![connect(ATTACKER, addr).await];
        clients[0].send_some(&request).await;
        let before_kib = resident_kib(&process);
        for _ in 0..CONNECTIONS {
            let mut client = connect(ATTACKER, addr).await;
            client.send_some(&request).await;
            clients.push(client);
        }
        let grown = || resident_kib(&process).saturating_sub(before_kib) / CONNECTIONS;
        until("the server has read them", async || grown() >= kept_kib).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let each = grown();
        assert!(each <= 48, "{what} of {} bytes: {each} KiB", request.len());
    }
}
