//! Where in the queue's index a claim begins to read.
//!
//! Settled events leave dead entries at the start of the queue's index until vacuum removes them: every
//! minute at best, and never while an old transaction is open anywhere in the database. A claim that
//! begins at the start reads all of them. So each claim remembers where it found its first event, and the
//! next claims begin there.
//!
//! Events that appear before that point (an expired lease, an event accepted in a transaction that took
//! long to commit) are found by the next claim from the start, which runs as often as it is cheap.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use webhook_core::Kind;

/// How often a claim begins at the start of the index, while that is cheap.
const FULL_INTERVAL: Duration = Duration::from_secs(1);

/// Claims from the start may take one part in this many of the time.
const FULL_SHARE: u32 = 20;

/// A claim from the start that takes less than this needs no cursor.
const CHEAP: Duration = Duration::from_millis(2);

/// With fewer claimed events than this, the index cannot hold enough dead entries to matter.
const MIN_CLAIMED: u64 = 5_000;

/// How far before the first claimed event the cursor stands, in microseconds: concurrent accepts
/// do not commit in the order of their due times.
const SLACK_US: i64 = 1_000_000;

/// The start of the index, in microseconds since 1970: no event was due before.
pub(crate) const START_US: i64 = 0;

/// The cursors of all kinds that this process claims.
#[derive(Debug, Default)]
pub(crate) struct ClaimCursors(Mutex<HashMap<Kind, Cursor>>);

#[derive(Debug)]
struct Cursor {
    from_us: i64,
    /// When the last claim from the start ended, and how long it took.
    full_at: Instant,
    full_took: Duration,
    /// When a lease taken since then may expire: its event stands before the cursor.
    until: Instant,
    /// How many events were claimed in total.
    claimed: u64,
}

/// The result of one claim, as far as the cursor needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    pub(crate) lease: Duration,
    /// The due time of the first event, if there was one.
    pub(crate) first_us: Option<i64>,
    pub(crate) events: usize,
}

impl ClaimCursors {
    /// Where the next claim of `kind` begins.
    pub(crate) fn start(&self, kind: &Kind, now: Instant) -> i64 {
        match self.lock().get(kind) {
            Some(cursor)
                if cursor.claimed >= MIN_CLAIMED
                    && cursor.full_took >= CHEAP
                    && now < cursor.until
                    && now < cursor.full_at + FULL_INTERVAL.max(cursor.rest()) =>
            {
                cursor.from_us
            }
            _ => START_US,
        }
    }

    /// How long until the next claim from the start may run.
    pub(crate) fn until_full(&self, kind: &Kind, now: Instant) -> Duration {
        self.lock().get(kind).map_or(Duration::ZERO, |cursor| {
            (cursor.full_at + cursor.rest()).saturating_duration_since(now)
        })
    }

    /// Records the result of a claim that began at `from_us`.
    pub(crate) fn note(&self, kind: &Kind, from_us: i64, found: Found) {
        let first_us = found.first_us.map(|due_us| due_us.saturating_sub(SLACK_US));
        let events = u64::try_from(found.events).unwrap_or(u64::MAX);
        let until = found.started + found.lease.min(FULL_INTERVAL * FULL_SHARE);
        let mut cursors = self.lock();
        if from_us == START_US {
            let claimed = cursors.get(kind).map_or(0, |cursor| cursor.claimed);
            let cursor = Cursor {
                from_us: first_us.unwrap_or(START_US),
                full_at: found.started + found.took,
                full_took: found.took,
                until,
                claimed: claimed.saturating_add(events),
            };
            cursors.insert(kind.clone(), cursor);
        } else if let Some(cursor) = cursors.get_mut(kind) {
            cursor.from_us = cursor.from_us.max(first_us.unwrap_or(START_US));
            cursor.until = cursor.until.min(until);
            cursor.claimed = cursor.claimed.saturating_add(events);
        }
    }

    /// Makes the next claim of `kind` begin at the start: an event was put back there.
    pub(crate) fn reset(&self, kind: &Kind) {
        if let Some(cursor) = self.lock().get_mut(kind) {
            cursor.from_us = START_US;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Cursor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cursor {
    /// How long to wait after a claim from the start, so that such claims keep to their share of the time.
    fn rest(&self) -> Duration {
        self.full_took * FULL_SHARE
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
    fn slow_claims_of_a_busy_kind_advance_the_cursor_for_a_while() {
        let (cursors, now) = (ClaimCursors::default(), Instant::now());
        cursors.note(&kind(), START_US, found(now, SLOW, 5_000));
        assert_eq!(cursors.start(&kind(), now + SLOW), 4_000_000);
        assert_eq!(
            cursors.start(&kind(), now + Duration::from_secs(2)),
            START_US
        );
        assert_eq!(cursors.until_full(&kind(), now + SLOW), SLOW * FULL_SHARE);
    }

    #[test]
    fn quick_claims_and_quiet_kinds_need_no_cursor() {
        let (cursors, now) = (ClaimCursors::default(), Instant::now());
        cursors.note(
            &kind(),
            START_US,
            found(now, Duration::from_millis(1), 9_000),
        );
        assert_eq!(cursors.start(&kind(), now), START_US);
        let cursors = ClaimCursors::default();
        cursors.note(&kind(), START_US, found(now, SLOW, 4_999));
        assert_eq!(cursors.start(&kind(), now), START_US);
    }

    #[test]
    fn the_cursor_is_reset_when_a_lease_may_expire() {
        let (cursors, now) = (ClaimCursors::default(), Instant::now());
        cursors.note(&kind(), START_US, found(now, SLOW, 9_000));
        let short = Found {
            lease: Duration::from_millis(300),
            ..found(now, SLOW, 1)
        };
        cursors.note(&kind(), 4_000_000, short);
        assert_eq!(
            cursors.start(&kind(), now + Duration::from_millis(299)),
            4_000_000
        );
        assert_eq!(
            cursors.start(&kind(), now + Duration::from_millis(300)),
            START_US
        );
    }

    #[test]
    fn release_resets_the_claim_cursor() {
        let (cursors, now) = (ClaimCursors::default(), Instant::now());
        cursors.note(&kind(), START_US, found(now, SLOW, 9_000));
        cursors.reset(&kind());
        assert_eq!(cursors.start(&kind(), now + SLOW), START_US);
    }
}
