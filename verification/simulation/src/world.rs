//! The world around the pipeline: decides step by step what happens next.

mod calls;
mod nodes;
mod senders;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::advance;
use webhook_core::{
    EventRecord, EventRef, EventSummary, FailedAttempt, Kind, Page, Partition, PartitionOptions,
    Partitioned, State,
};
use webhook_memory::MemoryStore;

use crate::Run;
use crate::dice::Dice;
use crate::history::{Fact, History, Life};
use crate::payload::kinds;
use crate::plan::Plan;
use crate::time::{HINTS, MIDDLE, PAUSES, TICK, ticks};
use crate::wire::{Backend, Wire};
use calls::Calls;
use nodes::Node;
use senders::Senders;

/// After this time without progress, an event that is not settled is stuck. It is longer than
/// anything that an event may wait for: a lease, a handler's time-out, a delay, a poll.
const PATIENCE_TICKS: u64 = 400;

/// With more steps than this in one moment, the run is stuck in a loop.
const MAX_STEPS: usize = 20_000;

pub(crate) struct World {
    seed: u64,
    plan: Plan,
    dice: Dice,
    tick: u64,
    /// Whether faults have ended.
    calm: bool,
    store: Arc<dyn Backend>,
    wire: Arc<Wire>,
    history: History,
    calls: Calls,
    nodes: Vec<Node>,
    lives: u64,
    stalled: BTreeMap<Life, u64>,
    outages: BTreeMap<usize, Outage>,
    senders: Senders,
    /// Whether one moment had too many steps.
    livelock: bool,
}

/// A partition that is down or does not answer.
#[derive(Clone, Copy)]
struct Outage {
    /// The tick in which it ends.
    until: u64,
    hangs: bool,
}

/// The moments of a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Begin,
    Hints,
    Middle,
}

/// Something that the world does by itself, other than letting a call proceed.
enum Deed {
    Deliver,
    Redeliver(senders::Delivery),
    Leave,
    Read,
    Crash,
    Stop,
    Stall,
    Outage,
    Nudge,
    Requeue,
    PauseOrResume,
    Start(usize),
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let store = store(plan.partitions).await;
        let history = History::begin();
        Self {
            seed,
            dice: Dice::new(seed, "world"),
            tick: 0,
            calm: false,
            wire: Arc::new(Wire::new(Arc::clone(&store), seed, &plan)),
            calls: Calls::default(),
            nodes: (0..plan.nodes).map(|_| Node::Down { until: 0 }).collect(),
            lives: 0,
            stalled: BTreeMap::new(),
            outages: BTreeMap::new(),
            senders: Senders::new(plan.deliveries),
            livelock: false,
            store,
            history,
            plan,
        }
    }

    /// Runs the seed to its end.
    pub(crate) async fn run(mut self) -> Run {
        while self.tick < self.plan.faulty_ticks && !self.livelock {
            self.pass_tick().await;
        }
        self.calm_down().await;
        let mut progress = (self.history.len(), self.tick);
        let finished = loop {
            self.pass_tick().await;
            if self.livelock {
                break false;
            }
            if self.is_done().await {
                break true;
            }
            let moved = self.history.progress(progress.0);
            if moved {
                progress.1 = self.tick;
            }
            progress.0 = self.history.len();
            if self.tick > progress.1 + PATIENCE_TICKS {
                break false;
            }
        };
        let (found, listed) = (self.find_all().await, self.list_all().await);
        let failed_attempts = self.failed_attempts().await;
        Run {
            seed: self.seed,
            history: self.history.take(),
            plan: self.plan,
            finished,
            found,
            failed_attempts,
            listed,
        }
    }

    async fn pass_tick(&mut self) {
        let mut deeds = self.deeds();
        self.steps(Moment::Begin, &mut deeds).await;
        self.pass(HINTS).await;
        self.steps(Moment::Hints, &mut Vec::new()).await;
        self.pass(PAUSES - HINTS).await;
        self.pass(MIDDLE - PAUSES).await;
        self.steps(Moment::Middle, &mut Vec::new()).await;
        let mut count = 1;
        if !self.calm && self.dice.chance(self.plan.faults.jump) {
            let jumped = self.dice.within(1..=40);
            self.history.write(Fact::Jumped { ticks: jumped });
            count += jumped;
        }
        self.pass(ticks(count - 1) + TICK - MIDDLE).await;
        self.tick += count;
    }

    /// Performs deeds and lets calls proceed, in random order, until nothing is left in this
    /// moment.
    async fn steps(&mut self, moment: Moment, deeds: &mut Vec<Deed>) {
        for _ in 0..MAX_STEPS {
            self.take_notice().await;
            let calls = self.ready_calls(moment);
            let choices = calls.len() + deeds.len();
            if choices == 0 {
                return;
            }
            let from = self.history.len();
            let choice = self.dice.index(choices);
            match calls.get(choice) {
                Some(call) => self.proceed(call, moment).await,
                None => {
                    let deed = deeds.swap_remove(choice - calls.len());
                    self.perform(deed).await;
                }
            }
            self.quiesce().await;
            self.history.tidy(from);
        }
        self.livelock = true;
    }

    /// Decides the deeds of this tick.
    fn deeds(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if matches!(node, Node::Down { until } if self.calm || *until <= self.tick) {
                deeds.push(Deed::Start(number));
            }
        }
        if self.calm {
            return deeds;
        }
        let left = self.plan.faulty_ticks.saturating_sub(self.tick).max(1);
        for _ in 0..self.senders.due(left, &mut self.dice) {
            deeds.push(Deed::Deliver);
        }
        deeds.extend(
            self.senders
                .redeliveries(self.tick)
                .into_iter()
                .map(Deed::Redeliver),
        );
        let faults = &self.plan.faults;
        let chances = [
            (faults.impatience, Deed::Leave),
            (0.2, Deed::Read),
            (faults.crash, Deed::Crash),
            (faults.stop, Deed::Stop),
            (faults.stall, Deed::Stall),
            (faults.nudge, Deed::Nudge),
            (faults.requeue, Deed::Requeue),
            (faults.pause, Deed::PauseOrResume),
        ];
        for (chance, deed) in chances {
            if self.dice.chance(chance) {
                deeds.push(deed);
            }
        }
        if self.plan.partitions > 1 && self.dice.chance(faults.outage) {
            deeds.push(Deed::Outage);
        }
        deeds
    }

    async fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Deliver => self.deliver_new(),
            Deed::Redeliver(delivery) => self.deliver(delivery),
            Deed::Leave => self.leave(),
            Deed::Read => self.read(),
            Deed::Crash => self.crash_any().await,
            Deed::Stop => self.stop_any(),
            Deed::Stall => self.stall_any(),
            Deed::Outage => self.break_any_partition(),
            Deed::Nudge => {
                self.history.write(Fact::Nudged);
                self.wire.nudge();
            }
            Deed::Requeue => self.requeue_any().await,
            Deed::PauseOrResume => self.pause_or_resume_any().await,
            Deed::Start(node) => self.start(node),
        }
    }

    /// One of the partitions is down or does not answer for a while.
    fn break_any_partition(&mut self) {
        let partition = self.dice.index(self.plan.partitions);
        let hangs = self.dice.chance(0.5);
        let ticks = self.dice.within(1..=60);
        self.history.write(Fact::Outage {
            partition,
            hangs,
            ticks,
        });
        let until = self.tick + ticks;
        self.outages.insert(partition, Outage { until, hangs });
    }

    /// Requeues one of the failed events, as an operator does.
    async fn requeue_any(&mut self) {
        let mut failed = self.list_all().await;
        failed.retain(|record| record.state == State::Failed);
        if failed.is_empty() {
            return;
        }
        let event = failed[self.dice.index(failed.len())].event.clone();
        let requeued = self.store.requeue(std::slice::from_ref(&event)).await;
        requeued.expect("the memory store always answers");
        self.history.write(Fact::Requeued { event });
    }

    /// Pauses one of the kinds, or resumes it if it is paused, as an operator does.
    async fn pause_or_resume_any(&mut self) {
        let kind = self.dice.pick(&[0, 1]);
        let kind = kinds()[kind].clone();
        let paused = self.store.pause(&kind).await;
        if paused.expect("the memory store always answers") {
            self.history.write(Fact::Paused { kind });
        } else {
            self.resume(kind).await;
        }
    }

    async fn resume(&mut self, kind: Kind) {
        let resumed = self.store.resume(&kind).await;
        if resumed.expect("the memory store always answers") {
            self.history.write(Fact::Resumed { kind });
        }
    }

    /// Ends all faults: delayed calls proceed, nodes start again, and paused kinds are resumed.
    async fn calm_down(&mut self) {
        self.history.write(Fact::Calm);
        self.calm = true;
        self.wire.calm();
        self.stalled.clear();
        self.outages.clear();
        self.calls.release();
        for kind in kinds() {
            self.resume(kind).await;
        }
    }

    /// Returns whether nothing is left to do.
    async fn is_done(&self) -> bool {
        if !self.calls.is_empty() || !self.senders.is_done() {
            return false;
        }
        let settled = |record: &EventSummary| record.state != State::Processing;
        self.list_all().await.iter().all(settled)
    }

    /// Returns the store's records of all events that were sent.
    async fn find_all(&self) -> BTreeMap<EventRef, Option<EventRecord>> {
        let sent: BTreeSet<EventRef> = self.senders.sent().clone();
        let sent: Vec<EventRef> = sent.into_iter().collect();
        let found = self.store.find(&sent).await;
        let found = found.expect("the memory store always answers");
        sent.into_iter().zip(found).collect()
    }

    /// Returns the failed attempts at all events that were sent.
    async fn failed_attempts(&self) -> BTreeMap<EventRef, Vec<FailedAttempt>> {
        let mut kept = BTreeMap::new();
        for event in self.senders.sent() {
            let failed = self.store.failed_attempts(event).await;
            let failed = failed.expect("the memory store always answers");
            kept.insert(event.clone(), failed);
        }
        kept
    }

    /// Returns everything that the store holds.
    async fn list_all(&self) -> Vec<EventSummary> {
        let mut all = Vec::new();
        for kind in kinds() {
            for state in State::ALL {
                let page = Page::new(kind.clone(), state, std::num::NonZeroUsize::MAX);
                let listed = self.store.list(&page).await;
                all.extend(listed.expect("the memory store always answers"));
            }
        }
        all
    }

    async fn pass(&self, time: Duration) {
        let from = self.history.len();
        advance(time).await;
        self.quiesce().await;
        self.history.tidy(from);
    }

    /// Lets all tasks run until each of them waits. This task continues when no other is ready; it
    /// yields several times for tasks that a timer wakes and for those that yield themselves.
    async fn quiesce(&self) {
        for _ in 0..4 {
            yield_now().await;
        }
    }
}

/// Makes a store in memory with so many partitions.
async fn store(partitions: usize) -> Arc<dyn Backend> {
    if partitions == 1 {
        return Arc::new(MemoryStore::default());
    }
    let memory = |_| Arc::new(MemoryStore::default()) as Arc<dyn Partition>;
    let partitions = (0..partitions).map(memory).collect();
    let store = Partitioned::open(partitions, PartitionOptions::default()).await;
    Arc::new(store.expect("new stores in memory become partitions"))
}
