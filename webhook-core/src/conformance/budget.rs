//! The attempt budget: attempts that end in a crash are spent, and the event fails after the last one.

use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{
    Attempt, Claim, Claimed, Extended, FailureReason, Key, Lease, Outcome, Settled, State,
};

/// An event whose attempts all crash fails with a reason, and is not leased again.
pub async fn crashes_spend_the_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let mut last = None;
    for attempt in 1..=3 {
        let claimed = backend.claim_one(&crashing(1, 3)).await;
        assert_eq!(claimed.lease.attempt.number(), attempt);
        assert_eq!(backend.record("a").await.attempts, attempt);
        last = Some(claimed.lease);
    }
    assert_eq!(exhausted(&backend, &crashing(1, 3), 1).await, [key("a")]);
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Failed);
    assert_eq!(record.attempts, 3);
    assert_eq!(record.reason, Some(FailureReason::Exhausted));
    assert!(record.settled_at.expect("it is settled") >= record.accepted_at);
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&up_to(1)).await, Claimed::default());
    assert_stale(&backend, last.expect("there were attempts")).await;
    assert_eq!(backend.record("a").await, record);
}

/// With a single attempt, the first crash is the last.
pub async fn one_attempt_allows_one_crash(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&crashing(1, 1)).await;
    assert_eq!(exhausted(&backend, &crashing(1, 1), 1).await, [key("a")]);
    assert_eq!(backend.record("a").await.attempts, 1);
}

/// The last attempt may settle after its lease expired, until the next claim.
pub async fn the_last_attempt_may_settle_late(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&crashing(1, 1)).await;
    backend.pass(PAST_SHORT).await;
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.claim(&crashing(1, 1)).await, Claimed::default());
    assert_eq!(backend.record("a").await.state, State::Processed);
}

/// The lease of the last attempt may be extended like any other.
pub async fn the_last_attempt_may_be_extended(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&crashing(1, 1)).await;
    let extended = backend.extend(&[held.lease], LONG).await;
    assert_eq!(extended, [Extended::Renewed]);
    backend.pass(PAST_SHORT).await;
    let claimed = backend.claim(&crashing(1, 1)).await;
    assert_eq!((claimed.events, claimed.exhausted), (vec![], vec![]));
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// Attempts that are retried are spent like attempts that crash.
pub async fn retries_and_crashes_share_the_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let first = backend.claim_one(&crashing(1, 3)).await;
    let outcome = retry(Duration::ZERO, "not yet");
    assert_eq!(
        backend.settle_one(first.lease, outcome).await,
        Settled::Applied
    );
    let second = backend.claim_one(&crashing(1, 3)).await;
    assert_eq!(second.lease.attempt.number(), 2);
    let third = backend.claim_one(&crashing(1, 3)).await;
    assert_eq!(third.lease.attempt.number(), 3);
    assert_eq!(exhausted(&backend, &crashing(1, 3), 1).await, [key("a")]);
    let record = backend.record("a").await;
    assert_eq!(record.reason, Some(FailureReason::Exhausted));
}

/// An event without attempts left is not leased when its retry falls due, and its reason says how many attempts it
/// had: nothing crashed.
pub async fn a_retry_beyond_the_attempts_is_not_leased(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claimed = backend.claim_one(&crashing(1, 2)).await;
    let outcome = retry(Duration::ZERO, "not yet");
    backend.settle_one(claimed.lease, outcome).await;
    assert_eq!(exhausted(&backend, &crashing(1, 1), 1).await, [key("a")]);
    let record = backend.record("a").await;
    assert_eq!((record.state, record.attempts), (State::Failed, 1));
    let reason = FailureReason::no_attempts_left(1, attempts(1));
    assert_eq!(record.reason, Some(reason));
}

/// Events that fail in a claim count towards its limit, and the others are leased.
pub async fn exhausted_events_count_towards_the_limit(backend: Backend) {
    backend.accept_new(&events(3)).await;
    let crashed = backend.claim_within(&crashing(3, 1), 3).await;
    assert_eq!(crashed.len(), 3);
    backend.pass(PAST_SHORT).await;
    backend
        .accept_new(&[event("x", "1"), event("y", "1")])
        .await;
    let mut failed = Vec::new();
    let mut leased = Vec::new();
    while failed.len() + leased.len() < 5 {
        let claim = Claim {
            max_attempts: attempts(1),
            ..up_to(2)
        };
        // That no claim exceeds its limit is checked with every claim.
        let claimed = backend.claim(&claim).await;
        failed.extend(claimed.exhausted);
        leased.extend(claimed.events);
        backend.pass_until(Some(Duration::ZERO)).await;
    }
    failed.sort_unstable();
    let expected = ["event-00000", "event-00001", "event-00002"].map(key);
    assert_eq!(failed, expected);
    leased.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(keys(&leased), ["x", "y"]);
}

/// The claim decides on the number of attempts: with a higher one, the event has further attempts.
pub async fn raising_max_attempts_gives_more_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&crashing(1, 1)).await;
    let next = backend.claim_one(&crashing(1, 2)).await;
    assert_eq!(next.lease.attempt.number(), 2);
    assert_eq!(exhausted(&backend, &crashing(1, 2), 1).await, [key("a")]);
}

/// Attempts are counted event by event.
pub async fn attempts_are_counted_per_event(backend: Backend) {
    backend.accept_new(&[event("old", "1")]).await;
    backend.claim_one(&crashing(1, 2)).await;
    backend.claim_one(&crashing(1, 2)).await;
    backend.pass(PAST_SHORT).await;
    backend.accept_new(&[event("new", "1")]).await;
    let claim = Claim {
        max_attempts: attempts(2),
        ..up_to(5)
    };
    let claimed = backend.claim_one(&claim).await;
    assert_eq!(claimed.key, key("new"));
    assert_eq!(claimed.lease.attempt, Attempt::FIRST);
    assert_eq!(backend.record("old").await.state, State::Failed);
}

/// A claim by a worker that is going to crash.
fn crashing(limit: usize, max_attempts: u32) -> Claim {
    Claim {
        lease: SHORT,
        max_attempts: attempts(max_attempts),
        ..up_to(limit)
    }
}

/// Claims until `count` events have ended as failed, and nothing else.
async fn exhausted(backend: &Backend, claim: &Claim, count: usize) -> Vec<Key> {
    let mut exhausted = Vec::new();
    while exhausted.len() < count {
        let claimed = backend.claim(claim).await;
        assert_eq!(claimed.events, []);
        exhausted.extend(claimed.exhausted);
        if exhausted.len() < count {
            backend.pass_until(claimed.next_due).await;
        }
    }
    exhausted
}

async fn assert_stale(backend: &Backend, lease: Lease) {
    let extended = backend.extend(&[lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost]);
    let settled = backend.settle_one(lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
}
