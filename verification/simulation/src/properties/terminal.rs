//! A PROCESSED event stays PROCESSED, and a FAILED one stays FAILED until it is requeued. The
//! store's records show the state that each event must have.

use webhook_core::State;

use super::{Wrong, each, wrong, wrong_in_the_end};
use crate::Run;
use crate::ledger::{Ledger, Model, Step};

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    each(ledger, |event, before, line| {
        let ended = before.state.filter(|state| *state != State::Processing);
        match (&line.step, ended) {
            (Step::Claimed { .. } | Step::Exhausted { .. }, Some(state)) => wrong(
                line.number,
                format!("{event:?} is claimed, and it is {state}"),
            ),
            (Step::Requeued, state) if state != Some(State::Failed) => wrong(
                line.number,
                format!("{event:?} is requeued, and it is {state:?}"),
            ),
            (Step::Found { state }, _) if *state != before.state => {
                let right = before.state;
                wrong(
                    line.number,
                    format!("{event:?} is found as {state:?}, not {right:?}"),
                )
            }
            _ => Ok(()),
        }
    })?;
    for (event, found) in &run.found {
        let lines = ledger
            .events
            .get(event)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (state, right) = (found.as_ref().map(|it| it.state), Model::after(lines).state);
        if state != right {
            return wrong_in_the_end(format!("{event:?} is {state:?}, not {right:?}"));
        }
        let settled = found.as_ref().is_some_and(|it| it.settled_at.is_some());
        if settled != state.is_some_and(|state| state != State::Processing) {
            return wrong_in_the_end(format!("{event:?} is {state:?}, settled: {settled}"));
        }
    }
    Ok(())
}
