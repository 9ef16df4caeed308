//! Deleting bodies: processed events lose their bodies and keep their keys.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{Accepted, DeleteBodies, Outcome, Prune, State, TerminalState};

/// The rest of the event's record is as before.
pub async fn a_deleted_body_is_gone(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    let before = backend.record("a").await;
    assert!(!before.body_deleted);
    assert_eq!(delete_bodies(&backend, &all()).await, 1);
    let mut expected = before;
    expected.body_deleted = true;
    expected.envelope.body = bytes::Bytes::new();
    assert_eq!(backend.record("a").await, expected);
    let page = crate::Page::new(kind(), State::Processed, all().limit);
    let listed = backend.admin.list(&page).await.expect("list");
    assert_eq!(listed, [expected.summary()]);
}

/// Its key is still taken: the same content is a duplicate, other content a conflict.
pub async fn an_event_whose_body_is_deleted_keeps_its_key(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    backend.accept(&[event("a", "conflict")]).await;
    assert_eq!(delete_bodies(&backend, &all()).await, 1);
    let conflicts = backend.admin.conflicts(&event_ref("a")).await;
    assert_eq!(conflicts.expect("conflicts"), [], "their bodies go too");
    assert_eq!(backend.record("a").await.conflict_count, 1);
    let again = [event("a", "1"), event("a", "2")];
    let answers = [Accepted::Duplicate, Accepted::Conflict];
    assert_eq!(backend.accept(&again).await, answers);
    let record = backend.record("a").await;
    assert_eq!((record.state, record.conflict_count), (State::Processed, 2));
    assert!(record.body_deleted);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// Details of failed attempts may quote a body: they are deleted with it. The attempts and their reasons stay, and
/// so do the details of other events.
pub async fn details_are_deleted_with_bodies(backend: Backend) {
    for (name, end) in [
        ("processed", Outcome::Processed),
        ("failed", detailed(failed("broken"), "last")),
    ] {
        backend.accept_new(&[event(name, "1")]).await;
        let again = retry(Duration::ZERO, "again");
        for outcome in [detailed(again.clone(), "first"), again, end] {
            let claimed = backend.claim_one(&up_to(1)).await;
            backend.settle_one(claimed.lease, outcome).await;
        }
    }
    let details = async |name| {
        let kept = backend.admin.failed_attempts(&event_ref(name)).await;
        let kept = kept.expect("failed attempts").into_iter();
        kept.map(|it| (it.reason.to_string(), it.reason.details().cloned()))
            .collect::<Vec<_>>()
    };
    let kept = |reason: &str, details: Option<&'static str>| {
        (reason.to_owned(), details.map(bytes::Bytes::from))
    };
    let before = details("failed").await;
    let last = [kept("broken", Some("last")), kept("again", None)];
    assert_eq!(before[..2], last);
    assert_eq!(delete_bodies(&backend, &all()).await, 1);
    let without = [kept("again", None), kept("again", None)];
    assert_eq!(details("processed").await, without);
    assert_eq!(details("failed").await, before);
}

/// All other events may need their bodies.
pub async fn only_processed_events_lose_their_bodies(backend: Backend) {
    backend.settled("failed", "1", failed("broken")).await;
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("due", "1")]).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    assert_eq!(delete_bodies(&backend, &all()).await, 0);
    for name in ["failed", "leased", "due", "waiting"] {
        let record = backend.record(name).await;
        assert!(!record.body_deleted, "{name}");
        assert_eq!(record.envelope.body, "1", "{name}");
    }
}

/// Bodies are deleted once per event, the oldest first, up to the limit, of events of this age and
/// kind only.
pub async fn bodies_are_deleted_by_age(backend: Backend) {
    for name in ["first", "second", "third"] {
        backend.settled(name, "1", Outcome::Processed).await;
        backend.pass(Duration::from_millis(5)).await;
    }
    let young = DeleteBodies {
        older_than: LONG,
        ..all()
    };
    assert_eq!(delete_bodies(&backend, &young).await, 0);
    let elsewhere = DeleteBodies {
        kind: kind_named("other"),
        ..all()
    };
    assert_eq!(delete_bodies(&backend, &elsewhere).await, 0);
    let two = DeleteBodies {
        limit: up_to(2).limit,
        ..all()
    };
    for (deleted, gone) in [(2, 2), (1, 3), (0, 3)] {
        assert_eq!(delete_bodies(&backend, &two).await, deleted);
        let names = ["first", "second", "third"];
        let mut taken = Vec::new();
        for name in names {
            taken.push(backend.record(name).await.body_deleted);
        }
        backend.assert_taken(&names, &taken, gone);
    }
}

/// Events without bodies are pruned before the others.
pub async fn events_without_bodies_are_pruned_first(backend: Backend) {
    for name in ["old", "young"] {
        backend.settled(name, "1", Outcome::Processed).await;
        backend.pass(Duration::from_millis(5)).await;
    }
    let one = DeleteBodies {
        limit: up_to(1).limit,
        ..all()
    };
    assert_eq!(delete_bodies(&backend, &one).await, 1);
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counts.processed, 2);
    for left in [1, 0] {
        let prune = Prune {
            kind: kind(),
            state: TerminalState::Processed,
            older_than: Duration::ZERO,
            limit: up_to(1).limit,
        };
        assert_eq!(backend.admin.prune(&prune).await.expect("prune"), 1);
        let names = ["old", "young"];
        let found = backend.find(&names.map(event_ref)).await;
        let taken: Vec<_> = found.iter().map(Option::is_none).collect();
        backend.assert_taken(&names, &taken, 2 - left);
        let counts = backend.admin.counts(&kind()).await.expect("counts");
        assert_eq!(counts.processed, left as u64);
    }
    assert_eq!(backend.accept(&[event("old", "2")]).await, [Accepted::New]);
}

/// Concurrent calls and redeliveries do not count an event twice.
pub async fn concurrent_calls_share_the_bodies(backend: Backend) {
    const EVENTS: usize = 100;
    let batch = events(EVENTS);
    backend.accept_new(&batch).await;
    for claimed in backend.claim_within(&up_to(EVENTS), EVENTS).await {
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let backend = backend.clone();
        tasks.spawn(async move {
            let some = DeleteBodies {
                limit: up_to(7).limit,
                ..all()
            };
            let mut deleted = 0;
            loop {
                match delete_bodies(&backend, &some).await {
                    0 => return deleted,
                    count => deleted += count,
                }
            }
        });
    }
    for event in &batch {
        let again = backend.accept(std::slice::from_ref(event)).await;
        assert_eq!(again, [Accepted::Duplicate]);
    }
    let deleted: usize = tasks.join_all().await.into_iter().sum();
    // A call skips the events that others are at, so all of them may end before the last is done.
    let rest = delete_bodies(&backend, &all()).await;
    assert_eq!(deleted + rest, EVENTS);
}

/// All processed events of the usual kind, up to a thousand.
fn all() -> DeleteBodies {
    DeleteBodies {
        kind: kind(),
        older_than: Duration::ZERO,
        limit: up_to(1_000).limit,
    }
}

async fn delete_bodies(backend: &Backend, delete: &DeleteBodies) -> usize {
    let deleted = backend
        .admin
        .delete_bodies(delete)
        .await
        .expect("delete bodies");
    assert!(
        deleted <= delete.limit.get(),
        "{deleted} bodies deleted by {delete:?}"
    );
    deleted
}
