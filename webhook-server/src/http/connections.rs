//! The open connections: their limits, which ones are evicted for others, and how all of them are
//! closed.

mod peer;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::rates::{Forwarding, network_bits};
use crate::metrics::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_LIMIT, as_f64};
use peer::millis;
pub(super) use peer::{Order, Peer, Phase};

/// How long a connection must have waited for its client before it may be evicted for a connection of
/// another address.
const GRACE: Duration = Duration::from_secs(1);

/// How long a connection must have waited before it may be evicted for one of the same address.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// How many connections are evicted at a time, so that the search for them stays cheap under a flood.
const MAX_EVICTED: usize = 64;

/// How many connections are reserved for this machine, whose health checks need them.
const RESERVED_FOR_LOOPBACK: usize = 8;

/// How many connections one address leaves to others by default.
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
    measured: Measured,
}

/// The connections of all listeners of the process, in its metrics.
struct Measured {
    open: Gauge,
    limit: Gauge,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<u64, Arc<Peer>>,
    /// How many connections each address or IPv6 /64 network has. `None` stands for trusted proxies,
    /// which have no limit of their own.
    held: HashMap<Option<u128>, usize>,
    next_id: u64,
    /// Until then no search for connections to evict is made, in milliseconds: the last one found
    /// none.
    full_until: u64,
}

impl Connections {
    /// Allows `limit` connections, of which `per_address` may be of one address. The limit per address
    /// does not hold for the trusted proxies of `forwarding`.
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
            measured: Measured::new(limit),
        }
    }

    /// Admits a new connection from `addr`. `None` if there are too many, and none can be evicted.
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
            && !table.evict_own(client, now)
        {
            return None;
        }
        if table.peers.len() >= limit && !table.evict_for(client, limit, now) {
            return None;
        }
        *table.held.entry(client).or_default() += 1;
        self.measured.open.increment(1.0);
        let id = table.next_id;
        table.next_id += 1;
        let peer = Arc::new(Peer::new(addr, client, self.started));
        table.peers.insert(id, Arc::clone(&peer));
        Some(Admitted {
            id,
            peer,
            connections: Arc::clone(self),
        })
    }

    /// Evicts connections that wait for their clients, to free file descriptors.
    pub(super) fn evict_waiting(&self) {
        let now = self.now();
        self.lock().evict_waiting(now);
    }

    /// Closes every connection that has waited for its client for `limit`. Heads and bodies have
    /// time-outs of their own; this one is for clients that do not read their answers.
    pub(super) fn close_stuck(&self, limit: Duration) {
        let oldest = self.now().saturating_sub(millis(limit));
        for peer in self.lock().peers.values() {
            if peer.waiting_since() < oldest {
                peer.order(Order::Abort);
            }
        }
    }

    /// Closes every connection after the request that it is serving.
    pub(super) fn finish(&self) {
        for peer in self.lock().peers.values() {
            peer.order(Order::Finish);
        }
    }

    /// Closes every connection at once. Returns how many there were.
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
    /// Evicts the connections that have waited longest for their clients. Returns whether there were
    /// any.
    fn evict_waiting(&mut self, now: u64) -> bool {
        if now < self.full_until {
            return false;
        }
        let newest = now.saturating_sub(millis(GRACE));
        let mut waiting: Vec<(u64, u64)> = self
            .peers
            .iter()
            .map(|(&id, peer)| (peer.waiting_since(), id))
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

    /// Evicts connections for one of `newcomer`. Returns whether there were any to evict.
    ///
    /// If another address holds more than half of all connections, its connections go first: idle
    /// connections of others may be of senders, who would have to connect again.
    fn evict_for(&mut self, newcomer: Option<u128>, limit: usize, now: u64) -> bool {
        let is_most_of_another = self
            .largest()
            .is_some_and(|(largest, count)| largest != newcomer && count > limit / 2);
        (is_most_of_another && self.evict_from_largest(newcomer, now))
            || self.evict_waiting(now)
            || self.evict_from_largest(newcomer, now)
    }

    /// The address that holds the most connections, except trusted proxies, and how many it holds.
    fn largest(&self) -> Option<(Option<u128>, usize)> {
        let counts = self.held.iter().filter(|(client, _)| client.is_some());
        let largest = counts.max_by_key(|&(_, count)| *count);
        largest.map(|(&client, &count)| (client, count))
    }

    /// Evicts connections of the address that holds most, for one of `newcomer`, which must hold fewer
    /// or be that address itself. Returns whether there were any.
    fn evict_from_largest(&mut self, newcomer: Option<u128>, now: u64) -> bool {
        let Some((largest, count)) = self.largest() else {
            return false;
        };
        if largest == newcomer {
            return self.evict_own(largest, now);
        }
        let more = count.saturating_sub(self.held(newcomer));
        more > 1 && self.evict_from(largest, (more / 2).min(MAX_EVICTED), now)
    }

    /// Evicts the connection of `client` that has waited longest, for another one of `client`. Returns
    /// whether one has waited for [`SHORT_GRACE`].
    fn evict_own(&mut self, client: Option<u128>, now: u64) -> bool {
        now.checked_sub(millis(SHORT_GRACE))
            .is_some_and(|newest| self.evict_from(client, 1, newest))
    }

    /// Evicts up to `count` connections of `client` that have waited since `newest` or longer, and have
    /// sent no verified delivery. Those that have waited longest go first.
    fn evict_from(&mut self, client: Option<u128>, count: usize, newest: u64) -> bool {
        let mut waiting: Vec<(u64, u64)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.client == client && !peer.has_verified())
            .map(|(&id, peer)| (peer.waiting_since(), id))
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

/// The place of a connection among the open ones, released on drop.
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
        self.connections.measured.open.decrement(1.0);
        if table.peers.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

impl Measured {
    fn new(limit: usize) -> Self {
        let measured = Self {
            open: gauge!(HTTP_CONNECTIONS),
            limit: gauge!(HTTP_CONNECTIONS_LIMIT),
        };
        measured.limit.increment(as_f64(limit as u64));
        measured
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.measured.limit.decrement(as_f64(self.limit as u64));
    }
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
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
    fn connections_of_the_largest_address_are_evicted_for_others() {
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
    async fn idle_connections_of_others_outlive_those_of_the_largest_address() {
        let connections = Arc::new(Connections::new(200, None, Forwarding::default()));
        let sender = fill(&connections, "198.51.100.1", 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        let attacker = fill(&connections, "192.0.2.1", 200 - LEFT_TO_OTHERS);
        let rest: Vec<_> = (0..80_u8)
            .filter_map(|number| connections.admit(ip(&format!("203.0.113.{number}"))))
            .collect();
        assert_eq!(rest.len(), 80);
        let is_open = |admitted: &Admitted| admitted.peer().current_order() == Order::Serve as u8;
        assert!(sender.iter().all(is_open));
        assert!(attacker.iter().filter(|it| is_open(it)).count() < attacker.len());
        // If no address holds most, the one that has waited longest is evicted.
        drop(attacker);
        tokio::time::advance(Duration::from_secs(60)).await;
        let more = fill(&connections, "198.51.100.2", 150);
        assert!(more.len() > 50 && !sender.iter().all(is_open));
    }

    #[test]
    fn verified_connections_are_not_evicted_for_others_of_their_address() {
        let connections = Arc::new(Connections::new(100, Some(10), Forwarding::default()));
        let sender = fill(&connections, "192.0.2.1", 10);
        for admitted in &sender {
            admitted.peer().note_verified();
        }
        assert!(connections.admit(ip("192.0.2.1")).is_none());
        assert!(connections.admit(ip("192.0.2.2")).is_some());
    }

    #[test]
    fn trusted_proxies_have_no_limit_and_ipv6_networks_share_one() {
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
    fn connections_are_reserved_for_health_checks_of_this_machine() {
        let connections = Arc::new(Connections::new(100, None, Forwarding::default()));
        let others: Vec<_> = (0..200_u8)
            .filter_map(|number| connections.admit(ip(&format!("192.0.2.{number}"))))
            .collect();
        assert_eq!(others.len(), 100 - RESERVED_FOR_LOOPBACK);
        assert!(connections.admit(ip("127.0.0.1")).is_some());
    }
}
