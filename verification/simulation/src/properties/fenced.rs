//! An event has one holder at a time. An extend or a settle has an effect if and only if its lease
//! is the latest one and not settled. No lease starts two handlers.

use std::collections::BTreeSet;

use webhook_core::{Extended, Settled};

use super::{Wrong, each, wrong};
use crate::Run;
use crate::ledger::{Ledger, Step};

pub(super) fn check(_: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    let mut begun = BTreeSet::new();
    each(ledger, |event, before, line| {
        let number = line.number;
        match &line.step {
            Step::Claimed { lease, .. } => {
                if before.lease.is_some_and(|(_, until)| line.at < until) {
                    return wrong(number, format!("{event:?} is claimed while it is leased"));
                }
                if before.fence.is_some_and(|fence| lease.fence <= fence) {
                    return wrong(number, format!("the fence of {event:?} does not grow"));
                }
                Ok(())
            }
            Step::Exhausted { .. } if before.lease.is_some_and(|(_, until)| line.at < until) => {
                wrong(number, format!("{event:?} is exhausted while it is leased"))
            }
            Step::Extended { lease, answer, .. } => {
                let right = if before.holds(lease) {
                    Extended::Renewed
                } else {
                    Extended::LeaseLost
                };
                if *answer == right {
                    return Ok(());
                }
                let what = format!("a lease of {event:?} is {answer:?} where it is {right:?}");
                wrong(number, what)
            }
            Step::Settled { lease, answer, .. } => {
                let right = if before.holds(lease) {
                    Settled::Applied
                } else {
                    Settled::LeaseLost
                };
                if *answer == right {
                    return Ok(());
                }
                let what = format!("settling {event:?} is {answer:?} where it is {right:?}");
                wrong(number, what)
            }
            Step::Begun { lease, .. } if !begun.insert((lease.event, lease.fence)) => wrong(
                number,
                format!("one lease starts two handlers on {event:?}"),
            ),
            _ => Ok(()),
        }
    })
}
