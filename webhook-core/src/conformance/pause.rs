//! Pauses: events of a paused kind are accepted, and wait for the resume.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, Claim, Claimed, Counts, Extended, FailureReason, Kind, MadeDue, Outcome, Requeued,
    RunningLeases, Settled, State,
};

/// Deliveries of a paused kind are accepted as usual, and not claimed.
pub async fn a_paused_kind_accepts_and_is_not_claimed(backend: Backend) {
    backend.accept_new(&[event("before", "1")]).await;
    assert!(backend.pause(&kind()).await);
    let batch = [
        event("during", "1"),
        event("before", "1"),
        event("before", "2"),
    ];
    let expected = [Accepted::New, Accepted::Duplicate, Accepted::Conflict];
    assert_eq!(backend.accept(&batch).await, expected);
    backend.pass(TOLERANCE).await;
    assert_eq!(backend.claim(&up_to(5)).await, Claimed::default());
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    let expected = Counts {
        due: 2,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert!(backend.admin.lag(&kind()).await.expect("lag").is_some());
}

/// After a resume, events are claimed in the order of their due times, including events with expired leases.
pub async fn resumed_events_are_claimed_in_due_order(backend: Backend) {
    backend.accept_new(&[event("leased", "1")]).await;
    let lost = backend.claim_one(&briefly(1)).await;
    backend.accept_new(&[event("before", "1")]).await;
    backend.pause(&kind()).await;
    backend.accept_new(&[event("during", "1")]).await;
    backend
        .accept_new(&[event_in(SHORT, "due meanwhile", "1")])
        .await;
    backend.accept_new(&[event_in(LONG, "far", "1")]).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&up_to(9)).await, Claimed::default());
    assert!(backend.resume(&kind()).await);
    let claimed = backend.claim_within(&up_to(9), 4).await;
    let expected = ["leased", "before", "during", "due meanwhile"];
    backend.assert_order(&keys(&claimed), &expected);
    let again = claimed.iter().find(|it| it.key == lost.key);
    let again = again.expect("it is claimed again").lease;
    assert_eq!(again.attempt.number(), 2);
    assert!(again.fence > lost.lease.fence);
    let failed = backend.admin.failed_attempts(&event_ref("leased")).await;
    let failed = failed.expect("failed attempts");
    let reasons: Vec<_> = failed.iter().map(|it| &it.reason).collect();
    assert_eq!(reasons, [&FailureReason::Lost]);
    let next_due = backend.claim(&up_to(9)).await.next_due;
    assert!(next_due.is_some(), "one is due later");
}

/// During a pause, a running attempt is extended and settled as usual.
pub async fn running_attempts_end_as_usual_while_paused(backend: Backend) {
    let names = ["processed", "failed", "late"];
    backend
        .accept_new(&names.map(|name| event(name, "1")))
        .await;
    let mut held = backend.claim_within(&briefly(3), 3).await;
    held.sort_by_key(|held| names.iter().position(|name| *name == held.key.as_str()));
    backend.pause(&kind()).await;
    let leases = [held[0].lease, held[1].lease];
    assert_eq!(backend.extend(&leases, LONG).await, [Extended::Renewed; 2]);
    backend.pass(PAST_SHORT).await;
    // The last lease expired, but the event could not be claimed.
    for (held, outcome) in
        held.iter()
            .zip([Outcome::Processed, failed("broken"), Outcome::Processed])
    {
        let settled = backend.settle_one(held.lease, outcome.clone()).await;
        assert_eq!(settled, Settled::Applied, "{}", held.key);
        let settled = backend.settle_one(held.lease, outcome).await;
        assert_eq!(settled, Settled::LeaseLost, "{}", held.key);
    }
    let expected = [State::Processed, State::Failed, State::Processed];
    for (name, state) in names.into_iter().zip(expected) {
        assert_eq!(backend.record(name).await.state, state, "{name}");
    }
}

/// Events that are due again during a pause wait until the resume.
pub async fn retries_of_a_paused_kind_wait(backend: Backend) {
    let outcomes = [
        ("retried", retry(Duration::ZERO, "again"), 2),
        ("released", Outcome::Release, 1),
        (
            "postponed",
            Outcome::Postpone {
                after: Duration::ZERO,
            },
            1,
        ),
    ];
    for (name, outcome, attempt) in outcomes {
        backend.accept_new(&[event(name, "1")]).await;
        let held = backend.claim_one(&up_to(1)).await;
        backend.pause(&kind()).await;
        let settled = backend.settle_one(held.lease, outcome).await;
        assert_eq!(settled, Settled::Applied);
        backend.pass(TOLERANCE).await;
        assert_eq!(backend.claim(&up_to(1)).await, Claimed::default(), "{name}");
        backend.resume(&kind()).await;
        let again = backend.claim_one(&up_to(1)).await;
        assert_eq!(again.key.as_str(), name);
        assert_eq!(again.lease.attempt.number(), attempt, "{name}");
    }
}

/// An event whose attempts are spent fails after the resume, not before.
pub async fn nothing_is_exhausted_while_paused(backend: Backend) {
    let claim = Claim {
        max_attempts: attempts(1),
        ..briefly(5)
    };
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&claim).await;
    backend.pause(&kind()).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&claim).await, Claimed::default());
    assert_eq!(backend.record("a").await.state, State::Processing);
    backend.resume(&kind()).await;
    let mut exhausted = Vec::new();
    while exhausted.is_empty() {
        let claimed = backend.claim(&claim).await;
        assert_eq!(claimed.events, []);
        exhausted = claimed.exhausted;
        backend.pass_until(claimed.next_due).await;
    }
    assert_eq!(exhausted, [key("a")]);
    assert_eq!(backend.record("a").await.state, State::Failed);
}

/// A second pause changes nothing, and one resume ends both. A second resume changes nothing.
pub async fn pause_and_resume_return_whether_they_changed_anything(backend: Backend) {
    assert!(!backend.resume(&kind()).await, "it was never paused");
    for _ in 0..2 {
        assert!(backend.pause(&kind()).await);
        assert!(!backend.pause(&kind()).await);
        assert!(backend.resume(&kind()).await);
        assert!(!backend.resume(&kind()).await);
    }
    backend.accept_new(&[event("a", "1")]).await;
    assert_eq!(backend.claim_one(&up_to(1)).await.key.as_str(), "a");
}

/// All paused kinds are listed in order, also those without events, and only those.
pub async fn paused_kinds_are_sorted_and_need_no_events(backend: Backend) {
    let paused = async || backend.admin.paused().await.expect("paused");
    assert_eq!(paused().await, []);
    backend.accept_new(&[event("a", "1")]).await;
    // In the order of their bytes, whatever a language's is.
    let kinds = ["b", "ab", "a_b", "a", "a.c", "a-b"].map(kind_named);
    for kind in &kinds {
        assert!(backend.pause(kind).await);
    }
    let mut expected = kinds.to_vec();
    expected.sort();
    assert_eq!(paused().await, expected);
    assert_eq!(backend.admin.kinds().await.expect("kinds"), [kind()]);
    for kind in &kinds {
        let claim = of(kind, 1);
        assert_eq!(backend.claim(&claim).await, Claimed::default());
        assert!(backend.resume(kind).await);
        assert_eq!(backend.claim(&claim).await, Claimed::default());
    }
    assert_eq!(paused().await, []);
}

/// A claim of many kinds returns no events of paused kinds, and keeps the order of the answers.
pub async fn other_kinds_are_claimed_in_the_same_call(backend: Backend) {
    let kinds = ["m", "b", "z", "a"].map(kind_named);
    for kind in &kinds {
        let batch = ["1", "2"].map(|number| event_of(kind, &format!("{kind}-{number}"), "1"));
        backend.accept_new(&batch).await;
    }
    for place in [0, 3] {
        backend.pause(&kinds[place]).await;
    }
    let claims = [0, 1, 2, 3].map(|place: usize| of(&kinds[place], 5));
    let claimed = backend.claim_all(&claims).await;
    for (place, kind) in kinds.iter().enumerate() {
        if [0, 3].contains(&place) {
            assert_eq!(claimed[place], Claimed::default(), "{kind}");
            continue;
        }
        let mut keys = keys(&claimed[place].events);
        keys.sort_unstable();
        assert_eq!(keys, [format!("{kind}-1"), format!("{kind}-2")]);
    }
    backend.resume(&kinds[0]).await;
    let claimed = backend.claim_all(&claims).await;
    let counts = claimed.iter().map(|claimed| claimed.events.len());
    assert_eq!(counts.collect::<Vec<_>>(), [2, 0, 0, 0]);
}

/// A requeue is recorded at once, and the event is claimed after the resume.
pub async fn requeued_events_of_a_paused_kind_wait(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    backend.pause(&kind()).await;
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::Applied]);
    backend.pass(TOLERANCE).await;
    assert_eq!(backend.claim(&up_to(1)).await, Claimed::default());
    assert_eq!(backend.record("a").await.state, State::Processing);
    backend.resume(&kind()).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.attempt.number(), 1);
}

/// An event that is made due, or whose lease is ended, is claimed after the resume.
pub async fn events_made_due_of_a_paused_kind_wait(backend: Backend) {
    backend.accept_new(&[event("leased", "1")]).await;
    let held = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event_in(LONG, "far", "1")]).await;
    backend.pause(&kind()).await;
    let events = ["leased", "far"].map(event_ref);
    let made_due = backend.admin.make_due(&events, RunningLeases::End).await;
    assert_eq!(made_due.expect("make_due"), [MadeDue::Applied; 2]);
    backend.pass(TOLERANCE).await;
    assert_eq!(backend.claim(&up_to(5)).await, Claimed::default());
    backend.resume(&kind()).await;
    let claimed = backend.claim_within(&up_to(5), 2).await;
    backend.assert_order(&keys(&claimed), &["leased", "far"]);
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
}

/// Workers that claim all the time get nothing by claims that began after the pause, and the resume brings
/// each event once.
pub async fn claims_after_a_pause_return_no_events(backend: Backend) {
    const EVENTS: usize = 400;
    backend.accept_new(&events(EVENTS)).await;
    let paused = Arc::new(AtomicBool::new(false));
    let mut claimers = JoinSet::new();
    for _ in 0..4 {
        let (backend, paused) = (backend.clone(), Arc::clone(&paused));
        claimers.spawn(async move {
            let mut held = Vec::new();
            loop {
                let was_paused = paused.load(Ordering::SeqCst);
                let claimed = backend.claim(&up_to(1)).await;
                if was_paused {
                    assert_eq!(claimed, Claimed::default());
                    return held;
                }
                held.extend(claimed.events);
                backend.pass(Duration::from_millis(1)).await;
            }
        });
    }
    backend.pass(TOLERANCE).await;
    assert!(backend.pause(&kind()).await);
    paused.store(true, Ordering::SeqCst);
    let mut held: Vec<_> = claimers.join_all().await.concat();
    backend.resume(&kind()).await;
    if held.len() < EVENTS {
        held.extend(
            backend
                .claim_within(&up_to(EVENTS), EVENTS - held.len())
                .await,
        );
    }
    let distinct: HashSet<_> = keys(&held).into_iter().collect();
    assert_eq!((held.len(), distinct.len()), (EVENTS, EVENTS));
}

/// If many operators pause or resume a kind at the same time, exactly one call returns that it did.
pub async fn concurrent_pauses_apply_once(backend: Backend) {
    for round in 0..3 {
        let mut pausing = JoinSet::new();
        let mut resuming = JoinSet::new();
        for _ in 0..8 {
            let backend = backend.clone();
            pausing.spawn(async move { backend.pause(&kind()).await });
        }
        let paused = pausing.join_all().await;
        assert_eq!(paused.iter().filter(|it| **it).count(), 1, "{round}");
        for _ in 0..8 {
            let backend = backend.clone();
            resuming.spawn(async move { backend.resume(&kind()).await });
        }
        let resumed = resuming.join_all().await;
        assert_eq!(resumed.iter().filter(|it| **it).count(), 1, "{round}");
    }
}

fn of(kind: &Kind, limit: usize) -> Claim {
    Claim {
        kind: kind.clone(),
        ..up_to(limit)
    }
}

/// A claim with a short lease.
fn briefly(limit: usize) -> Claim {
    Claim {
        lease: SHORT,
        ..up_to(limit)
    }
}
