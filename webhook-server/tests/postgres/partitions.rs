//! An inbox with partitions on two PostgreSQL servers, one of which is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use testkit::postgres::OwnServer;
use tokio::task::JoinSet;
use webhook_core::{Key, Placement, payload};
use webhook_server::transaction::Transaction;

use crate::node::server_on;
use crate::support::client::Client;
use crate::support::node::{Handled, Node, shown, until_processed};
use crate::support::process::Starter;
use crate::support::{transaction, until};

/// Two on each server.
const PARTITIONS: usize = 4;

/// The ids of transactions whose partition is on one of the two servers.
struct Ids {
    placement: Placement,
    server: usize,
    prefix: &'static str,
    next: usize,
}

impl Ids {
    /// Those on this server.
    fn on(server: usize, prefix: &'static str) -> Self {
        Self {
            placement: Placement::new(NonZeroUsize::new(PARTITIONS).unwrap()),
            server,
            prefix,
            next: 0,
        }
    }
}

impl Iterator for Ids {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let kind = payload::kind_of::<Transaction>();
        loop {
            self.next += 1;
            let id = format!("{}-{}", self.prefix, self.next);
            let key = Key::new(id.as_str()).unwrap();
            if self.placement.partition_of(&kind, &key) % 2 == self.server {
                return Some(id);
            }
        }
    }
}

/// Delivers one transaction after the other until it is told to stop. Returns those that were acknowledged.
async fn load(addr: SocketAddr, ids: Ids, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = Client::connect(addr).await;
    for id in ids {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reply = client.post(transaction(&id)).await;
        if reply.status == 202 {
            acknowledged.push(id);
        } else {
            reply.unavailable();
        }
    }
    acknowledged
}

async fn accept(addr: SocketAddr, id: &str) {
    let reply = Client::connect(addr).await.post(transaction(id)).await;
    reply.acknowledged("ACCEPTED");
}

/// Delivers until it is acknowledged.
async fn deliver(addr: SocketAddr, id: &str) {
    until("deliveries are accepted again", async || {
        let reply = Client::connect(addr).await.post(transaction(id)).await;
        reply.status == 202 || reply.unavailable().is_empty()
    })
    .await;
}

fn server(urls: &str, args: &[&str]) -> Starter {
    let own = [
        "--partitions=4",
        "--processing-delay-seconds=0",
        "--processing-stale-timeout-seconds=2",
        "--accept-timeout-seconds=1",
        "--database-wait-seconds=1",
        "--database-pool-size=3",
    ];
    server_on(urls, &[args, &own].concat())
}

#[tokio::test]
async fn a_killed_server_takes_only_its_own_partitions_along() {
    let (living, mut dying) = tokio::join!(OwnServer::start(&[]), OwnServer::start(&[]));
    let urls = format!("{} {}", living.url(), dying.url());
    let node = Node::of(server(&urls, &[]).start()).await;
    let addr = node.addr;

    let stop = Arc::<AtomicBool>::default();
    let mut loads = JoinSet::new();
    for (server, prefix) in [(0, "a"), (0, "b"), (1, "c"), (1, "d")] {
        loads.spawn(load(addr, Ids::on(server, prefix), Arc::clone(&stop)));
    }
    until("both servers take and process transactions", async || {
        let handled = node.handled();
        ["a", "b", "c", "d"].iter().all(|prefix| {
            let of = |it: &&Handled| it.transaction_id.starts_with(prefix);
            handled.iter().filter(of).count() > 10
        })
    })
    .await;
    dying.kill().await;

    // The keys of the other server: acknowledged and processed meanwhile.
    let mut living_ids = Ids::on(0, "meanwhile");
    let mut acknowledged: Vec<String> = living_ids.by_ref().take(20).collect();
    for id in &acknowledged {
        accept(addr, id).await;
    }
    for id in &acknowledged {
        until_processed(addr, id).await;
    }
    // Those of the dead one: neither, and nobody is told otherwise.
    let mut client = Client::connect(addr).await;
    for id in Ids::on(1, "dead").take(4) {
        client.post(transaction(&id)).await.unavailable();
        let read = client.get(&format!("/v1/transactions/{id}")).await;
        read.unavailable();
    }
    assert_eq!(client.get("/readyz").await.status, 200);
    let status = client.get("/v1/operator/status").await.unavailable();
    assert!(
        status.contains("partition ") && status.contains(" of 4"),
        "{status}"
    );
    until("operators see which partitions are away", async || {
        let metrics = Client::connect(addr).await.get("/metrics").await;
        let metrics = metrics.text().to_owned();
        [(0, 1), (1, 0), (2, 1), (3, 0)]
            .iter()
            .all(|(partition, up)| {
                metrics.contains(&format!(
                    "webhook_partition_up{{partition=\"{partition}\"}} {up}"
                ))
            })
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    while let Some(of_load) = loads.join_next().await {
        acknowledged.extend(of_load.unwrap());
    }

    dying.restart().await;
    for id in Ids::on(1, "dead").take(4) {
        deliver(addr, &id).await;
        acknowledged.push(id);
    }
    for id in &acknowledged {
        until_processed(addr, id).await;
    }
    let mut attempts = BTreeMap::<String, BTreeSet<u64>>::new();
    let handled = node.stop().await;
    for Handled {
        transaction_id,
        attempt,
    } in &handled
    {
        let is_first = attempts
            .entry(transaction_id.clone())
            .or_default()
            .insert(*attempt);
        assert!(
            is_first,
            "attempt {attempt} at {transaction_id} was made twice"
        );
    }
    for id in &acknowledged {
        assert!(attempts.contains_key(id), "{id} was lost");
        // On the living server, no attempt ends without its settlement.
        if id.starts_with(['a', 'b', 'm']) {
            assert_eq!(attempts[id].len(), 1, "{id} was processed twice");
        }
    }
    let (code, out, log) = server(&urls, &["status", "--kind=transaction", "--json"])
        .output()
        .await;
    assert_eq!(code, 0, "{log}");
    let status: Value = serde_json::from_str(&out).unwrap();
    // A delivery that was answered 503 may have been stored.
    assert!(status["processed"].as_u64().unwrap() >= acknowledged.len() as u64);
    assert_eq!(status["processed"].as_u64().unwrap(), attempts.len() as u64);
    for unsettled in ["waiting", "due", "leased", "failed"] {
        assert_eq!(status[unsettled], 0, "{status}");
    }
}

#[tokio::test]
async fn an_inbox_starts_without_a_partition_that_stays_away() {
    let (living, mut dying) = tokio::join!(OwnServer::start(&[]), OwnServer::start(&[]));
    let urls = format!("{} {}", living.url(), dying.url());
    // All partitions are needed to make the inbox.
    let mut process = server(&urls, &[]).start();
    process.listens().await;
    drop(process);
    // With other URLs, all schemas have other names, and would be made anew.
    let swapped = format!("{} {}", dying.url(), living.url());
    for starter in [
        server(&swapped, &[]),
        server_on(living.url(), &[]),
        server_on(living.url(), &["status"]),
    ] {
        let (code, _, log) = starter.output().await;
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("this would begin another inbox"), "{log}");
        assert!(log.contains(" is partition "), "{log}");
    }
    dying.kill().await;

    let mut process = server(&urls, &[]).start();
    let away = process
        .logs("a partition cannot be reached; starting without it")
        .await;
    assert_eq!(away["partition"], 1, "{away}");
    let addr = process.listens().await;
    let on_living = Ids::on(0, "tx").next().unwrap();
    let on_dying = Ids::on(1, "tx").next().unwrap();
    accept(addr, &on_living).await;
    until_processed(addr, &on_living).await;
    let mut client = Client::connect(addr).await;
    client.post(transaction(&on_dying)).await.unavailable();

    // Commands work on the partitions that answer.
    let (code, _, log) = server(&urls, &["show", &on_living]).output().await;
    assert_eq!(code, 0, "{log}");
    let (code, _, log) = server(&urls, &["show", &on_dying]).output().await;
    assert_eq!(code, 1);
    assert!(log.contains("of 4: "), "{log}");
    let (code, out, _) = server(&urls, &["doctor", "--json"]).output().await;
    assert_eq!(code, 1, "{out}");
    for (partition, level) in [(0, "ok"), (1, "error"), (2, "ok"), (3, "error")] {
        let name = format!("partition {partition} of 4");
        let found = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut found = found.filter(|it| it["message"].as_str().unwrap().starts_with(&name));
        assert_eq!(found.next().unwrap()["level"], level, "{out}");
    }

    dying.restart().await;
    process.logs("a partition is reached").await;
    deliver(addr, &on_dying).await;
    until_processed(addr, &on_dying).await;
    assert_eq!(shown(addr, &on_dying).await["attempts"], 1);
}
