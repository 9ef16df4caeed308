//! An acknowledged delivery is durable: it took effect before the answer, and the store has its
//! event in the end. A delivery without an answer may have taken effect or not.

use std::collections::BTreeMap;

use super::{Wrong, wrong, wrong_in_the_end};
use crate::Run;
use crate::history::{Answer, Call, Fact};
use crate::ledger::{Ledger, named};

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let mut sent = BTreeMap::new();
    let mut effects = Vec::new();
    for (number, record) in run.history.iter().enumerate() {
        match &record.fact {
            Fact::Sent {
                delivery,
                life,
                envelope,
                ..
            } => {
                sent.insert(*delivery, (*life, envelope));
            }
            Fact::Effect {
                call,
                what: Call::Accept(events),
                answer: Answer::Accept(answers),
            } => {
                for (event, answer) in events.iter().zip(answers) {
                    effects.push((call.life, &event.envelope, *answer));
                }
            }
            Fact::Told {
                delivery,
                told: Ok(told),
            } => {
                let Some((life, envelope)) = sent.get(delivery) else {
                    return wrong(number, format!("delivery {delivery} was never sent"));
                };
                if !effects.contains(&(*life, *envelope, *told)) {
                    let what = format!("delivery {delivery} was told {told:?} without an effect");
                    return wrong(number, what);
                }
                let event = named(envelope);
                if run.found.get(&event).is_none_or(Option::is_none) {
                    let what =
                        format!("{event:?} was acknowledged, and the store has no such event");
                    return wrong_in_the_end(what);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
