//! Each sender that waits is answered before its deadline, whatever the store does.

use std::collections::BTreeMap;

use super::{Wrong, wrong, wrong_in_the_end};
use crate::Run;
use crate::history::Fact;
use crate::ledger::Ledger;

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut open = BTreeMap::new();
    let mut jumped_at = None;
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            // A deadline during a jump of the clock is met after it.
            Fact::Jumped { .. } => jumped_at = Some(record.at),
            Fact::Sent { delivery, .. } => {
                open.insert(*delivery, record.at);
            }
            Fact::Gone { delivery } => {
                open.remove(delivery);
            }
            Fact::Told { delivery, .. } => {
                let Some(sent_at) = open.remove(delivery) else {
                    return wrong(number, format!("delivery {delivery} is answered twice"));
                };
                let jumped = jumped_at.is_some_and(|at| at >= sent_at);
                if record.at - sent_at > run.plan.inbox.accept_timeout && !jumped {
                    return wrong(number, format!("delivery {delivery} is answered late"));
                }
            }
            _ => {}
        }
    }
    match open.keys().next() {
        Some(delivery) => wrong_in_the_end(format!("delivery {delivery} was never answered")),
        None => Ok(()),
    }
}
