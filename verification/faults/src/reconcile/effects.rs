//! Checks that an event that is settled in the transaction of its effect has exactly one effect, by
//! the attempt that settled it.

use std::collections::HashMap;

use crate::behaviour::Behaviour;

use super::{Complaints, Evidence};

pub(super) fn check(evidence: &Evidence<'_>, complaints: &mut Complaints) {
    let mut fences: HashMap<i64, Vec<i64>> = HashMap::new();
    for &(event, fence) in evidence.effects {
        fences.entry(event).or_default().push(fence);
    }
    for stored in evidence.stored {
        let effects = fences.remove(&stored.id).unwrap_or_default();
        let is_booked = Behaviour::of(&stored.key) == Behaviour::Booked;
        let processed = stored.outcome.as_ref().filter(|outcome| !outcome.failed);
        let expected: Vec<i64> = processed
            .filter(|_| is_booked)
            .map(|outcome| outcome.fence)
            .into_iter()
            .collect();
        if effects != expected {
            let key = &stored.key;
            let found = format!("{key}: effects under {effects:?}, {:?}", stored.outcome);
            complaints.add("NOT ONE EFFECT", found);
        }
    }
    for (event, fences) in fences {
        complaints.add("EFFECT WITHOUT ITS EVENT", format!("{event}: {fences:?}"));
    }
}
