//! A handler does not run on after its worker learned that the lease is lost, from an extend or
//! from a claim of the same event.

use std::collections::{BTreeMap, BTreeSet};

use webhook_core::Extended;

use super::{Wrong, wrong};
use crate::Run;
use crate::history::{Answer, Call, End, Fact};
use crate::ledger::Ledger;

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut asked = BTreeMap::new();
    let mut lost = BTreeSet::new();
    let mut latest = BTreeMap::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Called {
                call,
                what: Call::Extend(leases, _),
            } => {
                asked.insert(call.clone(), leases);
            }
            Fact::Replied {
                call,
                reply: Ok(Answer::Extend(answers)),
            } => {
                let leases = asked.get(call).into_iter().copied().flatten();
                for (lease, answer) in leases.zip(answers) {
                    if *answer == Extended::LeaseLost {
                        lost.insert((call.life, lease.event, lease.fence));
                    }
                }
            }
            Fact::Replied {
                call,
                reply: Ok(Answer::Claim(claimed)),
            } => {
                for it in claimed.iter().flat_map(|it| &it.events) {
                    latest.insert((call.life, it.lease.event), it.lease.fence);
                }
            }
            Fact::Ended {
                life,
                event,
                lease,
                end,
            } if *end != End::Cut
                && (lost.contains(&(*life, lease.event, lease.fence))
                    || latest.get(&(*life, lease.event)) > Some(&lease.fence)) =>
            {
                let what = format!("a handler of {event:?} ran on without its lease");
                return wrong(number, what);
            }
            _ => {}
        }
    }
    Ok(())
}
