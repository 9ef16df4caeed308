//! Accepting: each key once, with an answer for keys that are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{Accepted, EventRef, Fingerprint, NewEvent, Outcome, State};

/// An empty batch has an empty answer.
pub async fn an_empty_batch_has_no_outcomes(backend: Backend) {
    assert_eq!(backend.accept(&[]).await, []);
    assert_eq!(backend.find(&[]).await, []);
}

/// An event with a free key is new, and is stored unchanged.
pub async fn a_free_key_is_new(backend: Backend) {
    let event = event_in(LONG, "a", "content");
    let accepted = backend.accept(slice::from_ref(&event)).await;
    assert_eq!(accepted, [Accepted::New]);
    let record = backend.record("a").await;
    assert_eq!(record.envelope, event.envelope);
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.attempts, 0);
    assert_eq!(record.settled_at, None);
    assert_eq!(record.reason, None);
    assert_eq!(record.conflict_count, 0);
    assert_eq!(record.last_conflict_at, None);
}

/// The same content again changes nothing, even with another body.
pub async fn the_same_content_is_a_duplicate(backend: Backend) {
    backend.accept_new(&[event("a", "content")]).await;
    let before = backend.record("a").await;
    let mut again = event("a", "content");
    again.envelope.body = "other bytes".into();
    assert_eq!(backend.accept(&[again]).await, [Accepted::Duplicate]);
    assert_eq!(backend.record("a").await, before);
    let conflicts = backend.admin.conflicts(&event_ref("a")).await;
    assert_eq!(conflicts.expect("conflicts"), []);
}

/// Other content does not change the first event, and is recorded as a conflict.
pub async fn other_content_is_a_conflict(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "a", "first")]).await;
    let before = backend.record("a").await;
    let accepted = backend.accept(&[event("a", "second")]).await;
    assert_eq!(accepted, [Accepted::Conflict]);
    let after = backend.record("a").await;
    assert_eq!(after.conflict_count, 1);
    assert!(after.last_conflict_at.expect("the conflict's time") >= after.accepted_at);
    let mut untouched = after.clone();
    untouched.conflict_count = 0;
    untouched.last_conflict_at = None;
    assert_eq!(untouched, before);
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(claimed.events, [], "a conflict does not change the delay");
}

/// Only the fingerprint is compared with the stored one, not the body.
pub async fn only_the_fingerprint_is_compared(backend: Backend) {
    let mut first = event("a", "the same bytes");
    first.envelope.fingerprint = Fingerprint::from_bytes([0; 32]);
    let mut second = first.clone();
    second.envelope.fingerprint = Fingerprint::from_bytes([0xff; 32]);
    backend.accept_new(slice::from_ref(&first)).await;
    let accepted = backend.accept(&[second, first.clone()]).await;
    assert_eq!(accepted, [Accepted::Conflict, Accepted::Duplicate]);
    let record = backend.record("a").await;
    assert_eq!(record.envelope.fingerprint, first.envelope.fingerprint);
}

/// A duplicate with another delay does not change the due time.
pub async fn a_duplicate_does_not_reschedule(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "later", "1")]).await;
    backend.accept_new(&[event("now", "1")]).await;
    let again = [event("later", "1"), event_in(LONG, "now", "1")];
    let accepted = backend.accept(&again).await;
    assert_eq!(accepted, [Accepted::Duplicate; 2]);
    let claimed = backend.claim_within(&up_to(2), 1).await;
    assert_eq!(keys(&claimed), ["now"]);
}

/// Keys of settled events stay taken.
pub async fn settled_events_keep_their_keys(backend: Backend) {
    backend.settled("good", "1", Outcome::Processed).await;
    backend.settled("bad", "1", failed("broken")).await;
    for (name, state) in [("good", State::Processed), ("bad", State::Failed)] {
        let before = backend.record(name).await;
        assert_eq!(before.state, state);
        let deliveries = [event(name, "1"), event(name, "2"), event(name, "1")];
        let accepted = backend.accept(&deliveries).await;
        let expected = [Accepted::Duplicate, Accepted::Conflict, Accepted::Duplicate];
        assert_eq!(accepted, expected, "{name}");
        let mut after = backend.record(name).await;
        assert_eq!(after.conflict_count, 1);
        after.conflict_count = 0;
        after.last_conflict_at = None;
        assert_eq!(after, before);
    }
    assert_eq!(backend.claim(&up_to(9)).await.events, []);
}

/// A delivery with the key of a leased event is compared as usual, and does not affect the lease.
pub async fn leased_events_keep_their_keys(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    let accepted = backend.accept(&[event("a", "1"), event("a", "2")]).await;
    assert_eq!(accepted, [Accepted::Duplicate, Accepted::Conflict]);
    let settled = backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(settled, crate::Settled::Applied);
}

/// Repeats of a free key within a batch are compared in order.
pub async fn repeats_within_a_batch_are_compared_in_order(backend: Backend) {
    let batch = [
        event("a", "1"),
        event("b", "1"),
        event("a", "1"),
        event("a", "2"),
        event("b", "2"),
        event("a", "1"),
        event("a", "3"),
    ];
    let expected = [
        Accepted::New,
        Accepted::New,
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::Conflict,
        Accepted::Duplicate,
        Accepted::Conflict,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    let a = backend.record("a").await;
    assert_eq!(a.envelope, batch[0].envelope);
    assert_eq!(a.conflict_count, 2);
    assert_eq!(backend.record("b").await.conflict_count, 1);
    assert_eq!(backend.claim_within(&up_to(9), 2).await.len(), 2);
}

/// Each repeat of a taken key is compared with the stored event.
pub async fn repeats_of_a_taken_key_are_compared_with_the_stored_event(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let batch = [
        event("a", "2"),
        event("a", "2"),
        event("a", "1"),
        event("a", "3"),
    ];
    let expected = [
        Accepted::Conflict,
        Accepted::Conflict,
        Accepted::Duplicate,
        Accepted::Conflict,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    let record = backend.record("a").await;
    assert_eq!(record.envelope.body, "1");
    assert_eq!(record.conflict_count, 3);
}

/// The scope of a key is its kind, within a batch and between batches.
pub async fn the_same_key_of_another_kind_is_another_event(backend: Backend) {
    let (one, two) = (kind_named("one"), kind_named("two"));
    let batch = [event_of(&one, "a", "1"), event_of(&two, "a", "2")];
    backend.accept_new(&batch).await;
    backend.accept_new(&[event("a", "3")]).await;
    let again = [event_of(&one, "a", "2"), event_of(&two, "a", "2")];
    let accepted = backend.accept(&again).await;
    assert_eq!(accepted, [Accepted::Conflict, Accepted::Duplicate]);
    let refs = [one, two].map(|kind| EventRef {
        kind,
        key: key("a"),
    });
    let found = backend.find(&refs).await;
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert_eq!(found[0].envelope, batch[0].envelope);
    assert_eq!(found[1].envelope, batch[1].envelope);
    assert_ne!(found[0].id, found[1].id);
    assert_eq!((found[0].conflict_count, found[1].conflict_count), (1, 0));
}

/// Outcome *i* answers event *i*, however a backend orders its work.
pub async fn answers_are_in_the_order_of_events(backend: Backend) {
    let stored: Vec<_> = ["m", "c", "x"].map(|name| event(name, name)).into();
    backend.accept_new(&stored).await;
    let batch = [
        event("z", "1"),
        event("x", "x"),
        event("b", "1"),
        event("m", "other"),
        event("a", "1"),
        event("c", "c"),
        event("y", "1"),
    ];
    let expected = [
        Accepted::New,
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Conflict,
        Accepted::New,
        Accepted::Duplicate,
        Accepted::New,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    let refs: Vec<_> = ["y", "a", "none", "m", "y"].map(event_ref).into();
    let found = backend.find(&refs).await;
    let found = found.iter().map(|found| {
        let record = found.as_ref();
        record.map(|record| record.envelope.key.as_str())
    });
    let expected = [Some("y"), Some("a"), None, Some("m"), Some("y")];
    assert!(found.eq(expected));
}

/// Two thousand events in one batch, some of them repeats.
pub async fn a_large_batch_is_accepted(backend: Backend) {
    let mut batch = events(1_900);
    batch.reverse();
    let repeats: Vec<_> = batch.iter().step_by(19).cloned().collect();
    batch.extend(repeats);
    let accepted = backend.accept(&batch).await;
    assert!(accepted[..1_900].iter().all(|it| *it == Accepted::New));
    let repeats = &accepted[1_900..];
    assert_eq!(repeats.len(), 100);
    assert!(repeats.iter().all(|it| *it == Accepted::Duplicate));
    let refs: Vec<_> = batch.iter().map(reference).collect();
    let found = backend.find(&refs).await;
    for (event, found) in batch.iter().zip(found) {
        assert_eq!(found.map(|it| it.envelope), Some(event.envelope.clone()));
    }
}

/// `find` returns an event as soon as `accept` has returned, also among concurrent batches.
pub async fn an_accepted_event_is_found_at_once(backend: Backend) {
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let backend = backend.clone();
        senders.spawn(async move {
            for turn in 0..10 {
                let name = format!("sender-{sender}-{turn}");
                backend.accept_new(&[event(&name, "1")]).await;
                assert_eq!(backend.record(&name).await.envelope.body, "1");
            }
        });
    }
    senders.join_all().await;
}

/// There is no record of an event that was never delivered.
pub async fn an_unknown_event_is_not_found(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let elsewhere = EventRef {
        kind: kind_named("elsewhere"),
        key: key("a"),
    };
    let found = backend.find(&[event_ref("b"), elsewhere]).await;
    assert_eq!(found, [None, None]);
}

/// Ids are unique, and greater for events that are accepted later, in the same partition if there are any.
pub async fn ids_grow(backend: Backend) {
    let mut last = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for name in ["c", "a", "b", "e", "d"] {
        backend.accept_new(&[event(name, "1")]).await;
        let id = backend.record(name).await.id;
        assert!(ids.insert(id), "{id:?} is not unique");
        let before = last.insert(backend.partition_of(name), id);
        assert!(before < Some(id), "{before:?} comes before {id:?}");
    }
}

/// Times of acceptance follow the order of the calls.
pub async fn times_of_acceptance_grow(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.pass(PAST_SHORT).await;
    backend.accept_new(&[event("b", "1")]).await;
    let (a, b) = (backend.record("a").await, backend.record("b").await);
    assert!(b.accepted_at >= a.accepted_at + SHORT);
}

/// Concurrent batches of the same events in different orders: each is new to exactly one, the
/// others have its duplicates.
pub async fn concurrent_batches_take_each_key_once(backend: Backend) {
    let outcomes = race(&backend, |_, name| event(name, name)).await;
    for outcomes in &outcomes {
        let new = count(outcomes, Accepted::New);
        assert_eq!(new, 1, "{outcomes:?}");
        assert_eq!(count(outcomes, Accepted::Duplicate), RACERS - 1);
    }
    let all = up_to(outcomes.len());
    let claimed = backend.claim_within(&all, outcomes.len()).await;
    assert_eq!(claimed.len(), outcomes.len());
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// Concurrent batches of the same keys with contents of their own: one wins each key, and for
/// all others it is a conflict, never a duplicate.
pub async fn concurrent_batches_compare_contents(backend: Backend) {
    let content = |racer: usize| format!("of racer {racer}");
    let outcomes = race(&backend, move |racer, name| event(name, &content(racer))).await;
    for (number, outcomes) in outcomes.iter().enumerate() {
        let new = count(outcomes, Accepted::New);
        assert_eq!(new, 1, "{outcomes:?}");
        assert_eq!(count(outcomes, Accepted::Conflict), RACERS - 1);
        let winner = outcomes.iter().position(|it| *it == Accepted::New);
        let record = backend.record(&contested(number)).await;
        let won = content(winner.expect("there is one"));
        assert_eq!(record.envelope.body, won, "the first is kept");
        assert_eq!(record.conflict_count, RACERS as u64 - 1);
    }
}

/// As before, with batches that overlap in part and hold repeats.
pub async fn concurrent_batches_with_partial_overlap(backend: Backend) {
    let mut senders = JoinSet::new();
    for sender in 0..RACERS {
        let backend = backend.clone();
        senders.spawn(async move {
            let mut accepted = Vec::new();
            for turn in 0..10 {
                let from = sender * 7 + turn * 11;
                let mut batch: Vec<_> = (from..from + 50)
                    .map(|number| event(&contested(number), "1"))
                    .collect();
                batch.extend_from_within(10..20);
                batch.rotate_left((sender * 13) % 60);
                if turn % 2 == 1 {
                    batch.reverse();
                }
                let outcomes = backend.accept(&batch).await;
                accepted.extend(batch.iter().map(reference).zip(outcomes));
            }
            accepted
        });
    }
    let accepted: Vec<_> = senders.join_all().await.concat();
    let mut new: Vec<_> = accepted
        .iter()
        .filter(|(_, outcome)| *outcome == Accepted::New)
        .map(|(event, _)| event)
        .collect();
    let mut named: Vec<_> = accepted.iter().map(|(event, _)| event).collect();
    new.sort_unstable();
    named.sort_unstable();
    named.dedup();
    assert_eq!(new, named, "each key is new exactly once");
    assert!(accepted.iter().all(|(_, it)| *it != Accepted::Conflict));
}

/// A ping succeeds while the backend works.
pub async fn a_backend_at_work_answers_a_ping(backend: Backend) {
    backend.store.ping().await.expect("ping");
}

const RACERS: usize = 8;

fn contested(number: usize) -> String {
    format!("contested-{number:04}")
}

fn count(outcomes: &[Accepted], outcome: Accepted) -> usize {
    outcomes.iter().filter(|it| **it == outcome).count()
}

/// Lets [`RACERS`] accept the same 200 keys at once, each in an order of its own. Returns, for
/// each key, the racers' outcomes.
async fn race(
    backend: &Backend,
    delivery: impl Fn(usize, &str) -> NewEvent,
) -> Vec<[Accepted; RACERS]> {
    const KEYS: usize = 200;
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let backend = backend.clone();
        let mut batch: Vec<_> = (0..KEYS)
            .map(|number| (number, delivery(racer, &contested(number))))
            .collect();
        batch.rotate_left(racer * KEYS / RACERS);
        if racer % 2 == 1 {
            batch.reverse();
        }
        racers.spawn(async move {
            let (numbers, batch): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let outcomes = backend.accept(&batch).await;
            (racer, numbers, outcomes)
        });
    }
    let mut outcomes = vec![[Accepted::New; RACERS]; KEYS];
    for (racer, numbers, answers) in racers.join_all().await {
        for (number, answer) in numbers.into_iter().zip(answers) {
            outcomes[number][racer] = answer;
        }
    }
    outcomes
}
