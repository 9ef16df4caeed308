//! No event of a paused kind is claimed.

use std::collections::BTreeSet;

use super::{Wrong, wrong};
use crate::Run;
use crate::history::{Answer, Call, Fact};
use crate::ledger::Ledger;

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut paused = BTreeSet::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Paused { kind } => {
                paused.insert(kind);
            }
            Fact::Resumed { kind } => {
                paused.remove(kind);
            }
            Fact::Effect {
                what: Call::Claim(claims),
                answer: Answer::Claim(claimed),
                ..
            } => {
                for (claim, claimed) in claims.iter().zip(claimed) {
                    let brought = claimed.events.len() + claimed.exhausted.len();
                    if brought > 0 && paused.contains(&claim.kind) {
                        let what = format!("events of {} are claimed, which is paused", claim.kind);
                        return wrong(number, what);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
