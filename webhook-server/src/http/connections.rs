//! All open connections: their limit, who has to make room, and how they end.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// How long a connection may wait for its client before it may have to make room for another.
const GRACE: Duration = Duration::from_secs(1);

/// How many connections make room at a time, so that looking for them stays cheap when many come.
const MAX_EVICTED: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    table: Mutex<Table>,
    limit: usize,
    started: Instant,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<u64, Arc<Peer>>,
    next_id: u64,
    /// Before then nobody is found that could make room, in milliseconds.
    full_until: u64,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: Mutex::default(),
            limit: limit.max(1),
            started: Instant::now(),
            emptied: Notify::new(),
        }
    }

    /// Takes a new connection in, of the client that has `addr`. `None` where there are too many, and none that could make room.
    pub(super) fn admit(self: &Arc<Self>, addr: Option<IpAddr>) -> Option<Admitted> {
        let now = self.now();
        let mut table = self.lock();
        if table.peers.len() >= self.limit && !table.make_room(now) {
            return None;
        }
        let id = table.next_id;
        table.next_id += 1;
        let peer = Arc::new(Peer {
            addr,
            waiting_since: AtomicU64::new(now),
            started: self.started,
            order: AtomicU8::new(Order::Serve as u8),
            leaves_bytes_unread: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        table.peers.insert(id, Arc::clone(&peer));
        Some(Admitted {
            id,
            peer,
            connections: Arc::clone(self),
        })
    }

    /// Closes connections that have waited for their clients, so that there are file descriptors
    /// again.
    pub(super) fn make_room(&self) {
        let now = self.now();
        self.lock().make_room(now);
    }

    /// Closes every connection that has waited for its client as long as `limit`: hyper watches
    /// over heads, we over bodies, and nobody over clients that do not read their answers.
    pub(super) fn close_stuck(&self, limit: Duration) {
        let oldest = self.now().saturating_sub(millis(limit));
        for peer in self.lock().peers.values() {
            if peer.waiting_since.load(Ordering::Relaxed) < oldest {
                peer.order(Order::Abort);
            }
        }
    }

    /// Lets every connection finish the request under way, and closes it then.
    pub(super) fn finish(&self) {
        for peer in self.lock().peers.values() {
            peer.order(Order::Finish);
        }
    }

    /// Closes every connection at once, and says how many there were.
    pub(super) fn abort(&self) -> usize {
        let table = self.lock();
        for peer in table.peers.values() {
            peer.order(Order::Abort);
        }
        table.peers.len()
    }

    /// Waits until no connection is open.
    pub(super) async fn closed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().peers.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Table {
    /// Closes those that have waited longest for their clients; says whether there were any.
    fn make_room(&mut self, now: u64) -> bool {
        if now < self.full_until {
            return false;
        }
        let newest = now.saturating_sub(millis(GRACE));
        let mut waiting: Vec<(u64, u64)> = self
            .peers
            .iter()
            .map(|(&id, peer)| (peer.waiting_since.load(Ordering::Relaxed), id))
            .filter(|&(since, _)| since < newest)
            .collect();
        if waiting.len() > MAX_EVICTED {
            waiting.select_nth_unstable(MAX_EVICTED);
            waiting.truncate(MAX_EVICTED);
        }
        for (_, id) in &waiting {
            if let Some(peer) = self.peers.remove(id) {
                peer.order(Order::Abort);
            }
        }
        if waiting.is_empty() {
            self.full_until = now + millis(GRACE / 10);
        }
        !waiting.is_empty()
    }
}

/// A connection's place among the open ones, given back on drop.
#[derive(Debug)]
pub(super) struct Admitted {
    id: u64,
    peer: Arc<Peer>,
    connections: Arc<Connections>,
}

impl Admitted {
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.peers.remove(&self.id);
        if table.peers.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

/// One connection, as it is seen from outside its task.
pub(super) struct Peer {
    addr: Option<IpAddr>,
    /// Milliseconds after the start; [`NOT_WAITING`] while the server is at work.
    waiting_since: AtomicU64,
    started: Instant,
    order: AtomicU8,
    leaves_bytes_unread: AtomicBool,
    task: AtomicWaker,
}

const NOT_WAITING: u64 = u64::MAX;

/// What a connection is told to do; it only ever gets more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Serve = 0,
    /// End after the request under way.
    Finish = 1,
    /// End now.
    Abort = 2,
}

impl Peer {
    /// The other end's address, where there is a network in between.
    pub(super) const fn addr(&self) -> Option<IpAddr> {
        self.addr
    }

    /// From now on it is the client's turn: to send, or to read its answer.
    pub(super) fn waits_for_client(&self) {
        let now = millis(self.started.elapsed());
        self.waiting_since.store(now, Ordering::Relaxed);
    }

    /// From now on it is the server's turn.
    pub(super) fn waits_for_server(&self) {
        self.waiting_since.store(NOT_WAITING, Ordering::Relaxed);
    }

    /// Notes that an answer goes out before its request was read to the end.
    pub(super) fn leaves_bytes_unread(&self) {
        self.leaves_bytes_unread.store(true, Ordering::Relaxed);
    }

    /// Whether more may be coming of a connection that is being closed: not so where it is idle,
    /// and closed because the server stops.
    pub(super) fn may_be_sending(&self) -> bool {
        self.leaves_bytes_unread.load(Ordering::Relaxed)
            || self.order.load(Ordering::Relaxed) == Order::Serve as u8
    }

    /// The order that stands; the task of `context` is woken by the next one.
    pub(super) fn listen(&self, context: &Context<'_>) -> Order {
        let waker: &Waker = context.waker();
        self.task.register(waker);
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Finish,
            _ => Order::Abort,
        }
    }

    fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        self.task.wake();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("waiting_since_ms", &self.waiting_since)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NOT_WAITING - 1)
}
