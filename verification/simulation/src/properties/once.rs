//! There is one event per key: one of its deliveries is new, and the store holds it once.

use std::collections::{BTreeMap, BTreeSet};

use webhook_core::Accepted;

use super::{Wrong, each, wrong, wrong_in_the_end};
use crate::Run;
use crate::history::Fact;
use crate::ledger::{Ledger, Step, named};

pub(super) fn check(run: &Run, ledger: &Ledger) -> Result<(), Wrong> {
    each(ledger, |event, before, line| match &line.step {
        Step::Accepted {
            answer: Accepted::New,
            ..
        } if before.first.is_some() => wrong(line.number, format!("{event:?} is new twice")),
        Step::Accepted { answer, .. } if before.first.is_none() && *answer != Accepted::New => {
            wrong(line.number, format!("{event:?} is there before it is new"))
        }
        _ => Ok(()),
    })?;

    let mut sent = BTreeMap::new();
    let mut new = BTreeSet::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Sent {
                delivery, envelope, ..
            } => {
                sent.insert(*delivery, named(envelope));
            }
            Fact::Told {
                delivery,
                told: Ok(Accepted::New),
            } => {
                if let Some(event) = sent.get(delivery)
                    && !new.insert(event.clone())
                {
                    return wrong(
                        number,
                        format!("two senders are told that {event:?} is new"),
                    );
                }
            }
            _ => {}
        }
    }

    let mut held = BTreeSet::new();
    for record in &run.listed {
        let event = &record.event;
        if !ledger.events.contains_key(event) {
            return wrong_in_the_end(format!("the store holds {event:?}, which nobody stored"));
        }
        if !held.insert(event) {
            return wrong_in_the_end(format!("the store holds {event:?} twice"));
        }
    }
    Ok(())
}
