//! A node that is stopped lets its handlers run for the drain time, settles their results, and then
//! leaves no handler running and no sender waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use webhook_core::{EventId, Extended, Fence, Lease};

use super::{Wrong, wrong};
use crate::Run;
use crate::history::{Answer, Call, CallId, End, Fact, Life, Part, Verb};
use crate::ledger::Ledger;
use crate::payload::kinds;

/// The shortest time that a stopping worker waits for its last settlements.
const GRACE: Duration = Duration::from_secs(5);

/// One attempt of a node.
type Attempt = (Life, EventId, Fence);

/// The state of the nodes.
#[derive(Default)]
struct Nodes {
    /// The nodes that are stopping: since when, since which fact, and their drain time.
    stopping: BTreeMap<Life, (Duration, usize, Duration)>,
    /// The handlers that run, and since when.
    running: BTreeMap<Attempt, Duration>,
    /// The leases whose holders know that they are lost.
    lost: BTreeSet<Attempt>,
    asked: BTreeMap<CallId, Vec<Lease>>,
    /// The deliveries that wait: for which node, and since which fact.
    open: BTreeMap<u64, (Life, usize)>,
}

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut nodes = Nodes::default();
    for (number, record) in run.history.iter().enumerate() {
        if let Some(what) = nodes.enter(run, number, record.at, &record.fact) {
            return wrong(number, what);
        }
    }
    Ok(())
}

impl Nodes {
    /// Returns what is wrong with a fact.
    fn enter(&mut self, run: &Run, number: usize, at: Duration, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Stopping { life, drain } => {
                self.stopping.insert(*life, (at, number, *drain));
            }
            Fact::Stopped { life } => {
                let (_, told, _) = *self.stopping.get(life)?;
                let waits = |(_, (of, since)): &(&u64, &(Life, usize))| of == life && *since < told;
                if let Some((delivery, _)) = self.open.iter().find(waits) {
                    return Some(format!("delivery {delivery} waits for a node that stopped"));
                }
                if self.running.keys().any(|(of, ..)| of == life) {
                    return Some("a handler runs on a node that stopped".to_owned());
                }
            }
            Fact::Called {
                call,
                what: Call::Extend(leases, _),
            } => {
                self.asked.insert(call.clone(), leases.clone());
            }
            Fact::Replied {
                call,
                reply: Ok(Answer::Extend(answers)),
            } => {
                let leases = self.asked.remove(call).unwrap_or_default();
                let answered = leases.into_iter().zip(answers);
                let lost = answered.filter(|(_, answer)| **answer == Extended::LeaseLost);
                self.lost
                    .extend(lost.map(|(lease, _)| (call.life, lease.event, lease.fence)));
            }
            Fact::Replied {
                call,
                reply: Ok(Answer::Claim(claimed)),
            } => {
                let again = |name: &&Attempt| {
                    let mut events = claimed.iter().flat_map(|it| &it.events);
                    let again = events.any(|it| it.lease.event == name.1);
                    name.0 == call.life && again
                };
                self.lost.extend(self.running.keys().filter(again));
            }
            Fact::Dropped { call }
                if call.verb == Verb::Settle && matches!(call.part, Part::Worker(_)) =>
            {
                let (since, ..) = *self.stopping.get(&call.life)?;
                return (at < since + GRACE).then(|| "a settlement is not waited for".to_owned());
            }
            Fact::Sent { delivery, life, .. } => {
                self.open.insert(*delivery, (*life, number));
            }
            Fact::Told { delivery, .. } | Fact::Gone { delivery } => {
                self.open.remove(delivery);
            }
            Fact::Begun { life, lease, .. } => {
                self.running.insert((*life, lease.event, lease.fence), at);
            }
            Fact::Ended {
                life,
                event,
                lease,
                end,
            } => {
                let name = (*life, lease.event, lease.fence);
                let begun = self.running.remove(&name)?;
                let (since, _, drain) = *self.stopping.get(life)?;
                let worker = &run.plan.workers[usize::from(event.kind != kinds()[0])];
                let right = *end != End::Cut
                    || at >= since + drain
                    || at >= begun + worker.handler_timeout
                    || self.lost.contains(&name);
                return (!right).then(|| format!("a handler of {event:?} is cut short by a stop"));
            }
            Fact::Crashed { life } => {
                self.stopping.remove(life);
                self.running.retain(|(of, ..), _| of != life);
            }
            _ => {}
        }
        None
    }
}
