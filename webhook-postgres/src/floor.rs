//! Where claims begin to look.
//!
//! Settled events leave dead entries at the low end of the queue's index, until vacuum removes
//! them: every minute at best, and never while an old transaction is open anywhere in the
//! database. A claim that begins at the bottom reads all of them. So a claim remembers how far up
//! it found its first event, and those after it begin there.
//!
//! What turns up below (an expired lease, an event accepted in a transaction that took long to
//! commit) is found by the next claim from the bottom, which is made as often as it is cheap.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use webhook_core::Kind;

/// From the bottom at least this often, while that is cheap.
const BOTTOM_INTERVAL: Duration = Duration::from_secs(1);

/// Claims from the bottom may take one part in this many of the time.
const BOTTOM_SHARE: u32 = 20;

/// A claim from the bottom that is this quick needs no floor.
const CHEAP: Duration = Duration::from_millis(2);

/// Below this many claimed events there cannot be enough dead ones to matter.
const FEW: u64 = 5_000;

/// How far below the first event claimed the floor lies, in microseconds: concurrent accepts
/// commit out of the order of their due times.
const SLACK_US: i64 = 1_000_000;

/// The bottom, in microseconds since 1970: nothing was due before.
pub(crate) const BOTTOM_US: i64 = 0;

/// The floors of all kinds that this process claims.
#[derive(Debug, Default)]
pub(crate) struct Floors(Mutex<HashMap<Kind, Floor>>);

#[derive(Debug)]
struct Floor {
    from_us: i64,
    /// When the last claim from the bottom ended, and what it took.
    bottom_at: Instant,
    bottom_took: Duration,
    /// When a lease taken since may run out: its event stands below the floor.
    until: Instant,
    /// Events claimed in all.
    claimed: u64,
}

/// What a claim found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    pub(crate) lease: Duration,
    /// Where its first event stands, if it found any.
    pub(crate) first_us: Option<i64>,
    pub(crate) events: usize,
}

impl Floors {
    /// Where the next claim of `kind` is to begin.
    pub(crate) fn start(&self, kind: &Kind, now: Instant) -> i64 {
        match self.lock().get(kind) {
            Some(floor)
                if floor.claimed >= FEW
                    && floor.bottom_took >= CHEAP
                    && now < floor.until
                    && now < floor.bottom_at + BOTTOM_INTERVAL.max(floor.rest()) =>
            {
                floor.from_us
            }
            _ => BOTTOM_US,
        }
    }

    /// How long until a claim from the bottom is due, for the sake of what may be there.
    pub(crate) fn until_bottom(&self, kind: &Kind, now: Instant) -> Duration {
        self.lock().get(kind).map_or(Duration::ZERO, |floor| {
            (floor.bottom_at + floor.rest()).saturating_duration_since(now)
        })
    }

    /// Notes what a claim found that began at `from_us`.
    pub(crate) fn note(&self, kind: &Kind, from_us: i64, found: Found) {
        let first_us = found.first_us.map(|due_us| due_us.saturating_sub(SLACK_US));
        let events = u64::try_from(found.events).unwrap_or(u64::MAX);
        let until = found.started + found.lease.min(BOTTOM_INTERVAL * BOTTOM_SHARE);
        let mut floors = self.lock();
        if from_us == BOTTOM_US {
            let claimed = floors.get(kind).map_or(0, |floor| floor.claimed);
            let floor = Floor {
                from_us: first_us.unwrap_or(BOTTOM_US),
                bottom_at: found.started + found.took,
                bottom_took: found.took,
                until,
                claimed: claimed.saturating_add(events),
            };
            floors.insert(kind.clone(), floor);
        } else if let Some(floor) = floors.get_mut(kind) {
            floor.from_us = floor.from_us.max(first_us.unwrap_or(BOTTOM_US));
            floor.until = floor.until.min(until);
            floor.claimed = floor.claimed.saturating_add(events);
        }
    }

    /// Has the next claim of `kind` begin at the bottom: something was put back there.
    pub(crate) fn forget(&self, kind: &Kind) {
        if let Some(floor) = self.lock().get_mut(kind) {
            floor.from_us = BOTTOM_US;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Floor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Floor {
    /// How long after a claim from the bottom the next one keeps to its share of the time.
    fn rest(&self) -> Duration {
        self.bottom_took * BOTTOM_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(10);

    fn found(started: Instant, took: Duration, events: usize) -> Found {
        Found {
            started,
            took,
            lease: Duration::from_secs(60),
            first_us: Some(5_000_000),
            events,
        }
    }

    fn kind() -> Kind {
        Kind::new("k").unwrap()
    }

    #[test]
    fn a_slow_claim_of_a_busy_kind_raises_the_floor_for_a_while() {
        let (floors, now) = (Floors::default(), Instant::now());
        floors.note(&kind(), BOTTOM_US, found(now, SLOW, 5_000));
        assert_eq!(floors.start(&kind(), now + SLOW), 4_000_000);
        assert_eq!(
            floors.start(&kind(), now + Duration::from_secs(2)),
            BOTTOM_US
        );
        assert_eq!(
            floors.until_bottom(&kind(), now + SLOW),
            SLOW * BOTTOM_SHARE
        );
    }

    #[test]
    fn quick_claims_and_quiet_kinds_have_no_floor() {
        let (floors, now) = (Floors::default(), Instant::now());
        floors.note(
            &kind(),
            BOTTOM_US,
            found(now, Duration::from_millis(1), 9_000),
        );
        assert_eq!(floors.start(&kind(), now), BOTTOM_US);
        let floors = Floors::default();
        floors.note(&kind(), BOTTOM_US, found(now, SLOW, 4_999));
        assert_eq!(floors.start(&kind(), now), BOTTOM_US);
    }

    #[test]
    fn the_floor_ends_when_a_lease_may_run_out() {
        let (floors, now) = (Floors::default(), Instant::now());
        floors.note(&kind(), BOTTOM_US, found(now, SLOW, 9_000));
        let short = Found {
            lease: Duration::from_millis(300),
            ..found(now, SLOW, 1)
        };
        floors.note(&kind(), 4_000_000, short);
        assert_eq!(
            floors.start(&kind(), now + Duration::from_millis(299)),
            4_000_000
        );
        assert_eq!(
            floors.start(&kind(), now + Duration::from_millis(300)),
            BOTTOM_US
        );
    }

    #[test]
    fn what_is_put_back_is_looked_for_at_the_bottom() {
        let (floors, now) = (Floors::default(), Instant::now());
        floors.note(&kind(), BOTTOM_US, found(now, SLOW, 9_000));
        floors.forget(&kind());
        assert_eq!(floors.start(&kind(), now + SLOW), BOTTOM_US);
    }
}
