//! Decides what happens to calls to the store.

use std::collections::BTreeMap;
use std::io;

use tokio::sync::oneshot;
use webhook_core::{StoreError, with_causes};

use super::{Moment, World};
use crate::history::{Answer, Call, CallId, Fact, Life, Part, Verb};
use crate::wire::Parked;

/// The pending calls.
#[derive(Default)]
pub(super) struct Calls {
    waiting: BTreeMap<CallId, Waiting>,
    failures: BTreeMap<(Life, Part), Failures>,
}

struct Waiting {
    call: Call,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
    /// The reply, once the call has taken effect.
    told: Option<Result<Answer, StoreError>>,
    /// The tick before which it does not proceed.
    until: u64,
    /// Whether it was delayed once.
    held: bool,
    /// Whether it is recorded that its caller no longer waits.
    dropped: bool,
}

/// The failures of one worker's calls, after which it pauses for a random time.
#[derive(Default)]
struct Failures {
    in_a_row: BTreeMap<(Verb, Option<usize>), u32>,
    last: Option<(u64, Verb, Option<usize>)>,
}

/// After more failures in a row, the core's pause might be exactly five seconds.
const MAX_FAILURES: u32 = 4;

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends all delays.
    pub(super) fn release(&mut self) {
        self.waiting.values_mut().for_each(|it| it.until = 0);
    }

    pub(super) fn admit(&mut self, parked: Parked) {
        let waiting = Waiting {
            call: parked.call,
            reply: parked.reply,
            told: None,
            until: 0,
            held: false,
            dropped: false,
        };
        self.waiting.insert(parked.id, waiting);
    }

    /// Returns the calls whose callers have gone since the last call of this.
    pub(super) fn dropped(&mut self) -> Vec<CallId> {
        let gone = self.waiting.iter_mut();
        let gone = gone.filter(|(_, it)| it.reply.is_closed() && !it.dropped);
        gone.map(|(id, it)| {
            it.dropped = true;
            id.clone()
        })
        .collect()
    }

    /// Returns whether a call may fail without making the run depend on the core's own randomness:
    /// only one of a worker's claims and settlements fails in a tick.
    fn may_fail(&mut self, id: &CallId, tick: u64, moment: Moment) -> bool {
        if !pauses(id) {
            return true;
        }
        let failures = self.failures.entry((id.life, id.part.clone())).or_default();
        let elsewhere = failures.last.is_some_and(|(at, verb, partition)| {
            at == tick && (verb, partition) != (id.verb, id.partition)
        });
        let in_a_row = failures.in_a_row.get(&(id.verb, id.partition));
        let in_a_row = in_a_row.copied().unwrap_or_default();
        moment == Moment::Begin && !elsewhere && in_a_row < MAX_FAILURES
    }

    fn count(&mut self, id: &CallId, tick: u64, failed: bool) {
        let failures = self.failures.entry((id.life, id.part.clone())).or_default();
        let in_a_row = failures
            .in_a_row
            .entry((id.verb, id.partition))
            .or_default();
        if failed {
            *in_a_row += 1;
            failures.last = Some((tick, id.verb, id.partition));
        } else {
            *in_a_row = 0;
        }
    }
}

/// Returns whether the caller pauses for a random time after an error.
fn pauses(id: &CallId) -> bool {
    matches!(id.part, Part::Worker(_)) && matches!(id.verb, Verb::Claim | Verb::Settle)
}

impl World {
    /// Returns the calls that may proceed now.
    pub(super) fn ready_calls(&mut self, moment: Moment) -> Vec<CallId> {
        let World {
            calls,
            stalled,
            outages,
            tick,
            ..
        } = self;
        stalled.retain(|_, until| *until > *tick);
        outages.retain(|_, outage| outage.until > *tick);
        let hangs = |id: &CallId| {
            let outage = id.partition.and_then(|it| outages.get(&it));
            outage.is_some_and(|it| it.hangs)
        };
        let ready = calls.waiting.iter().filter(|(id, it)| {
            let failing = matches!(it.told, Some(Err(_))) && pauses(id);
            it.until <= *tick
                && !stalled.contains_key(&id.life)
                && !hangs(id)
                // Heartbeats and their pauses stay whole ticks apart.
                && (moment == Moment::Begin || !(failing || id.verb == Verb::Extend))
        });
        ready.map(|(id, _)| id.clone()).collect()
    }

    /// Lets a call take its next step.
    pub(super) async fn proceed(&mut self, id: &CallId, moment: Moment) {
        let Some(mut waiting) = self.calls.waiting.remove(id) else {
            return;
        };
        if let Some(told) = waiting.told.take() {
            if told.is_err() && !self.calls.may_fail(id, self.tick, moment) {
                waiting.told = Some(told);
                self.hold(id, waiting, 1);
            } else {
                self.reply(id, waiting.reply, told);
            }
            return;
        }
        if waiting.reply.is_closed() {
            self.abandoned(id, &waiting.call).await;
            return;
        }
        let down = id
            .partition
            .is_some_and(|it| self.outages.contains_key(&it));
        if down {
            if self.calls.may_fail(id, self.tick, moment) {
                let error = broken("simulated: the partition is down");
                self.reply(id, waiting.reply, Err(error));
            } else {
                self.hold(id, waiting, 1);
            }
            return;
        }
        let faults = self.plan.faults.clone();
        if !self.calm {
            if !waiting.held && self.dice.chance(faults.held) {
                let ticks = self.dice.within(1..=faults.held_ticks);
                waiting.held = true;
                self.hold(id, waiting, ticks);
                return;
            }
            if self.calls.may_fail(id, self.tick, moment) {
                if id.verb == Verb::Accept && self.dice.chance(faults.full) {
                    self.reply(id, waiting.reply, Err(StoreError::Full { capacity: 0 }));
                    return;
                }
                if self.dice.chance(faults.before) {
                    let error = broken("simulated: no effect");
                    self.reply(id, waiting.reply, Err(error));
                    return;
                }
            }
        }
        let mut told = self.effect(id, &waiting.call).await;
        if !self.calm {
            if self.calls.may_fail(id, self.tick, moment) && self.dice.chance(faults.after) {
                told = Err(broken("simulated: the reply is lost"));
            }
            if self.dice.chance(faults.held / 2.0) {
                let ticks = self.dice.within(1..=faults.held_ticks);
                waiting.told = Some(told);
                self.hold(id, waiting, ticks);
                return;
            }
        }
        self.reply(id, waiting.reply, told);
    }

    /// Handles a call whose caller has gone: it takes effect, or it is lost.
    async fn abandoned(&mut self, id: &CallId, call: &Call) {
        if self.dice.chance(0.5) {
            // Nobody waits for the answer.
            let _ = self.effect(id, call).await;
        } else {
            self.history.write(Fact::Lost { call: id.clone() });
        }
    }

    /// Handles the calls of a node that died: each takes effect now, later, or never.
    pub(super) async fn abandon(&mut self, life: Life) {
        let theirs = self.calls.waiting.keys().filter(|id| id.life == life);
        let theirs: Vec<CallId> = theirs.cloned().collect();
        for id in theirs {
            let Some(mut waiting) = self.calls.waiting.remove(&id) else {
                continue;
            };
            if waiting.told.is_some() {
                continue;
            }
            match self.dice.within(0..=2) {
                0 => self.abandoned(&id, &waiting.call).await,
                1 => {
                    // Its caller is gone.
                    (waiting.reply, _) = oneshot::channel();
                    let ticks = self.dice.within(1..=40);
                    self.hold(&id, waiting, ticks);
                }
                _ => self.history.write(Fact::Lost { call: id }),
            }
        }
    }

    fn hold(&mut self, id: &CallId, mut waiting: Waiting, ticks: u64) {
        waiting.until = self.tick + ticks;
        self.calls.waiting.insert(id.clone(), waiting);
    }

    fn reply(
        &mut self,
        id: &CallId,
        reply: oneshot::Sender<Result<Answer, StoreError>>,
        told: Result<Answer, StoreError>,
    ) {
        self.calls.count(id, self.tick, told.is_err());
        if reply.is_closed() {
            return;
        }
        self.history.write(Fact::Replied {
            call: id.clone(),
            reply: told.clone().map_err(|error| with_causes(&error)),
        });
        // It is open: this was checked above.
        let _ = reply.send(told);
    }

    /// Performs the call on the store.
    async fn effect(&mut self, id: &CallId, call: &Call) -> Result<Answer, StoreError> {
        let store = &self.store;
        let scheduler = || self.wire.scheduler(id.partition);
        let answer = match call {
            Call::Accept(events) => Answer::Accept(store.accept(events).await?),
            Call::Find(events) => Answer::Find(store.find(events).await?),
            Call::Ping => {
                store.ping().await?;
                Answer::Ping
            }
            Call::Claim(claims) => Answer::Claim(scheduler().claim(claims).await?),
            Call::Extend(leases, lease) => {
                Answer::Extend(scheduler().extend(leases, *lease).await?)
            }
            Call::Settle(settlements) => Answer::Settle(scheduler().settle(settlements).await?),
        };
        self.history.write(Fact::Effect {
            call: id.clone(),
            what: call.clone(),
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

fn broken(why: &'static str) -> StoreError {
    StoreError::unavailable(io::Error::other(why))
}
