//! [`Placement`]: which partition each event is in.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use crate::event::{Fingerprint, Key, Kind};

/// How many partitions an inbox has at most.
pub const MAX_PARTITIONS: usize = 1024;

/// Which partition each event is in: how many partitions there are, and which kinds are *whole*.
///
/// An event is in the partition that a hash of its kind and its key chooses. All events of a whole kind are in one
/// partition, which a hash of the kind alone chooses. Kinds whose events have [guards](field@crate::Envelope::guard)
/// must be whole, since a guard must be known to every event of its kind.
///
/// # The hash
///
/// It never changes. It is the number *h* in the first 8 bytes, the highest first, of [`Fingerprint::of`] of the kind
/// and the key, or of a whole kind alone. With *n* partitions, the event is in partition ⌊*h* · *n* / 2⁶⁴⌋, counted
/// from 0.
///
/// ```
/// use std::num::NonZeroUsize;
/// use webhook_core::{Key, Kind, Placement};
///
/// let placement = Placement::new(NonZeroUsize::new(8).expect("not zero"));
/// let (order, key) = (Kind::from_static("order"), Key::new("o-2")?);
/// assert_eq!(placement.partition_of(&order, &key), 3);
///
/// let placement = placement.with_whole_kinds([order.clone()]);
/// assert_eq!(placement.partition_of(&order, &key), 0);
/// # Ok::<_, webhook_core::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    count: NonZeroUsize,
    whole_kinds: BTreeSet<Kind>,
}

impl Placement {
    /// Divides events among `count` partitions. No kind is whole.
    pub const fn new(count: NonZeroUsize) -> Self {
        Self {
            count,
            whole_kinds: BTreeSet::new(),
        }
    }

    /// Replaces the whole kinds.
    #[must_use]
    pub fn with_whole_kinds(self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            whole_kinds: kinds.into_iter().collect(),
            ..self
        }
    }

    /// The number of partitions.
    pub const fn count(&self) -> usize {
        self.count.get()
    }

    /// The whole kinds.
    pub const fn whole_kinds(&self) -> &BTreeSet<Kind> {
        &self.whole_kinds
    }

    /// Whether all events of `kind` are in one partition: the kind is whole, or there is only one partition.
    pub fn is_whole(&self, kind: &Kind) -> bool {
        self.count() == 1 || self.whole_kinds.contains(kind)
    }

    /// The partition that has the event of this kind and key: a number smaller than [`count`](Self::count).
    pub fn partition_of(&self, kind: &Kind, key: &Key) -> usize {
        if self.count() == 1 {
            0
        } else if self.whole_kinds.contains(kind) {
            self.home_of(kind)
        } else {
            self.scaled(&Fingerprint::of([kind.as_str(), key.as_str()]))
        }
    }

    /// The partition that has all events of `kind` if the kind is whole.
    pub fn home_of(&self, kind: &Kind) -> usize {
        self.scaled(&Fingerprint::of([kind.as_str()]))
    }

    fn scaled(&self, digest: &Fingerprint) -> usize {
        let (first, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a digest has 32 bytes");
        let hash = u128::from(u64::from_be_bytes(*first));
        let scaled = (hash * self.count() as u128) >> 64;
        usize::try_from(scaled).expect("it is smaller than the number of partitions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(count: usize) -> Placement {
        Placement::new(NonZeroUsize::new(count).unwrap())
    }

    /// If these change, stored events are no longer found.
    #[test]
    fn events_are_in_the_partitions_that_they_were_always_in() {
        for (kind, key, by_key, whole) in [
            ("order", "o-1", [1, 2, 7, 913], [0, 0, 0, 98]),
            ("order", "o-2", [0, 1, 3, 408], [0, 0, 0, 98]),
            ("stripe", "evt_1", [1, 1, 5, 653], [0, 0, 2, 329]),
            ("a", "é", [1, 1, 4, 604], [0, 0, 1, 230]),
            ("order", &"x".repeat(512), [1, 1, 4, 556], [0, 0, 0, 98]),
        ] {
            let (kind, key) = (Kind::new(kind.to_owned()).unwrap(), Key::new(key).unwrap());
            for (place, count) in [2, 3, 8, 1000].into_iter().enumerate() {
                let split = placement(count);
                assert_eq!(split.partition_of(&kind, &key), by_key[place], "{key}");
                assert!(!split.is_whole(&kind));
                let one = split.with_whole_kinds([kind.clone()]);
                assert_eq!(one.partition_of(&kind, &key), whole[place], "{kind}");
                assert!(one.is_whole(&kind));
            }
            assert_eq!(placement(1).partition_of(&kind, &key), 0);
            assert!(placement(1).is_whole(&kind));
        }
    }

    #[test]
    fn kind_and_key_do_not_run_together() {
        let placement = placement(MAX_PARTITIONS);
        let at = |kind: &'static str, key: &str| {
            placement.partition_of(&Kind::from_static(kind), &Key::new(key).unwrap())
        };
        assert_ne!(at("ab", "c"), at("a", "bc"));
    }

    #[test]
    fn every_partition_has_its_share() {
        let placement = placement(8);
        let mut shares = [0_u32; 8];
        let kind = Kind::from_static("order");
        for number in 0..8_000 {
            let key = Key::new(format!("o-{number}")).unwrap();
            shares[placement.partition_of(&kind, &key)] += 1;
        }
        assert!(
            shares.iter().all(|share| (850..1_150).contains(share)),
            "{shares:?}"
        );
    }
}
