//! Settling: each attempt ends once, and terminal states do not change.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, Attempt, Claim, ClaimedEvent, Extended, Lease, Outcome, Requeued, Settled,
    Settlement, State,
};

/// A processed event is PROCESSED, with the time and without a reason.
pub async fn a_processed_event_is_processed(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Processed);
    assert_eq!(record.attempts, 1);
    assert_eq!(record.reason, None);
    assert!(record.settled_at.expect("it is settled") >= record.accepted_at);
    assert_eq!(record.envelope, event("a", "1").envelope);
}

/// A failed event is FAILED, with the time and its unchanged reason.
pub async fn a_failed_event_keeps_its_reason(backend: Backend) {
    let reason = "it's \"broken\": \\ % {} $1 é 日本 \u{1f4a9}";
    backend.settled("a", "1", failed(reason)).await;
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Failed);
    assert_eq!(record.attempts, 1);
    assert_eq!(record.reason, Some(error(reason)));
    assert!(record.settled_at.expect("it is settled") >= record.accepted_at);
}

/// The longest reason, and an empty one.
pub async fn reasons_of_any_length_are_kept(backend: Backend) {
    let long = "é".repeat(crate::MAX_REASON_BYTES / 2);
    for (name, reason) in [("long", long.as_str()), ("empty", "")] {
        backend.settled(name, "1", failed(reason)).await;
        assert_eq!(backend.record(name).await.reason, Some(error(reason)));
    }
}

/// A settlement may be repeated, and applies once.
pub async fn a_second_settlement_changes_nothing(backend: Backend) {
    for (number, first) in outcomes().into_iter().enumerate() {
        let name = format!("event-{number}");
        backend.accept_new(&[event(&name, "1")]).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        let settled = backend.settle_one(claimed.lease, first).await;
        assert_eq!(settled, Settled::Applied);
        let before = backend.record(&name).await;
        for second in outcomes() {
            let settled = backend.settle_one(claimed.lease, second).await;
            assert_eq!(settled, Settled::LeaseLost);
        }
        let extended = backend.extend(&[claimed.lease], SHORT).await;
        assert_eq!(extended, [Extended::LeaseLost]);
        assert_eq!(backend.record(&name).await, before);
        drain(&backend).await;
    }
}

/// Of several settlements of one lease in one call, the first applies.
pub async fn of_two_settlements_in_a_call_the_first_applies(backend: Backend) {
    let pairs = [
        ("a", Outcome::Processed, failed("second"), State::Processed),
        ("b", failed("first"), Outcome::Processed, State::Failed),
        ("c", retry(LONG, "1"), failed("second"), State::Processing),
        ("d", Outcome::Release, Outcome::Processed, State::Processing),
    ];
    for (name, first, second, state) in pairs {
        backend.accept_new(&[event(name, "1")]).await;
        let lease = backend.claim_one(&up_to(1)).await.lease;
        let settled = backend
            .settle(&[settlement(lease, first), settlement(lease, second)])
            .await;
        assert_eq!(settled, [Settled::Applied, Settled::LeaseLost], "{name}");
        assert_eq!(backend.record(name).await.state, state, "{name}");
    }
}

/// Each settlement of a call has its own answer: every outcome, and stale leases.
pub async fn settlements_in_a_batch_are_independent(backend: Backend) {
    assert_eq!(backend.settle(&[]).await, []);
    backend.accept_new(&[event("stale", "1")]).await;
    let brief = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    let stale = backend.claim_one(&brief).await.lease;
    let taken = backend.claim_one(&up_to(1)).await.lease;
    let names = ["a", "b", "c", "d", "done"];
    let mut leases = Vec::new();
    for name in names {
        backend.accept_new(&[event(name, "1")]).await;
        leases.push(backend.claim_one(&up_to(1)).await.lease);
    }
    backend.settle_one(leases[4], failed("done before")).await;
    let batch = [
        settlement(stale, Outcome::Processed),
        settlement(leases[0], Outcome::Processed),
        settlement(leases[4], Outcome::Processed),
        settlement(leases[1], failed("b failed")),
        settlement(leases[2], retry(LONG, "c later")),
        settlement(leases[3], Outcome::Release),
        settlement(leases[0], failed("again")),
    ];
    let expected = [
        Settled::LeaseLost,
        Settled::Applied,
        Settled::LeaseLost,
        Settled::Applied,
        Settled::Applied,
        Settled::Applied,
        Settled::LeaseLost,
    ];
    assert_eq!(backend.settle(&batch).await, expected);
    let expected = [
        (State::Processed, 1, None),
        (State::Failed, 1, Some("b failed")),
        (State::Processing, 1, Some("c later")),
        (State::Processing, 0, None),
        (State::Failed, 1, Some("done before")),
    ];
    for (name, (state, attempts, reason)) in names.iter().zip(expected) {
        let record = backend.record(name).await;
        assert_eq!(record.state, state, "{name}");
        assert_eq!(record.attempts, attempts, "{name}");
        assert_eq!(record.reason, reason.map(error), "{name}");
    }
    let settled = backend.settle_one(taken, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// Two thousand settlements in one call.
pub async fn a_large_batch_is_settled(backend: Backend) {
    backend.accept_new(&events(2_000)).await;
    let claimed = backend.claim_within(&up_to(2_000), 2_000).await;
    let batch: Vec<_> = claimed
        .iter()
        .rev()
        .map(|claimed| settlement(claimed.lease, Outcome::Processed))
        .collect();
    let settled = backend.settle(&batch).await;
    assert!(settled.iter().all(|it| *it == Settled::Applied));
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counts.processed, 2_000);
    let again = backend.settle(&batch).await;
    assert!(again.iter().all(|it| *it == Settled::LeaseLost));
}

/// Of concurrent settlements of one lease, one applies.
pub async fn concurrent_settlements_apply_once(backend: Backend) {
    const EVENTS: usize = 50;
    backend.accept_new(&events(EVENTS)).await;
    let claimed = backend.claim_within(&up_to(EVENTS), EVENTS).await;
    let mut settlers = JoinSet::new();
    for settler in 0..6 {
        let backend = backend.clone();
        let mut batch: Vec<_> = claimed
            .iter()
            .map(|claimed| settlement(claimed.lease, failed(&format!("by {settler}"))))
            .collect();
        batch.rotate_left(settler * EVENTS / 6);
        if settler % 2 == 1 {
            batch.reverse();
        }
        settlers.spawn(async move {
            let settled = backend.settle(&batch).await;
            let applied = batch.iter().zip(settled);
            let applied = applied.filter(|(_, settled)| *settled == Settled::Applied);
            let applied = applied.map(|(settlement, _)| (settlement.lease.event, settler));
            applied.collect::<Vec<_>>()
        });
    }
    let applied = settlers.join_all().await.concat();
    assert_eq!(applied.len(), EVENTS);
    for ClaimedEvent { lease, key, .. } in claimed {
        let winner = applied.iter().find(|(event, _)| *event == lease.event);
        let (_, winner) = winner.expect("one settlement applied");
        let record = backend.record(key.as_str()).await;
        assert_eq!(record.reason, Some(error(&format!("by {winner}"))));
    }
}

/// A retry spends the attempt, shows its reason, and is not due before its delay has passed.
pub async fn a_retry_waits_for_its_delay(backend: Backend) {
    backend.settled("a", "1", retry(LONG, "not yet")).await;
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.attempts, 1);
    assert_eq!(record.settled_at, None);
    assert_eq!(record.reason, Some(error("not yet")));
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(claimed.events, []);
    let next_due = claimed.next_due.expect("the retry waits");
    assert!(next_due <= LONG + TOLERANCE, "{next_due:?}");
    assert!(next_due > SHORT, "{next_due:?}");
}

/// After its delay the retry is the next attempt; the last reason stays until it ends.
pub async fn a_retry_is_the_next_attempt(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    // Its delay is counted from the settlement, not from when it was due.
    backend.pass(PAST_SHORT).await;
    let first = backend.claim_one(&up_to(1)).await;
    let before = Instant::now();
    let outcome = retry(SHORT, "not yet");
    backend.settle_one(first.lease, outcome).await;
    let second = backend.claim_one(&up_to(1)).await;
    assert_eq!(second.lease.attempt.number(), 2);
    assert!(second.lease.fence > first.lease.fence);
    let since_due = (before.elapsed() + TOLERANCE).saturating_sub(SHORT);
    assert!(second.lag <= since_due, "counted from the retry");
    assert_eq!(backend.record("a").await.reason, Some(error("not yet")));
    backend.settle_one(second.lease, Outcome::Processed).await;
    let record = backend.record("a").await;
    assert_eq!(record.state, State::Processed);
    assert_eq!((record.attempts, record.reason), (2, None));
    let age = record.settled_at.expect("it is settled");
    let age = age.duration_since(record.accepted_at).expect("it grew");
    assert!(age + TOLERANCE >= PAST_SHORT + SHORT, "{age:?} is early");
}

/// A retry is due at its new time, after events that fell due earlier.
pub async fn a_retry_takes_a_new_place(backend: Backend) {
    backend.accept_new(&[event("retried", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("waiting", "1")]).await;
    backend.pass(TOLERANCE).await;
    backend
        .settle_one(claimed.lease, retry(SHORT, "not yet"))
        .await;
    backend.pass(PAST_SHORT).await;
    let claimed = backend.claim_within(&up_to(1), 2).await;
    backend.assert_order(&keys(&claimed), &["waiting", "retried"]);
}

/// A retry without a delay is due at once.
pub async fn a_retry_may_be_due_at_once(backend: Backend) {
    backend
        .settled("a", "1", retry(Duration::ZERO, "again"))
        .await;
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(keys(&claimed.events), ["a"]);
}

/// A released event is due at once, with the same attempt number and another fence.
pub async fn a_release_gives_the_attempt_back(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let first = backend.claim_one(&up_to(1)).await;
    let before = backend.record("a").await;
    let settled = backend.settle_one(first.lease, Outcome::Release).await;
    assert_eq!(settled, Settled::Applied);
    let record = backend.record("a").await;
    assert_eq!((before.attempts, record.attempts), (1, 0));
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.reason, None);
    let second = backend.claim(&up_to(1)).await.events.remove(0);
    assert_eq!(second.lease.attempt, Attempt::FIRST);
    assert!(second.lease.fence > first.lease.fence);
    assert!(second.lag >= first.lag, "counted from the old due time");
}

/// However often it is released, an event has all its attempts.
pub async fn releases_never_exhaust_an_event(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claim = Claim {
        max_attempts: attempts(1),
        ..up_to(1)
    };
    for _ in 0..5 {
        let claimed = backend.claim_one(&claim).await;
        assert_eq!(claimed.lease.attempt, Attempt::FIRST);
        backend.settle_one(claimed.lease, Outcome::Release).await;
    }
    let claimed = backend.claim_one(&claim).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(backend.record("a").await.attempts, 1);
}

/// Only the released attempt is given back, not those before it; nor is their reason lost.
pub async fn a_release_gives_one_attempt_back(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let first = backend.claim_one(&up_to(1)).await;
    let outcome = retry(Duration::ZERO, "not yet");
    backend.settle_one(first.lease, outcome).await;
    let second = backend.claim_one(&up_to(1)).await;
    backend.settle_one(second.lease, Outcome::Release).await;
    let record = backend.record("a").await;
    assert_eq!(record.attempts, 1);
    assert_eq!(record.reason, Some(error("not yet")));
    let third = backend.claim_one(&up_to(1)).await;
    assert_eq!(third.lease.attempt.number(), 2);
    let fences = [first, second, third].map(|claimed| claimed.lease.fence);
    assert!(fences[0] < fences[1] && fences[1] < fences[2]);
}

/// A released lease is stale, though the next one has its attempt's number.
pub async fn a_released_lease_is_stale(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let first = backend.claim_one(&up_to(1)).await;
    backend.settle_one(first.lease, Outcome::Release).await;
    let second = backend.claim_one(&up_to(1)).await;
    assert_eq!(first.lease.attempt, second.lease.attempt);
    let before = backend.record("a").await;
    for outcome in outcomes() {
        let settled = backend.settle_one(first.lease, outcome).await;
        assert_eq!(settled, Settled::LeaseLost);
    }
    let leases = [first.lease, second.lease];
    let extended = backend.extend(&leases, LONG).await;
    assert_eq!(extended, [Extended::LeaseLost, Extended::Renewed]);
    let mut expected = before;
    expected.leased_until = backend.record("a").await.leased_until;
    assert_eq!(backend.record("a").await, expected);
    let settled = backend.settle_one(second.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// A released event is back at its old place.
pub async fn a_release_keeps_its_place(backend: Backend) {
    backend.accept_new(&[event("first", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.pass(TOLERANCE).await;
    backend.accept_new(&[event("second", "1")]).await;
    backend.pass(TOLERANCE).await;
    backend.settle_one(claimed.lease, Outcome::Release).await;
    let claimed = backend.claim_within(&up_to(1), 2).await;
    backend.assert_order(&keys(&claimed), &["first", "second"]);
}

/// A postponed event has its attempt back, and is not due before its delay is over.
pub async fn a_postponed_event_waits_and_keeps_its_attempts(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claim = Claim {
        max_attempts: attempts(2),
        ..up_to(1)
    };
    let first = backend.claim_one(&claim).await;
    let outcome = retry(Duration::ZERO, "not yet");
    backend.settle_one(first.lease, outcome).await;
    for _ in 0..3 {
        let claimed = backend.claim_one(&claim).await;
        assert_eq!(claimed.lease.attempt.number(), 2);
        let postponed = Outcome::Postpone { after: SHORT };
        let settled = backend.settle_one(claimed.lease, postponed).await;
        assert_eq!(settled, Settled::Applied);
        let stale = backend.settle_one(claimed.lease, Outcome::Processed).await;
        assert_eq!(stale, Settled::LeaseLost);
        let record = backend.record("a").await;
        assert_eq!((record.state, record.attempts), (State::Processing, 1));
        assert_eq!(record.reason, Some(error("not yet")));
        backend.pass(PAST_SHORT).await;
    }
    let claimed = backend.claim_one(&claim).await;
    let postponed = Outcome::Postpone { after: LONG };
    let before = Instant::now();
    backend.settle_one(claimed.lease, postponed).await;
    let waiting = backend.claim(&claim).await;
    assert_eq!((waiting.events, waiting.exhausted), (vec![], vec![]));
    let next_due = waiting.next_due.expect("it waits");
    assert!(
        next_due + before.elapsed() + TOLERANCE >= LONG,
        "{next_due:?}"
    );
    let failed = backend.admin.failed_attempts(&event_ref("a")).await;
    assert_eq!(failed.expect("failed attempts").len(), 1);
}

/// PROCESSED never moves: not by a settlement, an extension, a requeue or a redelivery.
pub async fn processed_is_terminal(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    let before = backend.record("a").await;
    for outcome in outcomes() {
        let settled = backend.settle_one(claimed.lease, outcome).await;
        assert_eq!(settled, Settled::LeaseLost);
    }
    let extended = backend.extend(&[claimed.lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost]);
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::NotFailed]);
    let mut again = event("a", "1");
    again.on_failed = crate::OnFailed::Requeue;
    assert_eq!(backend.accept(&[again]).await, [Accepted::Duplicate]);
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&up_to(1)).await, crate::Claimed::default());
    assert_eq!(backend.record("a").await, before);
}

/// FAILED stays, whatever its last holder says.
pub async fn failed_stays_failed(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, failed("broken")).await;
    let before = backend.record("a").await;
    for outcome in outcomes() {
        let settled = backend.settle_one(claimed.lease, outcome).await;
        assert_eq!(settled, Settled::LeaseLost);
    }
    let extended = backend.extend(&[claimed.lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost]);
    assert_eq!(
        backend.accept(&[event("a", "1")]).await,
        [Accepted::Duplicate]
    );
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&up_to(1)).await, crate::Claimed::default());
    assert_eq!(backend.record("a").await, before);
}

fn outcomes() -> [Outcome; 5] {
    [
        Outcome::Processed,
        failed("failed"),
        retry(LONG, "later"),
        Outcome::Release,
        Outcome::Postpone { after: LONG },
    ]
}

fn settlement(lease: Lease, outcome: Outcome) -> Settlement {
    Settlement { lease, outcome }
}

/// Takes away what is due.
async fn drain(backend: &Backend) {
    for claimed in backend.claim(&up_to(100)).await.events {
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
}
