//! The state of the rate limit of each address, in a fixed amount of memory.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};

/// The number of buckets, of 8 bytes each.
const BUCKETS: usize = 1 << 16;

/// The bits of an IPv6 address that the owner of a network cannot choose.
const NETWORK: u128 = !0 << 64;

/// One state for all addresses with the same hash. The hash is seeded: clients cannot predict which
/// addresses share a bucket.
#[derive(Debug)]
pub(super) struct Buckets {
    states: Vec<InMemoryState>,
    hash: RandomState,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            states: (0..BUCKETS).map(|_| InMemoryState::default()).collect(),
            hash: RandomState::new(),
        }
    }
}

impl Buckets {
    fn bucket(&self, client: IpAddr) -> usize {
        let hash = self.hash.hash_one(network_bits(client));
        usize::try_from(hash % BUCKETS as u64).expect("a bucket's number is small")
    }
}

/// The bits that identify a client: its address, or its IPv6 /64 network.
pub(in crate::http) fn network_bits(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & NETWORK,
    }
}

impl StateStore for Buckets {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, client: &IpAddr, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.states[self.bucket(*client)].measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_networks_of_64_bits_share_a_bucket() {
        let buckets = Buckets::default();
        let bucket = |text: &str| buckets.bucket(text.parse().unwrap());
        assert_eq!(bucket("2001:db8::1"), bucket("2001:db8::ffff:1"));
        assert_eq!(bucket("192.0.2.1"), bucket("::ffff:192.0.2.1"));
        let apart = (0..64_u16).map(|i| bucket(&format!("2001:db8:0:{i:x}::1")));
        assert!(apart.collect::<std::collections::HashSet<_>>().len() > 32);
        let apart = (0..64_u8).map(|i| bucket(&format!("192.0.2.{i}")));
        assert!(apart.collect::<std::collections::HashSet<_>>().len() > 32);
    }
}
