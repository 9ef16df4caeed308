//! Retention: settled events are deleted once they are old enough.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::error::StoreError;
use crate::event::Kind;
use crate::operator::{Admin, DeleteBodies, Prune, TerminalState};
use crate::panics::{caught, logging};
use crate::setters::setters;

/// How long settled events of one kind are kept, and how gently they are removed.
///
/// With an event its key is deleted: a redelivery that comes later is a new event, and is
/// processed again. So keep keys for longer than any sender repeats itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Whose events.
    pub kind: Kind,
    /// How long after its settlement a PROCESSED event keeps its body, and the bodies of its
    /// conflicts. Only its key, its fingerprint and how it ended are kept then. As long as `keep_keys`,
    /// or longer: until all of it goes.
    pub keep_bodies: Duration,
    /// How long after its settlement all of an event goes, PROCESSED or FAILED.
    pub keep_keys: Duration,
    /// At most as many events in one call to the backend.
    pub batch_size: NonZeroUsize,
    /// How long to pause after each such call that found as many, for others' sake.
    pub pause: Duration,
    /// How long after a sweep the next one begins. Default: a minute.
    pub interval: Duration,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Bodies of processed events, their keys being kept.
    pub bodies: u64,
    /// Events that were processed.
    pub processed: u64,
    /// Events that had failed.
    pub failed: u64,
}

impl Retention {
    /// Keeps all of a settled event for `keep`, then nothing; a thousand events at a time.
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

    /// Removes all that is old enough by now; tells `progress` after each batch.
    ///
    /// Any number of sweeps may run at once, beside any load: what one removes, another skips.
    ///
    /// # Errors
    ///
    /// The backend's. What was removed until then stays removed.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: a batch is removed wholly or not at all.
    pub async fn sweep(
        &self,
        operator: &dyn Admin,
        mut progress: impl FnMut(&Swept),
    ) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for state in [TerminalState::Processed, TerminalState::Failed] {
            let prune = Prune {
                kind: self.kind.clone(),
                state,
                older_than: self.keep_keys,
                limit: self.batch_size,
            };
            loop {
                let pruned = operator.prune(&prune).await?;
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
            let deleted = operator.delete_bodies(&delete).await?;
            swept.bodies += deleted as u64;
            progress(&swept);
            if self.is_last(deleted).await {
                return Ok(swept);
            }
        }
    }

    /// Sweeps, again and again, until it is dropped. Errors are logged, and the next sweep tries
    /// again.
    pub async fn run(&self, operator: Arc<dyn Admin>) {
        let kind = &self.kind;
        loop {
            match caught(self.sweep(&*operator, |_| {})).await {
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

    /// Whether a batch that found so many was the last one; pauses where it was not.
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

    use tokio::time::timeout;
    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;
    use crate::operator::MockAdmin;

    const DAY: Duration = Duration::from_secs(86_400);

    fn retention() -> Retention {
        Retention {
            keep_bodies: DAY,
            batch_size: NonZeroUsize::new(10).unwrap(),
            ..Retention::new(Kind::new("note").unwrap(), 30 * DAY)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_goes_on_until_a_batch_is_not_full() {
        let mut operator = MockAdmin::new();
        let found = Mutex::new(vec![3, 10, 10]);
        operator.expect_prune().returning(move |prune| {
            assert_eq!((prune.older_than, prune.limit.get()), (30 * DAY, 10));
            Ok(match prune.state {
                TerminalState::Processed => found.lock().unwrap().pop().unwrap(),
                TerminalState::Failed => 2,
            })
        });
        operator
            .expect_delete_bodies()
            .times(1)
            .returning(|delete| {
                assert_eq!((delete.older_than, delete.limit.get()), (DAY, 10));
                Ok(4)
            });
        let mut told = Vec::new();
        let retention = retention();
        let sweep = retention.sweep(&operator, |swept| told.push(*swept));
        let swept = sweep.await.unwrap();
        let expected = Swept {
            bodies: 4,
            processed: 23,
            failed: 2,
        };
        assert_eq!(swept, expected);
        let processed: Vec<_> = told.iter().map(|swept| swept.processed).collect();
        assert_eq!(processed, [10, 20, 23, 23, 23]);
        assert_eq!(told.last(), Some(&expected));
    }

    #[tokio::test(start_paused = true)]
    async fn no_body_is_deleted_of_events_that_go_at_once() {
        let mut operator = MockAdmin::new();
        operator.expect_prune().times(2).returning(|_| Ok(0));
        let whole = Retention::new(Kind::new("note").unwrap(), DAY);
        let swept = whole.sweep(&operator, |_| {}).await.unwrap();
        assert_eq!(swept, Swept::default());
    }

    #[tokio::test(start_paused = true)]
    async fn sweeps_go_on_and_only_what_happened_is_logged() {
        let mut operator = MockAdmin::new();
        // An error ends its sweep, not the sweeps. Then nothing is found, then something, twice.
        let gone = Err(StoreError::unavailable(std::io::Error::other("gone")));
        let mut found = VecDeque::from([gone, Ok(0), Ok(0), Ok(3), Ok(0), Ok(0), Ok(1)]);
        operator
            .expect_prune()
            .times(found.len())
            .returning(move |_| found.pop_front().unwrap());
        let levels = Levels::default();
        let _guard = tracing::subscriber::set_default(levels.clone());
        let whole = Retention {
            interval: DAY,
            ..Retention::new(Kind::new("note").unwrap(), DAY)
        };
        let sweeps = whole.run(Arc::new(operator));
        let four_days = 4 * DAY - Duration::from_secs(1);
        assert!(timeout(four_days, sweeps).await.is_err());
        assert_eq!(
            *levels.0.lock().unwrap(),
            [Level::WARN, Level::INFO, Level::INFO]
        );
    }

    /// Notes the level of each line that is logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Levels {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
}
