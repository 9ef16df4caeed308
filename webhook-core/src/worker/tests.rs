use std::collections::VecDeque;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::error::Error;
use crate::event::{EventId, Fingerprint, Key};
use crate::handler::{Event, Handled, HandlerError};
use crate::payload::{FieldError, InvalidPayload};
use crate::scheduler::{
    Attempt, Claim, Claimed, ClaimedEvent, Extended, Fence, Lease, MockScheduler, Outcome, Reason,
    Settled, Settlement,
};

const SECOND: Duration = Duration::from_secs(1);

/// A payload that is its own key.
#[derive(Debug)]
struct Word(String);

impl Payload for Word {
    const KIND: &'static str = "word";

    fn decode(body: &[u8]) -> Result<Self, InvalidPayload> {
        match std::str::from_utf8(body) {
            Ok(word) => Ok(Self(word.to_owned())),
            Err(_) => Err(InvalidPayload::Fields(vec![FieldError {
                pointer: "/word".to_owned(),
                detail: "must be text".to_owned(),
            }])),
        }
    }

    fn key(&self) -> &str {
        &self.0
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([&self.0])
    }
}

/// A scheduler that brings what its script says, and notes what it is told.
struct Scripted {
    script: Mutex<VecDeque<Result<Claimed, Error>>>,
    claims: Mutex<Vec<(Instant, usize)>>,
    settled: Mutex<Vec<(i64, Outcome)>>,
    changed: Notify,
    wake: Notify,
    /// Answers what is not scripted.
    mock: MockScheduler,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Result<Claimed, Error>>) -> Arc<Self> {
        let mut mock = MockScheduler::new();
        mock.expect_settle()
            .returning(|all| Ok(vec![Settled::Applied; all.len()]));
        mock.expect_extend()
            .returning(|leases, _| Ok(vec![Extended::Renewed; leases.len()]));
        Self::with(mock, script)
    }

    fn with(
        mock: MockScheduler,
        script: impl IntoIterator<Item = Result<Claimed, Error>>,
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
    async fn settled(&self, count: usize) -> Vec<(i64, Outcome)> {
        loop {
            let changed = self.changed.notified();
            let mut settled = self.settled.lock().unwrap().clone();
            if settled.len() >= count {
                settled.sort_by_key(|(event, _)| *event);
                return settled;
            }
            changed.await;
        }
    }

    /// Waits until `count` claims have been made, and returns when, in seconds since `start`.
    async fn claimed(&self, count: usize, start: Instant) -> Vec<f64> {
        loop {
            let changed = self.changed.notified();
            let claims = self.claims.lock().unwrap().clone();
            if claims.len() >= count {
                let since = |(at, _): &(Instant, usize)| at.duration_since(start).as_secs_f64();
                return claims.iter().map(since).collect();
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Scheduler for Scripted {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, Error> {
        let now = Instant::now();
        self.claims.lock().unwrap().push((now, claim.limit.get()));
        self.changed.notify_waiters();
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Ok(Claimed::default()))
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, Error> {
        self.mock.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Error> {
        let answers = self.mock.settle(settlements).await?;
        let told = settlements
            .iter()
            .map(|it| (it.lease.event.0, it.outcome.clone()));
        self.settled.lock().unwrap().extend(told);
        self.changed.notify_waiters();
        Ok(answers)
    }

    async fn ready(&self, _kind: &Kind) {
        self.wake.notified().await;
    }
}

fn event(id: i64, attempt: u32) -> ClaimedEvent {
    ClaimedEvent {
        lease: Lease {
            event: EventId(id),
            attempt: Attempt(NonZeroU32::new(attempt).unwrap()),
            fence: Fence(i64::from(attempt)),
        },
        key: Key::new(format!("key-{id}")).unwrap(),
        body: Bytes::from(format!("word-{id}")),
        lag: Duration::ZERO,
    }
}

fn brings(events: impl IntoIterator<Item = ClaimedEvent>) -> Result<Claimed, Error> {
    Ok(Claimed {
        events: events.into_iter().collect(),
        ..Claimed::default()
    })
}

fn due_in(next_due: Duration) -> Result<Claimed, Error> {
    Ok(Claimed {
        next_due: Some(next_due),
        ..Claimed::default()
    })
}

fn start(scheduler: &Arc<Scripted>, handler: impl Handler<Word>) -> Worker {
    start_with(scheduler, handler, WorkerOptions::default())
}

fn start_with(
    scheduler: &Arc<Scripted>,
    handler: impl Handler<Word>,
    options: WorkerOptions,
) -> Worker {
    Worker::start(
        Arc::clone(scheduler) as Arc<dyn Scheduler>,
        handler,
        options,
    )
}

/// How the worker settles a single event whose handler ends as `handler` does.
async fn outcome_of(attempt: u32, handler: impl Handler<Word>) -> Outcome {
    let scheduler = Scripted::new([brings([event(1, attempt)])]);
    let worker = start(&scheduler, handler);
    let (_, outcome) = scheduler.settled(1).await.remove(0);
    let asked_at = Instant::now();
    assert_eq!(worker.shutdown(60 * SECOND).await, Drained::default());
    assert!(
        asked_at.elapsed() < SECOND,
        "an idle worker has nothing to wait for"
    );
    outcome
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: Reason::new(reason),
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_see_the_event_and_settle_it_as_processed() {
    let outcome = outcome_of(3, async |event: Event<Word>| {
        assert_eq!(event.payload.0, "word-1");
        assert_eq!(event.key.as_str(), "key-1");
        assert_eq!(event.lease.attempt.number(), 3);
        Ok(())
    });
    assert_eq!(outcome.await, Outcome::Processed);
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_with_jitter_under_the_ceiling() {
    let outcome = outcome_of(3, async |_: Event<Word>| {
        Err::<(), _>(std::io::Error::other("no luck").into())
    });
    match outcome.await {
        Outcome::Retry { after, reason } => {
            assert!(after <= WorkerOptions::default().backoff.ceiling(3));
            assert_eq!(reason.as_str(), "no luck");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_may_choose_the_delay() {
    let outcome = outcome_of(1, async |_: Event<Word>| {
        Err::<(), _>(HandlerError::retry_after(7 * SECOND, "busy"))
    });
    let expected = Outcome::Retry {
        after: 7 * SECOND,
        reason: Reason::new("busy"),
    };
    assert_eq!(outcome.await, expected);
}

#[tokio::test(start_paused = true)]
async fn handlers_may_reject_for_good() {
    let outcome = outcome_of(1, async |_: Event<Word>| {
        Err::<(), _>(HandlerError::reject("never"))
    });
    assert_eq!(outcome.await, failed("never"));
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_fails_the_event() {
    for remedy in [
        HandlerError::retry("still no luck"),
        HandlerError::retry_after(SECOND, "still no luck"),
    ] {
        let outcome = outcome_of(10, move |_: Event<Word>| {
            let remedy = remedy.clone();
            async move { Err::<(), _>(remedy) }
        });
        assert_eq!(outcome.await, failed("still no luck"));
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_failures_like_others() {
    let outcome = outcome_of(10, async |event: Event<Word>| {
        assert!(event.lag > SECOND, "lag {:?}", event.lag);
        Ok(())
    });
    assert_eq!(outcome.await, failed("handler panicked: lag 0ns"));
}

#[tokio::test(start_paused = true)]
async fn handlers_have_a_time_out() {
    let outcome = outcome_of(10, async |_: Event<Word>| {
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(outcome.await, failed("handler took longer than 600s"));
}

#[tokio::test(start_paused = true)]
async fn undecodable_payloads_fail_at_once() {
    let broken = ClaimedEvent {
        body: Bytes::from_static(b"\xff"),
        ..event(1, 1)
    };
    let scheduler = Scripted::new([brings([broken])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let expected = "stored payload is unreadable: invalid payload: /word must be text";
    assert_eq!(scheduler.settled(1).await, [(1, failed(expected))]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_has_settled_is_not_settled_again() {
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 1)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        Ok(match event.lease.event.0 {
            1 => Handled::Settled,
            _ => Handled::Done,
        })
    });
    scheduler.settled(1).await;
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(1).await, [(2, Outcome::Processed)]);
}

#[tokio::test(start_paused = true)]
async fn claims_ask_for_no_more_than_the_free_slots() {
    let scheduler = Scripted::new([brings((1..=3).map(|id| event(id, 1)))]);
    let running = Arc::new(AtomicUsize::new(0));
    let release = Arc::new(Notify::new());
    let options = WorkerOptions {
        concurrency: 3,
        ..WorkerOptions::default()
    };
    let worker = start_with(
        &scheduler,
        {
            let (running, release) = (Arc::clone(&running), Arc::clone(&release));
            move |_: Event<Word>| {
                let (running, release) = (Arc::clone(&running), Arc::clone(&release));
                async move {
                    running.fetch_add(1, Ordering::SeqCst);
                    release.notified().await;
                    Ok(())
                }
            }
        },
        options,
    );
    while running.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    // All slots are taken: a minute passes without a claim.
    sleep(60 * SECOND).await;
    let limits = || {
        let claims = scheduler.claims.lock().unwrap();
        claims.iter().map(|(_, limit)| *limit).collect::<Vec<_>>()
    };
    assert_eq!(limits(), [3]);
    release.notify_one();
    scheduler.settled(1).await;
    scheduler.claimed(2, Instant::now()).await;
    assert_eq!(limits(), [3, 1]);
    release.notify_waiters();
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn the_worker_sleeps_exactly_until_the_next_event_is_due() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(3 * SECOND), due_in(SECOND), due_in(60 * SECOND)]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let claims = scheduler.claimed(5, start_time).await;
    let rounded: Vec<_> = claims.iter().map(|at| at.round()).collect();
    // Then the polling interval: before the 60 s, and when nothing is known to fall due.
    assert_eq!(rounded, [0.0, 3.0, 4.0, 9.0, 14.0]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_cuts_the_sleep_short() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(3 * SECOND), brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    scheduler.claimed(1, start_time).await;
    scheduler.wake.notify_one();
    scheduler.settled(1).await;
    assert!(start_time.elapsed() < SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn hints_without_end_do_not_make_claims_without_end() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    for count in 1..=10 {
        scheduler.claimed(count, start_time).await;
        scheduler.wake.notify_one();
    }
    let claims = scheduler.claimed(10, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.0009));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_by_and_by() {
    let start_time = Instant::now();
    let down = || Err(Error::unavailable(std::io::Error::other("down")));
    let script = (0..20).map(|_| down()).chain([brings([event(1, 1)])]);
    let scheduler = Scripted::new(script);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    let claims = scheduler.claimed(21, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.0199));
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] <= 5.01));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn long_handlers_keep_their_lease() {
    let mut mock = MockScheduler::new();
    let extends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&extends);
    mock.expect_extend().returning(move |leases, lease| {
        assert_eq!(lease, 120 * SECOND);
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec![Extended::Renewed; leases.len()])
    });
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| {
        sleep(299 * SECOND).await;
        Ok(())
    });
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    assert_eq!(extends.load(Ordering::SeqCst), 9);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_its_handler_and_is_not_settled() {
    let mut mock = MockScheduler::new();
    mock.expect_extend()
        .returning(|leases, _| Ok(vec![Extended::LeaseLost; leases.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let dropped = Arc::new(Notify::new());
    let worker = start(&scheduler, {
        let dropped = Arc::clone(&dropped);
        move |_: Event<Word>| {
            let guard = NotifyOnDrop(Arc::clone(&dropped));
            async move {
                let _guard = guard;
                pending::<()>().await;
                Ok(())
            }
        }
    });
    dropped.notified().await;
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(0).await, []);
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn settlements_are_repeated_until_the_store_is_back() {
    let mut mock = MockScheduler::new();
    mock.expect_settle()
        .times(5)
        .returning(|_| Err(Error::unavailable(std::io::Error::other("down"))));
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn settlements_are_given_up_when_their_lease_has_run_out() {
    let mut mock = MockScheduler::new();
    mock.expect_settle()
        .returning(|_| Err(Error::unavailable(std::io::Error::other("down"))));
    mock.expect_extend()
        .returning(|_, _| Err(Error::unavailable(std::io::Error::other("down"))));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    while worker.context.leases.held() == 0 {
        tokio::task::yield_now().await;
    }
    sleep(130 * SECOND).await;
    assert_eq!(worker.context.leases.held(), 0);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_handlers_finish() {
    let scheduler = Scripted::new([brings([event(1, 1)])]);
    let started = Arc::new(Notify::new());
    let worker = start(&scheduler, {
        let started = Arc::clone(&started);
        move |_: Event<Word>| {
            started.notify_one();
            async {
                sleep(5 * SECOND).await;
                Ok(())
            }
        }
    });
    started.notified().await;
    assert_eq!(worker.shutdown(10 * SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_does_not_finish() {
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 1)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        if event.lease.event.0 == 2 {
            pending::<()>().await;
        }
        Ok(())
    });
    scheduler.settled(1).await;
    let drained = worker.shutdown(10 * SECOND).await;
    assert_eq!(
        drained,
        Drained {
            released: 1,
            left: 0
        }
    );
    let expected = [(1, Outcome::Processed), (2, Outcome::Release)];
    assert_eq!(scheduler.settled(2).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_though_the_store_does_not_answer() {
    let mut mock = MockScheduler::new();
    mock.expect_settle()
        .returning(|_| Err(Error::unavailable(std::io::Error::other("down"))));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    while worker.context.leases.held() == 0 {
        tokio::task::yield_now().await;
    }
    let drained = worker.shutdown(SECOND).await;
    assert_eq!(
        drained,
        Drained {
            released: 0,
            left: 1
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_dropped_hands_back_what_runs() {
    let scheduler = Scripted::new([brings([event(1, 1)])]);
    let started = Arc::new(Notify::new());
    let worker = start(&scheduler, {
        let started = Arc::clone(&started);
        move |_: Event<Word>| {
            started.notify_one();
            async {
                pending::<()>().await;
                Ok(())
            }
        }
    });
    started.notified().await;
    drop(worker);
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Release)]);
}
