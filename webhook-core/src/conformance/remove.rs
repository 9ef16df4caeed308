//! Deleting and erasing single events, at the demand of an operator.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, Deleted, Erased, Extended, OnFailed, Outcome, Prune, Requeued, Settled, State,
    TerminalState,
};

async fn delete(backend: &Backend, names: &[&str]) -> Vec<Deleted> {
    let events: Vec<_> = names.iter().map(|name| event_ref(name)).collect();
    let deleted = backend.admin.delete(&events).await.expect("delete");
    assert_eq!(deleted.len(), events.len(), "one answer per event");
    deleted
}

async fn erase(backend: &Backend, names: &[&str]) -> Vec<Erased> {
    let events: Vec<_> = names.iter().map(|name| event_ref(name)).collect();
    let erased = backend.admin.erase(&events).await.expect("erase");
    assert_eq!(erased.len(), events.len(), "one answer per event");
    erased
}

/// An event in each state, and one whose lease has expired: `processed`, `failed`, `expired`, `leased`, `due`,
/// `waiting`.
async fn fill(backend: &Backend) {
    for (name, outcome) in [("processed", Outcome::Processed), ("failed", failed("no"))] {
        backend.accept_new(&[event(name, "1")]).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        let again = detailed(retry(Duration::ZERO, "again"), "details");
        backend.settle_one(claimed.lease, again).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
        let conflict = backend.accept(&[event(name, "conflict")]).await;
        assert_eq!(conflict, [Accepted::Conflict]);
    }
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    // The last one: a slow machine may take longer than its lease for the next claim.
    let mut short = up_to(1);
    short.lease = SHORT;
    backend.accept_new(&[event("expired", "1")]).await;
    backend.claim_one(&short).await;
    backend.pass(PAST_SHORT).await;
    backend
        .accept_new(&[event("due", "1"), event_in(LONG, "waiting", "1")])
        .await;
}

/// Events in any state but leased are deleted with all their records; their keys are free.
pub async fn deleted_events_are_gone(backend: Backend) {
    fill(&backend).await;
    let names = ["processed", "failed", "expired", "due", "waiting"];
    assert_eq!(delete(&backend, &[]).await, []);
    assert_eq!(delete(&backend, &names).await, [Deleted::Applied; 5]);
    for name in names {
        let event = event_ref(name);
        assert_eq!(backend.find(std::slice::from_ref(&event)).await, [None]);
        let conflicts = backend.admin.conflicts(&event).await.expect("conflicts");
        assert_eq!(conflicts, []);
        let attempts = backend.admin.failed_attempts(&event).await;
        assert_eq!(attempts.expect("failed attempts"), []);
    }
    assert_eq!(delete(&backend, &names).await, [Deleted::NotFound; 5]);
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counts, crate::Counts::default().with_leased(1));
    assert_eq!(backend.claim(&up_to(9)).await.events, []);
    let again = names.map(|name| event(name, "2"));
    backend.accept_new(&again).await;
    for name in names {
        let record = backend.record(name).await;
        assert_eq!((record.attempts, record.conflict_count), (0, 0));
    }
    assert_eq!(backend.claim_within(&up_to(9), 5).await.len(), 5);
}

/// A leased event stays as it is, and its holder may settle it.
pub async fn leased_events_are_not_deleted(backend: Backend) {
    backend.accept_new(&[event("leased", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    let before = backend.record("leased").await;
    assert_eq!(delete(&backend, &["leased"]).await, [Deleted::Leased]);
    assert_eq!(backend.record("leased").await, before);
    let settled = backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(
        delete(&backend, &["leased", "unknown", "leased"]).await,
        [Deleted::Applied, Deleted::NotFound, Deleted::NotFound]
    );
}

/// The holder of an expired lease loses a deleted event, also if its key is used again.
pub async fn leases_of_deleted_events_are_stale(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let mut short = up_to(1);
    short.lease = SHORT;
    let claimed = backend.claim_one(&short).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(delete(&backend, &["a"]).await, [Deleted::Applied]);
    backend.accept_new(&[event("a", "1")]).await;
    let extended = backend.extend(&[claimed.lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost]);
    let settled = backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
    assert_eq!(backend.record("a").await.state, State::Processing);
    backend.claim_one(&up_to(1)).await;
}

/// The event of another kind with the same key stays.
pub async fn events_are_deleted_and_erased_by_kind_and_key(backend: Backend) {
    let other = kind_named("other-kind");
    backend.settled("a", "1", Outcome::Processed).await;
    backend.accept_new(&[event_of(&other, "a", "1")]).await;
    assert_eq!(erase(&backend, &["a"]).await, [Erased::Applied]);
    assert_eq!(delete(&backend, &["a"]).await, [Deleted::Applied]);
    let left = crate::EventRef {
        kind: other,
        key: key("a"),
    };
    let left = backend.find(&[left]).await.remove(0);
    let left = left.expect("it is of another kind");
    assert_eq!(left.envelope.body, "1");
}

/// Concurrent calls, and claims beside them, delete or lease each event once.
pub async fn concurrent_deletes_and_claims_share_the_events(backend: Backend) {
    const EVENTS: usize = 60;
    let batch = events(EVENTS);
    backend.accept_new(&batch).await;
    let refs: Vec<_> = batch.iter().map(reference).collect();
    let mut deletes = JoinSet::new();
    for part in refs.chunks(20).chain(refs.chunks(30)) {
        let (backend, part) = (backend.clone(), part.to_vec());
        deletes.spawn(async move {
            let answers = backend.admin.delete(&part).await.expect("delete");
            let deleted = answers.iter().filter(|it| **it == Deleted::Applied);
            deleted.count()
        });
    }
    let mut claimed = 0;
    for _ in 0..5 {
        claimed += backend.claim(&up_to(4)).await.events.len();
    }
    let deleted: usize = deletes.join_all().await.into_iter().sum();
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counts.leased, claimed as u64);
    // A call leaves the events that others are at.
    assert_eq!(deleted as u64 + counts.leased + counts.due, EVENTS as u64);
}

/// Headers, bodies, conflicting bodies and details are gone; all else is as before, and redeliveries are judged as
/// before.
pub async fn erased_events_keep_their_keys(backend: Backend) {
    fill(&backend).await;
    let names = ["processed", "failed"];
    let mut before = Vec::new();
    for name in names {
        before.push(backend.record(name).await);
    }
    assert_eq!(erase(&backend, &[]).await, []);
    assert_eq!(erase(&backend, &names).await, [Erased::Applied; 2]);
    for (name, mut expected) in names.into_iter().zip(before) {
        expected.body_deleted = true;
        expected.envelope.body = Bytes::new();
        assert_eq!(backend.record(name).await, expected);
        let erased = event_ref(name);
        let conflicts = backend.admin.conflicts(&erased).await.expect("conflicts");
        assert_eq!(conflicts, []);
        let attempts = backend.admin.failed_attempts(&erased).await;
        let attempts = attempts.expect("failed attempts");
        assert!(!attempts.is_empty());
        for attempt in attempts {
            assert_eq!(attempt.reason.details(), None);
        }
        let again = [event(name, "1"), event(name, "2")];
        let answers = [Accepted::Duplicate, Accepted::Conflict];
        assert_eq!(backend.accept(&again).await, answers);
    }
    assert_eq!(
        erase(&backend, &["failed", "processed"]).await,
        [Erased::AlreadyErased; 2]
    );
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!((counts.processed, counts.failed), (1, 1));
    let settled = backend.admin.settled(&kind(), LONG).await;
    let settled = settled.expect("settled");
    assert_eq!((settled.processed, settled.failed), (1, 1));
}

/// Events that are yet to be processed need their bodies.
pub async fn only_settled_events_are_erased(backend: Backend) {
    fill(&backend).await;
    let names = ["expired", "leased", "due", "waiting"];
    assert_eq!(erase(&backend, &names).await, [Erased::Unsettled; 4]);
    for name in names {
        let record = backend.record(name).await;
        assert!(!record.body_deleted);
        assert_eq!(record.envelope.body, "1");
    }
    assert_eq!(
        erase(&backend, &["unknown", "failed", "failed"]).await,
        [Erased::NotFound, Erased::Applied, Erased::AlreadyErased]
    );
}

/// An erased event is never processed again, neither by a requeue nor by a redelivery that would requeue it.
pub async fn erased_events_are_not_requeued(backend: Backend) {
    fill(&backend).await;
    assert_eq!(erase(&backend, &["failed"]).await, [Erased::Applied]);
    let requeued = backend.admin.requeue(&[event_ref("failed")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::Erased]);
    let mut again = event("failed", "1");
    again.on_failed = OnFailed::Requeue;
    assert_eq!(backend.accept(&[again]).await, [Accepted::Duplicate]);
    assert_eq!(backend.record("failed").await.state, State::Failed);
    let prune = Prune::new(
        kind(),
        TerminalState::Failed,
        Duration::ZERO,
        up_to(9).limit,
    );
    assert_eq!(backend.admin.prune(&prune).await.expect("prune"), 1);
    assert_eq!(
        backend.accept(&[event("failed", "2")]).await,
        [Accepted::New]
    );
}

/// Single events that are erased or deleted do not disturb what retention does later.
pub async fn retention_goes_on_after_single_removals(backend: Backend) {
    for name in ["a", "b", "c", "d", "e"] {
        backend.settled(name, "1", Outcome::Processed).await;
        backend.pass(Duration::from_millis(5)).await;
    }
    assert_eq!(delete(&backend, &["c"]).await, [Deleted::Applied]);
    assert_eq!(erase(&backend, &["e", "b"]).await, [Erased::Applied; 2]);
    let counted = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counted.processed, 4);
    let one = crate::DeleteBodies::new(kind(), Duration::ZERO, up_to(1).limit);
    assert_eq!(
        backend
            .admin
            .delete_bodies(&one)
            .await
            .expect("delete bodies"),
        1
    );
    // The oldest that has a body, in its partition if there are any.
    let (mut order, mut last) = (vec!["b", "e"], Vec::new());
    for name in ["d", "a"] {
        match backend.record(name).await.body_deleted {
            true => order.push(name),
            false => last.push(name),
        }
    }
    order.sort_unstable();
    order.append(&mut last);
    assert_eq!(order.len(), 4);
    assert!(!backend.orders_all() || order == ["a", "b", "e", "d"]);
    for gone in 1..=4 {
        let prune = Prune::new(
            kind(),
            TerminalState::Processed,
            Duration::ZERO,
            up_to(1).limit,
        );
        assert_eq!(backend.admin.prune(&prune).await.expect("prune"), 1);
        let mut taken = Vec::new();
        for name in &order {
            taken.push(backend.find(&[event_ref(name)]).await == [None]);
        }
        backend.assert_taken(&order, &taken, gone);
    }
}
