//! A reader finds every acknowledged event.

use std::collections::{BTreeMap, BTreeSet};

use super::{Wrong, wrong};
use crate::Run;
use crate::history::Fact;
use crate::ledger::{Ledger, named};

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut sent = BTreeMap::new();
    let mut acknowledged = BTreeMap::new();
    let mut stored = BTreeSet::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Sent {
                delivery, envelope, ..
            } => {
                stored.insert(named(envelope));
                sent.insert(*delivery, named(envelope));
            }
            Fact::Told {
                delivery,
                told: Ok(_),
            } => {
                if let Some(event) = sent.get(delivery) {
                    acknowledged.entry(event.clone()).or_insert(number);
                }
            }
            Fact::Read {
                event,
                asked,
                read: Ok(read),
            } => {
                let known = acknowledged.get(event).is_some_and(|told| told < asked);
                if known && read.is_none() {
                    return wrong(
                        number,
                        format!("{event:?} was acknowledged, and is not found"),
                    );
                }
                if read.is_some() && !stored.contains(event) {
                    return wrong(number, format!("{event:?} is found, and nobody sent it"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
