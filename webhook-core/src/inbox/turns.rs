//! The turns in which the queues of several partitions flush.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::pin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How many flushes have a turn at the same time, for each processor: while one waits for its database, another one
/// computes.
const PER_PROCESSOR: usize = 2;

/// How many flushes have a turn at the same time, at least.
const FEWEST: usize = 4;

/// How long a flush keeps its turn. One that takes longer waits for its database, and the others need not wait for it.
const TURN_TIMEOUT: Duration = Duration::from_millis(10);

/// After a flush that took longer than this, the queue needs no turn: many partitions that are down must not take the
/// turns of the others.
const SLOW: Duration = Duration::from_millis(100);

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

    /// The turns of one of the queues.
    pub(super) fn of_queue(&self) -> QueueTurns {
        QueueTurns {
            turns: self.turns.clone(),
            was_slow: Arc::default(),
        }
    }
}

/// The turns of one queue.
pub(super) struct QueueTurns {
    turns: Option<Arc<Semaphore>>,
    /// Whether the last flush was [`SLOW`].
    was_slow: Arc<AtomicBool>,
}

impl QueueTurns {
    /// Waits for a turn. The queue that has waited longest gets the next one.
    pub(super) async fn next(&self) -> Turn {
        let mut turn = Turn {
            permit: None,
            was_slow: Arc::clone(&self.was_slow),
        };
        if let Some(turns) = &self.turns
            && !self.was_slow.load(Ordering::Relaxed)
        {
            let permit = Arc::clone(turns).acquire_owned().await;
            turn.permit = Some(permit.expect("the semaphore is never closed"));
        }
        turn
    }
}

/// The turn of a flush.
pub(super) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    was_slow: Arc<AtomicBool>,
}

impl Turn {
    /// Completes `flush`. The turn ends with it, or after [`TURN_TIMEOUT`].
    pub(super) async fn complete(mut self, flush: impl Future<Output = ()>) {
        pin!(flush);
        let begun_at = Instant::now();
        if self.permit.is_none() || timeout(TURN_TIMEOUT, &mut flush).await.is_err() {
            drop(self.permit.take());
            flush.await;
        }
        let is_slow = begun_at.elapsed() > SLOW;
        self.was_slow.store(is_slow, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;
    use tokio::time::sleep;

    use super::*;

    fn queues<const N: usize>(turns: usize) -> [QueueTurns; N] {
        let turns = Turns::at_once(turns, N);
        std::array::from_fn(|_| turns.of_queue())
    }

    #[tokio::test]
    async fn only_some_of_many_queues_have_a_turn_at_once() {
        let queues = queues::<3>(2);
        let (first, _second) = (queues[0].next().await, queues[1].next().await);
        let mut third = Box::pin(queues[2].next());
        assert!(third.as_mut().now_or_never().is_none());
        first.complete(ready(())).await;
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_few_queues_need_no_turns() {
        let queues = queues::<2>(2);
        let all = [0, 1, 0, 1].map(|queue| queues[queue].next().now_or_never());
        assert!(all.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_hangs_loses_its_turn_and_goes_on() {
        let queues = queues::<2>(1);
        let hanging = tokio::spawn(queues[0].next().await.complete(pending()));
        for _ in 0..9 {
            queues[1].next().await.complete(ready(())).await;
        }
        assert!(!hanging.is_finished());
        hanging.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_takes_no_turns_while_its_flushes_are_slow() {
        let queues = queues::<2>(1);
        let slow = queues[0].next().await;
        let begun_at = Instant::now();
        slow.complete(sleep(9 * SLOW)).await;
        assert_eq!(begun_at.elapsed(), 9 * SLOW);
        let other = queues[1].next().await;
        let freed = queues[0].next().now_or_never().unwrap();
        freed.complete(ready(())).await;
        assert!(queues[0].next().now_or_never().is_none());
        other.complete(ready(())).await;
        assert!(queues[0].next().now_or_never().is_some());
    }
}
