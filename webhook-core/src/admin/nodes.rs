//! Nodes: the processes that use a store, as they report themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::event::{InvalidName, check_text};
use crate::setters::setters;
use crate::text::BoundedText;

/// The largest length of a [`NodeId`] in bytes.
pub const MAX_NODE_ID_BYTES: usize = 64;

/// The largest length of each text of a [`NodeReport`] in bytes; longer texts are truncated.
pub const MAX_NODE_TEXT_BYTES: usize = 255;

/// How many nodes [`Admin::nodes`](crate::Admin::nodes) returns at most.
pub const MAX_NODES: usize = 1_000;

/// For how long a node that reports itself no more is a live node at most.
pub const MAX_NODE_EXPIRY: Duration = Duration::from_secs(86_400);

/// Identifies a node: one run of a process that uses a store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A new id: 128 random bits as text.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()).into())
    }

    /// Creates an id from a text, and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the text is empty, longer than [`MAX_NODE_ID_BYTES`], or has a control character.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let id = id.into();
        check_text(&id, MAX_NODE_ID_BYTES)?;
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a node says of itself with [`Admin::heartbeat`](crate::Admin::heartbeat).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node.
    pub id: NodeId,
    /// What it does, such as `all`, `api` or `worker`.
    pub role: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// The version of its program.
    pub version: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// The machine it runs on.
    pub host: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// How many events it processes at a time at most; 0 for a node without workers.
    pub slots: u32,
    /// How many events it is processing.
    pub running: u32,
    /// After how long without another report it counts as gone: at most [`MAX_NODE_EXPIRY`]. Three or four times the
    /// interval of its reports. Default: 1 min.
    pub expires_after: Duration,
}

impl NodeReport {
    /// A node in this role, about which nothing else is known.
    pub fn new(id: NodeId, role: impl Into<BoundedText<MAX_NODE_TEXT_BYTES>>) -> Self {
        Self {
            id,
            role: role.into(),
            version: BoundedText::default(),
            host: BoundedText::default(),
            slots: 0,
            running: 0,
            expires_after: Duration::from_secs(60),
        }
    }

    /// Sets [`version`](field@Self::version).
    #[must_use]
    pub fn with_version(self, version: impl Into<BoundedText<MAX_NODE_TEXT_BYTES>>) -> Self {
        Self {
            version: version.into(),
            ..self
        }
    }

    /// Sets [`host`](field@Self::host).
    #[must_use]
    pub fn with_host(self, host: impl Into<BoundedText<MAX_NODE_TEXT_BYTES>>) -> Self {
        Self {
            host: host.into(),
            ..self
        }
    }

    setters! {
        with_slots slots: u32;
        with_running running: u32;
        with_expires_after expires_after: Duration;
    }
}

/// A node that reported itself, and has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeRecord {
    /// The node.
    pub id: NodeId,
    /// What it does.
    pub role: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// The version of its program.
    pub version: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// The machine it runs on.
    pub host: BoundedText<MAX_NODE_TEXT_BYTES>,
    /// How many events it processes at a time at most.
    pub slots: u32,
    /// How many events it was processing.
    pub running: u32,
    /// When it reported itself first, by the store's clock.
    pub started_at: SystemTime,
    /// When it reported itself last, by the store's clock.
    pub last_seen_at: SystemTime,
}

impl NodeRecord {
    /// The record of a node that reported itself first at `started_at` and last at `last_seen_at`.
    pub fn new(report: &NodeReport, started_at: SystemTime, last_seen_at: SystemTime) -> Self {
        let NodeReport {
            id,
            role,
            version,
            host,
            slots,
            running,
            expires_after: _,
        } = report.clone();
        Self {
            id,
            role,
            version,
            host,
            slots,
            running,
            started_at,
            last_seen_at,
        }
    }
}

/// The nodes of a store that one process uses, for backends without a shared table: they are kept in memory.
#[derive(Debug, Default)]
pub struct NodeTable(Mutex<BTreeMap<NodeId, (NodeRecord, SystemTime)>>);

impl NodeTable {
    /// Like [`Admin::heartbeat`](crate::Admin::heartbeat), at this time by the store's clock.
    pub fn heartbeat(&self, report: &NodeReport, now: SystemTime) -> Vec<NodeRecord> {
        let mut nodes = self.lock();
        nodes.retain(|_, (_, expires_at)| *expires_at > now);
        let known = nodes.get(&report.id);
        let started_at = known.map_or(now, |(record, _)| record.started_at);
        let expires_at = now + report.expires_after.min(MAX_NODE_EXPIRY);
        let record = NodeRecord::new(report, started_at, now);
        nodes.insert(report.id.clone(), (record, expires_at));
        live(&nodes, now)
    }

    /// Like [`Admin::nodes`](crate::Admin::nodes), at this time by the store's clock.
    pub fn nodes(&self, now: SystemTime) -> Vec<NodeRecord> {
        live(&self.lock(), now)
    }

    /// Like [`Admin::retire`](crate::Admin::retire), at this time by the store's clock.
    pub fn retire(&self, node: &NodeId, now: SystemTime) -> bool {
        let retired = self.lock().remove(node);
        retired.is_some_and(|(_, expires_at)| expires_at > now)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (NodeRecord, SystemTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nodes that have not expired, those that started first at the front.
fn live(nodes: &BTreeMap<NodeId, (NodeRecord, SystemTime)>, now: SystemTime) -> Vec<NodeRecord> {
    let live = nodes.values().filter(|(_, expires_at)| *expires_at > now);
    let mut live: Vec<_> = live.map(|(record, _)| record.clone()).collect();
    // Stable: nodes that started at the same time stay in the order of their ids.
    live.sort_by_key(|record| record.started_at);
    live.truncate(MAX_NODES);
    live
}
