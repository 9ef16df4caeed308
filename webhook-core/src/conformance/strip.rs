//! Stripping: the bodies of processed events go, their keys stay.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{Accepted, Outcome, Prune, State, Strip, TerminalState};

/// A stripped event has no body; the rest of its record is as before.
pub async fn a_stripped_event_has_no_body(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    let before = backend.record("a").await;
    assert!(!before.stripped);
    assert_eq!(strip(&backend, &all()).await, 1);
    let mut expected = before;
    expected.stripped = true;
    expected.envelope.body = bytes::Bytes::new();
    assert_eq!(backend.record("a").await, expected);
    let page = crate::Page {
        kind: kind(),
        state: State::Processed,
        after: None,
        held_for_over: None,
        limit: all().limit,
    };
    let listed = backend.operator.list(&page).await.expect("list");
    assert_eq!(listed, [expected.summary()]);
}

/// Its key is still taken: the same content is a duplicate, other content a conflict.
pub async fn a_stripped_event_keeps_its_key(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    backend.accept(&[event("a", "conflict")]).await;
    assert_eq!(strip(&backend, &all()).await, 1);
    let conflicts = backend.operator.conflicts(&event_ref("a")).await;
    assert_eq!(conflicts.expect("conflicts"), [], "their bodies go too");
    assert_eq!(backend.record("a").await.conflict_count, 1);
    let again = [event("a", "1"), event("a", "2")];
    let answers = [Accepted::Duplicate, Accepted::Conflict];
    assert_eq!(backend.accept(&again).await, answers);
    let record = backend.record("a").await;
    assert_eq!((record.state, record.conflict_count), (State::Processed, 2));
    assert!(record.stripped);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// Only what is processed is stripped: the rest may need its body.
pub async fn only_processed_events_are_stripped(backend: Backend) {
    backend.settled("failed", "1", failed("broken")).await;
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("due", "1")]).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    assert_eq!(strip(&backend, &all()).await, 0);
    for name in ["failed", "leased", "due", "waiting"] {
        let record = backend.record(name).await;
        assert!(!record.stripped, "{name}");
        assert_eq!(record.envelope.body, "1", "{name}");
    }
}

/// Each event once, the oldest first, no more than asked for, none that is too young, none of
/// another kind.
pub async fn stripping_goes_by_age(backend: Backend) {
    for name in ["first", "second", "third"] {
        backend.settled(name, "1", Outcome::Processed).await;
        backend.pass(Duration::from_millis(5)).await;
    }
    let young = Strip {
        older_than: LONG,
        ..all()
    };
    assert_eq!(strip(&backend, &young).await, 0);
    let elsewhere = Strip {
        kind: kind_named("other"),
        ..all()
    };
    assert_eq!(strip(&backend, &elsewhere).await, 0);
    let two = Strip {
        limit: up_to(2).limit,
        ..all()
    };
    for (stripped, gone) in [(2, 2), (1, 3), (0, 3)] {
        assert_eq!(strip(&backend, &two).await, stripped);
        for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
            assert_eq!(backend.record(name).await.stripped, number < gone, "{name}");
        }
    }
}

/// What is stripped is pruned like the rest, and before it.
pub async fn stripped_events_are_pruned_first(backend: Backend) {
    for name in ["old", "young"] {
        backend.settled(name, "1", Outcome::Processed).await;
        backend.pass(Duration::from_millis(5)).await;
    }
    let one = Strip {
        limit: up_to(1).limit,
        ..all()
    };
    assert_eq!(strip(&backend, &one).await, 1);
    let counts = backend.operator.counts(&kind()).await.expect("counts");
    assert_eq!(counts.processed, 2);
    for (gone, left) in [("old", 1), ("young", 0)] {
        let prune = Prune {
            kind: kind(),
            state: TerminalState::Processed,
            older_than: Duration::ZERO,
            limit: up_to(1).limit,
        };
        assert_eq!(backend.operator.prune(&prune).await.expect("prune"), 1);
        assert_eq!(backend.find(&[event_ref(gone)]).await, [None]);
        let counts = backend.operator.counts(&kind()).await.expect("counts");
        assert_eq!(counts.processed, left);
    }
    assert_eq!(backend.accept(&[event("old", "2")]).await, [Accepted::New]);
}

/// Calls that strip and prune at once, and redeliveries meanwhile: nothing is counted twice.
pub async fn concurrent_strips_share_the_events(backend: Backend) {
    const EVENTS: usize = 100;
    let batch = events(EVENTS);
    backend.accept_new(&batch).await;
    for claimed in backend.claim_within(&up_to(EVENTS), EVENTS).await {
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
    let mut strippers = JoinSet::new();
    for _ in 0..4 {
        let backend = backend.clone();
        strippers.spawn(async move {
            let some = Strip {
                limit: up_to(7).limit,
                ..all()
            };
            let mut stripped = 0;
            loop {
                match strip(&backend, &some).await {
                    0 => return stripped,
                    count => stripped += count,
                }
            }
        });
    }
    for event in &batch {
        let again = backend.accept(std::slice::from_ref(event)).await;
        assert_eq!(again, [Accepted::Duplicate]);
    }
    let stripped: usize = strippers.join_all().await.into_iter().sum();
    // A call skips what others are stripping, so all of them may end before the last is done.
    let rest = strip(&backend, &all()).await;
    assert_eq!(stripped + rest, EVENTS);
}

/// All processed events of the usual kind, up to a thousand.
fn all() -> Strip {
    Strip {
        kind: kind(),
        older_than: Duration::ZERO,
        limit: up_to(1_000).limit,
    }
}

async fn strip(backend: &Backend, strip: &Strip) -> usize {
    let stripped = backend.operator.strip(strip).await.expect("strip");
    assert!(
        stripped <= strip.limit.get(),
        "{stripped} stripped of {strip:?}"
    );
    stripped
}
