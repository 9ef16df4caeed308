//! A scheduler that follows a script, and workers on it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::*;
use crate::error::StoreError;
use crate::event::{EventId, EventType, Key};
use crate::scheduler::{
    Attempt, Claim, Claimed, ClaimedEvent, Extended, Fence, Lease, MockScheduler, Outcome, Settled,
    Settlement,
};
use crate::test_payload::Word;

/// The last attempt, with the default options.
pub(super) const LAST_ATTEMPT: u32 = 25;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Longer than any test takes by its paused clock.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A scheduler that answers claims from a script, and records its calls.
pub(super) struct Scripted {
    script: Mutex<VecDeque<Result<Claimed, StoreError>>>,
    pub(super) claims: Mutex<Vec<(Instant, usize)>>,
    settled: Mutex<Vec<(i64, Outcome)>>,
    changed: Notify,
    pub(super) wake: Notify,
    /// Answers the calls that are not scripted.
    mock: MockScheduler,
}

impl Scripted {
    pub(super) fn new(script: impl IntoIterator<Item = Result<Claimed, StoreError>>) -> Arc<Self> {
        let mut mock = MockScheduler::new();
        mock.expect_settle()
            .returning(|all| Ok(vec![Settled::Applied; all.len()]));
        mock.expect_extend()
            .returning(|leases, _| Ok(vec![Extended::Renewed; leases.len()]));
        Self::with(mock, script)
    }

    pub(super) fn with(
        mock: MockScheduler,
        script: impl IntoIterator<Item = Result<Claimed, StoreError>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            claims: Mutex::default(),
            settled: Mutex::default(),
            changed: Notify::new(),
            wake: Notify::new(),
            mock,
        })
    }

    /// Waits until `count` settlements have been applied, and returns all, by event.
    pub(super) async fn settled(&self, count: usize) -> Vec<(i64, Outcome)> {
        let mut settled = self.at_least(count, &self.settled).await;
        settled.sort_by_key(|(event, _)| *event);
        settled
    }

    /// Waits until `count` claims have been made, and returns when, in seconds since `start`.
    pub(super) async fn claimed(&self, count: usize, start: Instant) -> Vec<f64> {
        let claims = self.at_least(count, &self.claims).await;
        let since = |(at, _): &(Instant, usize)| at.duration_since(start).as_secs_f64();
        claims.iter().map(since).collect()
    }

    /// Waits until there are `count` entries in `noted`, and returns all.
    async fn at_least<T: Clone>(&self, count: usize, noted: &Mutex<Vec<T>>) -> Vec<T> {
        let enough = async {
            loop {
                let changed = self.changed.notified();
                let noted = noted.lock().unwrap().clone();
                if noted.len() >= count {
                    return noted;
                }
                changed.await;
            }
        };
        let enough = timeout(PATIENCE, enough).await;
        enough.unwrap_or_else(|_| panic!("there were fewer than {count}"))
    }
}

#[async_trait]
impl Scheduler for Scripted {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let now = Instant::now();
        let limit = claims[0].limit.get();
        self.claims.lock().unwrap().push((now, limit));
        self.changed.notify_waiters();
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Ok(Claimed::default()))
            .map(|claimed| vec![claimed])
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.mock.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let answers = self.mock.settle(settlements).await?;
        let outcomes = settlements
            .iter()
            .map(|it| (it.lease.event.get(), it.outcome.clone()));
        self.settled.lock().unwrap().extend(outcomes);
        self.changed.notify_waiters();
        Ok(answers)
    }

    async fn wait_for_work(&self, _: &[Kind]) -> Vec<usize> {
        self.wake.notified().await;
        vec![0]
    }
}

/// A scheduler whose claims take this long.
pub(super) struct Slow<S>(pub(super) Arc<S>, pub(super) Duration);

#[async_trait]
impl<S: Scheduler> Scheduler for Slow<S> {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        sleep(self.1).await;
        self.0.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.0.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.0.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.0.wait_for_work(kinds).await
    }
}

/// Lets other tasks run until `condition` holds.
pub(super) async fn until(condition: impl Fn() -> bool) {
    const MAX_TURNS: usize = 10_000;
    for _ in 0..MAX_TURNS {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the condition does not hold after {MAX_TURNS} turns of the other tasks");
}

pub(super) fn event(id: i64, attempt: u32) -> ClaimedEvent {
    let lease = Lease {
        event: EventId::new(id),
        attempt: Attempt::new(NonZeroU32::new(attempt).unwrap()),
        fence: Fence::new(i64::from(attempt)),
    };
    let key = Key::new(format!("key-{id}")).unwrap();
    let body = Bytes::from(format!("word-{id}"));
    ClaimedEvent::new(lease, key, body, SystemTime::UNIX_EPOCH)
        .with_event_type(EventType::new(format!("type-{id}")).unwrap())
        .with_age(SECOND)
}

pub(super) fn brings(
    events: impl IntoIterator<Item = ClaimedEvent>,
) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        events: events.into_iter().collect(),
        ..Claimed::default()
    })
}

pub(super) fn due_in(next_due: Duration) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        next_due: Some(next_due),
        ..Claimed::default()
    })
}

pub(super) fn start(scheduler: &Arc<Scripted>, handler: impl Handler<Word>) -> Worker {
    start_with(scheduler, handler, WorkerOptions::default())
}

pub(super) fn start_with(
    scheduler: &Arc<Scripted>,
    handler: impl Handler<Word>,
    options: WorkerOptions,
) -> Worker {
    Worker::start(
        Arc::clone(scheduler) as Arc<dyn Scheduler>,
        options,
        handler,
    )
}
