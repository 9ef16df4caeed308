//! Every limit is kept: on handlers, batches, flushes, and waiting deliveries.

use std::collections::BTreeMap;

use webhook_core::{Envelope, InboxOptions, Kind, NewEvent, WorkerOptions};

use super::{Wrong, wrong};
use crate::Run;
use crate::history::{Answer, Call, CallId, Fact, Life, Part, Verb};
use crate::ledger::Ledger;
use crate::payload::kinds;

/// A queue of an inbox: its node, and its partition if there are several.
type Queue = (Life, Option<usize>);

/// What is running or waiting.
#[derive(Default)]
struct Load {
    handlers: BTreeMap<(Life, Kind), usize>,
    flushes: BTreeMap<Queue, usize>,
    deliveries: BTreeMap<Queue, usize>,
    /// The deliveries that wait, and the queue that each waits in.
    open: BTreeMap<u64, Queue>,
}

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut load = Load::default();
    let placement = run.plan.placement();
    let queue_of = |life: Life, envelope: &Envelope| -> Queue {
        let placement = placement.as_ref();
        let partition = placement.map(|it| it.partition_of(&envelope.kind, &envelope.key));
        (life, partition)
    };
    for (number, record) in run.history.iter().enumerate() {
        let over = match &record.fact {
            Fact::Begun { life, event, .. } => {
                let running = load
                    .handlers
                    .entry((*life, event.kind.clone()))
                    .or_default();
                *running += 1;
                (*running > worker(run, &event.kind).concurrency).then_some("handlers at a time")
            }
            Fact::Ended { life, event, .. } => {
                if let Some(running) = load.handlers.get_mut(&(*life, event.kind.clone())) {
                    *running -= 1;
                }
                None
            }
            Fact::Called { call, what } => called(run, &mut load, call, what),
            Fact::Replied { call, .. } | Fact::Dropped { call } if call.part == Part::Inbox => {
                let flushes = load.flushes.get_mut(&(call.life, call.partition));
                if let (Some(flushes), Verb::Accept) = (flushes, call.verb) {
                    *flushes -= 1;
                }
                None
            }
            Fact::Effect {
                what: Call::Claim(claims),
                answer: Answer::Claim(claimed),
                ..
            } => {
                let over = claims.iter().zip(claimed).any(|(claim, claimed)| {
                    claimed.events.len() + claimed.exhausted.len() > claim.limit.get()
                });
                over.then_some("events in a claim's answer")
            }
            Fact::Sent {
                delivery,
                life,
                envelope,
                ..
            } => {
                let queue = queue_of(*life, envelope);
                let waiting = load.deliveries.entry(queue).or_default();
                let over = *waiting > queue_length(&run.plan.inbox, run.plan.partitions);
                *waiting += 1;
                load.open.insert(*delivery, queue);
                over.then_some("deliveries waiting")
            }
            Fact::Told { delivery, .. } | Fact::Gone { delivery } => {
                let queue = load.open.remove(delivery);
                if let Some(waiting) = queue.and_then(|it| load.deliveries.get_mut(&it)) {
                    *waiting -= 1;
                }
                None
            }
            _ => None,
        };
        if let Some(over) = over {
            return wrong(number, format!("too many {over}"));
        }
    }
    Ok(())
}

fn called(run: &Run, load: &mut Load, call: &CallId, what: &Call) -> Option<&'static str> {
    match what {
        Call::Accept(events) => {
            let inbox = &run.plan.inbox;
            if call.partition.is_none() && run.plan.partitions > 1 {
                return Some("partitions in a batch");
            }
            let flushes = load.flushes.entry((call.life, call.partition)).or_default();
            *flushes += 1;
            let over = *flushes > inbox.max_concurrent_flushes;
            let large = events.len() > inbox.max_batch
                || bytes_before_last(events) >= inbox.max_batch_bytes;
            over.then_some("flushes")
                .or(large.then_some("events in a batch"))
        }
        Call::Claim(claims) => {
            let over = claims.iter().any(|claim| {
                let worker = worker(run, &claim.kind);
                claim.limit.get() > worker.concurrency.min(worker.max_batch)
            });
            over.then_some("events in a claim")
        }
        Call::Settle(settlements) => {
            let Part::Worker(kinds) = &call.part else {
                return None;
            };
            let largest = kinds.iter().map(|it| worker(run, it).max_batch).max()?;
            (settlements.len() > largest).then_some("settlements in a batch")
        }
        _ => None,
    }
}

/// Returns the bytes of all events but the last: no event joins a batch that has reached the limit.
fn bytes_before_last(events: &[NewEvent]) -> usize {
    let before = events
        .split_last()
        .map(|(_, before)| before)
        .unwrap_or_default();
    before.iter().map(|event| event.envelope.body.len()).sum()
}

/// The most deliveries that may wait: in one of the queues, one taken from it, and those in flushes.
fn queue_length(inbox: &InboxOptions, queues: usize) -> usize {
    let queue = inbox.max_queued + 1 + inbox.max_concurrent_flushes * inbox.max_batch;
    // No body is empty.
    queue.min((inbox.max_queued_bytes / queues).max(1))
}

fn worker<'a>(run: &'a Run, kind: &Kind) -> &'a WorkerOptions {
    &run.plan.workers[usize::from(*kind != kinds()[0])]
}
