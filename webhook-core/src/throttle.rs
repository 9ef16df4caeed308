//! For implementors of backends: slows down workers while senders are waiting.
//!
//! A worker that processes a backlog at full speed takes the store's processor time from accepts. Senders wait
//! for accepts, but nobody waits for the backlog. So if a process accepts events while its claims are full,
//! each claim is followed by a pause: until enough events are accepted for each that was claimed (by default two
//! for three), or for twice as long as the last claim and its handlers took. Workers therefore always keep at
//! least a third of their full speed. A worker whose handlers need much processor time asks for more accepted
//! events, by [`WorkerOptions::accepted_per_claimed`](crate::WorkerOptions::accepted_per_claimed). With three, it may
//! pause for three times as long, and keeps at least a quarter of its speed; with four or more, at least a fifth.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::Kind;

/// How many events should be accepted for each claimed event, by default.
const ACCEPTED_PER_CLAIMED: f64 = 2.0 / 3.0;

/// The limits of the longest pause, relative to the time of the last claim and its handlers: within them, it is as many
/// times as long as events should be accepted for each that was claimed.
const MAX_SHARES: (f64, f64) = (2.0, 4.0);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Relates the accepts and claims of one process, for
/// [`Scheduler::pause_before_claim`](crate::Scheduler::pause_before_claim).
#[derive(Debug)]
pub struct Throttle {
    accepted_per_claimed: f64,
    /// The number of events that were accepted.
    accepted: AtomicU64,
    last_claims: Mutex<HashMap<Kind, LastClaim>>,
}

/// The start of a claim, from [`Throttle::begin`].
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    at: Instant,
    /// The number of events that had been accepted.
    accepted: u64,
}

#[derive(Clone, Copy, Debug)]
struct LastClaim {
    begun: Begun,
    /// The number of claimed events, if the claim reached its limit.
    brought: Option<u32>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(ACCEPTED_PER_CLAIMED)
    }
}

impl Throttle {
    /// Pauses until `accepted_per_claimed` events are accepted for each that was claimed, unless the worker has a
    /// number of its own. With 1 or more, a backlog does not shrink while senders use all of the store; 0 and less
    /// never pause.
    pub fn new(accepted_per_claimed: f64) -> Self {
        Self {
            accepted_per_claimed,
            accepted: AtomicU64::default(),
            last_claims: Mutex::default(),
        }
    }

    /// Records that events were accepted.
    pub fn accepted(&self, events: usize) {
        self.accepted.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Returns how long to wait before the next claim of `kind`: at most 50 ms. `accepted_per_claimed` is that of the
    /// worker, if it has one.
    pub fn pause(&self, kind: &Kind, now: Instant, accepted_per_claimed: Option<f64>) -> Duration {
        let Some(last) = self.lock().get(kind).copied() else {
            return Duration::ZERO;
        };
        let accepted = self.accepted.load(Ordering::Relaxed) - last.begun.accepted;
        let accepted = f64::from(u32::try_from(accepted).unwrap_or(u32::MAX));
        match last.brought {
            Some(brought) if accepted > 0.0 => {
                let ratio = accepted_per_claimed.unwrap_or(self.accepted_per_claimed);
                // Also turns NaN into 0.
                let ratio = ratio.max(0.0);
                let wanted = f64::from(brought) * ratio;
                let max_share = ratio.clamp(MAX_SHARES.0, MAX_SHARES.1);
                let share = (wanted / accepted - 1.0).clamp(0.0, max_share);
                let took = now.saturating_duration_since(last.begun.at).min(MAX_PAUSE);
                took.mul_f64(share).min(MAX_PAUSE)
            }
            _ => Duration::ZERO,
        }
    }

    /// Records that a claim begins.
    pub fn begin(&self, now: Instant) -> Begun {
        Begun {
            at: now,
            accepted: self.accepted.load(Ordering::Relaxed),
        }
    }

    /// Records that a claim of `kind` with this `limit` returned `brought` events.
    pub fn claimed(&self, kind: &Kind, begun: Begun, brought: usize, limit: usize) {
        let full = brought == limit;
        let last = LastClaim {
            begun,
            brought: full.then(|| u32::try_from(brought).unwrap_or(u32::MAX)),
        };
        let mut claims = self.lock();
        match claims.get_mut(kind) {
            Some(known) => *known = last,
            None => drop(claims.insert(kind.clone(), last)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, LastClaim>> {
        // Each change replaces one entry, so a panic cannot leave it incomplete.
        self.last_claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(6);

    fn pause(brought: usize, accepted: usize) -> Duration {
        pause_with(Throttle::default(), None, brought, accepted)
    }

    fn pause_with(
        throttle: Throttle,
        of_worker: Option<f64>,
        brought: usize,
        accepted: usize,
    ) -> Duration {
        let kind = Kind::new("test").unwrap();
        let start = Instant::now();
        assert_eq!(throttle.pause(&kind, start, of_worker), Duration::ZERO);
        let begun = throttle.begin(start);
        throttle.accepted(accepted);
        throttle.claimed(&kind, begun, brought, 90);
        throttle.pause(&kind, start + TOOK, of_worker)
    }

    #[test]
    fn only_full_claims_during_accepts_are_followed_by_a_pause() {
        assert_eq!(pause(90, 0), Duration::ZERO);
        assert_eq!(pause(89, 30), Duration::ZERO);
        assert_eq!(pause(90, 30), TOOK);
    }

    #[test]
    fn pauses_are_bounded_so_that_the_backlog_shrinks() {
        assert_eq!(pause(90, 60), Duration::ZERO);
        assert_eq!(pause(90, 600), Duration::ZERO);
        assert_eq!(pause(90, 1), 2 * TOOK);
    }

    #[test]
    fn ratio_says_how_many_accepts_end_the_pause() {
        for (ratio, expected) in [
            (1.0, TOOK / 2),
            (0.5, Duration::ZERO),
            (0.0, Duration::ZERO),
            (-1.0, Duration::ZERO),
            (f64::NAN, Duration::ZERO),
            (2.5, TOOK.mul_f64(2.5)),
            (3.0, 3 * TOOK),
            (f64::INFINITY, 4 * TOOK),
        ] {
            assert_eq!(
                pause_with(Throttle::new(ratio), None, 90, 60),
                expected,
                "{ratio} of the store"
            );
            assert_eq!(
                pause_with(Throttle::default(), Some(ratio), 90, 60),
                expected,
                "{ratio} of the worker"
            );
        }
    }
}
