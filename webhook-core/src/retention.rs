//! [`Retention`]: deletes old settled events.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::{Admin, DeleteBodies, Prune, TerminalState};
use crate::error::StoreError;
use crate::event::Kind;
use crate::measures::{PruneMeasures, Timer};
use crate::panics::{caught, logging};
use crate::setters::setters;

/// How long settled events of one kind are kept, and how fast they are deleted.
///
/// The key of an event is deleted with the event: a later redelivery is a new event, and is processed again. So
/// keep keys for longer than any sender redelivers.
///
/// ```
/// use std::time::Duration;
///
/// use webhook_core::{Kind, Retention};
/// # use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), webhook_core::StoreError> {
/// const DAY: Duration = Duration::from_secs(24 * 3600);
///
/// # let store = MemoryStore::default();
/// // Keys recognise redeliveries for a year. Bodies are deleted after a month.
/// let retention = Retention::new(Kind::from_static("order"), 365 * DAY).with_keep_bodies(30 * DAY);
/// let swept = retention.sweep(&store, |_| ()).await?;
/// assert_eq!((swept.bodies, swept.processed, swept.failed), (0, 0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// The kind of the events.
    pub kind: Kind,
    /// How long after its settlement a PROCESSED event keeps its body, its headers and the bodies of its
    /// conflicts. After that, only its key, its fingerprint and its result are kept. Has no effect unless it is
    /// shorter than `keep_keys`.
    pub keep_bodies: Duration,
    /// How long after its settlement an event is deleted completely, PROCESSED or FAILED.
    pub keep_keys: Duration,
    /// The largest number of events in one call of the backend. Default: 1,000.
    pub batch_size: NonZeroUsize,
    /// How long to pause after each full batch, so that other work can proceed. Default: 20 ms.
    pub pause: Duration,
    /// How long after a sweep the next one begins. Default: 1 minute.
    pub interval: Duration,
}

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// The number of PROCESSED events whose bodies were deleted and whose keys remain.
    pub bodies: u64,
    /// The number of deleted PROCESSED events.
    pub processed: u64,
    /// The number of deleted FAILED events.
    pub failed: u64,
}

impl Retention {
    /// Keeps settled events of `kind` for `keep`, and then deletes them.
    pub fn new(kind: Kind, keep: Duration) -> Self {
        Self {
            kind,
            keep_bodies: keep,
            keep_keys: keep,
            batch_size: NonZeroUsize::new(1_000).expect("a thousand is not zero"),
            pause: Duration::from_millis(20),
            interval: Duration::from_secs(60),
        }
    }

    setters! {
        with_keep_bodies keep_bodies: Duration;
        with_batch_size batch_size: NonZeroUsize;
        with_pause pause: Duration;
        with_interval interval: Duration;
    }

    /// Deletes everything that is old enough now. Calls `progress` after each batch.
    ///
    /// In a partitioned backend it deletes from all partitions, which must all be up: see [`run`](Self::run).
    ///
    /// Several sweeps may run at the same time, and under load: each skips events that another one deletes.
    ///
    /// # Errors
    ///
    /// The error of the backend. Earlier batches stay deleted.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: each batch is deleted completely or not at all.
    pub async fn sweep(
        &self,
        admin: &dyn Admin,
        mut progress: impl FnMut(&Swept),
    ) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let measures = PruneMeasures::new(&self.kind);
        for state in [TerminalState::Processed, TerminalState::Failed] {
            let prune = Prune {
                kind: self.kind.clone(),
                state,
                older_than: self.keep_keys,
                limit: self.batch_size,
            };
            loop {
                let timer = Timer::start();
                let pruned = admin.prune(&prune).await;
                measures.calls.ended(&timer, &pruned);
                let pruned = pruned?;
                measures.events(pruned);
                *match state {
                    TerminalState::Processed => &mut swept.processed,
                    TerminalState::Failed => &mut swept.failed,
                } += pruned as u64;
                progress(&swept);
                if self.is_last(pruned).await {
                    break;
                }
            }
        }
        if self.keep_bodies >= self.keep_keys {
            return Ok(swept);
        }
        let delete = DeleteBodies {
            kind: self.kind.clone(),
            older_than: self.keep_bodies,
            limit: self.batch_size,
        };
        loop {
            let timer = Timer::start();
            let deleted = admin.delete_bodies(&delete).await;
            measures.calls.ended(&timer, &deleted);
            let deleted = deleted?;
            measures.bodies(deleted);
            swept.bodies += deleted as u64;
            progress(&swept);
            if self.is_last(deleted).await {
                return Ok(swept);
            }
        }
    }

    /// Sweeps at every [`interval`](field@Self::interval), until the future is dropped. An error is logged and
    /// ends only its sweep.
    ///
    /// Each partition of a [partitioned](Admin::partitions) backend is swept by itself, so that one that is slow or
    /// down does not delay the others.
    pub async fn run(&self, admin: Arc<dyn Admin>) {
        let partitions = admin.partitions();
        if partitions.is_empty() {
            self.sweep_each([admin]).await;
        } else {
            self.sweep_each(partitions).await;
        }
    }

    async fn sweep_each(&self, partitions: impl IntoIterator<Item = Arc<dyn Admin>>) {
        let sweeps = partitions.into_iter().map(|it| self.sweep_one(it));
        join_all(sweeps).await;
    }

    async fn sweep_one(&self, admin: Arc<dyn Admin>) {
        let kind = &self.kind;
        loop {
            match caught(self.sweep(&*admin, |_| {})).await {
                Ok(swept) if swept == Swept::default() => {}
                Ok(Swept {
                    bodies,
                    processed,
                    failed,
                }) => logging(|| info!(%kind, bodies, processed, failed, "deleted old events")),
                Err(error) => {
                    logging(
                        || warn!(%kind, error = &error as &dyn std::error::Error, "failed to delete old events"),
                    );
                }
            }
            sleep(self.interval).await;
        }
    }

    /// Whether a batch with this many events was the last one. Pauses if it was not.
    async fn is_last(&self, found: usize) -> bool {
        if found < self.batch_size.get() {
            return true;
        }
        sleep(self.pause).await;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::timeout;
    use tracing::Level;

    use super::*;
    use crate::admin::MockAdmin;
    use crate::test_log::OnEvent;

    const DAY: Duration = Duration::from_secs(86_400);

    fn retention() -> Retention {
        Retention {
            keep_bodies: DAY,
            batch_size: NonZeroUsize::new(10).unwrap(),
            ..Retention::new(Kind::new("note").unwrap(), 30 * DAY)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sweep_continues_until_a_batch_is_not_full() {
        let mut admin = MockAdmin::new();
        let found = Mutex::new(vec![3, 10, 10]);
        admin.expect_prune().returning(move |prune| {
            assert_eq!((prune.older_than, prune.limit.get()), (30 * DAY, 10));
            Ok(match prune.state {
                TerminalState::Processed => found.lock().unwrap().pop().unwrap(),
                TerminalState::Failed => 2,
            })
        });
        admin.expect_delete_bodies().times(1).returning(|delete| {
            assert_eq!((delete.older_than, delete.limit.get()), (DAY, 10));
            Ok(4)
        });
        let mut reported = Vec::new();
        let retention = retention();
        let sweep = retention.sweep(&admin, |swept| reported.push(*swept));
        let swept = sweep.await.unwrap();
        let expected = Swept {
            bodies: 4,
            processed: 23,
            failed: 2,
        };
        assert_eq!(swept, expected);
        let processed: Vec<_> = reported.iter().map(|swept| swept.processed).collect();
        assert_eq!(processed, [10, 20, 23, 23, 23]);
        assert_eq!(reported.last(), Some(&expected));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_not_deleted_separately_unless_kept_for_less_than_keys() {
        let mut admin = MockAdmin::new();
        admin.expect_prune().times(2).returning(|_| Ok(0));
        let whole = Retention::new(Kind::new("note").unwrap(), DAY);
        let swept = whole.sweep(&admin, |_| {}).await.unwrap();
        assert_eq!(swept, Swept::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_is_down_does_not_stop_the_sweeps_of_the_others() {
        let mut down = MockAdmin::new();
        down.expect_prune()
            .returning(|_| Err(StoreError::unavailable(std::io::Error::other("gone"))));
        let mut works = MockAdmin::new();
        let swept = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&swept);
        works.expect_prune().returning(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        });
        let whole = Retention {
            interval: DAY,
            ..Retention::new(Kind::new("note").unwrap(), DAY)
        };
        let partitions: [Arc<dyn Admin>; 2] = [Arc::new(down), Arc::new(works)];
        let sweeps = whole.sweep_each(partitions);
        let four_days = 4 * DAY - Duration::from_secs(1);
        assert!(timeout(four_days, sweeps).await.is_err());
        // Both states, on each of four days.
        assert_eq!(swept.load(Ordering::Relaxed), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn sweeps_continue_after_errors_and_log_only_changes() {
        let mut admin = MockAdmin::new();
        // An error ends only its sweep. Then sweeps find nothing, something, and something again.
        let gone = Err(StoreError::unavailable(std::io::Error::other("gone")));
        let mut found = VecDeque::from([gone, Ok(0), Ok(0), Ok(3), Ok(0), Ok(0), Ok(1)]);
        admin
            .expect_prune()
            .times(found.len())
            .returning(move |_| found.pop_front().unwrap());
        let levels = Arc::new(Mutex::new(Vec::new()));
        let logged = Arc::clone(&levels);
        let log = OnEvent(move |event: &tracing::Event<'_>| {
            logged.lock().unwrap().push(*event.metadata().level());
        });
        let _guard = tracing::subscriber::set_default(log);
        let whole = Retention {
            interval: DAY,
            ..Retention::new(Kind::new("note").unwrap(), DAY)
        };
        let sweeps = whole.run(Arc::new(admin));
        let four_days = 4 * DAY - Duration::from_secs(1);
        assert!(timeout(four_days, sweeps).await.is_err());
        assert_eq!(
            *levels.lock().unwrap(),
            [Level::WARN, Level::INFO, Level::INFO]
        );
    }
}
