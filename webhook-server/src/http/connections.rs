//! All open connections: their limit, who has to make room, and how they end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::rates::{Forwarding, network_bits};

/// How long a connection may wait for its client before it may have to make room for another.
const GRACE: Duration = Duration::from_secs(1);

/// How many connections make room at a time, so that looking for them stays cheap when many come.
const MAX_EVICTED: usize = 64;

/// The same, where the new connection is of the very address that holds most.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// How many slots only connections from this machine may take: its health checks.
const RESERVED_FOR_LOOPBACK: usize = 8;

/// How many slots one address leaves to others, where no other cap is set.
const LEFT_TO_OTHERS: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    table: Mutex<Table>,
    limit: usize,
    per_address: usize,
    forwarding: Forwarding,
    started: Instant,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<u64, Arc<Peer>>,
    /// How many connections each address has, or each IPv6 network of 64 bits; `None` stands for
    /// trusted proxies, which have no cap.
    held: HashMap<Option<u128>, usize>,
    next_id: u64,
    /// Before then nobody is found that could make room, in milliseconds.
    full_until: u64,
}

impl Connections {
    /// At most `limit` connections, of which at most `per_address` are of one address that is no
    /// trusted proxy of `forwarding`.
    pub(super) fn new(limit: usize, per_address: Option<usize>, forwarding: Forwarding) -> Self {
        let limit = limit.max(1);
        let left = if limit > 2 * LEFT_TO_OTHERS {
            LEFT_TO_OTHERS
        } else {
            0
        };
        Self {
            table: Mutex::default(),
            per_address: per_address.unwrap_or(limit - left).max(1),
            limit,
            forwarding,
            started: Instant::now(),
            emptied: Notify::new(),
        }
    }

    /// Takes a new connection in, of the client that has `addr`. `None` where there are too many, and none that could make room.
    pub(super) fn admit(self: &Arc<Self>, addr: Option<IpAddr>) -> Option<Admitted> {
        let now = self.now();
        let client = addr
            .map(|addr| addr.to_canonical())
            .filter(|addr| !self.forwarding.trusts(*addr))
            .map(network_bits);
        let is_local = addr.is_none_or(|addr| addr.to_canonical().is_loopback());
        let limit = if is_local || self.limit <= LEFT_TO_OTHERS {
            self.limit
        } else {
            self.limit - RESERVED_FOR_LOOPBACK
        };
        let mut table = self.lock();
        if client.is_some()
            && table.held(client) >= self.per_address
            && !table.take_one_of(client, now)
        {
            return None;
        }
        if table.peers.len() >= limit && !table.make_room_for(client, limit, now) {
            return None;
        }
        *table.held.entry(client).or_default() += 1;
        let id = table.next_id;
        table.next_id += 1;
        let peer = Arc::new(Peer {
            addr,
            client,
            is_verified: AtomicBool::new(false),
            waiting_since: AtomicU64::new(now),
            phase: AtomicU8::new(Phase::First as u8),
            phase_since: AtomicU64::new(now),
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
            self.evict(*id);
        }
        if waiting.is_empty() {
            self.full_until = now + millis(GRACE / 10);
        }
        !waiting.is_empty()
    }

    /// Closes connections for one of `newcomer`; says whether there were any to close.
    ///
    /// Another address that holds more than half of all goes first. Those of others that are idle
    /// may be of senders, who would have to connect again because of it.
    fn make_room_for(&mut self, newcomer: Option<u128>, limit: usize, now: u64) -> bool {
        let is_most_of_another = self
            .largest()
            .is_some_and(|(largest, count)| largest != newcomer && count > limit / 2);
        (is_most_of_another && self.take_from_largest(newcomer, now))
            || self.make_room(now)
            || self.take_from_largest(newcomer, now)
    }

    /// The address that holds most, which is no trusted proxy, and how many it holds.
    fn largest(&self) -> Option<(Option<u128>, usize)> {
        let counts = self.held.iter().filter(|(client, _)| client.is_some());
        let largest = counts.max_by_key(|&(_, count)| *count);
        largest.map(|(&client, &count)| (client, count))
    }

    /// Closes connections of the address that holds most, for one of `newcomer`, which must hold
    /// fewer or be that address itself; returns whether there were any.
    fn take_from_largest(&mut self, newcomer: Option<u128>, now: u64) -> bool {
        let Some((largest, count)) = self.largest() else {
            return false;
        };
        if largest == newcomer {
            return self.take_one_of(largest, now);
        }
        let more = count.saturating_sub(self.held(newcomer));
        more > 1 && self.take_from(largest, (more / 2).min(MAX_EVICTED), now)
    }

    /// Closes the connection of `client` that has waited longest, for another of the same; returns
    /// whether one has waited for [`SHORT_GRACE`].
    fn take_one_of(&mut self, client: Option<u128>, now: u64) -> bool {
        now.checked_sub(millis(SHORT_GRACE))
            .is_some_and(|newest| self.take_from(client, 1, newest))
    }

    /// Closes up to `count` connections of `client` that have waited since `newest` or longer, and
    /// have brought nothing verified; those that have waited longest come first.
    fn take_from(&mut self, client: Option<u128>, count: usize, newest: u64) -> bool {
        let mut waiting: Vec<(u64, u64)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.client == client && !peer.is_verified.load(Ordering::Relaxed))
            .map(|(&id, peer)| (peer.waiting_since.load(Ordering::Relaxed), id))
            .filter(|&(since, _)| since <= newest)
            .collect();
        waiting.sort_unstable();
        waiting.truncate(count);
        for (_, id) in &waiting {
            self.evict(*id);
        }
        !waiting.is_empty()
    }

    fn evict(&mut self, id: u64) {
        if let Some(peer) = self.remove(id) {
            peer.order(Order::Abort);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Peer>> {
        let peer = self.peers.remove(&id)?;
        if let Entry::Occupied(mut held) = self.held.entry(peer.client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        Some(peer)
    }

    fn held(&self, client: Option<u128>) -> usize {
        self.held.get(&client).copied().unwrap_or_default()
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
        table.remove(self.id);
        if table.peers.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

/// One connection, as it is seen from outside its task.
pub(super) struct Peer {
    addr: Option<IpAddr>,
    /// Whose connections it counts among.
    client: Option<u128>,
    /// Whether it has brought a delivery whose signature is good.
    is_verified: AtomicBool,
    /// Milliseconds after the start; [`NOT_WAITING`] while the server is at work.
    waiting_since: AtomicU64,
    phase: AtomicU8,
    phase_since: AtomicU64,
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

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It receives the head of a request.
    Head = 0,
    /// It waits for its next request.
    Idle = 1,
    /// It receives a body, or the server is at work.
    Busy = 2,
    /// It waits for its first request, or receives the head of it.
    First = 3,
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

    /// Notes that `phase` begins.
    pub(super) fn begins(&self, phase: Phase) {
        let now = millis(self.started.elapsed());
        self.phase_since.store(now, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes that bytes came: where the connection was idle, they begin the next request's head.
    pub(super) fn receives_bytes(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.begins(Phase::Head);
        }
    }

    /// Whether no request has come yet.
    pub(super) fn awaits_first_request(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::First as u8
    }

    /// When the connection is to be closed unless it has gone on by then.
    pub(super) fn due(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let limit = match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Busy as u8 => return None,
            phase if phase == Phase::Idle as u8 => idle,
            _ => head,
        };
        let since = Duration::from_millis(self.phase_since.load(Ordering::Relaxed));
        self.started.checked_add(since)?.checked_add(limit)
    }

    /// Notes that the connection has brought what its sender signed.
    pub(super) fn is_verified(&self) {
        self.is_verified.store(true, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fill(connections: &Arc<Connections>, addr: &str, count: usize) -> Vec<Admitted> {
        (0..count)
            .filter_map(|_| connections.admit(ip(addr)))
            .collect()
    }

    #[test]
    fn address_that_holds_most_makes_room_for_others() {
        let connections = Arc::new(Connections::new(200, None, Forwarding::default()));
        let attacker = fill(&connections, "192.0.2.1", 500);
        assert_eq!(attacker.len(), 200 - LEFT_TO_OTHERS);
        for number in 0..100_u8 {
            let sender = format!("198.51.100.{number}");
            assert!(connections.admit(ip(&sender)).is_some(), "{sender}");
        }
        let senders: Vec<_> = (0..100_u8)
            .filter_map(|number| connections.admit(ip(&format!("198.51.100.{number}"))))
            .collect();
        assert_eq!(senders.len(), 100);
        assert!(connections.lock().peers.len() <= 200);
    }

    /// The attacker keeps its connections busy, the sender's waits for its next delivery.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_of_others_outlive_an_address_that_holds_most() {
        let connections = Arc::new(Connections::new(200, None, Forwarding::default()));
        let sender = fill(&connections, "198.51.100.1", 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        let attacker = fill(&connections, "192.0.2.1", 200 - LEFT_TO_OTHERS);
        let rest: Vec<_> = (0..80_u8)
            .filter_map(|number| connections.admit(ip(&format!("203.0.113.{number}"))))
            .collect();
        assert_eq!(rest.len(), 80);
        let is_open = |admitted: &Admitted| {
            let order = admitted.peer().order.load(Ordering::Relaxed);
            order == Order::Serve as u8
        };
        assert!(sender.iter().all(is_open));
        assert!(attacker.iter().filter(|it| is_open(it)).count() < attacker.len());
        // Where nobody holds most, the idlest goes.
        drop(attacker);
        tokio::time::advance(Duration::from_secs(60)).await;
        let more = fill(&connections, "198.51.100.2", 150);
        assert!(more.len() > 50 && !sender.iter().all(is_open));
    }

    #[test]
    fn verified_connections_are_not_taken_for_others_of_their_address() {
        let connections = Arc::new(Connections::new(100, Some(10), Forwarding::default()));
        let sender = fill(&connections, "192.0.2.1", 10);
        for admitted in &sender {
            admitted.peer().is_verified();
        }
        assert!(connections.admit(ip("192.0.2.1")).is_none());
        assert!(connections.admit(ip("192.0.2.2")).is_some());
    }

    #[test]
    fn trusted_proxies_have_no_cap_and_ipv6_networks_share_one() {
        let forwarding = Forwarding {
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            standard: false,
        };
        let connections = Arc::new(Connections::new(100, Some(10), forwarding));
        let proxied = fill(&connections, "::ffff:10.0.0.1", 50);
        assert_eq!(proxied.len(), 50);
        let first = fill(&connections, "2001:db8::1", 6);
        let second = fill(&connections, "2001:db8::2", 6);
        assert_eq!(first.len() + second.len(), 10);
    }

    #[test]
    fn health_checks_of_this_machine_have_slots_of_their_own() {
        let connections = Arc::new(Connections::new(100, None, Forwarding::default()));
        let others: Vec<_> = (0..200_u8)
            .filter_map(|number| connections.admit(ip(&format!("192.0.2.{number}"))))
            .collect();
        assert_eq!(others.len(), 100 - RESERVED_FOR_LOOPBACK);
        assert!(connections.admit(ip("127.0.0.1")).is_some());
    }
}
