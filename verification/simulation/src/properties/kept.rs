//! The latest failed attempts of each event are kept, each with its own reason and details. Claims have the
//! event type of the first delivery.

use webhook_core::MAX_FAILED_ATTEMPTS;

use super::{Wrong, each, wrong, wrong_in_the_end};
use crate::Run;
use crate::ledger::{Ledger, Model, Step};

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    for (event, kept) in &run.failed_attempts {
        let lines = ledger
            .events
            .get(event)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let failed = Model::after(lines).failed_attempts;
        let latest = failed.iter().rev().take(MAX_FAILED_ATTEMPTS);
        let kept: Vec<_> = kept.iter().map(|it| (it.attempt, &it.reason)).collect();
        if !latest
            .map(|(attempt, reason)| (*attempt, reason))
            .eq(kept.iter().copied())
        {
            return wrong_in_the_end(format!(
                "{event:?} failed like this: {failed:?}, and {kept:?} is kept"
            ));
        }
    }
    each(ledger, |event, before, line| match &line.step {
        Step::Claimed { event_type, .. } => {
            let first = before.first.as_ref();
            let first = first.and_then(|it| it.event_type.as_ref());
            if event_type.as_ref() == first {
                return Ok(());
            }
            wrong(
                line.number,
                format!("{event:?} is claimed with the type {event_type:?}, not {first:?}"),
            )
        }
        _ => Ok(()),
    })
}
