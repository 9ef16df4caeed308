//! What one seed is about: how many nodes with which limits, and which weather.

use std::num::NonZeroU32;
use std::time::Duration;

use webhook_core::{Backoff, InboxOptions, OnFailed, WorkerOptions};

use crate::dice::Dice;
use crate::time::ticks;

/// The circumstances of a run. Seeds differ in them, so that some are nearly calm and some are
/// full of one sort of fault.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes there are, each with a receiver and with workers for both kinds.
    pub nodes: usize,
    /// One worker processes both kinds, instead of one worker each.
    pub shared_worker: bool,
    /// How many ticks faults last.
    pub faulty_ticks: u64,
    /// How many deliveries senders begin, redeliveries not counted.
    pub deliveries: u64,
    /// Among how many keys.
    pub keys: u64,
    /// Of every receiver.
    pub inbox: InboxOptions,
    /// Of every worker of the first kind, and of the second.
    pub workers: [WorkerOptions; 2],
    /// How likely which fault is.
    pub faults: Faults,
}

/// Probabilities: of a call, or of a tick.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A call fails before its effect.
    pub before: f64,
    /// A call fails after its effect.
    pub after: f64,
    /// A call, or its reply, is held up.
    pub held: f64,
    /// The longest that it is held up, in ticks.
    pub held_ticks: u64,
    /// The store says that it is full.
    pub full: f64,
    /// A wake-up is lost.
    pub deaf: f64,
    /// All are woken for nothing.
    pub nudge: f64,
    /// A node dies.
    pub crash: f64,
    /// A node stops.
    pub stop: f64,
    /// A node's calls stand still for a while.
    pub stall: f64,
    /// The clock jumps.
    pub jump: f64,
    /// A sender does not wait.
    pub impatience: f64,
    /// A delivery has other content than others of its key.
    pub conflict: f64,
    /// An operator requeues a failed event.
    pub requeue: f64,
    /// An operator pauses a kind, or resumes it if it is paused.
    pub pause: f64,
    /// A handler misbehaves in some way.
    pub handlers: f64,
}

impl Plan {
    /// The circumstances of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let dice = &mut dice;
        Self {
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
            },
        }
    }
}

fn worker(dice: &mut Dice) -> WorkerOptions {
    WorkerOptions::default()
        .with_concurrency(dice.pick(&[1, 2, 4, 16]))
        .with_max_batch(dice.pick(&[1, 2, 512]))
        // A quarter of a quarter is a whole number of ticks: the beats of the heart, and its
        // pause after a failure.
        .with_lease(ticks(dice.pick(&[16, 32])))
        .with_max_attempts(NonZeroU32::MIN.saturating_add(dice.pick(&[0, 1, 2, 4])))
        // The jitter of the core's own policy comes from the system; handlers ask for delays.
        .with_backoff(Backoff::new(Duration::ZERO, Duration::ZERO))
        .with_handler_timeout(ticks(dice.within(4..=60)))
        .with_poll_interval(ticks(dice.within(1..=30)))
}
