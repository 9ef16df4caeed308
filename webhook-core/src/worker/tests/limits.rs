//! Limits of claims.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::super::*;
use super::claims::{Stock, kind_number};
use super::scripted::{SECOND, Scripted, Slow, brings, event, start, start_with};
use crate::claim_limit::ClaimLimit;
use crate::handler::{Event, Handled, HandlerError, RawEvent};
use crate::scheduler::{Claimed, Outcome};
use crate::test_payload::Word;

/// Allows a number of attempts at the same time.
#[derive(Default)]
struct TestLimit {
    most: AtomicUsize,
    /// Whether running attempts do not count.
    ignores_running: bool,
    changed: Notify,
    is_always_changed: bool,
    /// The methods that panic.
    panics: Mutex<Vec<&'static str>>,
    looks: AtomicUsize,
    claimed: Mutex<Vec<usize>>,
}

impl TestLimit {
    fn of(most: usize) -> Self {
        let limit = Self::default();
        limit.most.store(most, Ordering::SeqCst);
        limit
    }

    fn allow(&self, most: usize) {
        self.most.store(most, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn may_panic(&self, method: &'static str) {
        if self.panics.lock().unwrap().contains(&method) {
            panic!("{method} is broken");
        }
    }

    fn claimed(&self) -> Vec<usize> {
        self.claimed.lock().unwrap().clone()
    }
}

#[async_trait]
impl ClaimLimit for TestLimit {
    fn allowance(&self, running: usize) -> usize {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.may_panic("allowance");
        let running = if self.ignores_running { 0 } else { running };
        self.most.load(Ordering::SeqCst).saturating_sub(running)
    }

    fn claimed(&self, events: usize) {
        self.claimed.lock().unwrap().push(events);
        self.may_panic("claimed");
    }

    async fn changed(&self) {
        self.may_panic("changed");
        if !self.is_always_changed {
            self.changed.notified().await;
        }
    }
}

/// A handler with a limit.
struct Limited<H>(Arc<TestLimit>, H);

impl<P: Send + 'static, H: Handler<P>> Handler<P> for Limited<H> {
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError> {
        self.1.handle(event).await
    }

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        Some(self.0.clone())
    }
}

fn limited(limit: &Arc<TestLimit>) -> impl Handler<Word> {
    let handler = async |_: Event<Word>| Ok::<_, HandlerError>(());
    // An `Arc` of a handler has the limit of the handler.
    Arc::new(Limited(Arc::clone(limit), handler))
}

/// A handler that waits for `release`.
fn waiting(limit: &Arc<TestLimit>, release: &Arc<Notify>) -> impl Handler<Word> {
    let release = Arc::clone(release);
    let handler = move |_: Event<Word>| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            Ok::<_, HandlerError>(())
        }
    };
    Limited(Arc::clone(limit), handler)
}

fn limits(scheduler: &Scripted) -> Vec<usize> {
    let claims = scheduler.claims.lock().unwrap();
    claims.iter().map(|(_, limit)| *limit).collect()
}

fn free_slots(worker: &Worker) -> usize {
    worker.engines[0].context.kinds[0].slots.available_permits()
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_an_allowance_is_not_claimed() {
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 1)])]);
    let limit = Arc::new(TestLimit::of(0));
    let worker = start(&scheduler, limited(&limit));
    for _ in 0..60 {
        sleep(SECOND).await;
        assert_eq!(
            free_slots(&worker),
            worker.engines[0].context.kinds[0].options.concurrency
        );
    }
    assert!(limits(&scheduler).is_empty());
    let allowed_at = Instant::now();
    limit.allow(3);
    scheduler.settled(2).await;
    assert!(allowed_at.elapsed() < SECOND / 10);
    assert_eq!((limits(&scheduler)[0], limit.claimed()), (3, vec![2]));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_limited_kind_does_not_delay_another_kind() {
    let stock = Stock::of([(kind_number(0), 1_000), (kind_number(1), 1_000)]);
    let limit = Arc::new(TestLimit::of(0));
    let options = WorkerOptions::default;
    let handler = async |_: RawEvent| Ok::<_, HandlerError>(());
    let worker = Worker::builder()
        .handle_raw(
            kind_number(0),
            options(),
            Limited(Arc::clone(&limit), handler),
        )
        .handle_raw(kind_number(1), options(), handler)
        .start(Arc::clone(&stock) as Arc<dyn Scheduler>);
    sleep(60 * SECOND).await;
    let asked = stock.asked();
    assert!(asked.len() > 10, "{}", asked.len());
    for (_, claims) in asked {
        assert!(claims.iter().all(|claim| claim.kind == kind_number(1)));
    }
    assert_eq!(stock.left(&kind_number(1)), 0);
    limit.allow(5);
    sleep(SECOND).await;
    assert_eq!(stock.left(&kind_number(0)), 0);
    assert!(limit.claimed().iter().all(|count| (1..=5).contains(count)));
    worker.shutdown(SECOND).await;
}

/// A claim for each attempt that ends would cost a store as much as several events.
#[tokio::test(start_paused = true)]
async fn a_limited_kind_is_claimed_in_batches() {
    let events = 2_000;
    for (most, concurrency) in [(64, 64), (64, 100), (32, 64), (200, 64)] {
        let stock = Stock::of([(kind_number(0), events)]);
        let limit = Arc::new(TestLimit::of(most));
        // Attempts end one after another.
        let handler = async |event: RawEvent| {
            let millis = u64::try_from(event.id().get() % 31).unwrap_or_default();
            sleep(Duration::from_millis(millis)).await;
            Ok::<_, HandlerError>(())
        };
        let options = WorkerOptions::default().with_concurrency(concurrency);
        let worker = Worker::builder()
            .handle_raw(
                kind_number(0),
                options,
                Limited(Arc::clone(&limit), handler),
            )
            .start(Arc::clone(&stock) as Arc<dyn Scheduler>);
        sleep(60 * SECOND).await;
        assert_eq!(stock.left(&kind_number(0)), 0);
        let claims = limit.claimed();
        let most_claims = 2_000 / (most.min(concurrency) / 4) + 10;
        assert!(claims.len() <= most_claims, "{}", claims.len());
        worker.shutdown(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_attempt_ends_the_wait_for_an_allowance() {
    let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(2, 1)])]);
    let (limit, release) = (Arc::new(TestLimit::of(1)), Arc::default());
    let worker = start(&scheduler, waiting(&limit, &release));
    sleep(60 * SECOND).await;
    assert_eq!(limits(&scheduler), [1]);
    let released_at = Instant::now();
    for count in 1..=2 {
        release.notify_one();
        scheduler.settled(count).await;
    }
    assert!(released_at.elapsed() < SECOND / 10);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_notification_costs_only_delay() {
    let scheduler = Scripted::new([brings([event(1, 1)])]);
    let limit = Arc::new(TestLimit::of(0));
    let worker = start(&scheduler, limited(&limit));
    sleep(SECOND).await;
    limit.most.store(1, Ordering::SeqCst);
    let start_time = Instant::now();
    scheduler.settled(1).await;
    assert!(start_time.elapsed() <= WorkerOptions::default().poll_interval);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_during_the_wait_for_an_allowance_is_not_lost() {
    let scheduler = Scripted::new([Ok(Claimed::default()), brings([event(1, 1)])]);
    let limit = Arc::new(TestLimit::of(1));
    let worker = start(&scheduler, limited(&limit));
    scheduler.claimed(1, Instant::now()).await;
    let allowed_at = Instant::now() + SECOND;
    limit.most.store(0, Ordering::SeqCst);
    scheduler.wake.notify_one();
    sleep(SECOND).await;
    assert_eq!(limits(&scheduler).len(), 1);
    limit.allow(1);
    scheduler.settled(1).await;
    assert!(allowed_at.elapsed() < SECOND / 10);
    worker.shutdown(SECOND).await;
}

/// The limit is asked again when there is a slot.
#[tokio::test(start_paused = true)]
async fn an_allowance_that_ends_before_a_slot_is_free_is_not_used() {
    let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(2, 1)])]);
    let limit = Arc::new(TestLimit {
        ignores_running: true,
        ..TestLimit::of(9)
    });
    let release = Arc::default();
    let options = WorkerOptions {
        concurrency: 1,
        ..WorkerOptions::default()
    };
    let worker = start_with(&scheduler, waiting(&limit, &release), options);
    sleep(SECOND).await;
    limit.most.store(0, Ordering::SeqCst);
    release.notify_one();
    sleep(60 * SECOND).await;
    assert_eq!((limits(&scheduler), free_slots(&worker)), (vec![1], 1));
    limit.allow(9);
    release.notify_one();
    scheduler.settled(2).await;
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_always_changes_is_not_asked_without_a_pause() {
    let scheduler = Scripted::new([]);
    let limit = Arc::new(TestLimit {
        is_always_changed: true,
        ..TestLimit::default()
    });
    let worker = start(&scheduler, limited(&limit));
    sleep(SECOND).await;
    let looks = limit.looks.load(Ordering::SeqCst);
    assert!((100..=2_000).contains(&looks), "{looks}");
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_limit_does_not_end_the_claim_loop() {
    for method in ["allowance", "claimed", "changed"] {
        let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(2, 1)])]);
        let limit = Arc::new(TestLimit::of(usize::from(method == "claimed")));
        limit.panics.lock().unwrap().push(method);
        let worker = start(&scheduler, limited(&limit));
        sleep(60 * SECOND).await;
        let looks = limit.looks.load(Ordering::SeqCst);
        assert!((2..=100).contains(&looks), "{method}: {looks}");
        limit.panics.lock().unwrap().clear();
        limit.most.store(1, Ordering::SeqCst);
        let start_time = Instant::now();
        scheduler.settled(2).await;
        let poll_interval = WorkerOptions::default().poll_interval;
        assert!(start_time.elapsed() <= poll_interval, "{method}");
        worker.shutdown(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_an_allowance() {
    let scheduler = Scripted::new([]);
    let worker = start(&scheduler, limited(&Arc::default()));
    sleep(SECOND).await;
    let start_time = Instant::now();
    assert_eq!(worker.shutdown(10 * SECOND).await, Drained::default());
    assert!(start_time.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn idle_waits_until_a_limit_allows_a_look_at_the_store() {
    let scheduler = Scripted::new([]);
    let limit = Arc::new(TestLimit::of(0));
    let worker = start(&scheduler, limited(&limit));
    let early = timeout(60 * SECOND, worker.idle()).await;
    assert!(early.is_err());
    limit.allow(1);
    let idle = timeout(SECOND, worker.idle()).await;
    assert!(idle.is_ok());
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_told_of_events_that_are_claimed_and_then_released() {
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 1)])]);
    let limit = Arc::new(TestLimit::of(5));
    let has_run = Arc::new(AtomicBool::new(false));
    let handler = {
        let has_run = Arc::clone(&has_run);
        move |_: Event<Word>| {
            has_run.store(true, Ordering::SeqCst);
            async { Ok::<_, HandlerError>(()) }
        }
    };
    let slow: Arc<dyn Scheduler> = Arc::new(Slow(Arc::clone(&scheduler), SECOND));
    let options = WorkerOptions::default();
    let worker = Worker::start(slow, options, Limited(Arc::clone(&limit), handler));
    sleep(SECOND / 2).await;
    worker.shutdown(10 * SECOND).await;
    let released = [(1, Outcome::Release), (2, Outcome::Release)];
    assert_eq!(scheduler.settled(2).await, released);
    assert_eq!(limit.claimed(), [2]);
    assert!(!has_run.load(Ordering::SeqCst));
}
