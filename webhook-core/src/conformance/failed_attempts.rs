//! Failed attempts: the latest ones are kept, with their times and reasons.

use std::time::SystemTime;

use super::Backend;
use super::steps::*;
use crate::{
    Claim, ClaimedEvent, FailedAttempt, FailureReason, MAX_DETAILS_BYTES, MAX_FAILED_ATTEMPTS,
    Outcome, Page, Requeued, State,
};

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

/// Details are kept with their attempt, byte for byte. Empty details are not the same as none. The record of the
/// event has none.
pub async fn details_are_kept_with_their_attempt(backend: Backend) {
    let bytes: Vec<u8> = (0..=255).collect();
    backend
        .accept_new(&[event("a", "1"), event("b", "1")])
        .await;
    for outcome in [
        detailed(now("bytes"), bytes.clone()),
        detailed(now("empty"), ""),
        now("none"),
        detailed(failed("text"), "{\"it's\": \"\\é\"}"),
    ] {
        let claimed = backend.claim_within(&up_to(2), 1).await;
        for ClaimedEvent { lease, key, .. } in claimed {
            let outcome = if key.as_str() == "a" {
                outcome.clone()
            } else {
                now("of b")
            };
            backend.settle_one(lease, outcome).await;
        }
    }
    let kept = failed_attempts(&backend, "a").await;
    let expected = [
        ("text", Some("{\"it's\": \"\\é\"}".as_bytes())),
        ("none", None),
        ("empty", Some(&[][..])),
        ("bytes", Some(&bytes[..])),
    ];
    assert_eq!(reasons_and_details(&kept), expected);
    for other in failed_attempts(&backend, "b").await {
        assert_eq!(other.reason.details(), None);
    }
    assert_eq!(backend.record("a").await.reason, Some(error("text")));
    let page = Page::new(kind(), State::Failed, up_to(9).limit);
    let listed = backend.admin.list(&page).await.expect("list");
    assert_eq!(listed[0].reason, Some(error("text")));
}

/// Details are kept for the latest failed attempts, up to the longest ones. An attempt without details does not
/// get those of an earlier one.
pub async fn details_of_the_latest_attempts_are_kept(backend: Backend) {
    let details = |number: u8| vec![number; MAX_DETAILS_BYTES];
    let last = u8::try_from(MAX_FAILED_ATTEMPTS).expect("a handful") + 2;
    backend.accept_new(&[event("a", "1")]).await;
    for number in 1..=last {
        let outcome = detailed(now("broken"), details(number));
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
    }
    let brief = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    backend.claim_one(&brief).await;
    backend.pass(PAST_SHORT).await;
    let too_long = detailed(now("too long"), vec![0; MAX_DETAILS_BYTES + 1]);
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, too_long).await;
    let kept = failed_attempts(&backend, "a").await;
    assert_eq!(kept.len(), MAX_FAILED_ATTEMPTS);
    assert_eq!(kept[0].reason, error("too long"));
    assert_eq!(kept[1].reason, FailureReason::Lost);
    for (attempt, number) in kept[2..].iter().zip((1..=last).rev()) {
        let is_kept = attempt
            .reason
            .details()
            .is_some_and(|it| *it == details(number));
        assert!(is_kept, "{attempt:?}");
    }
}

/// To be tried again at once.
fn now(reason: &str) -> Outcome {
    retry(std::time::Duration::ZERO, reason)
}

async fn failed_attempts(backend: &Backend, name: &str) -> Vec<FailedAttempt> {
    let kept = backend.admin.failed_attempts(&event_ref(name)).await;
    kept.expect("failed attempts")
}

fn reasons_and_details(kept: &[FailedAttempt]) -> Vec<(&str, Option<&[u8]>)> {
    kept.iter()
        .map(|it| (it.reason.as_str(), it.reason.details().map(AsRef::as_ref)))
        .collect()
}

fn numbers_and_reasons(kept: &[FailedAttempt]) -> Vec<(u32, &str)> {
    kept.iter()
        .map(|it| (it.attempt.number(), it.reason.as_str()))
        .collect()
}
