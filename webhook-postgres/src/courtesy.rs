//! Workers give way to senders.
//!
//! A backlog drained at full speed takes the database's processors from accepts, whose senders
//! wait for an answer, while nobody waits for the backlog. So where this process has accepted
//! events since the last claim, and that claim was full, the next one waits for twice as long as
//! the last one and its handlers took: about two thirds of the time are the senders'.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use webhook_core::Kind;

/// How much longer than the last claim and its handlers.
const SHARE: u32 = 2;

/// The longest wait before a claim.
const LONGEST: Duration = Duration::from_millis(50);

/// What accepts and claims of one process know of each other.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    accepts: AtomicU64,
    last_claims: Mutex<HashMap<Kind, LastClaim>>,
}

#[derive(Clone, Copy, Debug)]
struct LastClaim {
    started: Instant,
    /// How many accepts there had been by then.
    accepts: u64,
    full: bool,
}

impl Courtesy {
    /// Notes that a batch was accepted.
    pub(crate) fn accepted(&self) {
        self.accepts.fetch_add(1, Ordering::Relaxed);
    }

    /// How long the next claim of `kind` is to wait.
    pub(crate) fn pause(&self, kind: &Kind, now: Instant) -> Duration {
        let accepts = self.accepts.load(Ordering::Relaxed);
        match self.lock().get(kind) {
            Some(last) if last.full && accepts > last.accepts => {
                (now.saturating_duration_since(last.started) * SHARE).min(LONGEST)
            }
            _ => Duration::ZERO,
        }
    }

    /// Notes a claim that began at `started`, and whether it brought as much as it might.
    pub(crate) fn claimed(&self, kind: &Kind, started: Instant, full: bool) {
        let last = LastClaim {
            started,
            accepts: self.accepts.load(Ordering::Relaxed),
            full,
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

    #[test]
    fn only_a_full_claim_among_accepts_is_followed_by_a_pause() {
        let kind = Kind::new("test").unwrap();
        let courtesy = Courtesy::default();
        let start = Instant::now();
        let later = start + Duration::from_millis(7);
        assert_eq!(courtesy.pause(&kind, later), Duration::ZERO);
        courtesy.claimed(&kind, start, true);
        assert_eq!(courtesy.pause(&kind, later), Duration::ZERO);
        courtesy.accepted();
        assert_eq!(courtesy.pause(&kind, later), Duration::from_millis(14));
        assert_eq!(courtesy.pause(&kind, start + 10 * LONGEST), LONGEST);
        courtesy.claimed(&kind, start, false);
        courtesy.accepted();
        assert_eq!(courtesy.pause(&kind, later), Duration::ZERO);
    }
}
