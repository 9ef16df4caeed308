//! The limit that a handler sets on the claims of its kind. Panics of it are caught, so that they do not end the
//! claim loop.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::pin;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::{NEVER_CLOSED, Served};
use crate::claim_limit::ClaimLimit;
use crate::panics::unless_panics;

/// The shortest time between two looks at an allowance of zero: a limit may say without end that it has changed.
pub(super) const MIN_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The turn to claim a kind that has a limit; `None` if it has none.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

/// A limit of claims.
pub(super) struct Limit {
    limit: Arc<dyn ClaimLimit>,
    /// The claim loops of several partitions look at the allowance, claim, and take from it in turn. At the same time
    /// they could take it twice, and one of them could take a small allowance always.
    turn: Arc<Semaphore>,
    /// Notified when an attempt has given its slot back.
    ended: Arc<Notify>,
}

impl Limit {
    pub(super) fn new(limit: Arc<dyn ClaimLimit>) -> Self {
        Self {
            limit,
            turn: Arc::new(Semaphore::new(1)),
            ended: Arc::default(),
        }
    }

    /// What the slots of attempts notify when they are free again.
    pub(super) fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }

    /// Returns the allowance; `None` if the limit panics.
    fn allowance(&self, running: usize) -> Option<usize> {
        unless_panics(|| self.limit.allowance(running))
    }

    /// Waits until the allowance may have grown.
    async fn changed(&self, running: impl Fn() -> usize, poll_interval: Duration) {
        let looked_at = Instant::now();
        let changed = async {
            let changed = AssertUnwindSafe(async { self.limit.changed().await });
            if changed.catch_unwind().await.is_err() {
                std::future::pending().await
            }
        };
        pin!(changed);
        // This wait begins before the second look, so that no change is missed between the two.
        if (&mut changed).now_or_never().is_none() && self.allowance(running()) == Some(0) {
            tokio::select! {
                () = changed => {}
                () = self.ended.notified() => {}
                () = sleep(poll_interval) => {}
            }
        }
        sleep_until(looked_at + MIN_LOOK_INTERVAL).await;
    }
}

impl Served {
    /// Waits for the turn to claim.
    pub(super) async fn turn(&self) -> Turn {
        let limit = self.limit.as_ref()?;
        let turn = Arc::clone(&limit.turn).acquire_owned().await;
        Some(turn.expect(NEVER_CLOSED))
    }

    /// Waits until the limit allows events, and returns how many. Holds no slots meanwhile.
    pub(super) async fn allowed(&self) -> usize {
        let Some(limit) = &self.limit else {
            return usize::MAX;
        };
        let poll_interval = self.options.poll_interval;
        loop {
            // Where attempts have all slots, the end of one is what to wait for, without the pause between two looks at
            // an allowance of zero.
            drop(self.slots.acquire().await);
            match limit.allowance(self.running(0)) {
                Some(0) => limit.changed(|| self.running(0), poll_interval).await,
                Some(allowance) => return allowance,
                None => sleep(poll_interval.max(MIN_LOOK_INTERVAL)).await,
            }
        }
    }

    /// Returns how many events the limit allows now, while the claim loop holds `held` slots.
    pub(super) fn allowance(&self, held: usize) -> usize {
        let limit = self.limit.as_ref();
        limit.map_or(usize::MAX, |limit| {
            limit.allowance(self.running(held)).unwrap_or(0)
        })
    }

    /// Waits until the limit allows this many events, while the claim loop holds `held` slots.
    pub(super) async fn allows(&self, events: usize, held: usize) {
        while self.allowance(held) < events {
            sleep(MIN_LOOK_INTERVAL).await;
        }
    }

    /// Tells the limit that a claim has leased events.
    pub(super) fn claimed(&self, events: usize) {
        if let Some(limit) = &self.limit {
            unless_panics(|| limit.limit.claimed(events));
        }
    }
}
