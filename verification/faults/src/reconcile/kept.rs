//! Checks that each accepted event is stored once, as it was sent, and has ended.

use std::collections::HashMap;

use webhook_core::FailureReason;

use crate::behaviour::{Behaviour, PANIC, REJECTED};
use crate::book::{Content, body};
use crate::stored::Stored;

use super::{Complaints, Evidence, us};

pub(super) fn check(evidence: &Evidence<'_>, complaints: &mut Complaints) {
    let by_key: HashMap<&str, &Stored> = evidence
        .stored
        .iter()
        .map(|stored| (stored.key.as_str(), stored))
        .collect();
    if by_key.len() != evidence.stored.len() {
        complaints.add("key stored twice", "two events have the same key");
    }
    for (key, sent) in &evidence.entries.sent {
        let stored = by_key.get(key.as_str());
        if sent.is_acknowledged() && stored.is_none() {
            complaints.add("LOST", format!("{key} was acknowledged: {sent:?}"));
        }
        if sent.accepted > 1 {
            complaints.add("accepted twice", format!("{key}: {sent:?}"));
        }
        if let Some(stored) = stored
            && stored.conflicts < i64::from(sent.conflicts)
        {
            let count = stored.conflicts;
            complaints.add("conflict lost", format!("{key}: {count} of {sent:?}"));
        }
        if let Some(stored) = stored
            && stored.conflicts > 0
            && sent.contested == 0
        {
            complaints.add("conflict without a cause", key);
        }
    }
    for stored in evidence.stored {
        of_one(evidence, stored, complaints);
    }
}

fn of_one(evidence: &Evidence<'_>, stored: &Stored, complaints: &mut Complaints) {
    let key = &stored.key;
    if !evidence.entries.sent.contains_key(key) {
        complaints.add("never sent", key);
    }
    let is_spoilt = evidence.spoilt.is_some_and(|start| key.starts_with(start));
    if stored.body != body(key, Content::Own).as_bytes() && !is_spoilt {
        complaints.add("other body", key);
    }
    let due_at_us = stored.due_at_us(us(evidence.delay));
    let delay_us = due_at_us - stored.accepted_at_us;
    if delay_us != us(evidence.delay) {
        complaints.add("wrong delay", format!("{key}: {delay_us} µs"));
    }
    match (&stored.outcome, stored.is_queued) {
        (Some(outcome), false) => {
            let expected = Behaviour::of(key).fails() || is_spoilt;
            if outcome.failed != expected {
                let how = format!("{key}: failed: {}, {:?}", outcome.failed, outcome.reason);
                complaints.add("other end", how);
            }
            let reason = outcome.reason.as_deref();
            if !is_reason(key, is_spoilt, reason) {
                complaints.add("other reason", format!("{key}: {reason:?}"));
            }
            if outcome.settled_at_us < due_at_us {
                complaints.add("EARLY", format!("{key} was settled before it was due"));
            }
            let attempts = u32::try_from(outcome.attempts).unwrap_or(0);
            if !(1..=evidence.max_attempts).contains(&attempts) {
                complaints.add("attempts out of bounds", format!("{key}: {attempts}"));
            }
            let is_first = attempts == 1 || Behaviour::of(key) == Behaviour::Once;
            if evidence.spends_no_attempt && !is_first {
                complaints.add("attempt spent", format!("{key}: {attempts}"));
            }
        }
        (None, true) if evidence.is_over => complaints.add("STUCK", key),
        (None, true) => {}
        (Some(_), true) => complaints.add("settled and queued", key),
        (None, false) => complaints.add("LOST", format!("{key} is in no queue and has not ended")),
    }
}

/// Returns whether an event with this behaviour fails for this reason.
fn is_reason(key: &str, is_spoilt: bool, reason: Option<&str>) -> bool {
    let expected = match Behaviour::of(key) {
        _ if is_spoilt => "unreadable",
        Behaviour::Well | Behaviour::Booked | Behaviour::Long | Behaviour::Once => {
            return reason.is_none();
        }
        Behaviour::Reject => REJECTED,
        Behaviour::Kill => FailureReason::Exhausted.as_str(),
        Behaviour::Hang => "took longer than",
        Behaviour::Panic => PANIC,
    };
    reason.is_some_and(|reason| reason.contains(expected))
}
