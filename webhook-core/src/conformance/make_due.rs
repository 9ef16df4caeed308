//! Making events due now, for example after the store's clock was ahead.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{
    Claim, EventRef, Extended, FailureReason, MadeDue, Outcome, Page, RunningLeases, Settled, State,
};

/// A waiting event becomes due at the time of the call, after events that fell due earlier.
pub async fn a_waiting_event_becomes_due_now(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "far", "1")]).await;
    backend.accept_new(&[event("near", "1")]).await;
    backend.pass(TOLERANCE).await;
    let before = backend.record("far").await;
    assert_eq!(make_due(&backend, &["far"]).await, [MadeDue::Applied]);
    let after = backend.record("far").await;
    assert!(after.due_at < before.due_at, "{after:?}");
    assert!(after.due_at >= Some(after.accepted_at), "{after:?}");
    let claimed = backend.claim_within(&up_to(1), 2).await;
    backend.assert_order(&keys(&claimed), &["near", "far"]);
    let mut lags = claimed.iter().map(|claimed| claimed.lag);
    assert!(lags.all(|lag| lag < LONG / 2), "it counts from the call");
}

/// Attempts, reason and fence do not change.
pub async fn made_due_events_keep_attempts_reason_and_fence(backend: Backend) {
    backend.settled("a", "1", retry(LONG, "later")).await;
    let before = backend.record("a").await;
    assert_eq!(make_due(&backend, &["a"]).await, [MadeDue::Applied]);
    let mut expected = before.clone();
    expected.due_at = backend.record("a").await.due_at;
    assert_ne!(expected, before, "it is due earlier");
    assert_eq!(backend.record("a").await, expected);
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.attempt.number(), 2);
    assert!(claimed.lease.fence.get() >= 2, "{:?}", claimed.lease);
    let settled = backend.settle_one(claimed.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// Each event has an answer, and events that do not wait do not change.
pub async fn events_that_do_not_wait_are_not_made_due(backend: Backend) {
    backend.settled("processed", "1", Outcome::Processed).await;
    backend.settled("failed", "1", failed("broken")).await;
    backend.accept_new(&[event("leased", "1")]).await;
    let leased = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("due", "1")]).await;
    backend.pass(TOLERANCE).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    let unmoved = ["processed", "failed", "leased", "due"];
    let mut before = Vec::new();
    for name in unmoved {
        before.push(backend.record(name).await);
    }
    let names = [
        "waiting",
        "processed",
        "unknown",
        "failed",
        "leased",
        "due",
        "waiting",
    ];
    let expected = [
        MadeDue::Applied,
        MadeDue::Settled,
        MadeDue::NotFound,
        MadeDue::Settled,
        MadeDue::Leased,
        MadeDue::AlreadyDue,
        MadeDue::AlreadyDue,
    ];
    assert_eq!(make_due(&backend, &names).await, expected);
    for (name, before) in unmoved.iter().zip(before) {
        assert_eq!(backend.record(name).await, before);
    }
    let settled = backend.settle_one(leased.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(make_due(&backend, &[]).await, []);
}

/// A running lease is ended only if the call says so.
pub async fn running_leases_end_only_on_demand(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    assert!(backend.record("a").await.leased_until.is_some());
    assert_eq!(make_due(&backend, &["a"]).await, [MadeDue::Leased]);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
    let answers = end_leases(&backend, &["a", "a"]).await;
    assert_eq!(answers, [MadeDue::Applied, MadeDue::AlreadyDue]);
    let record = backend.record("a").await;
    assert_eq!((record.attempts, record.leased_until), (1, None));
    assert_eq!(backend.claim_one(&up_to(1)).await.key.as_str(), "a");
}

/// Once the event is claimed again, the lease that was ended changes nothing.
pub async fn an_ended_lease_is_stale_once_its_event_is_claimed(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let old = backend.claim_one(&up_to(1)).await.lease;
    assert_eq!(end_leases(&backend, &["a"]).await, [MadeDue::Applied]);
    let new = backend.claim_one(&up_to(1)).await.lease;
    assert!(new.fence > old.fence);
    let extended = backend.extend(&[old, new], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost, Extended::Renewed]);
    let settled = backend.settle_one(old, failed("late")).await;
    assert_eq!(settled, Settled::LeaseLost);
    let settled = backend.settle_one(new, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// Until the event is claimed again, its holder may still settle it.
pub async fn the_holder_of_an_ended_lease_may_settle_until_then(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&up_to(1)).await;
    assert_eq!(end_leases(&backend, &["a"]).await, [MadeDue::Applied]);
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// The attempt whose lease was ended is spent, as after a crash.
pub async fn an_ended_lease_counts_as_a_lost_attempt(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let claim = Claim {
        max_attempts: attempts(1),
        ..up_to(1)
    };
    backend.claim_one(&claim).await;
    assert_eq!(end_leases(&backend, &["a"]).await, [MadeDue::Applied]);
    while backend.claim(&claim).await.exhausted.is_empty() {
        backend.pass(TOLERANCE).await;
    }
    assert_eq!(backend.record("a").await.state, State::Failed);
    let kept = backend.admin.failed_attempts(&event_ref("a")).await;
    let kept = kept.expect("failed attempts");
    assert_eq!((kept.len(), &kept[0].reason), (1, &FailureReason::Lost));
}

/// An event of another kind with the same key is another event.
pub async fn make_due_is_by_kind_and_key(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "a", "1")]).await;
    let before = backend.record("a").await;
    let elsewhere = EventRef {
        kind: kind_named("other"),
        key: key("a"),
    };
    let answers = backend
        .admin
        .make_due(&[elsewhere], RunningLeases::End)
        .await;
    assert_eq!(answers.expect("make_due"), [MadeDue::NotFound]);
    assert_eq!(backend.record("a").await, before);
}

/// Operators that make the same events due at once: each event moves once.
pub async fn concurrent_calls_make_each_event_due_once(backend: Backend) {
    const EVENTS: usize = 30;
    let mut waiting = events(EVENTS);
    waiting.iter_mut().for_each(|event| event.delay = LONG);
    backend.accept_new(&waiting).await;
    let refs: Vec<_> = waiting.iter().map(reference).collect();
    let mut operators = tokio::task::JoinSet::new();
    for operator in 0..4 {
        let backend = backend.clone();
        let mut refs = refs.clone();
        if operator % 2 == 1 {
            refs.reverse();
        }
        operators.spawn(async move {
            let answers = backend.admin.make_due(&refs, RunningLeases::Keep).await;
            let answers = answers.expect("make_due");
            answers.iter().filter(|it| **it == MadeDue::Applied).count()
        });
    }
    let applied: usize = operators.join_all().await.into_iter().sum();
    assert_eq!(applied, EVENTS);
    let claimed = backend.claim_within(&up_to(EVENTS), EVENTS).await;
    assert_eq!(claimed.len(), EVENTS);
}

/// Records and lists say when an event falls due, and until when it is held.
pub async fn lists_show_when_events_are_due(backend: Backend) {
    backend.settled("settled", "1", Outcome::Processed).await;
    let settled = backend.record("settled").await;
    assert_eq!((settled.due_at, settled.leased_until), (None, None));
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    let far = |time: std::time::SystemTime, record: &crate::EventRecord| {
        let wait = time.duration_since(record.accepted_at);
        let wait = wait.expect("it is later");
        assert!(wait + TOLERANCE >= LONG && wait <= 2 * LONG, "{wait:?}");
    };
    let waiting = backend.record("waiting").await;
    far(waiting.due_at.expect("it waits"), &waiting);
    assert_eq!(waiting.leased_until, None);
    let leased = backend.record("leased").await;
    far(leased.leased_until.expect("it is held"), &leased);
    let since = leased.due_at.expect("it fell due");
    assert!(Some(since) < leased.leased_until);
    let mut expected = [leased.summary(), waiting.summary()];
    if !backend.orders_all() {
        expected.sort_by_key(|event| event.id);
    }
    assert_eq!(list(&backend, None).await, expected);
}

/// A page may select the events that cannot be claimed for a long time.
pub async fn lists_select_events_that_are_held_for_long(backend: Backend) {
    backend.settled("settled", "1", Outcome::Processed).await;
    backend.accept_new(&[event("leased for long", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("leased", "1")]).await;
    let brief = Claim {
        lease: LONG / 4,
        ..up_to(1)
    };
    backend.claim_one(&brief).await;
    backend.accept_new(&[event("expired", "1")]).await;
    let expiring = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    backend.claim_one(&expiring).await;
    backend.pass(PAST_SHORT).await;
    let waiting = [event_in(LONG, "far", "1"), event_in(LONG / 4, "near", "1")];
    backend.accept_new(&waiting).await;
    backend.accept_new(&[event("due", "1")]).await;
    let mut keys = Vec::new();
    for over in [LONG / 2, Duration::ZERO, Duration::MAX] {
        let listed = list(&backend, Some(over)).await;
        let listed = listed
            .into_iter()
            .map(|it| it.event.key.as_str().to_owned());
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable();
        keys.push(listed);
    }
    let long: &[&str] = &["far", "leased for long"];
    assert_eq!(keys[0], long);
    let all: &[&str] = &["far", "leased", "leased for long", "near"];
    assert_eq!(keys[1], all);
    assert!(keys[2].is_empty(), "{:?}", keys[2]);
    let page = Page {
        state: State::Processed,
        ..page(Some(Duration::ZERO))
    };
    let listed = backend.admin.list(&page).await.expect("list");
    assert_eq!(listed, [], "settled events never match");
}

async fn list(backend: &Backend, held_for_over: Option<Duration>) -> Vec<crate::EventSummary> {
    let listed = backend.admin.list(&page(held_for_over)).await;
    listed.expect("list")
}

fn page(held_for_over: Option<Duration>) -> Page {
    let limit = NonZeroUsize::new(100).expect("it is not zero");
    Page {
        held_for_over,
        ..Page::new(kind(), State::Processing, limit)
    }
}

async fn make_due(backend: &Backend, names: &[&str]) -> Vec<MadeDue> {
    answers(backend, names, RunningLeases::Keep).await
}

async fn end_leases(backend: &Backend, names: &[&str]) -> Vec<MadeDue> {
    answers(backend, names, RunningLeases::End).await
}

async fn answers(backend: &Backend, names: &[&str], leases: RunningLeases) -> Vec<MadeDue> {
    let events: Vec<_> = names.iter().map(|name| event_ref(name)).collect();
    let answers = backend.admin.make_due(&events, leases).await;
    let answers = answers.expect("make_due");
    assert_eq!(answers.len(), events.len(), "one answer per event");
    answers
}
