//! The same content under a taken key is a duplicate and changes nothing. Other content is a
//! conflict: it is recorded, and the first content is kept.

use std::collections::BTreeMap;

use webhook_core::Accepted;

use super::{Wrong, each, wrong, wrong_in_the_end};
use crate::Run;
use crate::history::Fact;
use crate::ledger::{Ledger, Model, Step, named};

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    each(ledger, |event, before, line| match &line.step {
        Step::Accepted {
            event: delivery,
            answer,
        } => {
            let right = before.accepts(delivery);
            if *answer == right {
                Ok(())
            } else {
                wrong(
                    line.number,
                    format!("{event:?} is {answer:?} where it is {right:?}"),
                )
            }
        }
        _ => Ok(()),
    })?;

    let mut ends = BTreeMap::new();
    for (event, lines) in &ledger.events {
        ends.insert(event.clone(), Model::after(lines));
    }
    let mut sent = BTreeMap::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Sent {
                delivery, envelope, ..
            } => {
                sent.insert(*delivery, envelope);
            }
            Fact::Told {
                delivery,
                told: Ok(told),
            } => {
                let Some(envelope) = sent.get(delivery) else {
                    continue;
                };
                let first = ends
                    .get(&named(envelope))
                    .and_then(|end| end.first.as_ref());
                let same = first.is_some_and(|first| first.fingerprint == envelope.fingerprint);
                if same == (*told == Accepted::Conflict) {
                    let what =
                        format!("delivery {delivery} is told {told:?}, same content: {same}");
                    return wrong(number, what);
                }
            }
            _ => {}
        }
    }

    for (event, found) in &run.found {
        let Some(found) = found else { continue };
        let end = ends.remove(event).unwrap_or_default();
        if end.first.as_ref() != Some(&found.envelope) {
            return wrong_in_the_end(format!("{event:?} is not kept as it was first accepted"));
        }
        let count = found.conflict_count;
        if count != end.conflicts || found.last_conflict_at.is_some() != (count > 0) {
            let right = end.conflicts;
            return wrong_in_the_end(format!(
                "{event:?} has {count} conflicts recorded of {right}"
            ));
        }
    }
    Ok(())
}
