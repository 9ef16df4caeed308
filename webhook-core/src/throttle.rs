//! Help for whoever writes a backend: workers give way to senders.
//!
//! A backlog processed at full speed takes the store's processors from accepts, whose senders
//! wait for an answer, while nobody waits for the backlog. So where a process accepts events
//! while its claims are full, claims pause: until the senders have got two events in for three that
//! were claimed, or for twice as long as the last claim and its handlers took. The backlog thus
//! shrinks at any rate, and at no less than a third of full speed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::Kind;

/// How many accepted events one claimed event should leave time for.
const ACCEPTED_PER_CLAIMED: f64 = 2.0 / 3.0;

/// The longest pause, in times of what the last claim and its handlers took, and in any case.
const MAX_SHARE: f64 = 2.0;
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// What accepts and claims of one process know of each other, for
/// [`Scheduler::pause_before_claim`](crate::Scheduler::pause_before_claim).
#[derive(Debug, Default)]
pub struct Throttle {
    /// How many events were accepted so far.
    accepted: AtomicU64,
    last_claims: Mutex<HashMap<Kind, LastClaim>>,
}

/// The moment at which a claim began.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    at: Instant,
    /// How many events had been accepted by then.
    accepted: u64,
}

#[derive(Clone, Copy, Debug)]
struct LastClaim {
    begun: Begun,
    /// How many events it brought, if that was as many as it might.
    brought: Option<u32>,
}

impl Throttle {
    /// Notes that events were accepted.
    pub fn accepted(&self, events: usize) {
        self.accepted.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// How long the next claim of `kind` is to wait: at most 50 ms.
    pub fn pause(&self, kind: &Kind, now: Instant) -> Duration {
        let Some(last) = self.lock().get(kind).copied() else {
            return Duration::ZERO;
        };
        let accepted = self.accepted.load(Ordering::Relaxed) - last.begun.accepted;
        let accepted = f64::from(u32::try_from(accepted).unwrap_or(u32::MAX));
        match last.brought {
            Some(brought) if accepted > 0.0 => {
                let wanted = f64::from(brought) * ACCEPTED_PER_CLAIMED;
                let share = (wanted / accepted - 1.0).clamp(0.0, MAX_SHARE);
                let took = now.saturating_duration_since(last.begun.at).min(MAX_PAUSE);
                took.mul_f64(share).min(MAX_PAUSE)
            }
            _ => Duration::ZERO,
        }
    }

    /// Says that a claim begins.
    pub fn begin(&self, now: Instant) -> Begun {
        Begun {
            at: now,
            accepted: self.accepted.load(Ordering::Relaxed),
        }
    }

    /// Notes that a claim of `kind` brought as many events of how many it might.
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
        // Every change replaces one entry: a panic cannot leave it half-changed.
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
        let kind = Kind::new("test").unwrap();
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.pause(&kind, start), Duration::ZERO);
        let begun = throttle.begin(start);
        throttle.accepted(accepted);
        throttle.claimed(&kind, begun, brought, 90);
        throttle.pause(&kind, start + TOOK)
    }

    #[test]
    fn only_a_full_claim_among_accepts_is_followed_by_a_pause() {
        assert_eq!(pause(90, 0), Duration::ZERO);
        assert_eq!(pause(89, 30), Duration::ZERO);
        assert_eq!(pause(90, 30), TOOK);
    }

    #[test]
    fn claims_stay_ahead_of_senders_and_never_stop() {
        assert_eq!(pause(90, 60), Duration::ZERO);
        assert_eq!(pause(90, 600), Duration::ZERO);
        assert_eq!(pause(90, 1), 2 * TOOK);
    }
}
