//! A worker over several partitions.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::*;
use super::claims::{Stock, kind_number};
use super::scripted::{SECOND, Slow, until};
use crate::claim_limit::ClaimLimit;
use crate::error::StoreError;
use crate::handler::{Handled, HandlerError, RawEvent};
use crate::scheduler::{Claim, Claimed, Extended, Lease, Settled, Settlement};

/// A scheduler with partitions. A worker calls only them.
struct Parts(Vec<Arc<dyn Scheduler>>);

#[async_trait]
impl Scheduler for Parts {
    async fn claim(&self, _: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        unreachable!("a worker claims from each partition")
    }

    async fn extend(&self, _: &[Lease], _: Duration) -> Result<Vec<Extended>, StoreError> {
        unreachable!("a worker renews the leases of each partition")
    }

    async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        unreachable!("a worker settles the events of each partition")
    }

    async fn wait_for_work(&self, _: &[Kind]) -> Vec<usize> {
        unreachable!("a worker waits for the hints of each partition")
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        self.0.clone()
    }
}

/// A partition each of whose claims takes a permit, and waits for it or fails without it.
struct Gated {
    stock: Arc<Stock>,
    gate: Semaphore,
    fails: bool,
    /// The first limit of each claim.
    asked: Mutex<Vec<usize>>,
}

impl Gated {
    fn new(stock: Arc<Stock>, fails: bool) -> Self {
        Self {
            stock,
            gate: Semaphore::new(0),
            fails,
            asked: Mutex::default(),
        }
    }

    fn hanging(stock: Arc<Stock>) -> Arc<Self> {
        Arc::new(Self::new(stock, false))
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Scheduler for Gated {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.asked.lock().unwrap().push(claims[0].limit.get());
        if self.fails && self.gate.available_permits() == 0 {
            return Err(StoreError::unavailable(std::io::Error::other("down")));
        }
        self.gate.acquire().await.unwrap().forget();
        self.stock.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.stock.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.stock.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.stock.wait_for_work(kinds).await
    }
}

/// The ids of partition *i* begin at this, *i* times.
const PARTITION: i64 = 1 << 40;

/// Partitions with so many events of the first kind.
fn stocks<const N: usize>(events: [i64; N]) -> [Arc<Stock>; N] {
    let mut first_id = -PARTITION;
    events.map(|events| {
        first_id += PARTITION;
        Stock::from(first_id, [(kind_number(0), events)])
    })
}

fn partitions(partitions: impl IntoIterator<Item = Arc<Stock>>) -> Arc<dyn Scheduler> {
    let partitions = partitions.into_iter().map(|it| it as Arc<dyn Scheduler>);
    Arc::new(Parts(partitions.collect()))
}

/// Counts the handlers that run, and the events of each partition that ended.
#[derive(Default)]
struct Counts {
    running: AtomicUsize,
    most: AtomicUsize,
    ended: Mutex<BTreeMap<i64, usize>>,
}

impl Counts {
    /// How many events of each partition ended.
    fn ended<const N: usize>(&self) -> [usize; N] {
        let ended = self.ended.lock().unwrap();
        let mut partition = -1;
        [(); N].map(|()| {
            partition += 1;
            ended.get(&partition).copied().unwrap_or_default()
        })
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Takes some time for each event.
struct Counting {
    counts: Arc<Counts>,
    takes: Duration,
    limit: Option<Arc<dyn ClaimLimit>>,
}

impl Counting {
    fn new(counts: &Arc<Counts>, takes: Duration) -> Self {
        Self {
            counts: Arc::clone(counts),
            takes,
            limit: None,
        }
    }
}

impl Handler<()> for Counting {
    async fn handle(&self, event: RawEvent) -> Result<Handled, HandlerError> {
        let running = self.counts.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.counts.most.fetch_max(running, Ordering::SeqCst);
        sleep(self.takes).await;
        self.counts.running.fetch_sub(1, Ordering::SeqCst);
        let partition = event.id().get() / PARTITION;
        let mut ended = self.counts.ended.lock().unwrap();
        *ended.entry(partition).or_default() += 1;
        Ok(Handled::Done)
    }

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        self.limit.clone()
    }
}

fn slots(concurrency: usize) -> WorkerOptions {
    WorkerOptions::default().with_concurrency(concurrency)
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_partition_with_a_backlog_does_not_starve_another() {
    for concurrency in [1, 2, 16] {
        let [busy, quiet] = stocks([1_000_000, 0]);
        let counts = Arc::<Counts>::default();
        let worker = Worker::builder()
            .handle_raw(
                kind_number(0),
                slots(concurrency),
                Counting::new(&counts, 10 * MILLI),
            )
            .start(partitions([busy, Arc::clone(&quiet)]));
        for round in 1..=3 {
            sleep(SECOND / 2).await;
            quiet.add(&kind_number(0), 10);
            // At worst, the two take turns with single events.
            sleep(250 * MILLI).await;
            let [_, ended] = counts.ended();
            assert_eq!(ended, 10 * round, "{concurrency} slots");
        }
        assert_eq!(counts.most(), concurrency);
        worker.shutdown(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_with_backlogs_share_the_slots() {
    for concurrency in [1, 3, 32] {
        let stocks = stocks([1_000_000; 4]);
        let counts = Arc::<Counts>::default();
        let handler = Counting::new(&counts, 10 * MILLI);
        let worker = Worker::builder()
            .handle_raw(kind_number(0), slots(concurrency), handler)
            .start(partitions(stocks));
        sleep(5 * SECOND).await;
        let ended = counts.ended::<4>();
        let (fewest, most) = (*ended.iter().min().unwrap(), *ended.iter().max().unwrap());
        assert!(most < 3 * fewest, "{concurrency} slots: {ended:?}");
        // No slot is idle for long.
        let possible = concurrency * 5 * 100;
        assert!(ended.iter().sum::<usize>() > possible / 2, "{ended:?}");
        assert_eq!(counts.most(), concurrency);
        worker.shutdown(SECOND).await;
    }
}

/// A claim for each attempt that ends would cost a store as much as several events.
#[tokio::test(start_paused = true)]
async fn partitions_with_backlogs_are_claimed_in_batches() {
    for (concurrency, least) in [(16, 1), (64, 3), (256, 12)] {
        let stocks = stocks([1_000_000; 8]);
        let ended = Arc::new(AtomicUsize::new(0));
        let handler = {
            let ended = Arc::clone(&ended);
            // Attempts end one after another.
            move |event: RawEvent| {
                let ended = Arc::clone(&ended);
                let millis = u64::try_from(event.id().get() % 31).unwrap_or_default();
                async move {
                    sleep(Duration::from_millis(millis)).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, HandlerError>(())
                }
            }
        };
        let worker = Worker::builder()
            .handle_raw(kind_number(0), slots(concurrency), handler)
            .start(partitions(stocks.clone()));
        sleep(2 * SECOND).await;
        let claims: usize = stocks.iter().map(|stock| stock.asked().len()).sum();
        let ended = ended.load(Ordering::SeqCst);
        assert!(ended > concurrency * 50, "{ended}");
        assert!(ended / claims >= least, "{ended} events in {claims} claims");
        worker.shutdown(SECOND).await;
    }
}

/// Slots that are free again at once are taken in turn, so that claims are large.
#[tokio::test(start_paused = true)]
async fn partitions_whose_attempts_are_quick_are_claimed_in_large_batches_in_turn() {
    let stocks = stocks([20_000; 8]);
    let counts = Arc::<Counts>::default();
    let slow = stocks
        .clone()
        .map(|stock| Arc::new(Slow(stock, 3 * MILLI)) as Arc<dyn Scheduler>);
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(256), Counting::new(&counts, MILLI))
        .start(Arc::new(Parts(slow.into())));
    let all = |ended: &[usize; 8]| ended.iter().sum::<usize>();
    while all(&counts.ended()) < 100_000 {
        sleep(MILLI).await;
    }
    let ended = counts.ended::<8>();
    let (fewest, most) = (*ended.iter().min().unwrap(), *ended.iter().max().unwrap());
    assert!(most < 2 * fewest, "{ended:?}");
    let claims: usize = stocks.iter().map(|stock| stock.asked().len()).sum();
    let each = all(&ended) / claims;
    assert!(each >= 100, "{each} events in a claim");
    assert!(counts.most() <= 256);
    worker.shutdown(SECOND).await;
}

/// With so many, each waits for its turn for longer than the attempts of one take.
#[tokio::test(start_paused = true)]
async fn many_partitions_whose_attempts_are_quick_are_claimed_in_large_batches_too() {
    let stocks: [Arc<Stock>; 200] = stocks([1_000_000; 200]);
    let counts = Arc::<Counts>::default();
    let slow = stocks
        .each_ref()
        .map(|stock| Arc::new(Slow(Arc::clone(stock), 3 * MILLI)) as Arc<dyn Scheduler>);
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(256), Counting::new(&counts, MILLI))
        .start(Arc::new(Parts(slow.into())));
    sleep(3 * SECOND).await;
    let ended = counts.ended::<200>();
    let (fewest, all) = (*ended.iter().min().unwrap(), ended.iter().sum::<usize>());
    assert!(fewest > 100, "{ended:?}");
    let claims: usize = stocks.iter().map(|stock| stock.asked().len()).sum();
    assert!(all / claims >= 50, "{all} events in {claims} claims");
    worker.shutdown(SECOND).await;
}

/// Attempts that were quick become slow in some partitions, which keep the slots that they have.
#[tokio::test(start_paused = true)]
async fn partitions_whose_attempts_become_slow_leave_slots_to_the_others() {
    for slow in [1, 2] {
        let stocks = stocks([1_000_000; 3]);
        let counts = Arc::<Counts>::default();
        let began = Instant::now();
        let handler = {
            let counts = Arc::clone(&counts);
            move |event: RawEvent| {
                let counts = Arc::clone(&counts);
                async move {
                    let partition = event.id().get() / PARTITION;
                    let is_slow = partition < slow && began.elapsed() > SECOND;
                    sleep(if is_slow { 1_000 * SECOND } else { MILLI }).await;
                    *counts.ended.lock().unwrap().entry(partition).or_default() += 1;
                    Ok::<_, HandlerError>(())
                }
            }
        };
        let claimed_slowly =
            stocks.map(|stock| Arc::new(Slow(stock, 3 * MILLI)) as Arc<dyn Scheduler>);
        let worker = Worker::builder()
            .handle_raw(kind_number(0), slots(32), handler)
            .start(Arc::new(Parts(claimed_slowly.into())));
        sleep(3 * SECOND).await;
        let before = counts.ended::<3>();
        sleep(5 * SECOND).await;
        let after = counts.ended::<3>();
        assert_eq!(after[0], before[0]);
        for quick in usize::try_from(slow).unwrap()..3 {
            // Four slots are left. They wait up to 10 ms for more, and are free again after 4 ms.
            let ended = after[quick] - before[quick];
            assert!(ended > 4 * 5_000 / 14 / 2, "{ended} with {slow} slow");
        }
        worker.shutdown(Duration::ZERO).await;
    }
}

/// Starts a worker on a partition that hangs or is down, and on one with a backlog of both kinds: its slots are all
/// wanted by both.
fn start_beside(
    broken: &Arc<Gated>,
    works: &Arc<Stock>,
    counts: &Arc<Counts>,
    limit: Option<Arc<dyn ClaimLimit>>,
) -> Worker {
    let kinds = [kind_number(0), kind_number(1)];
    let builder = kinds.into_iter().fold(Worker::builder(), |builder, kind| {
        let handler = Counting {
            limit: limit.clone(),
            ..Counting::new(counts, SECOND / 2)
        };
        builder.handle_raw(kind, slots(1), handler)
    });
    let [broken, works]: [Arc<dyn Scheduler>; 2] = [broken.clone(), works.clone()];
    builder.start(Arc::new(Parts(vec![broken, works])))
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_hangs_or_is_down_keeps_no_slots() {
    for limit in [None, Some(Arc::new(Most(1)) as Arc<dyn ClaimLimit>)] {
        for fails in [false, true] {
            let broken = Arc::new(Gated::new(Stock::of([]), fails));
            let all = [0, 1].map(|number| (kind_number(number), 1_000_000));
            let works = Stock::from(PARTITION, all);
            let counts = Arc::default();
            let worker = start_beside(&broken, &works, &counts, limit.clone());
            sleep(60 * SECOND).await;
            let [_, ended] = counts.ended();
            assert!((200..=240).contains(&ended), "{ended} of 240");
            assert!(!broken.asked().is_empty());
            worker.shutdown(Duration::ZERO).await;
        }
    }
}

/// A claim loop does not look at other kinds while its claim hangs, or while it pauses after an error.
#[tokio::test(start_paused = true)]
async fn a_loop_that_waits_keeps_no_place_in_the_line_for_slots() {
    let [other, contended] = [kind_number(0), kind_number(1)];
    for fails in [false, true] {
        let works = Stock::from(PARTITION, [(contended.clone(), 1_000_000)]);
        let broken = Arc::new(Gated::new(Stock::of([]), fails));
        let counts = Arc::<Counts>::default();
        // The one that works is first, and takes the only slot of its kind. The other one gets in line.
        let schedulers: Vec<Arc<dyn Scheduler>> = vec![works, broken.clone()];
        let handler = || Counting::new(&counts, SECOND / 2);
        let worker = Worker::builder()
            .handle_raw(other.clone(), slots(8), handler())
            .handle_raw(contended.clone(), slots(1), handler())
            .start(Arc::new(Parts(schedulers)));
        sleep(60 * SECOND).await;
        let asked = broken.asked();
        assert_eq!((asked[0], asked.len() > 1), (8, fails));
        // To find out whether it is back takes one slot.
        assert!(asked[1..].iter().all(|limit| *limit == 1), "{asked:?}");
        let [_, ended] = counts.ended();
        assert!((100..=120).contains(&ended), "{ended} of 120");
        worker.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_hangs_or_fails_later_leaves_its_share_to_the_others() {
    for fails in [false, true] {
        let kind = kind_number(0);
        let broken = Arc::new(Gated {
            // They take it longer than a second.
            gate: Semaphore::new(100),
            ..Gated::new(Stock::of([(kind.clone(), 1_000_000)]), fails)
        });
        let works = Stock::from(PARTITION, [(kind.clone(), 1_000_000)]);
        let counts = Arc::<Counts>::default();
        let schedulers: Vec<Arc<dyn Scheduler>> = vec![broken.clone(), works];
        let worker = Worker::builder()
            .handle_raw(kind, slots(8), Counting::new(&counts, 100 * MILLI))
            .start(Arc::new(Parts(schedulers)));
        until_claimed(&broken).await;
        let [first, second] = counts.ended();
        assert!(first.abs_diff(second) < 50, "{first} and {second}");
        sleep(SECOND).await;
        let before = counts.ended::<2>()[1];
        sleep(20 * SECOND).await;
        let ended = counts.ended::<2>()[1] - before;
        assert!((1_400..=1_600).contains(&ended), "{ended} of 1600");
        worker.shutdown(Duration::ZERO).await;
    }
}

/// Waits until the partition has no permits for claims.
async fn until_claimed(gated: &Gated) {
    while gated.gate.available_permits() > 0 {
        sleep(10 * MILLI).await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_late_claim_wait_for_slots() {
    let kind = kind_number(0);
    let late = Gated::hanging(Stock::of([(kind.clone(), 3)]));
    let works = Stock::from(PARTITION, [(kind.clone(), 1_000_000)]);
    let counts = Arc::<Counts>::default();
    let schedulers: Vec<Arc<dyn Scheduler>> = vec![late.clone(), works];
    let worker = Worker::builder()
        .handle_raw(kind.clone(), slots(3), Counting::new(&counts, SECOND))
        .start(Arc::new(Parts(schedulers)));
    sleep(10 * SECOND).await;
    assert_eq!((counts.most(), late.stock.left(&kind)), (3, 3));
    late.gate.add_permits(1);
    sleep(10 * SECOND).await;
    assert_eq!((counts.most(), late.stock.left(&kind)), (3, 0));
    assert_eq!(counts.ended::<2>()[0], 3);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_a_late_claim_are_released_if_the_worker_stops_first() {
    let kind = kind_number(0);
    let late = Gated::hanging(Stock::of([(kind.clone(), 2)]));
    let works = Stock::from(PARTITION, [(kind.clone(), 9)]);
    let counts = Arc::<Counts>::default();
    let schedulers: Vec<Arc<dyn Scheduler>> = vec![late.clone(), works];
    let worker = Worker::builder()
        .handle_raw(kind, slots(2), Counting::new(&counts, 100 * SECOND))
        .start(Arc::new(Parts(schedulers)));
    until(|| late.asked().len() == 1).await;
    sleep(SECOND).await;
    late.gate.add_permits(1);
    sleep(SECOND).await;
    assert_eq!(worker.held(), 4);
    let stopped_at = Instant::now();
    let drained = worker.shutdown(200 * SECOND).await;
    assert_eq!(drained, Drained::default());
    assert!(stopped_at.elapsed() < 100 * SECOND);
    assert_eq!(counts.ended(), [0, 2]);
}

/// Allows this number of attempts at the same time.
struct Most(usize);

#[async_trait]
impl ClaimLimit for Most {
    fn allowance(&self, running: usize) -> usize {
        self.0.saturating_sub(running)
    }

    fn claimed(&self, _: usize) {}

    async fn changed(&self) {
        std::future::pending().await
    }
}

/// Allows one event every hundredth of a second.
struct Rate(Mutex<Instant>);

const EACH: Duration = Duration::from_millis(10);

impl Rate {
    fn left(&self) -> u128 {
        self.0.lock().unwrap().elapsed().as_millis() / EACH.as_millis()
    }
}

#[async_trait]
impl ClaimLimit for Rate {
    fn allowance(&self, _: usize) -> usize {
        usize::try_from(self.left()).unwrap().min(5)
    }

    fn claimed(&self, events: usize) {
        assert!(self.left() >= events as u128, "more than is allowed");
        *self.0.lock().unwrap() += EACH * u32::try_from(events).unwrap();
    }

    async fn changed(&self) {
        sleep(EACH).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_for_all_partitions_together() {
    type New = fn() -> Arc<dyn ClaimLimit>;
    let limits: [(New, usize); 2] = [
        (|| Arc::new(Most(3)), 3),
        (|| Arc::new(Rate(Mutex::new(Instant::now()))), usize::MAX),
    ];
    for (limit, most) in limits {
        let counts = Arc::<Counts>::default();
        let handler = Counting {
            limit: Some(limit()),
            ..Counting::new(&counts, 20 * MILLI)
        };
        let slow = stocks([1_000_000; 3])
            .map(|stock| Arc::new(Slow(stock, 5 * MILLI)) as Arc<dyn Scheduler>);
        let worker = Worker::builder()
            .handle_raw(kind_number(0), slots(100), handler)
            .start(Arc::new(Parts(slow.into())));
        sleep(10 * SECOND).await;
        assert!(counts.most() <= most, "{}", counts.most());
        let ended = counts.ended::<3>();
        let (fewest, all) = (*ended.iter().min().unwrap(), ended.iter().sum::<usize>());
        assert!(fewest * 4 > all, "{ended:?}");
        assert!((750..=1_500).contains(&all), "{all}");
        worker.shutdown(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_partition_is_polled_as_often_as_one_and_woken_by_itself() {
    let stocks = stocks([0; 4]);
    let counts = Arc::<Counts>::default();
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(9), Counting::new(&counts, MILLI))
        .start(partitions(stocks.clone()));
    sleep(601 * SECOND).await;
    let asked = || stocks.each_ref().map(|stock| stock.asked().len());
    let polls = asked();
    assert!(polls.iter().all(|polls| *polls <= 121), "{polls:?}");
    stocks[2].add(&kind_number(0), 1);
    sleep(10 * MILLI).await;
    let woken = asked();
    assert_eq!(counts.ended(), [0, 0, 1, 0]);
    assert!(woken[2] > polls[2]);
    for other in [0, 1, 3] {
        assert_eq!(woken[other], polls[other]);
    }
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn idle_waits_for_all_partitions() {
    let stocks = stocks([0, 0, 1]);
    let (tell, mut told) = mpsc::unbounded_channel();
    // Each event is followed by one in the partition before, which was looked at already.
    let follow = {
        let stocks = stocks.clone();
        move |event: RawEvent| {
            let partition = usize::try_from(event.id().get() / PARTITION).unwrap();
            let before = partition.checked_sub(1).map(|it| Arc::clone(&stocks[it]));
            let tell = tell.clone();
            async move {
                sleep(5 * MILLI).await;
                if let Some(before) = before {
                    before.add_quietly(&kind_number(0), 1);
                }
                Ok::<_, HandlerError>(tell.send(partition)?)
            }
        }
    };
    // The last one is looked at while its handler runs.
    let [first, second, third] = stocks;
    let slow = Arc::new(Slow(third, 20 * MILLI));
    let schedulers: Vec<Arc<dyn Scheduler>> = vec![first, second, slow];
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(9), follow)
        .start(Arc::new(Parts(schedulers)));
    let idle = timeout(60 * SECOND, worker.idle()).await;
    assert!(idle.is_ok());
    let ended: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(ended, [2, 1, 0]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_adds_up_what_all_partitions_release() {
    let counts = Arc::<Counts>::default();
    let never = Counting::new(&counts, 1_000 * SECOND);
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(9), never)
        .start(partitions(stocks([2, 0, 1])));
    until(|| counts.running.load(Ordering::SeqCst) == 3).await;
    let drained = worker.shutdown(SECOND).await;
    let expected = Drained {
        released: 3,
        unsettled: 0,
    };
    assert_eq!(drained, expected);

    // One of them does not answer.
    let hangs = Gated::hanging(Stock::of([]));
    let [works] = stocks([1]);
    let schedulers: Vec<Arc<dyn Scheduler>> = vec![hangs, works];
    let counts = Arc::<Counts>::default();
    let worker = Worker::builder()
        .handle_raw(kind_number(0), slots(9), Counting::new(&counts, SECOND))
        .start(Arc::new(Parts(schedulers)));
    sleep(SECOND / 2).await;
    let stopped_at = Instant::now();
    let drained = worker.shutdown(10 * SECOND).await;
    assert_eq!((drained, counts.ended()), (Drained::default(), [1]));
    assert!(stopped_at.elapsed() <= 16 * SECOND);
}
