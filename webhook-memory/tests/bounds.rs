//! The capacity, and what happens when it is reached.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use webhook_core::{
    Accepted, Claim, Envelope, Error, EventRef, Fingerprint, Key, Kind, NewEvent, Operator,
    Outcome, Prune, Reason, Redelivery, Scheduler, Settlement, State, Store, TerminalState,
};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};

const REFUSING: MemoryOptions = MemoryOptions {
    capacity: 3,
    when_full: WhenFull::Refuse,
};

const EVICTING: MemoryOptions = MemoryOptions {
    capacity: 3,
    when_full: WhenFull::EvictProcessed,
};

#[test]
fn by_default_no_key_is_forgotten() {
    let options = MemoryOptions::default();
    assert_eq!(options.capacity, 1_000_000);
    assert_eq!(options.when_full, WhenFull::Refuse);
}

#[tokio::test]
async fn a_full_store_refuses_the_whole_batch() {
    let store = MemoryStore::new(REFUSING);
    store
        .accept(&[event("a", "1"), event("b", "1")])
        .await
        .unwrap();
    let refused = store
        .accept(&[event("c", "1"), event("a", "2"), event("d", "1")])
        .await;
    assert!(matches!(refused, Err(Error::Full { capacity: 3 })));
    assert_eq!(held(&store, &["a", "b", "c", "d"]).await, ["a", "b"]);
    let a = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(a.conflict_count, 0, "nothing of the batch was stored");
}

#[tokio::test]
async fn only_new_keys_need_room() {
    let store = MemoryStore::new(REFUSING);
    store
        .accept(&[event("a", "1"), event("b", "1")])
        .await
        .unwrap();
    // Six deliveries, one new key.
    let batch = ["a", "c", "b", "c", "a", "c"].map(|name| event(name, "1"));
    let accepted = store.accept(&batch).await.unwrap();
    assert_eq!(accepted[1], Accepted::New);
    let new = accepted.iter().filter(|it| **it == Accepted::New).count();
    assert_eq!(new, 1);
    let full = store
        .accept(&[event("a", "1"), event("b", "2")])
        .await
        .unwrap();
    assert_eq!(full, [Accepted::Duplicate, Accepted::Conflict]);
}

#[tokio::test]
async fn settled_events_take_room_until_they_are_pruned() {
    let store = MemoryStore::new(REFUSING);
    for name in ["a", "b", "c"] {
        process(&store, name).await;
    }
    let refused = store.accept(&[event("d", "1")]).await;
    assert!(matches!(refused, Err(Error::Full { .. })));
    let prune = Prune {
        kind: kind(),
        state: TerminalState::Processed,
        older_than: Duration::ZERO,
        limit: NonZeroUsize::MIN,
    };
    assert_eq!(store.prune(&prune).await.unwrap(), 1);
    let accepted = store.accept(&[event("d", "1")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    assert_eq!(held(&store, &["a", "b", "c", "d"]).await, ["b", "c", "d"]);
}

#[tokio::test]
async fn a_store_may_have_no_room_at_all() {
    let store = MemoryStore::new(MemoryOptions {
        capacity: 0,
        ..REFUSING
    });
    let refused = store.accept(&[event("a", "1")]).await;
    assert!(matches!(refused, Err(Error::Full { capacity: 0 })));
    assert_eq!(store.accept(&[]).await.unwrap(), []);
    assert_eq!(store.claim(&claim()).await.unwrap().events, []);
}

#[tokio::test]
async fn eviction_forgets_what_was_processed_first() {
    let store = MemoryStore::new(EVICTING);
    store
        .accept(&["a", "b", "c"].map(|name| event(name, "1")))
        .await
        .unwrap();
    let claimed = store.claim(&claim()).await.unwrap().events;
    // Settled in another order than accepted.
    for wanted in ["b", "c", "a"] {
        let lease = claimed
            .iter()
            .find(|it| it.key.as_str() == wanted)
            .unwrap()
            .lease;
        let outcome = Outcome::Processed;
        store
            .settle(&[Settlement { lease, outcome }])
            .await
            .unwrap();
    }
    let all = ["a", "b", "c", "d", "e"];
    store.accept(&[event("d", "1")]).await.unwrap();
    assert_eq!(held(&store, &all).await, ["a", "c", "d"]);
    store.accept(&[event("e", "1")]).await.unwrap();
    assert_eq!(held(&store, &all).await, ["a", "d", "e"]);
    let accepted = store.accept(&[event("b", "2")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New], "its key is free again");
}

#[tokio::test]
async fn eviction_spares_what_waits_is_leased_or_failed() {
    let store = MemoryStore::new(EVICTING);
    store.accept(&[event("failed", "1")]).await.unwrap();
    let lease = store.claim(&claim()).await.unwrap().events[0].lease;
    let reason = Reason::new("broken");
    let outcome = Outcome::Failed { reason };
    store
        .settle(&[Settlement { lease, outcome }])
        .await
        .unwrap();
    store.accept(&[event("leased", "1")]).await.unwrap();
    assert_eq!(store.claim(&claim()).await.unwrap().events.len(), 1);
    store.accept(&[event("due", "1")]).await.unwrap();
    let refused = store.accept(&[event("new", "1")]).await;
    assert!(matches!(refused, Err(Error::Full { capacity: 3 })));
    let all = ["failed", "leased", "due", "new"];
    assert_eq!(held(&store, &all).await, ["failed", "leased", "due"]);
}

#[tokio::test]
async fn eviction_makes_room_for_a_whole_batch_or_not_at_all() {
    let store = MemoryStore::new(EVICTING);
    process(&store, "a").await;
    process(&store, "b").await;
    store.accept(&[event("c", "1")]).await.unwrap();
    let three = ["d", "e", "f"].map(|name| event(name, "1"));
    let refused = store.accept(&three).await;
    assert!(matches!(refused, Err(Error::Full { .. })));
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(held(&store, &all).await, ["a", "b", "c"]);
    store.accept(&three[..2]).await.unwrap();
    assert_eq!(held(&store, &all).await, ["c", "d", "e"]);
}

#[tokio::test]
async fn a_batch_is_judged_before_anything_is_evicted_for_it() {
    let store = MemoryStore::new(EVICTING);
    for name in ["a", "b", "c"] {
        process(&store, name).await;
    }
    let batch = [event("d", "1"), event("a", "1"), event("a", "2")];
    let accepted = store.accept(&batch).await.unwrap();
    let expected = [Accepted::New, Accepted::Duplicate, Accepted::Conflict];
    assert_eq!(accepted, expected);
    let all = ["a", "b", "c", "d"];
    assert_eq!(held(&store, &all).await, ["b", "c", "d"]);
}

#[tokio::test]
async fn eviction_looks_at_all_kinds() {
    let store = MemoryStore::new(EVICTING);
    process(&store, "a").await;
    let mut other = ["x", "y", "z"].map(|name| event(name, "1"));
    for event in &mut other {
        event.envelope.kind = Kind::new("other").unwrap();
    }
    let accepted = store.accept(&other).await.unwrap();
    assert_eq!(accepted, [Accepted::New; 3]);
    assert_eq!(store.find(&[name("a")]).await.unwrap(), [None]);
}

#[tokio::test]
async fn an_evicting_store_goes_on_for_ever() {
    let store = MemoryStore::new(EVICTING);
    for number in 0..100 {
        process(&store, &number.to_string()).await;
    }
    let counts = store.counts(&kind()).await.unwrap();
    assert_eq!(counts.processed, 3);
}

fn kind() -> Kind {
    Kind::new("test").unwrap()
}

fn name(key: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: Key::new(key).unwrap(),
    }
}

fn event(key: &str, content: &str) -> NewEvent {
    NewEvent {
        envelope: Envelope {
            kind: kind(),
            key: Key::new(key).unwrap(),
            fingerprint: Fingerprint::of([content]),
            body: content.to_owned().into(),
        },
        delay: Duration::ZERO,
        redelivery: Redelivery::KeepFailed,
    }
}

fn claim() -> Claim {
    Claim {
        kind: kind(),
        limit: NonZeroUsize::new(10).unwrap(),
        lease: Duration::from_secs(3600),
        max_attempts: NonZeroU32::new(10).unwrap(),
    }
}

async fn process(store: &MemoryStore, key: &str) {
    let accepted = store.accept(&[event(key, "1")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    let lease = store.claim(&claim()).await.unwrap().events[0].lease;
    let outcome = Outcome::Processed;
    store
        .settle(&[Settlement { lease, outcome }])
        .await
        .unwrap();
    let record = store.find(&[name(key)]).await.unwrap().remove(0);
    assert_eq!(record.unwrap().state, State::Processed);
}

/// Those of `keys` that the store holds.
async fn held<'a>(store: &MemoryStore, keys: &[&'a str]) -> Vec<&'a str> {
    let names: Vec<_> = keys.iter().map(|key| name(key)).collect();
    let found = store.find(&names).await.unwrap();
    let held = keys.iter().zip(found).filter(|(_, found)| found.is_some());
    held.map(|(key, _)| *key).collect()
}
