//! An event ends as its handler did: it is PROCESSED only if an attempt succeeded.

use std::collections::BTreeMap;

use webhook_core::{Attempt, Outcome, Settled};

use super::{Wrong, each, wrong};
use crate::Run;
use crate::history::{End, Part};
use crate::ledger::{Ledger, Step};
use crate::payload::kinds;

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    // Handlers by their lease; `None` while they run.
    let mut handlers: BTreeMap<_, Option<End>> = BTreeMap::new();
    each(ledger, |event, _, line| match &line.step {
        Step::Begun { lease, .. } => {
            handlers.insert((lease.event, lease.fence), None);
            Ok(())
        }
        Step::Ended { lease, end } => {
            handlers.insert((lease.event, lease.fence), Some(end.clone()));
            Ok(())
        }
        Step::Settled {
            by,
            lease,
            outcome,
            answer: Settled::Applied,
        } => {
            let worker = usize::from(event.kind != kinds()[0]);
            let last = Attempt::new(run.plan.workers[worker].max_attempts) <= lease.attempt;
            let handler = handlers.get(&(lease.event, lease.fence));
            if is_right(by, outcome, handler, last) {
                return Ok(());
            }
            let what =
                format!("{event:?} is settled as {outcome:?} where its handler was {handler:?}");
            wrong(line.number, what)
        }
        _ => Ok(()),
    })
}

/// Returns whether a settlement agrees with its handler, which did not begin, is running, or has
/// ended.
fn is_right(by: &Part, outcome: &Outcome, handler: Option<&Option<End>>, last: bool) -> bool {
    use End::{Cut, Done, Panic, Reject, Retry, RetryAfter};
    if matches!(by, Part::Handler(..)) {
        // The handler settles the event itself, or its call takes effect after it was dropped.
        return *outcome == Outcome::Processed && matches!(handler, Some(None | Some(Cut | Retry)));
    }
    match (outcome, handler) {
        (Outcome::Processed, Some(Some(Done))) => true,
        // The body could not be decoded.
        (Outcome::Failed { .. }, None) => last,
        (Outcome::Retry { .. }, None) => !last,
        (Outcome::Failed { .. }, Some(Some(Reject))) => true,
        (Outcome::Failed { .. }, Some(Some(Retry | RetryAfter(_) | Panic | Cut))) => last,
        (Outcome::Retry { after, .. }, Some(Some(RetryAfter(asked)))) => !last && after == asked,
        (Outcome::Retry { .. }, Some(Some(Retry | Panic | Cut))) => !last,
        (Outcome::Release, None | Some(Some(Cut))) => true,
        _ => false,
    }
}
