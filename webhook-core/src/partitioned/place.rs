//! The place of a partition among all of them, which decides the ids of its events.

use std::fmt;

use crate::admin::{ActionId, StoredAction};
use crate::error::StoreError;
use crate::event::{EventId, EventRecord, EventSummary};
use crate::scheduler::Lease;

/// Which partition of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) count: usize,
}

/// An id of a partition for which the whole inbox has no id: it is negative or too large.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the id {local} has no place among the ids of {count} partitions")]
struct IdOverflow {
    local: i64,
    count: usize,
}

/// An id of the whole inbox is *id of the partition* · *count* + *index*.
impl Place {
    /// The partition among `count` that has the event or the audit record with this id of the whole inbox; `None` if
    /// there cannot be one.
    pub(super) fn index_of(count: usize, global: i64) -> Option<usize> {
        if count == 1 {
            return Some(0);
        }
        let global = usize::try_from(global).ok()?;
        Some(global % count)
    }

    /// The id that the partition gave to the event with this id of the whole inbox, which is in this partition.
    pub(super) fn local(self, global: i64) -> i64 {
        global.div_euclid(self.divisor())
    }

    /// The id of the whole inbox.
    fn global(self, local: i64) -> Result<i64, StoreError> {
        if self.count == 1 {
            return Ok(local);
        }
        let scaled = local.checked_mul(self.divisor());
        let index = i64::try_from(self.index).ok();
        let global = scaled
            .zip(index)
            .and_then(|(id, index)| id.checked_add(index));
        global.filter(|_| local >= 0).ok_or_else(|| {
            StoreError::unavailable(IdOverflow {
                local,
                count: self.count,
            })
        })
    }

    fn divisor(self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }

    pub(super) fn local_lease(self, lease: Lease) -> Lease {
        Lease {
            event: EventId::new(self.local(lease.event.get())),
            ..lease
        }
    }

    /// The bound of this partition for "ids greater than `after`".
    pub(super) fn local_after(self, after: EventId) -> EventId {
        EventId::new(self.floor(after.get()))
    }

    /// The bound of this partition for "ids smaller than `before`".
    pub(super) fn local_before_event(self, before: EventId) -> EventId {
        EventId::new(self.local_before(before.get()))
    }

    /// The same for audit records.
    pub(super) fn local_before_action(self, before: ActionId) -> ActionId {
        ActionId::new(self.local_before(before.get()))
    }

    fn local_before(self, before: i64) -> i64 {
        // The smallest local id whose global id is not smaller.
        match before.checked_sub(1) {
            Some(last) => self.floor(last).saturating_add(1),
            None => i64::MIN,
        }
    }

    /// The greatest local id whose global id is not greater than `global`.
    fn floor(self, global: i64) -> i64 {
        if self.count == 1 {
            return global;
        }
        let index = i64::try_from(self.index).unwrap_or(i64::MAX);
        global.saturating_sub(index).div_euclid(self.divisor())
    }

    pub(super) fn global_id(self, id: EventId) -> Result<EventId, StoreError> {
        self.global(id.get()).map(EventId::new)
    }

    pub(super) fn global_action(self, id: ActionId) -> Result<ActionId, StoreError> {
        self.global(id.get()).map(ActionId::new)
    }

    pub(super) fn global_record(self, record: EventRecord) -> Result<EventRecord, StoreError> {
        Ok(EventRecord {
            id: self.global_id(record.id)?,
            ..record
        })
    }

    pub(super) fn global_summary(self, event: EventSummary) -> Result<EventSummary, StoreError> {
        Ok(EventSummary {
            id: self.global_id(event.id)?,
            ..event
        })
    }

    pub(super) fn global_stored(self, action: StoredAction) -> Result<StoredAction, StoreError> {
        Ok(StoredAction {
            id: self.global_action(action.id)?,
            ..action
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of {}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Attempt, Fence};

    fn places(count: usize) -> impl Iterator<Item = Place> {
        (0..count).map(move |index| Place { index, count })
    }

    #[test]
    fn ids_name_their_partition() {
        for count in [1, 2, 3, 8, 1024] {
            for place in places(count) {
                for local in [0, 1, 2, 1_000_000, i64::MAX / 1024 - 1] {
                    let global = place.global_id(EventId::new(local)).unwrap();
                    assert_eq!(Place::index_of(count, global.get()), Some(place.index));
                    let lease = Lease::new(global, Attempt::FIRST, Fence::new(7));
                    let expected = Lease::new(EventId::new(local), Attempt::FIRST, Fence::new(7));
                    assert_eq!(place.local_lease(lease), expected);
                }
            }
        }
        let third = Place { index: 2, count: 8 };
        assert_eq!(third.global_id(EventId::new(5)).unwrap(), EventId::new(42));
        let id = ActionId::new(5);
        assert_eq!(third.global_action(id).unwrap(), ActionId::new(42));
    }

    #[test]
    fn ids_of_one_partition_are_its_own() {
        let only = Place { index: 0, count: 1 };
        for id in [i64::MIN, -1, 0, 5, i64::MAX] {
            assert_eq!(only.global_id(EventId::new(id)).unwrap(), EventId::new(id));
            assert_eq!(Place::index_of(1, id), Some(0));
            assert_eq!(only.local(id), id);
            assert_eq!(only.local_after(EventId::new(id)), EventId::new(id));
            assert_eq!(only.local_before(id), id);
        }
    }

    #[test]
    fn ids_that_do_not_fit_are_errors() {
        let last = Place { index: 7, count: 8 };
        for local in [-1, i64::MIN, i64::MAX, i64::MAX / 8 + 1] {
            let error = last.global_id(EventId::new(local)).unwrap_err();
            let text = crate::with_causes(&error);
            assert!(text.contains(&local.to_string()), "{text}");
        }
        let largest = last.global_id(EventId::new(i64::MAX / 8)).unwrap();
        assert_eq!(largest, EventId::new(i64::MAX));
        let count = usize::MAX;
        let huge = Place {
            index: count - 1,
            count,
        };
        assert!(huge.global_id(EventId::new(1)).is_err());
        for global in [-1, i64::MIN] {
            assert_eq!(Place::index_of(8, global), None);
        }
    }

    #[test]
    fn bounds_of_a_partition_are_those_of_the_inbox() {
        for count in [1, 2, 3, 8] {
            for place in places(count) {
                for bound in (-20..60).chain([i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]) {
                    let after = place.local_after(EventId::new(bound));
                    let before = place.local_before(bound);
                    for local in 0..20 {
                        let id = EventId::new(local);
                        let global = place.global_id(id).unwrap();
                        assert_eq!(id > after, global.get() > bound, "{place} {bound} {local}");
                        assert_eq!(local < before, global.get() < bound, "{place} {bound}");
                    }
                }
            }
        }
    }
}
