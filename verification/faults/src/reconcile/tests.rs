use crate::behaviour::Behaviour;
use crate::book::{Content, Sent, body};
use crate::stored::Outcome;

use super::*;

const DELAY: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_secs(2);

/// An event that was accepted at 1 s, due at 1.2 s and processed at 1.3 s.
struct Case {
    entries: Entries,
    stored: Vec<Stored>,
    effects: Vec<(i64, i64)>,
    lines: Vec<Line>,
}

impl Case {
    fn good() -> Self {
        let key = Behaviour::Well.key(1);
        let mut entries = Entries::default();
        let sent = Sent {
            accepted: 1,
            ..Sent::default()
        };
        entries.sent.insert(key.clone(), sent);
        let stored = Stored {
            id: 7,
            body: body(&key, Content::Own).into_bytes(),
            key,
            accepted_at_us: 1_000_000,
            first_due_at_us: Some(1_200_000),
            is_queued: false,
            outcome: Some(Outcome {
                failed: false,
                attempts: 1,
                fence: 1,
                settled_at_us: 1_300_000,
                reason: None,
            }),
            conflicts: 0,
        };
        Self {
            entries,
            stored: vec![stored],
            effects: Vec::new(),
            lines: [What::Begun, What::Ended, What::Processed]
                .map(|what| line(what, 1, 50_000))
                .to_vec(),
        }
    }

    /// The same event with a handler that settles it together with its effect.
    fn booked() -> Self {
        let mut case = Self::good();
        let key = Behaviour::Booked.key(1);
        let sent = case.entries.sent.pop_first().unwrap().1;
        case.entries.sent.insert(key.clone(), sent);
        case.stored[0].body = body(&key, Content::Own).into_bytes();
        for line in &mut case.lines {
            line.key.clone_from(&key);
        }
        case.stored[0].key = key;
        case.effects.push((7, 1));
        case
    }

    fn tally(&self) -> Tally {
        reconcile(&Evidence {
            entries: &self.entries,
            stored: &self.stored,
            effects: &self.effects,
            lines: &self.lines,
            delay: DELAY,
            lease: LEASE,
            max_attempts: 3,
            spoilt: None,
            spends_no_attempt: false,
            keeps_ledger: true,
            is_over: true,
        })
    }

    #[track_caller]
    fn complains(&self, of: &str) {
        let violations = self.tally().violations;
        assert!(
            violations.iter().any(|it| it.starts_with(of)),
            "{of} is not in {violations:?}"
        );
    }
}

/// Returns a line about the event, claimed `lag_us` after it was due.
fn line(what: What, fence: i64, lag_us: i64) -> Line {
    Line {
        event: 7,
        attempt: u32::try_from(fence).unwrap(),
        fence,
        at_us: 1_200_000 + lag_us,
        lag_us,
        key: Behaviour::Well.key(1),
        ..Line::of(what)
    }
}

#[test]
fn a_good_run_has_no_violations() {
    let tally = Case::good().tally();
    assert_eq!(tally.violations, Vec::<String>::new());
    assert_eq!((tally.acknowledged, tally.processed), (1, 1));
    assert_eq!(tally.begun_twice, 0);
}

#[test]
fn booked_events_need_exactly_one_effect() {
    let mut case = Case::booked();
    assert_eq!(case.tally().violations, Vec::<String>::new());
    case.effects.push((7, 1));
    case.complains("NOT ONE EFFECT");
    case.effects.clear();
    case.complains("NOT ONE EFFECT");
    case.effects.push((7, 2));
    case.complains("NOT ONE EFFECT");
    case.effects[0].0 = 8;
    case.complains("EFFECT WITHOUT ITS EVENT");
}

#[test]
fn missing_acknowledged_events_are_reported() {
    let mut case = Case::good();
    case.stored.clear();
    case.lines.clear();
    case.complains("LOST");
}

#[test]
fn unacknowledged_events_may_be_missing() {
    let mut case = Case::good();
    case.stored.clear();
    case.lines.clear();
    for sent in case.entries.sent.values_mut() {
        sent.accepted = 0;
        sent.open = 1;
    }
    let tally = case.tally();
    assert_eq!(tally.violations, Vec::<String>::new());
    assert_eq!(tally.unknown, 1);
}

#[test]
fn events_left_in_the_queue_are_reported() {
    let mut case = Case::good();
    case.stored[0].outcome = None;
    case.stored[0].is_queued = true;
    case.complains("STUCK");
}

#[test]
fn early_handlers_are_reported() {
    let mut case = Case::good();
    case.lines[0].at_us = 1_199_999;
    case.complains("EARLY");
}

#[test]
fn events_settled_by_two_attempts_are_reported() {
    let mut case = Case::good();
    case.lines.push(line(What::Begun, 2, 3_000_000));
    case.lines.push(line(What::Processed, 2, 3_000_000));
    case.complains("SETTLED TWICE");
}

#[test]
fn takeovers_of_expired_leases_are_allowed() {
    let mut case = Case::good();
    case.lines.push(line(What::Begun, 2, 50_000 + 2_000_000));
    let tally = case.tally();
    assert_eq!(tally.violations, Vec::<String>::new());
    assert_eq!(tally.begun_twice, 1);
}

#[test]
fn takeovers_of_running_leases_are_reported() {
    let mut case = Case::good();
    case.lines.push(line(What::Begun, 2, 50_000 + 1_999_999));
    case.complains("STOLEN LEASE");
}

#[test]
fn outcomes_without_a_handler_are_reported() {
    let mut case = Case::good();
    case.lines.clear();
    case.complains("PROCESSED WITHOUT A HANDLER");
}

#[test]
fn changed_bodies_are_reported() {
    let mut case = Case::good();
    case.stored[0].body = body(&case.stored[0].key, Content::Other).into_bytes();
    case.complains("other body");
}

#[test]
fn a_duplicate_answered_as_new_is_reported() {
    let mut case = Case::good();
    for sent in case.entries.sent.values_mut() {
        sent.accepted = 2;
    }
    case.complains("accepted twice");
}
