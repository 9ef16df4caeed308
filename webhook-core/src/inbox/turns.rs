//! The turns in which the queues of several partitions flush.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::pin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many flushes have a turn at the same time, for each processor: while one waits for its database, another one
/// computes.
const PER_PROCESSOR: usize = 2;

/// How many flushes have a turn at the same time, at least.
const FEWEST: usize = 4;

/// How long a flush keeps its turn. One that takes longer waits for its database, and the others need not wait for it.
const TURN_TIMEOUT: Duration = Duration::from_millis(10);

/// The turns that the queues of an inbox take for their flushes.
///
/// If more queues flush at the same time than there are processors, each flush takes longer, and has only the few
/// deliveries that came during the one before. If they flush in turn, the batches of those that wait grow.
pub(super) struct Turns {
    /// `None` if all queues may flush at the same time.
    turns: Option<Arc<Semaphore>>,
}

impl Turns {
    /// Makes the turns of so many queues, as many as this machine has processors for.
    pub(super) fn new(queues: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::at_once((processors * PER_PROCESSOR).max(FEWEST), queues)
    }

    /// Makes `turns` turns for `queues` queues.
    fn at_once(turns: usize, queues: usize) -> Self {
        Self {
            turns: (queues > turns).then(|| Arc::new(Semaphore::new(turns))),
        }
    }

    /// Waits for a turn. The queue that has waited longest gets the next one.
    pub(super) async fn next(&self) -> Turn {
        let Some(turns) = &self.turns else {
            return Turn(None);
        };
        let turn = Arc::clone(turns).acquire_owned().await;
        Turn(Some(turn.expect("the semaphore is never closed")))
    }
}

/// The turn of a flush.
pub(super) struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// Completes `flush`. The turn ends with it, or after [`TURN_TIMEOUT`].
    pub(super) async fn complete(self, flush: impl Future<Output = ()>) {
        pin!(flush);
        if self.0.is_some() && timeout(TURN_TIMEOUT, &mut flush).await.is_ok() {
            return;
        }
        drop(self);
        flush.await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_some_of_many_queues_have_a_turn_at_once() {
        let turns = Turns::at_once(2, 3);
        let (first, _second) = (turns.next().await, turns.next().await);
        let mut third = Box::pin(turns.next());
        assert!(third.as_mut().now_or_never().is_none());
        first.complete(ready(())).await;
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_few_queues_need_no_turns() {
        let turns = Turns::at_once(2, 2);
        let all = [turns.next(), turns.next(), turns.next(), turns.next()];
        assert!(all.into_iter().all(|turn| turn.now_or_never().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_hangs_loses_its_turn_and_goes_on() {
        let turns = Turns::at_once(1, 2);
        let hanging = tokio::spawn(turns.next().await.complete(pending()));
        for _ in 0..9 {
            turns.next().await.complete(ready(())).await;
        }
        assert!(!hanging.is_finished());
        hanging.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_flush_is_completed() {
        let turns = Turns::at_once(1, 2);
        let slow = turns
            .next()
            .await
            .complete(tokio::time::sleep(TURN_TIMEOUT * 9));
        let begun_at = tokio::time::Instant::now();
        slow.await;
        assert_eq!(begun_at.elapsed(), TURN_TIMEOUT * 9);
    }
}
