//! Redelivery of failed events, with [`OnFailed::Requeue`].

use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{Accepted, Attempt, Counts, NewEvent, OnFailed, Outcome, Settled, State};

/// A delivery of the same content requeues a failed event, with the delay of the delivery.
pub async fn redelivery_requeues_a_failed_event(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let before = backend.record("a").await;
    let mut again = requeueing("a", "1");
    again.delay = LONG;
    again.envelope.body = "other bytes of the same content".into();
    assert_eq!(backend.accept(&[again]).await, [Accepted::Requeued]);
    let after = backend.record("a").await;
    assert_eq!(after.state, State::Processing);
    assert_eq!(after.attempts, 0);
    assert_eq!(after.settled_at, None);
    assert_eq!(after.reason, None);
    assert_eq!(after.id, before.id);
    assert_eq!(after.envelope, before.envelope, "the first body is kept");
    assert_eq!(after.accepted_at, before.accepted_at);
    assert_eq!(after.conflict_count, 0);
    assert_eq!(backend.claim(&up_to(1)).await.events, [], "not due yet");
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    let waiting = Counts {
        waiting: 1,
        ..Counts::default()
    };
    assert_eq!(counts, waiting);
}

/// An event that a redelivery requeued is processed like any other, with its full number of attempts.
pub async fn a_redelivered_event_is_processed(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let first = backend.claim_one(&up_to(1)).await;
    backend.settle_one(first.lease, failed("broken")).await;
    let accepted = backend.accept(&[requeueing("a", "1")]).await;
    assert_eq!(accepted, [Accepted::Requeued]);
    let second = backend.claim_one(&up_to(1)).await;
    assert_eq!(second.lease.attempt, Attempt::FIRST);
    assert!(second.lease.fence > first.lease.fence);
    let stale = backend.settle_one(first.lease, Outcome::Processed).await;
    assert_eq!(stale, Settled::LeaseLost);
    let settled = backend.settle_one(second.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.record("a").await.state, State::Processed);
}

/// Other content stays a conflict, and the failed event stays failed.
pub async fn redelivery_of_other_content_is_a_conflict(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let accepted = backend.accept(&[requeueing("a", "2")]).await;
    assert_eq!(accepted, [Accepted::Conflict]);
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Failed);
    assert_eq!(record.reason, Some(error("broken")));
    assert_eq!(record.conflict_count, 1);
}

/// Only failed events are requeued: deliveries of waiting, leased or processed events are duplicates.
pub async fn redelivery_requeues_nothing_else(backend: Backend) {
    backend.settled("processed", "1", Outcome::Processed).await;
    backend.accept_new(&[event("leased", "1")]).await;
    let leased = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    let names = ["processed", "leased", "waiting"];
    let mut before = Vec::new();
    for name in names {
        before.push(backend.record(name).await);
    }
    let batch = names.map(|name| requeueing(name, "1"));
    assert_eq!(backend.accept(&batch).await, [Accepted::Duplicate; 3]);
    for (name, before) in names.iter().zip(before) {
        assert_eq!(backend.record(name).await, before);
    }
    assert_eq!(backend.claim(&up_to(9)).await.events, []);
    let settled = backend.settle_one(leased.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// With `OnFailed::Keep`, a failed event stays failed.
pub async fn redelivery_may_keep_a_failed_event(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let before = backend.record("a").await;
    let accepted = backend.accept(&[event("a", "1")]).await;
    assert_eq!(accepted, [Accepted::Duplicate]);
    assert_eq!(backend.record("a").await, before);
}

/// Several redeliveries in one batch requeue once, and a free key in it is new.
pub async fn redeliveries_within_a_batch_requeue_once(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let batch = [
        event("a", "1"),
        requeueing("a", "2"),
        requeueing("a", "1"),
        requeueing("a", "1"),
        requeueing("b", "1"),
        requeueing("b", "1"),
    ];
    let expected = [
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::Requeued,
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Duplicate,
    ];
    assert_eq!(backend.accept(&batch).await, expected);
    assert_eq!(backend.record("a").await.conflict_count, 1);
    let claimed = backend.claim_within(&up_to(2), 2).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(backend.claim(&up_to(2)).await.events, []);
}

/// A requeued event is due after its delivery's delay, not before.
pub async fn a_redelivered_event_waits_for_its_delay(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let mut again = requeueing("a", "1");
    again.delay = SHORT;
    let failed_at = backend.record("a").await.settled_at.expect("it failed");
    assert_eq!(backend.accept(&[again]).await, [Accepted::Requeued]);
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    let settled_at = backend.record("a").await.settled_at.expect("it is settled");
    assert!(settled_at + TOLERANCE >= failed_at + SHORT);
}

/// A delivery, due at once, that requeues a failed event.
fn requeueing(name: &str, content: &str) -> NewEvent {
    NewEvent {
        on_failed: OnFailed::Requeue,
        ..event_in(Duration::ZERO, name, content)
    }
}
