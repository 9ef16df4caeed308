//! Checks that handlers begin on time, under leases that nobody else holds, and settle once.

use std::collections::{HashMap, HashSet};

use crate::behaviour::Behaviour;
use crate::ledger::{Line, What};
use crate::stored::Stored;

use super::{Complaints, Evidence, lines_of, us};

pub(super) fn check(evidence: &Evidence<'_>, complaints: &mut Complaints) {
    let by_id: HashMap<i64, &Stored> = evidence.stored.iter().map(|it| (it.id, it)).collect();
    begun(evidence, &by_id, complaints);
    settled(evidence, complaints);
    ended(evidence, complaints);
}

/// Counts the events whose handler began more than once, although it was not told to fail.
pub(super) fn begun_twice(evidence: &Evidence<'_>) -> usize {
    let lines = lines_of(evidence, What::Begun);
    repeated(lines.filter(|line| is_steady(&line.key)))
}

/// Counts the events whose handler succeeded more than once, with effects outside of the database.
pub(super) fn done_twice(evidence: &Evidence<'_>) -> usize {
    let lines = lines_of(evidence, What::Ended);
    repeated(lines.filter(|line| Behaviour::of(&line.key) != Behaviour::Booked))
}

/// Counts the events that have more than one line.
fn repeated<'a>(lines: impl Iterator<Item = &'a Line>) -> usize {
    let mut counts: HashMap<i64, u32> = HashMap::new();
    for line in lines {
        *counts.entry(line.event).or_default() += 1;
    }
    counts.values().filter(|&&times| times > 1).count()
}

/// Returns whether a handler of this event settles it at the first attempt, unless it is
/// interrupted.
fn is_steady(key: &str) -> bool {
    matches!(
        Behaviour::of(key),
        Behaviour::Well | Behaviour::Booked | Behaviour::Long | Behaviour::Reject
    )
}

fn begun(evidence: &Evidence<'_>, by_id: &HashMap<i64, &Stored>, complaints: &mut Complaints) {
    let mut attempts: HashMap<i64, Vec<&Line>> = HashMap::new();
    for line in lines_of(evidence, What::Begun) {
        let key = &line.key;
        let Some(stored) = by_id.get(&line.event) else {
            complaints.add("LOST", format!("{key} was handled and is not stored"));
            continue;
        };
        let due_at_us = stored.due_at_us(us(evidence.delay));
        if line.at_us < due_at_us {
            let early = due_at_us - line.at_us;
            complaints.add("EARLY", format!("{key} began {early} µs before it was due"));
        }
        if !(1..=evidence.max_attempts).contains(&line.attempt) {
            complaints.add("attempts out of bounds", format!("{line:?}"));
        }
        attempts.entry(line.event).or_default().push(line);
    }
    let handed_back: HashSet<(i64, i64)> = lines_of(evidence, What::Released)
        .chain(lines_of(evidence, What::Retried))
        .map(|line| (line.event, line.fence))
        .collect();
    for (event, mut lines) in attempts {
        lines.sort_by_key(|line| line.fence);
        for pair in lines.windows(2) {
            let (one, next) = (pair[0], pair[1]);
            if one.fence == next.fence {
                complaints.add("fence given out twice", format!("{one:?}, {next:?}"));
                continue;
            }
            // Both times are by the database's clock. They compare because the due time of an event
            // does not change with its leases.
            let between_us = next.lag_us - one.lag_us;
            let is_next = next.fence == one.fence + 1;
            if is_next
                && is_steady(&one.key)
                && !handed_back.contains(&(event, one.fence))
                && between_us < us(evidence.lease)
            {
                let gap = format!("{one:?}, {next:?}: {between_us} µs apart");
                complaints.add("STOLEN LEASE", gap);
            }
        }
    }
}

/// Checks that only one attempt at an event settles it finally.
fn settled(evidence: &Evidence<'_>, complaints: &mut Complaints) {
    let mut settled: HashMap<i64, &Line> = HashMap::new();
    let lines = evidence.lines.iter();
    for line in lines.filter(|it| matches!(it.what, What::Processed | What::Failed)) {
        if let Some(other) = settled.insert(line.event, line) {
            complaints.add("SETTLED TWICE", format!("{other:?}, {line:?}"));
        }
    }
    for stored in evidence.stored {
        let Some(outcome) = &stored.outcome else {
            continue;
        };
        if let Some(line) = settled.get(&stored.id)
            && (line.fence != outcome.fence || outcome.failed != (line.what == What::Failed))
        {
            let key = &stored.key;
            complaints.add("SETTLED TWICE", format!("{key}: {line:?}, {outcome:?}"));
        }
    }
}

/// Checks that each processed event was handled completely by the attempt that settled it.
fn ended(evidence: &Evidence<'_>, complaints: &mut Complaints) {
    let ended: HashSet<(i64, i64)> = lines_of(evidence, What::Ended)
        .map(|line| (line.event, line.fence))
        .collect();
    for stored in evidence.stored {
        if let Some(outcome) = &stored.outcome
            && !outcome.failed
            && !ended.contains(&(stored.id, outcome.fence))
        {
            let key = &stored.key;
            complaints.add("PROCESSED WITHOUT A HANDLER", format!("{key}: {outcome:?}"));
        }
    }
}
