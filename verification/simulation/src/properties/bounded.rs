//! Attempts are numbered from 1 and never more than allowed. A crash uses one up, and only a
//! release gives one back. A failed event has a reason.

use std::collections::BTreeMap;

use webhook_core::{FailureReason, State};

use super::{Wrong, each, wrong, wrong_in_the_end};
use crate::Run;
use crate::ledger::{Ledger, Model, Step};
use crate::payload::kinds;

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    // Handlers by event and by the round of their claim.
    let mut handlers: BTreeMap<_, u32> = BTreeMap::new();
    each(ledger, |event, before, line| {
        let worker = &run.plan.workers[usize::from(event.kind != kinds()[0])];
        let max_attempts = worker.max_attempts.get();
        let number = line.number;
        match &line.step {
            Step::Claimed { lease, .. } => {
                let attempt = lease.attempt.number();
                if attempt != before.attempts + 1 {
                    let spent = before.attempts;
                    let what = format!("attempt {attempt} at {event:?} after {spent} were spent");
                    return wrong(number, what);
                }
                if attempt > max_attempts {
                    return wrong(
                        number,
                        format!("attempt {attempt} at {event:?} is too many"),
                    );
                }
                Ok(())
            }
            Step::Exhausted { max_attempts } if before.attempts < *max_attempts => {
                wrong(number, format!("{event:?} is exhausted with attempts left"))
            }
            Step::Begun { lease } => {
                let round = before
                    .claims
                    .get(&lease.fence)
                    .map_or(0, |(_, round)| *round);
                let begun = handlers.entry((event.clone(), round)).or_default();
                *begun += 1;
                let released = before.released.get(round.wrapping_sub(1));
                if *begun > max_attempts + released.copied().unwrap_or_default() {
                    return wrong(number, format!("handler {begun} on {event:?} is too many"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    })?;

    for (event, found) in &run.found {
        let Some(found) = found else { continue };
        let lines = ledger
            .events
            .get(event)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (attempts, right) = (found.attempts, Model::after(lines).attempts);
        if attempts != right {
            return wrong_in_the_end(format!("{event:?} has {attempts} attempts of {right}"));
        }
        let reason = found.reason.as_ref().map_or("", FailureReason::as_str);
        if found.state == State::Failed && reason.is_empty() {
            return wrong_in_the_end(format!("{event:?} failed for no reason"));
        }
    }
    Ok(())
}
