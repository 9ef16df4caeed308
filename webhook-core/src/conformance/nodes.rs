//! Nodes: a process that reports itself is listed until it expires or retires.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{BoundedText, MAX_NODE_TEXT_BYTES, NodeId, NodeRecord, NodeReport};

fn report(name: &'static str) -> NodeReport {
    let id = NodeId::new(name).expect("cases name valid nodes");
    NodeReport::new(id, "worker").with_expires_after(LONG)
}

async fn heartbeat(backend: &Backend, report: &NodeReport) -> Vec<NodeRecord> {
    let nodes = backend.admin.heartbeat(report).await.expect("heartbeat");
    assert!(nodes.iter().any(|it| it.id == report.id), "{nodes:?}");
    nodes
}

async fn nodes(backend: &Backend) -> Vec<NodeRecord> {
    backend.admin.nodes().await.expect("nodes")
}

fn ids(nodes: &[NodeRecord]) -> Vec<&str> {
    nodes.iter().map(|it| it.id.as_str()).collect()
}

/// Each report is answered with all live nodes, those that started first at the front.
pub async fn nodes_are_listed_in_the_order_of_their_start(backend: Backend) {
    assert_eq!(nodes(&backend).await, []);
    for (name, expected) in [
        ("b", &["b"][..]),
        ("a", &["b", "a"]),
        ("b", &["b", "a"]),
        ("c", &["b", "a", "c"]),
    ] {
        assert_eq!(ids(&heartbeat(&backend, &report(name)).await), expected);
        backend.pass(Duration::from_millis(5)).await;
    }
    assert_eq!(ids(&nodes(&backend).await), ["b", "a", "c"]);
    let random = NodeReport::new(NodeId::random(), "api");
    assert_eq!(heartbeat(&backend, &random).await.len(), 4);
}

/// A report replaces the one before; the time of the first stays.
pub async fn the_latest_report_of_a_node_is_kept(backend: Backend) {
    let first = report("a").with_version("1.0").with_host("host-1");
    let before = heartbeat(&backend, &first).await.remove(0);
    // In several partitions, it is seen at several times.
    assert!(before.started_at <= before.last_seen_at);
    assert!(!backend.orders_all() || before.started_at == before.last_seen_at);
    assert_eq!(
        before,
        NodeRecord::new(&first, before.started_at, before.last_seen_at)
    );
    backend.pass(PAST_SHORT).await;
    let long = "\u{e9}".repeat(MAX_NODE_TEXT_BYTES);
    let second = NodeReport::new(first.id, long)
        .with_version("1.1")
        .with_host("it's\u{1f4a9}")
        .with_slots(u32::MAX)
        .with_running(7)
        .with_expires_after(Duration::MAX);
    let after = heartbeat(&backend, &second).await;
    assert!(after[0].last_seen_at + TOLERANCE >= before.last_seen_at + PAST_SHORT);
    let expected = NodeRecord::new(&second, before.started_at, after[0].last_seen_at);
    assert_eq!(after, [expected]);
    assert_eq!(nodes(&backend).await, after);
    assert!(after[0].role.len() <= MAX_NODE_TEXT_BYTES);
    let shown: BoundedText<MAX_NODE_TEXT_BYTES> = "it's\u{1f4a9}".into();
    assert_eq!(after[0].host, shown);
}

/// A node that reports itself no more is gone after its time. If it comes back, it has started anew.
pub async fn a_silent_node_expires(backend: Backend) {
    let silent = report("silent").with_expires_after(SHORT);
    let started_at = heartbeat(&backend, &silent).await[0].started_at;
    heartbeat(&backend, &report("live")).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(ids(&nodes(&backend).await), ["live"]);
    assert_eq!(ids(&heartbeat(&backend, &report("live")).await), ["live"]);
    let back = heartbeat(&backend, &silent).await;
    assert_eq!(ids(&back), ["live", "silent"]);
    assert!(back[1].started_at > started_at);
    // Without another node that would have deleted it.
    backend.pass(PAST_SHORT).await;
    let again = heartbeat(&backend, &silent).await;
    assert!(again[1].started_at > back[1].started_at);
}

/// A node that retires is gone at once.
pub async fn a_retired_node_is_gone(backend: Backend) {
    heartbeat(&backend, &report("a")).await;
    heartbeat(&backend, &report("b")).await;
    let retire = async |name| {
        let id = NodeId::new(name).expect("cases name valid nodes");
        backend.admin.retire(&id).await.expect("retire")
    };
    assert!(retire("a").await);
    assert!(!retire("a").await && !retire("unknown").await);
    assert_eq!(ids(&nodes(&backend).await), ["b"]);
}

/// Many nodes that report themselves at the same time agree on who was first.
pub async fn concurrent_reports_agree_on_the_first_node(backend: Backend) {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for _ in 0..3 {
        let mut tasks = JoinSet::new();
        for name in NAMES {
            let backend = backend.clone();
            tasks.spawn(async move { heartbeat(&backend, &report(name)).await });
        }
        tasks.join_all().await;
    }
    let expected = nodes(&backend).await;
    assert_eq!(expected.len(), NAMES.len());
    for name in NAMES {
        let listed = heartbeat(&backend, &report(name)).await;
        assert_eq!(ids(&listed), ids(&expected));
    }
}
