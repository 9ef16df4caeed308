//! A decorator between the node and its store: it records the store's answers, and kills the
//! process at a failpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use faults::failpoint::{Failpoint, Moment, Operation};
use faults::ledger::{Ledger, Line, What};
use rand::RngExt;
use rustix::process::{Signal, getpid, kill_process};
use tokio::time::timeout;
use webhook_core::{
    Accepted, Claim, Claimed, EventRecord, EventRef, Extended, Kind, Lease, NewEvent, Outcome,
    Scheduler, Settled, Settlement, Store, StoreError,
};

/// The process dies at most this long after the start of an operation. Most operations end sooner.
const WITHIN_US: u64 = 3_000;

/// The store of a node.
#[derive(Clone)]
pub(crate) struct Database {
    store: Arc<dyn Queue>,
    books: Arc<dyn Books>,
}

trait Queue: Store + Scheduler {}

impl<S: Store + Scheduler> Queue for S {}

/// The app's own table, which handlers write in the transaction that settles their event.
#[async_trait]
pub(crate) trait Books: Send + Sync {
    /// Writes the event's effect and settles it, both or neither. After an error, either may be the
    /// case.
    async fn book(&self, lease: Lease) -> anyhow::Result<Settled>;

    /// Closes the store.
    async fn close(&self);
}

impl Database {
    pub(crate) fn new(store: impl Store + Scheduler, books: impl Books + 'static) -> Self {
        Self {
            store: Arc::new(store),
            books: Arc::new(books),
        }
    }

    pub(crate) async fn close(&self) {
        self.books.close().await;
    }
}

pub(crate) struct Watched {
    database: Database,
    ledger: Arc<Ledger>,
    failpoint: Option<Failpoint>,
    /// The number of calls of the failpoint's operation.
    calls: AtomicU32,
    /// Whether one event of each batch is reported as accepted without being stored.
    lies: bool,
}

impl Watched {
    pub(crate) const fn new(
        database: Database,
        ledger: Arc<Ledger>,
        failpoint: Option<Failpoint>,
        lies: bool,
    ) -> Self {
        Self {
            database,
            ledger,
            failpoint,
            calls: AtomicU32::new(0),
            lies,
        }
    }

    /// Does an event's work and settles it, in one transaction.
    pub(crate) async fn book(&self, lease: Lease) -> anyhow::Result<Settled> {
        let settled = self
            .step(Operation::Book, self.database.books.book(lease))
            .await?;
        if settled == Settled::Applied {
            self.settled(&Settlement::new(lease, Outcome::Processed));
        }
        Ok(settled)
    }

    /// Does `work`, or dies at the failpoint.
    async fn step<T>(&self, operation: Operation, work: impl Future<Output = T>) -> T {
        match self.strikes(operation) {
            None => work.await,
            Some(Moment::Before) => die(),
            Some(Moment::Within) => {
                let within = Duration::from_micros(rand::rng().random_range(0..=WITHIN_US));
                let _ = timeout(within, work).await;
                die()
            }
            Some(Moment::After) => {
                work.await;
                die()
            }
        }
    }

    fn strikes(&self, operation: Operation) -> Option<Moment> {
        let failpoint = self.failpoint.filter(|it| it.operation == operation)?;
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        (call == failpoint.nth).then_some(failpoint.moment)
    }

    fn settled(&self, settlement: &Settlement) {
        let lease = settlement.lease;
        self.ledger.write(Line {
            event: lease.event.get(),
            attempt: lease.attempt.number(),
            fence: lease.fence.get(),
            ..Line::of(match settlement.outcome {
                Outcome::Processed => What::Processed,
                Outcome::Failed { .. } => What::Failed,
                Outcome::Retry { .. } => What::Retried,
                Outcome::Release | Outcome::Postpone { .. } => What::Released,
            })
        });
    }
}

/// Kills this process as the kernel does when memory runs out: no more of its code runs.
pub(crate) fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[async_trait]
impl Store for Watched {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let (told, kept) = match events.split_first() {
            Some((_, rest)) if self.lies => (vec![Accepted::New], rest),
            _ => (Vec::new(), events),
        };
        let accepted = self
            .step(Operation::Accept, self.database.store.accept(kept))
            .await?;
        Ok([told, accepted].concat())
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.database.store.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.database.store.ping().await
    }
}

#[async_trait]
impl Scheduler for Watched {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let began = Instant::now();
        let claimed = self
            .step(Operation::Claim, self.database.store.claim(claims))
            .await?;
        let events: usize = claimed.iter().map(|it| it.events.len()).sum();
        if events > 0 {
            self.ledger.write(Line {
                event: i64::try_from(events).unwrap_or(i64::MAX),
                lag_us: i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX),
                ..Line::of(What::Claimed)
            });
        }
        Ok(claimed)
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.step(Operation::Extend, self.database.store.extend(leases, lease))
            .await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let answers = self
            .step(Operation::Settle, self.database.store.settle(settlements))
            .await?;
        for (settlement, answer) in settlements.iter().zip(&answers) {
            if *answer == Settled::Applied {
                self.settled(settlement);
            }
        }
        Ok(answers)
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.database.store.wait_for_work(kinds).await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.database
            .store
            .pause_before_claim(kind, accepted_per_claimed)
    }
}
