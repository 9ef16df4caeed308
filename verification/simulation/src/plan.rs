//! What a seed decides for the whole run: the nodes, their limits, and the probabilities of faults.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use webhook_core::{Backoff, InboxOptions, OnFailed, Placement, WorkerOptions};

use crate::dice::Dice;
use crate::time::ticks;

/// The settings of a run. They differ between seeds: some runs are nearly calm, others are full of
/// one sort of fault.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes there are, each with a receiver and with workers for both kinds.
    pub nodes: usize,
    /// One worker processes both kinds, instead of one worker each.
    pub shared_worker: bool,
    /// How many partitions the store has. One is a store without partitions.
    pub partitions: usize,
    /// Workers take all partitions for one scheduler, instead of working on each by itself.
    pub merged: bool,
    /// How many ticks faults last.
    pub faulty_ticks: u64,
    /// How many deliveries senders make, without redeliveries.
    pub deliveries: u64,
    /// The number of keys that deliveries choose from.
    pub keys: u64,
    /// The options of every inbox.
    pub inbox: InboxOptions,
    /// The options of the workers of each kind.
    pub workers: [WorkerOptions; 2],
    /// The probability of each fault.
    pub faults: Faults,
}

/// The probabilities of faults, per call or per tick.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A call fails before its effect.
    pub before: f64,
    /// A call fails after its effect.
    pub after: f64,
    /// A call, or its reply, is delayed.
    pub held: f64,
    /// The longest delay, in ticks.
    pub held_ticks: u64,
    /// The store says that it is full.
    pub full: f64,
    /// A wake-up is lost.
    pub deaf: f64,
    /// All workers are woken without a reason.
    pub nudge: f64,
    /// A node crashes.
    pub crash: f64,
    /// A node is stopped.
    pub stop: f64,
    /// The calls of a node make no progress for a while.
    pub stall: f64,
    /// The clock jumps.
    pub jump: f64,
    /// A sender disconnects.
    pub impatience: f64,
    /// A delivery has other content than others of its key.
    pub conflict: f64,
    /// An operator requeues a failed event.
    pub requeue: f64,
    /// An operator pauses a kind, or resumes it if it is paused.
    pub pause: f64,
    /// A handler misbehaves in some way.
    pub handlers: f64,
    /// A partition is down, or does not answer, for a while.
    pub outage: f64,
}

impl Plan {
    /// Returns which partition each event must be in; `None` without partitions.
    pub(crate) fn placement(&self) -> Option<Placement> {
        let count = NonZeroUsize::new(self.partitions)?;
        (self.partitions > 1).then(|| Placement::new(count))
    }

    /// Decides the settings of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let dice = &mut dice;
        // Dice of their own, so that the seeds from before there were partitions mean what they meant.
        let mut split = Dice::new(seed, "partitions");
        Self {
            partitions: split.pick(&[1, 1, 1, 2, 3, 4]),
            merged: split.chance(0.2),
            nodes: dice.pick(&[1, 2, 2, 3, 3]),
            faulty_ticks: dice.within(20..=200),
            deliveries: dice.within(1..=80),
            keys: dice.within(1..=20),
            inbox: InboxOptions::default()
                .with_delay(Duration::ZERO)
                .with_on_failed(dice.pick(&[OnFailed::Keep, OnFailed::Requeue]))
                .with_max_batch(dice.pick(&[1, 2, 4, 512]))
                .with_max_batch_bytes(dice.pick(&[6, 4 << 20]))
                .with_max_queued(dice.pick(&[1, 3, 100]))
                .with_max_queued_bytes(dice.pick(&[20, 64 << 20]))
                .with_max_concurrent_flushes(dice.pick(&[1, 1, 2]))
                .with_accept_timeout(ticks(dice.within(1..=4))),
            workers: [worker(dice), worker(dice)],
            shared_worker: dice.chance(0.5),
            faults: Faults {
                before: dice.pick(&[0.0, 0.02, 0.1, 0.3]),
                after: dice.pick(&[0.0, 0.02, 0.1, 0.3]),
                held: dice.pick(&[0.0, 0.05, 0.2, 0.5]),
                held_ticks: dice.pick(&[1, 5, 40]),
                full: dice.pick(&[0.0, 0.0, 0.1, 0.3]),
                deaf: dice.pick(&[0.0, 0.1, 0.5, 1.0]),
                nudge: dice.pick(&[0.0, 0.1]),
                crash: dice.pick(&[0.0, 0.01, 0.05]),
                stop: dice.pick(&[0.0, 0.01, 0.05]),
                stall: dice.pick(&[0.0, 0.01, 0.05]),
                jump: dice.pick(&[0.0, 0.01, 0.05]),
                impatience: dice.pick(&[0.0, 0.2, 0.6]),
                conflict: dice.pick(&[0.0, 0.2, 0.5]),
                requeue: dice.pick(&[0.0, 0.1]),
                handlers: dice.pick(&[0.0, 0.2, 0.5, 0.9]),
                pause: dice.pick(&[0.0, 0.0, 0.02, 0.1]),
                outage: split.pick(&[0.0, 0.02, 0.05, 0.2]),
            },
        }
    }
}

fn worker(dice: &mut Dice) -> WorkerOptions {
    WorkerOptions::default()
        .with_concurrency(dice.pick(&[1, 2, 4, 16]))
        .with_max_batch(dice.pick(&[1, 2, 512]))
        // Heartbeats come every quarter of the lease, and their pause after a failure is a quarter
        // of that: both must be whole ticks.
        .with_lease(ticks(dice.pick(&[16, 32])))
        .with_max_attempts(NonZeroU32::MIN.saturating_add(dice.pick(&[0, 1, 2, 4])))
        // The core's own delays have jitter from the system's randomness; here, handlers choose
        // delays.
        .with_backoff(Backoff::new(Duration::ZERO, Duration::ZERO))
        .with_handler_timeout(ticks(dice.within(4..=60)))
        .with_poll_interval(ticks(dice.within(1..=30)))
}
