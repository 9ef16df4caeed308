//! Guards: a delivery with a new key and a known guard is a duplicate, and stores nothing.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::{event_of, guarded_kind as kind, key, other_guarded_kind};
use crate::{
    Accepted, Claim, DeleteBodies, EventRecord, EventRef, Fingerprint, NewEvent, Outcome, Page,
    Prune, State, TerminalState,
};

fn event(name: &str, content: &str) -> NewEvent {
    event_of(&kind(), name, content)
}

fn event_ref(name: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: key(name),
    }
}

fn up_to(limit: usize) -> Claim {
    super::steps::up_to(limit).with_kind(kind())
}

async fn record(backend: &Backend, name: &str) -> EventRecord {
    let found = backend.find(&[event_ref(name)]).await.remove(0);
    found.expect("the event is stored")
}

fn guarded(name: &str, content: &str, guard: &str) -> NewEvent {
    let mut event = event(name, content);
    event.envelope.guard = Some(Fingerprint::of([guard]));
    event
}

/// The keys of the events that are PROCESSING, in ascending order.
async fn stored(backend: &Backend) -> Vec<String> {
    let page = Page::new(kind(), State::Processing, up_to(10_000).limit);
    let listed = backend.admin.list(&page).await.expect("list");
    let mut keys: Vec<_> = listed.iter().map(|it| it.event.key.to_string()).collect();
    keys.sort();
    keys
}

/// Whatever the content, and also together with deliveries without a guard.
pub async fn a_known_guard_is_a_duplicate_and_stores_nothing(backend: Backend) {
    let batch = [
        guarded("a", "1", "g"),
        guarded("b", "1", "h"),
        event("c", "1"),
    ];
    backend.accept_new(&batch).await;
    let again = [
        event("d", "1"),
        guarded("e", "1", "g"),
        guarded("f", "2", "h"),
        guarded("g", "1", "i"),
    ];
    let expected = [
        Accepted::New,
        Accepted::Duplicate,
        Accepted::Duplicate,
        Accepted::New,
    ];
    assert_eq!(backend.accept(&again).await, expected);
    assert_eq!(stored(&backend).await, ["a", "b", "c", "d", "g"]);
    let record = record(&backend, "a").await;
    assert_eq!(record.conflict_count, 0);
    assert_eq!(record.envelope, batch[0].envelope.clone().with_guard(None));
    assert_eq!(backend.accept(&again[1..]).await, [Accepted::Duplicate; 3]);
}

/// A delivery with a known key is a duplicate or a conflict, whatever its guard.
pub async fn a_known_key_is_judged_by_its_content(backend: Backend) {
    let batch = [
        guarded("a", "1", "g"),
        guarded("b", "1", "h"),
        event("c", "1"),
    ];
    backend.accept_new(&batch).await;
    let again = [
        guarded("a", "1", "g"),
        guarded("a", "1", "h"),
        guarded("a", "2", "g"),
        guarded("b", "2", "g"),
        guarded("c", "1", "g"),
        guarded("c", "2", "i"),
        event("a", "1"),
        event("a", "2"),
    ];
    let expected = [
        Accepted::Duplicate,
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::Conflict,
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::Duplicate,
        Accepted::Conflict,
    ];
    assert_eq!(backend.accept(&again).await, expected);
    assert_eq!(record(&backend, "a").await.conflict_count, 2);
    assert_eq!(record(&backend, "b").await.conflict_count, 1);
    assert_eq!(record(&backend, "c").await.conflict_count, 1);
}

/// The guard of a duplicate or a conflict is not stored: its content may come under another key.
pub async fn only_stored_events_have_guards(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let again = [
        guarded("a", "1", "of the duplicate"),
        guarded("a", "2", "of the conflict"),
    ];
    let expected = [Accepted::Duplicate, Accepted::Conflict];
    assert_eq!(backend.accept(&again).await, expected);
    let others = [
        guarded("b", "1", "of the duplicate"),
        guarded("c", "2", "of the conflict"),
    ];
    backend.accept_new(&others).await;
    // The same within a batch.
    let batch = [
        guarded("d", "1", "d"),
        guarded("d", "2", "of the repeat"),
        guarded("e", "2", "of the repeat"),
    ];
    let expected = [Accepted::New, Accepted::Conflict, Accepted::New];
    assert_eq!(backend.accept(&batch).await, expected);
}

/// Two kinds may have the same guard.
pub async fn guards_are_of_one_kind(backend: Backend) {
    let mut other = guarded("b", "1", "g");
    other.envelope.kind = other_guarded_kind();
    let batch = [guarded("a", "1", "g"), other];
    backend.accept_new(&batch).await;
    let mut again = batch;
    for (event, name) in again.iter_mut().zip(["c", "d"]) {
        event.envelope.key = key(name);
    }
    assert_eq!(backend.accept(&again).await, [Accepted::Duplicate; 2]);
}

/// Each delivery is judged by those before it.
pub async fn guards_within_a_batch_are_judged_in_order(backend: Backend) {
    backend.accept_new(&[guarded("taken", "1", "known")]).await;
    let batch = [
        guarded("z", "1", "g"),
        guarded("a", "1", "g"),
        guarded("z", "2", "h"),
        guarded("m", "1", "h"),
        guarded("b", "1", "known"),
        guarded("taken", "1", "i"),
        guarded("c", "1", "i"),
        guarded("d", "1", "i"),
    ];
    let expected = [
        Accepted::New,
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::New,
        Accepted::Duplicate,
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Duplicate,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    assert_eq!(stored(&backend).await, ["c", "m", "taken", "z"]);
}

/// A key is taken only by an event that is stored.
pub async fn a_key_whose_delivery_was_a_duplicate_is_free(backend: Backend) {
    backend.accept_new(&[guarded("a", "1", "g")]).await;
    let batch = [
        guarded("b", "1", "g"),
        guarded("b", "2", "h"),
        guarded("b", "1", "g"),
        guarded("c", "1", "h"),
        guarded("c", "1", "g"),
        event("c", "3"),
        guarded("c", "3", "g"),
    ];
    let expected = [
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Conflict,
        Accepted::Duplicate,
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Duplicate,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    assert_eq!(record(&backend, "b").await.envelope.body, "2");
    assert_eq!(record(&backend, "c").await.envelope.body, "3");
    assert_eq!(record(&backend, "b").await.conflict_count, 1);
}

/// Two thousand events, of which half have a guard that is known or repeated.
pub async fn many_guards_within_a_batch(backend: Backend) {
    let batch: Vec<_> = (0..2_000)
        .map(|number| guarded(&format!("{number:04}"), "1", &format!("{}", number % 1_000)))
        .collect();
    let known: Vec<_> = batch[..500].to_vec();
    backend.accept_new(&known).await;
    let accepted = backend.accept(&batch).await;
    for (number, accepted) in accepted.iter().enumerate() {
        let expected = match number {
            500..1_000 => Accepted::New,
            _ => Accepted::Duplicate,
        };
        assert_eq!(*accepted, expected, "{number}");
    }
    assert_eq!(stored(&backend).await.len(), 1_000);
}

/// Of concurrent deliveries with one guard and different keys, exactly one is stored.
pub async fn concurrent_deliveries_with_one_guard_store_one_event(backend: Backend) {
    for round in 0..10 {
        let mut senders = JoinSet::new();
        for sender in 0..8 {
            let backend = backend.clone();
            let event = guarded(&format!("{round}-{sender}"), "1", &format!("{round}"));
            senders.spawn(async move { backend.accept(&[event]).await[0] });
        }
        let answers = senders.join_all().await;
        let new = answers.iter().filter(|it| **it == Accepted::New).count();
        assert_eq!(new, 1, "{answers:?}");
        let same = answers.iter().filter(|it| **it == Accepted::Duplicate);
        assert_eq!(same.count(), 7, "{answers:?}");
    }
    assert_eq!(stored(&backend).await.len(), 10);
}

/// Concurrent batches have the same guards in different orders, each under keys of its own.
pub async fn concurrent_batches_with_guards_do_not_deadlock(backend: Backend) {
    const GUARDS: usize = 100;
    let mut senders = JoinSet::new();
    for sender in 0..6 {
        let backend = backend.clone();
        // Keys are in one order, and guards in another one for each sender.
        let mut batch: Vec<_> = (0..GUARDS)
            .map(|number| {
                let guard = (number * 37 + sender * 29) % GUARDS;
                let name = format!("{number:03}-{sender}");
                guarded(&name, "1", &format!("guard {guard}"))
            })
            .collect();
        batch.rotate_left(sender * 13);
        senders.spawn(async move {
            let answers = backend.accept(&batch).await;
            let new = answers.iter().filter(|it| **it == Accepted::New);
            assert!(answers.iter().all(|it| *it != Accepted::Conflict));
            new.count()
        });
    }
    let new: usize = senders.join_all().await.iter().sum();
    assert_eq!(new, GUARDS);
    assert_eq!(stored(&backend).await.len(), GUARDS);
}

/// A guard outlives the body, and is known until the event is pruned.
pub async fn a_guard_lives_as_long_as_its_key(backend: Backend) {
    backend.accept_new(&[guarded("a", "1", "g")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    let delete = DeleteBodies::new(kind(), Duration::ZERO, up_to(1).limit);
    let deleted = backend.admin.delete_bodies(&delete).await;
    assert_eq!(deleted.expect("delete bodies"), 1);
    let again = [guarded("b", "1", "g")];
    assert_eq!(backend.accept(&again).await, [Accepted::Duplicate]);
    let prune = Prune::new(
        kind(),
        TerminalState::Processed,
        Duration::ZERO,
        up_to(9).limit,
    );
    assert_eq!(backend.admin.prune(&prune).await.expect("prune"), 1);
    backend.accept_new(&again).await;
    let found = backend.find(&[event_ref("a"), event_ref("b")]).await;
    assert!(found[0].is_none() && found[1].is_some());
}
