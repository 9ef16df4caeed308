//! Failed attempts: the latest ones are kept, with their times and reasons.

use std::time::SystemTime;

use super::Backend;
use super::steps::*;
use crate::{Claim, FailedAttempt, FailureReason, MAX_FAILED_ATTEMPTS, Outcome, Requeued};

/// The list is empty for an event that never failed, and for an unknown event.
pub async fn events_without_failures_have_no_failed_attempts(backend: Backend) {
    backend.settled("good", "1", Outcome::Processed).await;
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    for name in ["good", "leased", "unknown"] {
        assert_eq!(failed_attempts(&backend, name).await, [], "{name}");
    }
}

/// Each attempt that failed is kept with its own reason, the latest first.
pub async fn failed_attempts_are_listed_latest_first(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    for outcome in [now("first"), now("second"), failed("third")] {
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
    }
    let kept = failed_attempts(&backend, "a").await;
    let expected = [(3, "third"), (2, "second"), (1, "first")];
    assert_eq!(numbers_and_reasons(&kept), expected);
    let ends: Vec<SystemTime> = kept.iter().map(|it| it.ended_at).collect();
    assert!(ends.is_sorted_by(|later, earlier| later >= earlier));
    let record = backend.record("a").await;
    assert_eq!(record.settled_at, Some(ends[0]));
    assert!(ends[2] >= record.accepted_at);
}

/// A processed event keeps its failed attempts. A release is not a failed attempt.
pub async fn a_processed_event_keeps_its_failed_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    for outcome in [now("broken"), Outcome::Release, Outcome::Processed] {
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
    }
    let kept = failed_attempts(&backend, "a").await;
    assert_eq!(numbers_and_reasons(&kept), [(1, "broken")]);
}

/// After an expired lease, the next claim records a failed attempt, also if it exhausts the event.
pub async fn lost_attempts_are_failed_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claim = Claim {
        lease: SHORT,
        max_attempts: attempts(2),
        ..up_to(1)
    };
    for attempt in 1..=2 {
        let claimed = backend.claim_one(&claim).await;
        assert_eq!(claimed.lease.attempt.number(), attempt);
    }
    while backend.claim(&claim).await.exhausted.is_empty() {
        backend.pass(SHORT).await;
    }
    let kept = failed_attempts(&backend, "a").await;
    let numbers_and_reasons = kept.iter().map(|it| (it.attempt.number(), &it.reason));
    let expected = [(2, &FailureReason::Lost), (1, &FailureReason::Lost)];
    assert!(numbers_and_reasons.eq(expected), "{kept:?}");
    let record = backend.record("a").await;
    assert!(Some(kept[0].ended_at) <= record.settled_at);
    assert!(kept[1].ended_at >= record.accepted_at + SHORT - TOLERANCE);
}

/// A settlement after the lease expired, but before the next claim, is the result of the attempt.
pub async fn a_late_settlement_is_kept_as_it_was(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let brief = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    let claimed = backend.claim_one(&brief).await;
    backend.pass(PAST_SHORT).await;
    backend.settle_one(claimed.lease, now("late")).await;
    backend.claim_one(&up_to(1)).await;
    let kept = failed_attempts(&backend, "a").await;
    assert_eq!(numbers_and_reasons(&kept), [(1, "late")]);
}

/// A stale settlement leaves no trace.
pub async fn stale_settlements_are_not_kept(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let old = backend.claim_one(&up_to(1)).await.lease;
    backend.settle_one(old, Outcome::Release).await;
    backend.claim_one(&up_to(1)).await;
    backend.settle_one(old, failed("stale")).await;
    backend.settle_one(old, now("stale")).await;
    assert_eq!(failed_attempts(&backend, "a").await, []);
}

/// Only the latest failed attempts of an event are kept.
pub async fn the_latest_failed_attempts_are_kept(backend: Backend) {
    let count = MAX_FAILED_ATTEMPTS + 3;
    backend.accept_new(&[event("a", "1")]).await;
    for number in 1..=count {
        let claimed = backend.claim_one(&up_to(1)).await;
        let outcome = now(&format!("failure {number}"));
        backend.settle_one(claimed.lease, outcome).await;
    }
    let kept = failed_attempts(&backend, "a").await;
    let expected: Vec<_> = (count - MAX_FAILED_ATTEMPTS + 1..=count).rev().collect();
    let numbers: Vec<_> = kept.iter().map(|it| it.attempt.number() as usize).collect();
    assert_eq!(numbers, expected);
    for (attempt, number) in kept.iter().zip(expected) {
        assert_eq!(attempt.reason.as_str(), format!("failure {number}"));
    }
}

/// A requeue keeps the failed attempts; the numbers begin with 1 again.
pub async fn a_requeue_keeps_the_failed_attempts(backend: Backend) {
    backend.settled("a", "1", failed("before")).await;
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::Applied]);
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, failed("after")).await;
    let kept = failed_attempts(&backend, "a").await;
    assert_eq!(numbers_and_reasons(&kept), [(1, "after"), (1, "before")]);
}

/// Failed attempts belong to one event, and are deleted with it.
pub async fn failed_attempts_belong_to_one_event(backend: Backend) {
    let other = kind_named("other");
    backend.settled("a", "1", failed("of a")).await;
    backend.settled("b", "1", failed("of b")).await;
    backend.accept_new(&[event_of(&other, "a", "1")]).await;
    let kept = failed_attempts(&backend, "b").await;
    assert_eq!(numbers_and_reasons(&kept), [(1, "of b")]);
    let elsewhere = crate::EventRef {
        kind: other,
        key: key("a"),
    };
    let kept = backend.admin.failed_attempts(&elsewhere).await;
    assert_eq!(kept.expect("failed attempts"), []);
    let prune = crate::Prune {
        kind: kind(),
        state: crate::TerminalState::Failed,
        older_than: std::time::Duration::ZERO,
        limit: up_to(9).limit,
    };
    assert_eq!(backend.admin.prune(&prune).await.expect("prune"), 2);
    backend.accept_new(&[event("a", "1")]).await;
    assert_eq!(failed_attempts(&backend, "a").await, []);
}

/// To be tried again at once.
fn now(reason: &str) -> Outcome {
    retry(std::time::Duration::ZERO, reason)
}

async fn failed_attempts(backend: &Backend, name: &str) -> Vec<FailedAttempt> {
    let kept = backend.admin.failed_attempts(&event_ref(name)).await;
    kept.expect("failed attempts")
}

fn numbers_and_reasons(kept: &[FailedAttempt]) -> Vec<(u32, &str)> {
    kept.iter()
        .map(|it| (it.attempt.number(), it.reason.as_str()))
        .collect()
}
