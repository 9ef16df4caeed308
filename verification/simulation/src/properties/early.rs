//! No event is claimed and no handler starts before the event is due, and a claim says correctly
//! how late and how old it is.

use super::{Wrong, each, wrong};
use crate::Run;
use crate::ledger::{Ledger, Step};

pub(super) fn check(_: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    each(ledger, |event, before, line| match &line.step {
        Step::Claimed { .. } | Step::Exhausted { .. } if line.at < before.due_at => wrong(
            line.number,
            format!("{event:?} is claimed before it is due"),
        ),
        Step::Claimed { lag, .. } if *lag != line.at - before.due_at => {
            let right = line.at - before.due_at;
            wrong(
                line.number,
                format!("{event:?} is {right:?} late, not {lag:?}"),
            )
        }
        Step::Claimed { age, .. } if *age != line.at - before.accepted_at => {
            let right = line.at - before.accepted_at;
            wrong(
                line.number,
                format!("{event:?} is {right:?} old, not {age:?}"),
            )
        }
        Step::Begun { lease, .. } => match before.claims.get(&lease.fence) {
            Some((due_at, _)) if *due_at <= line.at => Ok(()),
            Some(_) => wrong(line.number, format!("a handler starts early on {event:?}")),
            None => wrong(
                line.number,
                format!("a handler starts unclaimed on {event:?}"),
            ),
        },
        _ => Ok(()),
    })
}
