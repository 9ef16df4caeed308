//! Requeue: moves failed events back to processing.

use super::Backend;
use super::steps::*;
use crate::{Attempt, Claim, EventRef, Extended, Outcome, Requeued, Settled, State};

/// A requeued event is due now, with all its attempts, and without its reason.
pub async fn a_requeued_event_starts_again(backend: Backend) {
    backend.accept_new(&[event_in(SHORT, "a", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, failed("broken")).await;
    backend.accept(&[event("a", "conflict")]).await;
    let before = backend.record("a").await;
    assert_eq!(requeue(&backend, &["a"]).await, [Requeued::Applied]);
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.attempts, 0);
    assert_eq!(record.reason, None);
    assert_eq!(record.settled_at, None);
    assert_eq!(record.id, before.id);
    assert_eq!(record.envelope, before.envelope);
    assert_eq!(record.accepted_at, before.accepted_at);
    assert_eq!(record.conflict_count, 1, "what came is not forgotten");
    assert_eq!(record.last_conflict_at, before.last_conflict_at);
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(keys(&claimed.events), ["a"], "due at once");
    assert_eq!(claimed.events[0].lease.attempt, Attempt::FIRST);
}

/// A requeued event is due at the time of the requeue, after events that fell due earlier.
pub async fn a_requeued_event_takes_a_new_place(backend: Backend) {
    backend.settled("requeued", "1", failed("broken")).await;
    backend.accept_new(&[event("waiting", "1")]).await;
    backend.pass(TOLERANCE).await;
    assert_eq!(requeue(&backend, &["requeued"]).await, [Requeued::Applied]);
    let claimed = backend.claim_within(&up_to(1), 2).await;
    backend.assert_order(&keys(&claimed), &["waiting", "requeued"]);
}

/// A requeued event has its full number of attempts again.
pub async fn a_requeued_event_has_all_its_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claim = Claim {
        lease: SHORT,
        max_attempts: attempts(1),
        ..up_to(1)
    };
    for round in 1..=2 {
        let claimed = backend.claim_one(&claim).await;
        assert_eq!(claimed.lease.attempt, Attempt::FIRST, "round {round}");
        while backend.claim(&claim).await.exhausted.is_empty() {
            backend.pass(SHORT).await;
        }
        assert_eq!(backend.record("a").await.state, State::Failed);
        assert_eq!(requeue(&backend, &["a"]).await, [Requeued::Applied]);
    }
    let claimed = backend.claim_one(&up_to(1)).await;
    let settled = backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.record("a").await.attempts, 1);
}

/// Leases from before the requeue stay stale, before and after the next claim.
pub async fn leases_from_before_a_requeue_are_stale(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let old = backend.claim_one(&up_to(1)).await;
    backend.settle_one(old.lease, failed("broken")).await;
    assert_eq!(requeue(&backend, &["a"]).await, [Requeued::Applied]);
    let settled = backend.settle_one(old.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
    let new = backend.claim_one(&up_to(1)).await;
    assert_eq!(new.lease.attempt, old.lease.attempt);
    assert!(new.lease.fence > old.lease.fence);
    let settled = backend.settle_one(old.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
    let extended = backend.extend(&[old.lease, new.lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost, Extended::Renewed]);
    assert_eq!(backend.record("a").await.state, State::Processing);
}

/// Each event has an answer, and events that have not failed do not change.
pub async fn only_failed_events_are_requeued(backend: Backend) {
    backend.settled("processed", "1", Outcome::Processed).await;
    backend.settled("failed", "1", failed("broken")).await;
    backend.accept_new(&[event("leased", "1")]).await;
    let leased = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    let unmoved = ["processed", "leased", "waiting"];
    let mut before = Vec::new();
    for name in unmoved {
        before.push(backend.record(name).await);
    }
    let names = [
        "waiting",
        "unknown",
        "failed",
        "processed",
        "leased",
        "failed",
    ];
    let expected = [
        Requeued::NotFailed,
        Requeued::NotFound,
        Requeued::Applied,
        Requeued::NotFailed,
        Requeued::NotFailed,
        Requeued::NotFailed,
    ];
    assert_eq!(requeue(&backend, &names).await, expected);
    for (name, before) in unmoved.iter().zip(before) {
        assert_eq!(backend.record(name).await, before);
    }
    let settled = backend.settle_one(leased.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(requeue(&backend, &[]).await, []);
}

/// A failed event of another kind is another event.
pub async fn requeue_is_by_kind_and_key(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let elsewhere = EventRef {
        kind: kind_named("other"),
        key: key("a"),
    };
    let requeued = backend.admin.requeue(&[elsewhere]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::NotFound]);
    assert_eq!(backend.record("a").await.state, State::Failed);
}

/// If operators requeue the same events at the same time, each event is requeued once.
pub async fn concurrent_requeues_apply_once(backend: Backend) {
    const EVENTS: usize = 30;
    backend.accept_new(&events(EVENTS)).await;
    for claimed in backend.claim_within(&up_to(EVENTS), EVENTS).await {
        backend.settle_one(claimed.lease, failed("broken")).await;
    }
    let refs: Vec<_> = events(EVENTS).iter().map(reference).collect();
    let mut operators = tokio::task::JoinSet::new();
    for operator in 0..4 {
        let backend = backend.clone();
        let mut refs = refs.clone();
        if operator % 2 == 1 {
            refs.reverse();
        }
        operators.spawn(async move {
            let requeued = backend.admin.requeue(&refs).await.expect("requeue");
            let applied = requeued.iter().filter(|it| **it == Requeued::Applied);
            applied.count()
        });
    }
    let applied: usize = operators.join_all().await.into_iter().sum();
    assert_eq!(applied, EVENTS);
    let claimed = backend.claim_within(&up_to(EVENTS), EVENTS).await;
    assert_eq!(claimed.len(), EVENTS);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

async fn requeue(backend: &Backend, names: &[&str]) -> Vec<Requeued> {
    let events: Vec<_> = names.iter().map(|name| event_ref(name)).collect();
    let requeued = backend.admin.requeue(&events).await.expect("requeue");
    assert_eq!(requeued.len(), events.len(), "one answer per event");
    requeued
}
