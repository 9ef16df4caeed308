//! Limits the memory of all bodies that are being received.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rates::network_bits;

/// How many bytes of each body are not counted. The limit on connections bounds them.
pub(super) const FREE_BYTES: usize = 8 * 1024;

/// The largest body that may use the reserved part of the room.
const MAX_SMALL_BYTES: usize = 64 * 1024;

/// One part in this many is reserved for small bodies.
const RESERVED_FRACTION: usize = 8;

/// The bodies of one client may hold one part in this many.
pub(super) const CLIENT_FRACTION: usize = 4;

/// The memory that all bodies being received share.
#[derive(Debug)]
pub(super) struct BodyRoom {
    max_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// By address, or by IPv6 /64 network.
    by_client: HashMap<u128, usize>,
}

impl BodyRoom {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            held: Mutex::default(),
        }
    }

    /// An empty share for one body of `client`. Without an address, only the limit of all bodies
    /// together applies.
    pub(super) fn share(&self, client: Option<IpAddr>) -> Share<'_> {
        Share {
            room: self,
            client: client.map(network_bits),
            bytes: 0,
        }
    }

    /// Takes `more` bytes for a body of `client` that then has `body_bytes`. Returns whether there was
    /// room.
    fn take(&self, client: Option<u128>, more: usize, body_bytes: usize) -> bool {
        let limit = if body_bytes <= MAX_SMALL_BYTES {
            self.max_bytes
        } else {
            self.max_bytes - self.max_bytes / RESERVED_FRACTION
        };
        let mut held = self.lock();
        let of_client = client.and_then(|client| held.by_client.get(&client));
        let of_client = of_client.copied().unwrap_or_default() + more;
        let of_all = held.bytes + more;
        if of_all > limit || client.is_some() && of_client > self.max_bytes / CLIENT_FRACTION {
            return false;
        }
        held.bytes = of_all;
        if let Some(client) = client {
            held.by_client.insert(client, of_client);
        }
        true
    }

    fn release(&self, client: Option<u128>, bytes: usize) {
        let mut held = self.lock();
        held.bytes -= bytes;
        if let Some(Entry::Occupied(mut of_client)) = client.map(|it| held.by_client.entry(it)) {
            *of_client.get_mut() -= bytes;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that one body holds, released on drop.
#[derive(Debug)]
pub(super) struct Share<'a> {
    room: &'a BodyRoom,
    client: Option<u128>,
    bytes: usize,
}

impl Share<'_> {
    /// Takes what a body of `body_bytes` needs. Returns whether there was room; if not, the share does
    /// not change.
    pub(super) fn grow_to(&mut self, body_bytes: usize) -> bool {
        let needed = body_bytes.saturating_sub(FREE_BYTES);
        let more = needed.saturating_sub(self.bytes);
        if more > 0 && !self.room.take(self.client, more, body_bytes) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.release(self.client, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// How many bodies of `bytes` find room at once, each of the client that `addr` names.
    fn fill(room: &BodyRoom, bytes: usize, addr: impl Fn(usize) -> String) -> Vec<Share<'_>> {
        let mut shares = Vec::new();
        loop {
            let mut share = room.share(ip(&addr(shares.len())));
            if !share.grow_to(bytes) {
                return shares;
            }
            shares.push(share);
        }
    }

    fn of_one(_: usize) -> String {
        "192.0.2.1".to_owned()
    }

    fn of_many(number: usize) -> String {
        format!("198.51.{}.{}", number / 256, number % 256)
    }

    #[test]
    fn bodies_of_one_address_leave_room_to_others() {
        let room = BodyRoom::new(64 * MIB);
        for bytes in [MIB, 20 * KIB, 9 * KIB] {
            let greedy = fill(&room, bytes, of_one);
            assert_eq!(greedy.len(), 16 * MIB / (bytes - FREE_BYTES), "{bytes}");
            assert!(room.share(ip("192.0.2.2")).grow_to(MIB));
            assert!(room.share(None).grow_to(MIB));
        }
        assert_eq!(room.lock().bytes, 0, "all of it was given back");
        assert!(room.lock().by_client.is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_client() {
        let room = BodyRoom::new(64 * MIB);
        let greedy = fill(&room, MIB, |number| format!("2001:db8::{number:x}"));
        assert_eq!(greedy.len(), 16);
        assert!(room.share(ip("2001:db8:0:1::1")).grow_to(MIB));
    }

    #[test]
    fn large_bodies_leave_room_to_small_ones() {
        let room = BodyRoom::new(64 * MIB);
        let large = fill(&room, MIB, of_many);
        assert_eq!(large.len(), 56);
        let small = fill(&room, 64 * KIB, |number| of_many(1000 + number));
        assert!(small.len() >= 8 * MIB / (64 * KIB), "{}", small.len());
        assert!(!room.share(ip("203.0.113.1")).grow_to(FREE_BYTES + 64 * KIB));
        assert!(room.share(ip("203.0.113.1")).grow_to(FREE_BYTES));
    }

    #[test]
    fn a_share_that_cannot_grow_stays_as_it_was() {
        let room = BodyRoom::new(4 * MIB);
        let mut share = room.share(ip("192.0.2.1"));
        assert!(share.grow_to(MIB));
        assert!(share.grow_to(MIB / 2), "it does not shrink");
        assert!(!share.grow_to(2 * MIB));
        assert_eq!(room.lock().bytes, MIB - FREE_BYTES);
        drop(share);
        assert_eq!(room.lock().bytes, 0);
    }
}
