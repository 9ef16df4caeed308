//! The claim loop: when it claims, and how many events.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::*;
use super::scripted::{SECOND, Scripted, brings, due_in, event, start, start_with, until};
use crate::error::StoreError;
use crate::handler::{Event, HandlerError, RawEvent};
use crate::scheduler::{Claimed, Extended, Lease, MockScheduler, Outcome, Settled, Settlement};
use crate::test_payload::Word;

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
    until(|| running.load(Ordering::SeqCst) == 3).await;
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

/// A worker that is replaced may be drained after the new one has started.
#[tokio::test(start_paused = true)]
async fn a_worker_stops_claiming_when_shutdown_is_called() {
    let scheduler = Scripted::new([]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    scheduler.claimed(1, Instant::now()).await;
    let shutdown = worker.shutdown(SECOND);
    sleep(60 * SECOND).await;
    assert_eq!(scheduler.claims.lock().unwrap().len(), 1);
    shutdown.await;
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
async fn a_claim_of_only_exhausted_events_is_repeated_at_once() {
    let start_time = Instant::now();
    let exhausted = Ok(Claimed {
        exhausted: vec![event(1, 1).key],
        ..Claimed::default()
    });
    let scheduler = Scripted::new([exhausted, brings([event(2, 1)])]);
    let options = WorkerOptions {
        concurrency: 1,
        ..WorkerOptions::default()
    };
    let worker = start_with(&scheduler, async |_: Event<Word>| Ok(()), options);
    assert_eq!(scheduler.settled(1).await, [(2, Outcome::Processed)]);
    assert!(start_time.elapsed() < SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn limits_of_zero_count_as_one() {
    let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(2, 1)])]);
    let options = WorkerOptions {
        concurrency: 0,
        max_batch: 0,
        ..WorkerOptions::default()
    };
    let worker = start_with(&scheduler, async |_: Event<Word>| Ok(()), options);
    scheduler.settled(2).await;
    let limits = scheduler.claims.lock().unwrap().clone();
    assert!(limits.iter().all(|(_, limit)| *limit == 1));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn contended_events_are_claimed_again_after_a_pause() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(Duration::ZERO), due_in(Duration::ZERO)]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let claims = scheduler.claimed(3, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.009));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_ends_the_sleep() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(3 * SECOND), brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    scheduler.claimed(1, start_time).await;
    scheduler.wake.notify_one();
    scheduler.settled(1).await;
    assert!(start_time.elapsed() < SECOND);
    worker.shutdown(SECOND).await;
}

/// The hint does not come again.
#[tokio::test(start_paused = true)]
async fn a_claim_that_follows_a_wake_up_and_fails_is_repeated_soon() {
    let start_time = Instant::now();
    let gone = || Err(StoreError::unavailable(std::io::Error::other("gone")));
    let script = [due_in(300 * SECOND), gone(), gone(), brings([event(1, 1)])];
    let scheduler = Scripted::new(script);
    let options = WorkerOptions::default().with_poll_interval(600 * SECOND);
    let worker = start_with(&scheduler, async |_: Event<Word>| Ok(()), options);
    scheduler.claimed(1, start_time).await;
    scheduler.wake.notify_one();
    scheduler.settled(1).await;
    assert!(start_time.elapsed() < 2 * SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn endless_hints_do_not_cause_endless_claims() {
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
async fn claims_of_a_failing_store_back_off() {
    let start_time = Instant::now();
    let down = || Err(StoreError::unavailable(std::io::Error::other("down")));
    let script = (0..20).map(|_| down()).chain([brings([event(1, 1)])]);
    let scheduler = Scripted::new(script);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    let claims = scheduler.claimed(21, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.0199));
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] <= 5.01));
    // The pauses grow, whatever the jitter.
    assert!(claims.windows(2).any(|pair| pair[1] - pair[0] > 0.5));
    worker.shutdown(SECOND).await;
}

/// A scheduler with a stock of events of each kind, which records the claims and their times.
pub(super) struct Stock {
    /// No event has a smaller id.
    first_id: i64,
    left: Mutex<HashMap<Kind, i64>>,
    asked: Mutex<Vec<(Instant, Vec<Claim>)>>,
    hint: Notify,
    hinted: Mutex<Vec<usize>>,
    mock: MockScheduler,
}

impl Stock {
    pub(super) fn of(left: impl IntoIterator<Item = (Kind, i64)>) -> Arc<Self> {
        Self::from(0, left)
    }

    pub(super) fn from(first_id: i64, left: impl IntoIterator<Item = (Kind, i64)>) -> Arc<Self> {
        let mut mock = MockScheduler::new();
        mock.expect_settle()
            .returning(|all| Ok(vec![Settled::Applied; all.len()]));
        Arc::new(Self {
            first_id,
            left: Mutex::new(left.into_iter().collect()),
            asked: Mutex::default(),
            hint: Notify::new(),
            hinted: Mutex::default(),
            mock,
        })
    }

    pub(super) fn asked(&self) -> Vec<(Instant, Vec<Claim>)> {
        self.asked.lock().unwrap().clone()
    }

    /// Adds events of a kind, and gives a hint.
    pub(super) fn add(&self, kind: &Kind, events: i64) {
        self.add_quietly(kind, events);
        self.hint.notify_one();
    }

    /// Adds events of a kind. The hint is lost.
    pub(super) fn add_quietly(&self, kind: &Kind, events: i64) {
        *self.left.lock().unwrap().entry(kind.clone()).or_default() += events;
    }

    /// How many events of a kind have not been claimed.
    pub(super) fn left(&self, kind: &Kind) -> i64 {
        self.left.lock().unwrap()[kind]
    }
}

#[async_trait]
impl Scheduler for Stock {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let mut asked = self.asked.lock().unwrap();
        asked.push((Instant::now(), claims.to_vec()));
        let mut stock = self.left.lock().unwrap();
        let claimed = claims.iter().enumerate().map(|(place, claim)| {
            let left = stock.entry(claim.kind.clone()).or_default();
            let limit = i64::try_from(claim.limit.get()).unwrap();
            let count = limit.min(*left);
            *left -= count;
            let id = i64::try_from(asked.len() * 100_000 + place * 1_000).unwrap();
            let id = self.first_id + id;
            Claimed {
                events: (0..count).map(|number| event(id + number, 1)).collect(),
                ..Claimed::default()
            }
        });
        Ok(claimed.collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.mock.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.mock.settle(settlements).await
    }

    async fn wait_for_work(&self, _: &[Kind]) -> Vec<usize> {
        self.hint.notified().await;
        self.hinted.lock().unwrap().clone()
    }

    /// A second for a ratio of 1.
    fn pause_before_claim(&self, _: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        accepted_per_claimed.map_or(Duration::ZERO, |ratio| SECOND.mul_f64(ratio))
    }
}

pub(super) fn kind_number(number: usize) -> Kind {
    Kind::new(format!("kind-{number:03}")).unwrap()
}

/// Starts a worker of this many kinds, all with the same options.
fn worker_of(kinds: usize, options: &WorkerOptions, stock: &Arc<Stock>) -> Worker {
    let builder = (0..kinds).fold(Worker::builder(), |builder, number| {
        let handler = async |_: RawEvent| Ok::<_, HandlerError>(());
        builder.handle_raw(kind_number(number), options.clone(), handler)
    });
    builder.start(Arc::clone(stock) as Arc<dyn Scheduler>)
}

#[tokio::test(start_paused = true)]
async fn many_idle_kinds_are_polled_as_often_as_one() {
    let mut calls = Vec::new();
    for kinds in [1, 200] {
        let stock = Stock::of([]);
        let worker = worker_of(kinds, &WorkerOptions::default(), &stock);
        sleep(60 * SECOND).await;
        // Kinds that were asked for at other times are asked for together again in the end.
        let shaken: Vec<_> = (0..kinds).step_by(7).collect();
        for place in &shaken {
            *stock.hinted.lock().unwrap() = vec![*place];
            stock.hint.notify_one();
            sleep(SECOND / 20).await;
        }
        sleep(30 * SECOND).await;
        let before = stock.asked().len();
        sleep(600 * SECOND).await;
        calls.push(stock.asked().len() - before);
        let (_, last) = stock.asked().pop().unwrap();
        assert_eq!(last.len(), kinds, "all of them in one call");
        worker.shutdown(SECOND).await;
    }
    assert_eq!(calls[0], 120, "one each five seconds");
    assert!(calls[1] <= calls[0] * 11 / 10, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_backlog_pause_by_the_ratio_of_the_worker() {
    let stock = Stock::of([(kind_number(0), 1_000_000)]);
    let options = WorkerOptions::default().with_accepted_per_claimed(Some(1.5));
    let worker = worker_of(1, &options, &stock);
    sleep(20 * SECOND).await;
    worker.shutdown(SECOND).await;
    let asked = stock.asked();
    assert!(asked.len() > 10, "{}", asked.len());
    let pauses = asked.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert_eq!(pauses.min(), Some(SECOND.mul_f64(1.5)));
}

#[tokio::test(start_paused = true)]
async fn kinds_with_backlogs_share_a_batch() {
    let stock = Stock::of((0..200).map(|number| (kind_number(number), 50)));
    let worker = worker_of(200, &WorkerOptions::default(), &stock);
    let claimed_all = async {
        while stock.left.lock().unwrap().values().any(|left| *left > 0) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(60 * SECOND, claimed_all)
        .await
        .expect("all events are claimed");
    worker.shutdown(SECOND).await;
    for (_, claims) in stock.asked() {
        let limits: Vec<_> = claims.iter().map(|claim| claim.limit.get()).collect();
        assert!(limits.iter().sum::<usize>() <= 512, "{limits:?}");
        if limits.len() == 200 {
            assert!(limits[1..].iter().all(|limit| *limit == 2), "{limits:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kinds_with_backlogs_take_turns() {
    const BUSY: usize = 100;
    let busy = (0..BUSY).map(|number| (kind_number(number), 1_000_000));
    let stock = Stock::of(busy);
    let options = WorkerOptions {
        concurrency: 64,
        ..WorkerOptions::default()
    };
    let builder = (0..BUSY).fold(Worker::builder(), |builder, number| {
        let handler = async |_: RawEvent| {
            sleep(SECOND / 4).await;
            Ok::<_, HandlerError>(())
        };
        builder.handle_raw(kind_number(number), options.clone(), handler)
    });
    let (tell, mut told) = mpsc::unbounded_channel();
    let quiet = kind_number(BUSY);
    let builder = builder.handle_raw(
        quiet.clone(),
        WorkerOptions::default(),
        move |_: RawEvent| {
            let tell = tell.clone();
            async move { Ok::<_, HandlerError>(tell.send(())?) }
        },
    );
    let worker = builder.start(Arc::clone(&stock) as Arc<dyn Scheduler>);
    for _ in 0..5 {
        sleep(SECOND).await;
        let before = stock.asked().len();
        stock.left.lock().unwrap().insert(quiet.clone(), 1);
        *stock.hinted.lock().unwrap() = vec![BUSY];
        stock.hint.notify_one();
        told.recv().await.unwrap();
        let asked = &stock.asked()[before..];
        let turn = asked
            .iter()
            .position(|(_, claims)| claims.iter().any(|claim| claim.kind == quiet));
        assert!(turn.is_some_and(|turn| turn <= 3), "{turn:?}");
    }
    worker.shutdown(SECOND).await;
    let mut turns = HashMap::<Kind, usize>::new();
    for (_, claims) in &stock.asked()[1..] {
        let busy: Vec<_> = claims.iter().filter(|claim| claim.kind != quiet).collect();
        assert!(busy.len() <= 16, "{}", busy.len());
        for claim in busy {
            *turns.entry(claim.kind.clone()).or_default() += 1;
        }
    }
    let (fewest, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
    assert_eq!(turns.len(), BUSY);
    assert!(*fewest > 5 && *most <= 2 * fewest, "{fewest} to {most}");
}

#[tokio::test(start_paused = true)]
async fn a_kind_with_a_backlog_does_not_delay_another_kind() {
    let stock = Stock::of([(kind_number(0), 1_000_000)]);
    let options = WorkerOptions {
        concurrency: 2,
        ..WorkerOptions::default()
    };
    let builder = Worker::builder().handle_raw(kind_number(0), options.clone(), {
        async |_: RawEvent| {
            sleep(SECOND / 100).await;
            Ok::<_, HandlerError>(())
        }
    });
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = builder.handle_raw(kind_number(1), options, move |_: RawEvent| {
        let tell = tell.clone();
        async move { Ok::<_, HandlerError>(tell.send(Instant::now())?) }
    });
    let worker = builder.start(Arc::clone(&stock) as Arc<dyn Scheduler>);
    for _ in 0..10 {
        sleep(SECOND).await;
        stock.left.lock().unwrap().insert(kind_number(1), 1);
        let before = Instant::now();
        *stock.hinted.lock().unwrap() = vec![1];
        stock.hint.notify_one();
        let at = told.recv().await.unwrap();
        assert!(at - before < SECOND / 10, "{:?}", at - before);
    }
    // Each keeps to its own slots.
    for (_, claims) in stock.asked() {
        assert!(claims.iter().all(|claim| claim.limit.get() <= 2));
    }
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_whose_handlers_all_hang_does_not_delay_other_kinds() {
    const SLOTS: usize = 3;
    const EACH: i64 = 100;
    let [hangs, first, second] = [0, 1, 2].map(kind_number);
    let others = [first.clone(), second];
    let stock = Stock::of([(hangs.clone(), 1_000_000)]);
    let options = WorkerOptions {
        concurrency: SLOTS,
        ..WorkerOptions::default()
    };
    let hanging = Arc::new(AtomicUsize::new(0));
    let builder = Worker::builder().handle_raw(hangs.clone(), options.clone(), {
        let hanging = Arc::clone(&hanging);
        move |_: RawEvent| {
            hanging.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<(), HandlerError>>()
        }
    });
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = others.iter().fold(builder, |builder, kind| {
        let (tell, own) = (tell.clone(), kind.clone());
        let handler = move |_: RawEvent| {
            let (tell, own) = (tell.clone(), own.clone());
            async move { Ok::<_, HandlerError>(tell.send(own)?) }
        };
        builder.handle_raw(kind.clone(), options.clone(), handler)
    });
    let worker = builder.start(Arc::clone(&stock) as Arc<dyn Scheduler>);
    until(|| hanging.load(Ordering::SeqCst) == SLOTS).await;
    let asked_before = stock.asked().len();
    for kind in others {
        stock.left.lock().unwrap().insert(kind, EACH);
    }
    // The places among the kinds that have free slots.
    *stock.hinted.lock().unwrap() = vec![0, 1];
    stock.hint.notify_one();
    let each = usize::try_from(EACH).unwrap();
    let mut handled = Vec::new();
    let all = async {
        while handled.len() < 2 * each {
            handled.push(told.recv().await.unwrap());
        }
    };
    timeout(60 * SECOND, all)
        .await
        .expect("all events of the others");
    // Neither of them waits for the other, either.
    for half in handled.chunks(each) {
        let count = half.iter().filter(|kind| **kind == first).count();
        assert!(count.abs_diff(half.len() / 2) <= SLOTS, "{count}");
    }
    // The kind that hangs has no more than its slots, and is asked for no more.
    assert_eq!(hanging.load(Ordering::SeqCst), SLOTS);
    for (_, claims) in &stock.asked()[asked_before..] {
        assert!(claims.iter().all(|claim| claim.kind != hangs), "{claims:?}");
    }
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn each_kind_has_its_own_options() {
    let stock = Stock::of([]);
    let builder = [(3, 60), (700, 120)].into_iter().enumerate().fold(
        Worker::builder(),
        |builder, (number, (concurrency, lease))| {
            let options = WorkerOptions {
                concurrency,
                lease: lease * SECOND,
                max_attempts: NonZeroU32::new(lease).unwrap(),
                ..WorkerOptions::default()
            };
            let handler = async |_: RawEvent| Ok::<_, HandlerError>(());
            builder.handle_raw(kind_number(number), options, handler)
        },
    );
    let worker = builder.start(Arc::clone(&stock) as Arc<dyn Scheduler>);
    sleep(SECOND).await;
    worker.shutdown(SECOND).await;
    let (_, claims) = stock.asked().remove(0);
    for (claim, (limit, lease)) in claims.iter().zip([(3, 60), (509, 120)]) {
        assert_eq!(claim.limit.get(), limit);
        assert_eq!(claim.lease, lease * SECOND);
        assert_eq!(claim.max_attempts.get(), lease);
    }
}

#[test]
#[should_panic(expected = "kind word has two handlers")]
fn two_handlers_of_one_kind_are_refused() {
    let handler = async |_: Event<Word>| Ok::<_, HandlerError>(());
    let _ = Worker::builder()
        .handle(WorkerOptions::default(), handler)
        .handle(WorkerOptions::default(), handler)
        .start(Stock::of([]));
}
