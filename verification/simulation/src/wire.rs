//! The connection between a node and the store, where faults happen.
//!
//! [`Faulty`] is the store as a node sees it. A call is parked until the [world](crate::world) lets
//! it proceed, and the world decides what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use webhook_core::{
    Accepted, Admin, Claim, Claimed, EventRecord, EventRef, Extended, Key, Kind, Lease, NewEvent,
    Placement, Scheduler, Settled, Settlement, Store, StoreError,
};

use crate::dice::{digest, hash};
use crate::history::{Answer, Call, CallId, Life, Part, Verb};
use crate::plan::Plan;

/// A call that waits to proceed.
pub(crate) struct Parked {
    pub(crate) id: CallId,
    pub(crate) call: Call,
    pub(crate) reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// The store behind the connections.
pub(crate) trait Backend: Store + Scheduler + Admin {}

impl<B: Store + Scheduler + Admin> Backend for B {}

/// The state that all connections share.
pub(crate) struct Wire {
    store: Arc<dyn Backend>,
    /// The parts of the store, if it has several.
    partitions: Vec<Arc<dyn Scheduler>>,
    /// Which partition each event must be in.
    placement: Option<Placement>,
    /// Whether workers see one scheduler instead of the partitions.
    merged: bool,
    nudge: Notify,
    seed: u64,
    /// The probability that a wake-up is lost.
    deaf: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    arrived: Vec<Parked>,
    numbers: BTreeMap<(Life, Part, Option<usize>, Verb), u64>,
    waits: BTreeMap<(Life, Part, Option<usize>), u64>,
    dead: BTreeSet<Life>,
    doomed: Vec<Life>,
    calm: bool,
}

impl Wire {
    pub(crate) fn new(store: Arc<dyn Backend>, seed: u64, plan: &Plan) -> Self {
        Self {
            partitions: Scheduler::partitions(&*store),
            placement: plan.placement(),
            merged: plan.merged,
            store,
            nudge: Notify::new(),
            seed,
            deaf: plan.faults.deaf,
            state: Mutex::default(),
        }
    }

    /// Returns the scheduler of a partition, or that of the store.
    pub(crate) fn scheduler(&self, partition: Option<usize>) -> &dyn Scheduler {
        match partition {
            Some(partition) => &*self.partitions[partition],
            None => &*self.store,
        }
    }

    /// Returns the partition that a call of a whole store is for.
    fn partition_called(&self, call: &Call) -> Option<usize> {
        match call {
            Call::Accept(events) => {
                let envelopes = events.iter().map(|it| &it.envelope);
                self.partition_of(envelopes.map(|it| (&it.kind, &it.key)))
            }
            Call::Find(events) => self.partition_of(events.iter().map(|it| (&it.kind, &it.key))),
            Call::Ping | Call::Claim(_) | Call::Extend(..) | Call::Settle(_) => None,
        }
    }

    /// Returns the partition of these events; `None` if there are no partitions, or if they are in several.
    fn partition_of<'e>(
        &self,
        mut events: impl Iterator<Item = (&'e Kind, &'e Key)>,
    ) -> Option<usize> {
        let placement = self.placement.as_ref()?;
        let (kind, key) = events.next()?;
        let first = placement.partition_of(kind, key);
        events
            .all(|(kind, key)| placement.partition_of(kind, key) == first)
            .then_some(first)
    }

    /// Returns the calls that arrived since the last call of this, sorted, so that the order of
    /// their arrival does not matter.
    pub(crate) fn arrivals(&self) -> Vec<Parked> {
        let mut arrived = std::mem::take(&mut self.lock().arrived);
        arrived.sort_by(|a, b| a.id.cmp(&b.id));
        arrived
    }

    /// Marks a life as dead: its calls no longer reach the store.
    pub(crate) fn bury(&self, life: Life) {
        self.lock().dead.insert(life);
    }

    pub(crate) fn is_dead(&self, life: Life) -> bool {
        self.lock().dead.contains(&life)
    }

    /// Asks for a crash of this life, on behalf of a handler.
    pub(crate) fn doom(&self, life: Life) {
        self.lock().doomed.push(life);
    }

    pub(crate) fn doomed(&self) -> Vec<Life> {
        std::mem::take(&mut self.lock().doomed)
    }

    /// Wakes all waiting workers without a reason.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_waiters();
    }

    /// Stops losing wake-ups.
    pub(crate) fn calm(&self) {
        self.lock().calm = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// The store, as one part of a node sees it.
#[derive(Clone)]
pub(crate) struct Faulty {
    wire: Arc<Wire>,
    life: Life,
    part: Part,
    /// The partition, if it is one of several.
    partition: Option<usize>,
}

impl Faulty {
    pub(crate) fn new(wire: Arc<Wire>, life: Life, part: Part) -> Self {
        Self {
            wire,
            life,
            part,
            partition: None,
        }
    }

    async fn ask(&self, call: Call) -> Result<Answer, StoreError> {
        let answer = self.park(call, self.partition);
        match answer {
            // The world answers every call whose caller waits, unless its node is dead.
            Some(answer) => match answer.await {
                Ok(answer) => answer,
                Err(_) => pending().await,
            },
            None => pending().await,
        }
    }

    /// Parks a call to a partition.
    fn park(
        &self,
        call: Call,
        partition: Option<usize>,
    ) -> Option<oneshot::Receiver<Result<Answer, StoreError>>> {
        let mut state = self.wire.lock();
        if state.dead.contains(&self.life) {
            return None;
        }
        let (life, part, verb) = (self.life, self.part.clone(), call.verb());
        let partition = partition.or_else(|| self.wire.partition_called(&call));
        let number = state
            .numbers
            .entry((life, part.clone(), partition, verb))
            .or_default();
        *number += 1;
        let id = CallId {
            life,
            part,
            partition,
            verb,
            number: *number,
        };
        let (reply, answer) = oneshot::channel();
        state.arrived.push(Parked { id, call, reply });
        Some(answer)
    }

    fn scheduler(&self) -> &dyn Scheduler {
        self.wire.scheduler(self.partition)
    }

    /// Decides whether the next wake-up is lost.
    fn is_deaf(&self) -> bool {
        let mut state = self.wire.lock();
        let number = state
            .waits
            .entry((self.life, self.part.clone(), self.partition))
            .or_default();
        *number += 1;
        let parts = [self.life.0, hash(&format!("{:?}", self.part)), *number];
        let partition = self.partition.map(|it| it as u64);
        let parts: Vec<u64> = parts.into_iter().chain(partition).collect();
        let share = (digest(self.wire.seed, &parts) % 1000) as f64 / 1000.0;
        !state.calm && share < self.wire.deaf
    }
}

fn mismatch(answer: &Answer) -> ! {
    unreachable!("the world answers what was asked, not {answer:?}")
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Faulty {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        match self.ask(Call::Accept(events.to_vec())).await? {
            Answer::Accept(accepted) => Ok(accepted),
            other => mismatch(&other),
        }
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        match self.ask(Call::Find(events.to_vec())).await? {
            Answer::Find(found) => Ok(found),
            other => mismatch(&other),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self.ask(Call::Ping).await? {
            Answer::Ping => Ok(()),
            other => mismatch(&other),
        }
    }

    fn placement(&self) -> Option<Arc<Placement>> {
        self.wire.store.placement()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Scheduler for Faulty {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        match self.ask(Call::Claim(claims.to_vec())).await? {
            Answer::Claim(claimed) => Ok(claimed),
            other => mismatch(&other),
        }
    }

    /// Sorts the leases, since the core passes them in the order of a hash map.
    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let mut order: Vec<usize> = (0..leases.len()).collect();
        order.sort_by_key(|i| (leases[*i].event, leases[*i].fence));
        let sorted = order.iter().map(|i| leases[*i]).collect();
        match self.ask(Call::Extend(sorted, lease)).await? {
            Answer::Extend(sorted) => {
                let mut answers = sorted.clone();
                for (i, answer) in order.into_iter().zip(sorted) {
                    answers[i] = answer;
                }
                Ok(answers)
            }
            other => mismatch(&other),
        }
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        match self.ask(Call::Settle(settlements.to_vec())).await? {
            Answer::Settle(settled) => Ok(settled),
            other => mismatch(&other),
        }
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        let nudged = self.wire.nudge.notified();
        if self.is_deaf() {
            nudged.await;
        } else {
            tokio::select! {
                biased;
                places = self.scheduler().wait_for_work(kinds) => return places,
                () = nudged => {}
            }
        }
        (0..kinds.len()).collect()
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.scheduler()
            .pause_before_claim(kind, accepted_per_claimed)
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        if self.wire.merged {
            return Vec::new();
        }
        let partition = |number| -> Arc<dyn Scheduler> {
            Arc::new(Self {
                partition: Some(number),
                ..self.clone()
            })
        };
        (0..self.wire.partitions.len()).map(partition).collect()
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("life", &self.life)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}
