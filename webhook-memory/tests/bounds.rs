//! Tests of the capacity of the memory store, and of what happens when it is full.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Envelope, EventRef, Fingerprint,
    Key, Kind, NewEvent, Outcome, Prune, Reason, Scheduler, Settlement, State, Store, StoreError,
    TerminalState,
};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};

fn refusing() -> MemoryOptions {
    MemoryOptions::default()
        .with_capacity(3)
        .with_max_bytes(usize::MAX)
        .with_when_full(WhenFull::Refuse)
}

fn evicting() -> MemoryOptions {
    MemoryOptions::default()
        .with_capacity(3)
        .with_max_bytes(usize::MAX)
        .with_when_full(WhenFull::EvictProcessed)
}

#[test]
fn no_event_is_evicted_by_default() {
    let options = MemoryOptions::default();
    assert_eq!(options.capacity, 1_000_000);
    assert_eq!(options.max_bytes, 1 << 30);
    assert_eq!(options.when_full, WhenFull::Refuse);
}

#[tokio::test]
async fn a_full_store_refuses_the_whole_batch() {
    let store = MemoryStore::new(refusing());
    store
        .accept(&[event("a", "1"), event("b", "1")])
        .await
        .unwrap();
    let refused = store
        .accept(&[event("c", "1"), event("a", "2"), event("d", "1")])
        .await;
    assert!(matches!(refused, Err(StoreError::Full { capacity: 3 })));
    assert_eq!(held(&store, &["a", "b", "c", "d"]).await, ["a", "b"]);
    let a = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(a.conflict_count, 0, "nothing of the batch was stored");
}

#[tokio::test]
async fn only_new_keys_need_room() {
    let store = MemoryStore::new(refusing());
    store
        .accept(&[event("a", "1"), event("b", "1")])
        .await
        .unwrap();
    // Six deliveries have one new key.
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
    let store = MemoryStore::new(refusing());
    for name in ["a", "b", "c"] {
        process(&store, name).await;
    }
    let refused = store.accept(&[event("d", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    let prune = Prune::new(
        kind(),
        TerminalState::Processed,
        Duration::ZERO,
        NonZeroUsize::MIN,
    );
    assert_eq!(store.prune(&prune).await.unwrap(), 1);
    let accepted = store.accept(&[event("d", "1")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    assert_eq!(held(&store, &["a", "b", "c", "d"]).await, ["b", "c", "d"]);
}

#[tokio::test]
async fn a_store_may_have_no_room_at_all() {
    let store = MemoryStore::new(refusing().with_capacity(0));
    let refused = store.accept(&[event("a", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Full { capacity: 0 })));
    assert_eq!(store.accept(&[]).await.unwrap(), []);
    assert_eq!(store.claim(&[claim()]).await.unwrap().remove(0).events, []);
}

#[tokio::test]
async fn eviction_removes_the_earliest_processed_events() {
    let store = MemoryStore::new(evicting());
    store
        .accept(&["a", "b", "c"].map(|name| event(name, "1")))
        .await
        .unwrap();
    let claimed = store.claim(&[claim()]).await.unwrap().remove(0).events;
    // The events are settled in a different order than they were accepted.
    for wanted in ["b", "c", "a"] {
        let lease = claimed
            .iter()
            .find(|it| it.key.as_str() == wanted)
            .unwrap()
            .lease;
        let outcome = Outcome::Processed;
        store
            .settle(&[Settlement::new(lease, outcome)])
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
async fn eviction_keeps_waiting_leased_and_failed_events() {
    let store = MemoryStore::new(evicting());
    store.accept(&[event("failed", "1")]).await.unwrap();
    let lease = store.claim(&[claim()]).await.unwrap().remove(0).events[0].lease;
    let reason = Reason::new("broken");
    let outcome = Outcome::Failed { reason };
    store
        .settle(&[Settlement::new(lease, outcome)])
        .await
        .unwrap();
    store.accept(&[event("leased", "1")]).await.unwrap();
    assert_eq!(
        store
            .claim(&[claim()])
            .await
            .unwrap()
            .remove(0)
            .events
            .len(),
        1
    );
    store.accept(&[event("due", "1")]).await.unwrap();
    let refused = store.accept(&[event("new", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Full { capacity: 3 })));
    let all = ["failed", "leased", "due", "new"];
    assert_eq!(held(&store, &all).await, ["failed", "leased", "due"]);
}

#[tokio::test]
async fn eviction_makes_room_for_a_whole_batch_or_not_at_all() {
    let store = MemoryStore::new(evicting());
    process(&store, "a").await;
    process(&store, "b").await;
    store.accept(&[event("c", "1")]).await.unwrap();
    let three = ["d", "e", "f"].map(|name| event(name, "1"));
    let refused = store.accept(&three).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(held(&store, &all).await, ["a", "b", "c"]);
    store.accept(&three[..2]).await.unwrap();
    assert_eq!(held(&store, &all).await, ["c", "d", "e"]);
}

#[tokio::test]
async fn a_batch_is_compared_before_anything_is_evicted_for_it() {
    let store = MemoryStore::new(evicting());
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
async fn eviction_covers_all_kinds() {
    let store = MemoryStore::new(evicting());
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
    let store = MemoryStore::new(evicting());
    for number in 0..100 {
        process(&store, &number.to_string()).await;
    }
    let counts = store.counts(&kind()).await.unwrap();
    assert_eq!(counts.processed, 3);
}

/// Returns a store with room for two events with bodies of 10,000 bytes, but not for three.
fn small() -> MemoryOptions {
    MemoryOptions::default()
        .with_capacity(1_000)
        .with_max_bytes(25_000)
        .with_when_full(WhenFull::Refuse)
}

const LARGE: usize = 10_000;

fn large(key: &str, filler: &str) -> NewEvent {
    let mut event = event(key, filler);
    event.envelope.body = filler.repeat(LARGE).into();
    event
}

#[tokio::test]
async fn bodies_beyond_the_byte_limit_are_refused_as_a_batch() {
    let store = MemoryStore::new(small());
    let three = ["a", "b", "c"].map(|key| large(key, "x"));
    let refused = store.accept(&three).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    assert_eq!(held(&store, &["a", "b", "c"]).await, [""; 0]);
    store.accept(&three[..2]).await.unwrap();
    let refused = store.accept(&three[2..]).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    let again = store.accept(&[large("a", "x"), large("b", "x")]).await;
    assert_eq!(
        again.unwrap(),
        [Accepted::Duplicate; 2],
        "they need no room"
    );
    store.accept(&[event("small", "1")]).await.unwrap();
}

#[tokio::test]
async fn keys_and_bodies_of_conflicts_count_as_bytes() {
    let store = MemoryStore::new(small());
    store.accept(&[event("a", "first")]).await.unwrap();
    let mut conflicts = 0;
    while store
        .accept(&[large("a", &conflicts.to_string())])
        .await
        .is_ok()
    {
        conflicts += 1;
        assert!(conflicts < 3, "the limit holds");
    }
    assert_eq!(conflicts, 2);
    let a = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(a.conflict_count, 2, "nothing of a refused batch is kept");
    // A batch whose own deliveries conflict with each other needs room for all of them.
    let store = MemoryStore::new(small());
    let batch = ["1", "2", "3"].map(|filler| large("a", filler));
    let refused = store.accept(&batch).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    let store = MemoryStore::new(small().with_max_bytes(2_000));
    let long = "k".repeat(500);
    store.accept(&[event(&long, "1")]).await.unwrap();
    let refused = store.accept(&[event(&long[1..], "1")]).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
}

#[tokio::test]
async fn reasons_and_details_of_failed_attempts_count_as_bytes() {
    let store = MemoryStore::new(small().with_max_bytes(10_000));
    store.accept(&[event("a", "1")]).await.unwrap();
    for _ in 0..4 {
        let lease = store.claim(&[claim()]).await.unwrap().remove(0).events[0].lease;
        let outcome = Outcome::Retry {
            after: Duration::ZERO,
            reason: Reason::new("r".repeat(1_000)).with_details(vec![0; 1_300].into()),
        };
        let settled = store
            .settle(&[Settlement::new(lease, outcome)])
            .await
            .unwrap();
        assert_eq!(settled, [webhook_core::Settled::Applied]);
    }
    let refused = store.accept(&[event("b", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    let again = store.accept(&[event("a", "1")]).await.unwrap();
    assert_eq!(again, [Accepted::Duplicate]);
}

#[tokio::test]
async fn stored_bodies_do_not_keep_receive_buffers_alive() {
    struct Buffer {
        _held: Arc<()>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"a body, and much beside it"
        }
    }

    let store = MemoryStore::new(small());
    let (first, second) = (Arc::new(()), Arc::new(()));
    for (buffer, content) in [(&first, "1"), (&second, "2")] {
        let mut event = event("a", content);
        let buffer = Bytes::from_owner(Buffer {
            _held: Arc::clone(buffer),
        });
        event.envelope.body = buffer.slice(..6);
        store.accept(&[event]).await.unwrap();
    }
    assert_eq!(store.conflicts(&name("a")).await.unwrap().len(), 1);
    let third = Arc::new(());
    let details = Bytes::from_owner(Buffer {
        _held: Arc::clone(&third),
    });
    let lease = store.claim(&[claim()]).await.unwrap()[0].events[0].lease;
    let reason = Reason::new("broken").with_details(details.slice(..6));
    drop(details);
    let settlement = Settlement::new(lease, Outcome::Failed { reason });
    store.settle(&[settlement]).await.unwrap();
    let kept = store.failed_attempts(&name("a")).await.unwrap();
    assert_eq!(kept[0].reason.details().unwrap(), "a body");
    let held = [first, second, third].map(|it| Arc::strong_count(&it));
    assert_eq!(held, [1, 1, 1]);
}

#[tokio::test]
async fn eviction_makes_room_in_bytes() {
    let store = MemoryStore::new(small().with_when_full(WhenFull::EvictProcessed));
    for key in ["a", "b", "c", "d"] {
        store.accept(&[large(key, "x")]).await.unwrap();
        let lease = store.claim(&[claim()]).await.unwrap().remove(0).events[0].lease;
        let outcome = Outcome::Processed;
        store
            .settle(&[Settlement::new(lease, outcome)])
            .await
            .unwrap();
    }
    assert_eq!(held(&store, &["a", "b", "c", "d"]).await, ["c", "d"]);
    let three = ["e", "f", "g"].map(|key| large(key, "x"));
    let refused = store.accept(&three).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    assert_eq!(
        held(&store, &["c", "d"]).await,
        ["c", "d"],
        "in vain is not at all"
    );
    store.accept(&three[..2]).await.unwrap();
    assert_eq!(held(&store, &["c", "d", "e", "f"]).await, ["e", "f"]);
}

#[tokio::test]
async fn pruning_and_deleting_bodies_release_bytes() {
    let store = MemoryStore::new(small());
    for round in 0..20 {
        let key = round.to_string();
        store.accept(&[large(&key, "x")]).await.unwrap();
        let conflicting = large(&key, "y");
        store.accept(&[conflicting]).await.unwrap();
        let lease = store.claim(&[claim()]).await.unwrap().remove(0).events[0].lease;
        let outcome = Outcome::Processed;
        store
            .settle(&[Settlement::new(lease, outcome)])
            .await
            .unwrap();
        let delete = webhook_core::DeleteBodies::new(kind(), Duration::ZERO, NonZeroUsize::MIN);
        assert_eq!(store.delete_bodies(&delete).await.unwrap(), 1);
        if round % 2 == 1 {
            let prune = Prune::new(
                kind(),
                TerminalState::Processed,
                Duration::ZERO,
                NonZeroUsize::new(2).unwrap(),
            );
            assert_eq!(store.prune(&prune).await.unwrap(), 2);
            let empty = format!("{store:?}");
            assert!(empty.contains("bytes: 0"), "{empty}");
        }
    }
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
    NewEvent::new(
        Envelope::new(
            kind(),
            Key::new(key).unwrap(),
            Fingerprint::of([content]),
            content.to_owned().into(),
        ),
        Duration::ZERO,
    )
}

fn claim() -> Claim {
    Claim::new(
        kind(),
        NonZeroUsize::new(10).unwrap(),
        Duration::from_secs(3600),
        NonZeroU32::new(10).unwrap(),
    )
}

async fn process(store: &MemoryStore, key: &str) {
    let accepted = store.accept(&[event(key, "1")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    let lease = store.claim(&[claim()]).await.unwrap().remove(0).events[0].lease;
    let outcome = Outcome::Processed;
    store
        .settle(&[Settlement::new(lease, outcome)])
        .await
        .unwrap();
    let record = store.find(&[name(key)]).await.unwrap().remove(0);
    assert_eq!(record.unwrap().state, State::Processed);
}

/// Returns those of `keys` that the store holds.
async fn held<'a>(store: &MemoryStore, keys: &[&'a str]) -> Vec<&'a str> {
    let names: Vec<_> = keys.iter().map(|key| name(key)).collect();
    let found = store.find(&names).await.unwrap();
    let held = keys.iter().zip(found).filter(|(_, found)| found.is_some());
    held.map(|(key, _)| *key).collect()
}

#[tokio::test]
async fn the_oldest_audit_records_make_room_for_new_ones() {
    const KEPT: i64 = 10_000;
    let store = MemoryStore::default();
    for _ in 0..=KEPT {
        let action = ActionRecord::new("ana", "pause", "order");
        store.record_action(&action).await.unwrap();
    }
    let oldest = |before| ActionPage::new(NonZeroUsize::MAX).before(ActionId::new(before));
    assert_eq!(store.actions(&oldest(2)).await.unwrap(), []);
    assert_eq!(store.actions(&oldest(3)).await.unwrap().len(), 1);
    let newest = store.actions(&oldest(i64::MAX)).await.unwrap();
    assert_eq!(newest[0].id.get(), KEPT + 1);
}
