//! Claiming: only due events, the longest due first, and none twice.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Backend;
use super::steps::*;
use crate::{Attempt, Claim, Claimed, NewEvent, Outcome, State};

/// Without events, a claim returns no events and no next due time.
pub async fn claiming_nothing_is_not_an_error(backend: Backend) {
    assert_eq!(backend.claim(&up_to(5)).await, Claimed::default());
}

/// A claim returns the delivered event, as its first attempt.
pub async fn a_claim_returns_the_delivered_event(backend: Backend) {
    let event = event("a", "the body");
    backend.accept_new(std::slice::from_ref(&event)).await;
    let id = backend.record("a").await.id;
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.event, id);
    assert_eq!(claimed.lease.attempt, Attempt::FIRST);
    assert_eq!(claimed.key, event.envelope.key);
    assert_eq!(claimed.body, event.envelope.body);
}

/// The attempt is counted before the claim returns, so that a crash spends it.
pub async fn a_claim_counts_the_attempt(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    let record = backend.record("a").await;
    assert_eq!(record.attempts, 1);
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.settled_at, None);
}

/// Events are claimed in the order of their due times, not of their acceptance.
pub async fn events_are_claimed_in_due_order(backend: Backend) {
    let ms = Duration::from_millis;
    let batch = [
        event_in(ms(120), "third", "1"),
        event_in(ms(180), "fourth", "1"),
        event_in(ms(0), "first", "1"),
        event_in(ms(60), "second", "1"),
    ];
    backend.accept_new(&batch).await;
    backend.pass(ms(250)).await;
    let claimed = backend.claim_within(&up_to(4), 4).await;
    let expected = ["first", "second", "third", "fourth"];
    backend.assert_order(&keys(&claimed), &expected);
}

/// The same, with claims of one event.
pub async fn single_claims_are_in_due_order(backend: Backend) {
    let delays = [40, 0, 20, 60].map(Duration::from_millis);
    for delay in delays {
        let name = format!("due-after-{delay:?}");
        backend.accept_new(&[event_in(delay, &name, "1")]).await;
        backend.pass(Duration::from_millis(70)).await;
    }
    backend.pass(SHORT).await;
    let claimed = backend.claim_within(&up_to(1), delays.len()).await;
    let expected = [
        "due-after-40ms",
        "due-after-0ns",
        "due-after-20ms",
        "due-after-60ms",
    ];
    // Each was due before the next.
    backend.assert_order(&keys(&claimed), &expected);
}

/// An event that is due in an hour is not claimed now, and the claim returns when it is due.
pub async fn a_waiting_event_is_not_claimed(backend: Backend) {
    let before = Instant::now();
    backend.accept_new(&[event_in(LONG, "a", "1")]).await;
    let claimed = backend.claim(&up_to(1)).await;
    let next_due = claimed.next_due.expect("there is an event");
    let elapsed = before.elapsed();
    assert_eq!(claimed.events, []);
    assert_eq!(claimed.exhausted, []);
    assert!(next_due <= LONG + TOLERANCE, "{next_due:?}");
    assert!(next_due + elapsed + TOLERANCE >= LONG, "{next_due:?}");
    assert_eq!(backend.record("a").await.attempts, 0);
}

/// No event is claimed before its delay has passed by the store's clock.
pub async fn events_are_never_early(backend: Backend) {
    let delays = [10, 50, 100, 200].map(Duration::from_millis);
    let batch = delays.map(|delay| event_in(delay, &format!("{delay:?}"), "1"));
    backend.accept_new(&batch).await;
    // Settled at once, so that the settlement's time is at most a little later than the claim's.
    for _ in delays {
        let claimed = backend.claim_within(&up_to(1), 1).await.remove(0);
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
    for delay in delays {
        let record = backend.record(&format!("{delay:?}")).await;
        let settled_at = record.settled_at.expect("it is settled");
        let age = settled_at.duration_since(record.accepted_at);
        let age = age.expect("settled after it was accepted");
        assert!(age + Duration::from_millis(1) >= delay, "{record:?}");
    }
}

/// The age is counted from the acceptance by the store's clock, in each attempt, however late the event is due.
pub async fn the_age_is_the_time_since_acceptance(backend: Backend) {
    let mark = async |name| {
        backend.accept_new(&[event_in(LONG, name, "1")]).await;
        backend.record(name).await.accepted_at
    };
    backend.accept_new(&[event_in(SHORT, "a", "1")]).await;
    backend.pass(PAST_SHORT).await;
    let mut ages = Vec::new();
    for (before, after) in [("1", "2"), ("3", "4")] {
        let before = mark(before).await;
        let claimed = backend.claim_within(&up_to(1), 1).await.remove(0);
        let after = mark(after).await;
        assert_eq!(claimed.key, key("a"));
        let claimed_at = claimed.accepted_at + claimed.age;
        let during = before - TOLERANCE..=after + TOLERANCE;
        assert!(during.contains(&claimed_at), "{claimed:?} {during:?}");
        assert!(claimed.age + TOLERANCE >= claimed.lag, "{claimed:?}");
        ages.push(claimed.age);
        let again = retry(SHORT, "again");
        backend.settle_one(claimed.lease, again).await;
        backend.pass(PAST_SHORT).await;
    }
    assert!(ages[0] + TOLERANCE >= SHORT, "{ages:?}");
    assert!(ages[1] + TOLERANCE >= ages[0] + SHORT, "{ages:?}");
}

/// The lag is counted from the due time.
pub async fn the_lag_is_the_time_since_due(backend: Backend) {
    let before = Instant::now();
    let batch = [event("now", "1"), event_in(SHORT, "soon", "1")];
    backend.accept_new(&batch).await;
    backend.pass(PAST_SHORT + SHORT).await;
    let claimed = backend.claim_within(&up_to(2), 2).await;
    let elapsed = before.elapsed();
    assert_eq!(keys(&claimed), ["now", "soon"]);
    let lags = [claimed[0].lag, claimed[1].lag];
    assert!(lags[0] >= PAST_SHORT, "{lags:?}");
    assert!(lags[1] >= SHORT, "{lags:?}");
    assert!(lags[0] >= lags[1], "{lags:?}");
    assert!(lags[0] <= elapsed + TOLERANCE, "{lags:?} of {elapsed:?}");
}

/// Events of other kinds are neither claimed nor waited for.
pub async fn other_kinds_are_not_claimed(backend: Backend) {
    let other = kind_named("other");
    let far = NewEvent {
        delay: LONG,
        ..event_of(&other, "far", "1")
    };
    backend.accept_new(&[event_of(&other, "a", "1"), far]).await;
    assert_eq!(backend.claim(&up_to(5)).await, Claimed::default());
    backend.accept_new(&[event("a", "of this kind")]).await;
    let claimed = backend.claim_one(&up_to(5)).await;
    assert_eq!(claimed.body, "of this kind");
    let claim = Claim {
        kind: other,
        ..up_to(5)
    };
    let claimed = backend.claim_one(&claim).await;
    assert_eq!(claimed.body, "1");
}

/// A claim returns no more events than its limit, and says that more are due.
pub async fn a_claim_keeps_to_its_limit(backend: Backend) {
    backend.accept_new(&events(5)).await;
    let mut seen = HashSet::new();
    for (limit, more) in [(2, true), (2, true), (1, false)] {
        let claim = up_to(limit);
        let claimed = backend.claim(&claim).await;
        assert_eq!(claimed.events.len(), limit);
        let says_more = claimed.next_due == Some(Duration::ZERO);
        assert!(says_more == more || (!more && backend.may_not_know(&claim, &claimed)));
        seen.extend(claimed.events.into_iter().map(|event| event.key));
    }
    assert_eq!(seen.len(), 5);
}

/// The limit may be far greater than the number of events.
pub async fn a_limit_may_exceed_all_events(backend: Backend) {
    backend.accept_new(&events(3)).await;
    let claimed = backend.claim(&up_to(usize::MAX)).await;
    assert_eq!(claimed.events.len(), 3);
}

/// Two thousand events in one claim.
pub async fn a_large_claim_returns_each_event_once(backend: Backend) {
    backend.accept_new(&events(2_000)).await;
    let claimed = backend.claim(&up_to(2_000)).await.events;
    let distinct: HashSet<_> = keys(&claimed).into_iter().collect();
    assert_eq!(distinct.len(), 2_000);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// A leased event is not leased again.
pub async fn a_leased_event_is_not_claimed_again(backend: Backend) {
    backend
        .accept_new(&[event("a", "1"), event("b", "1")])
        .await;
    let first = backend.claim(&up_to(1)).await;
    let second = backend.claim(&up_to(2)).await;
    assert_eq!((first.events.len(), second.events.len()), (1, 1));
    assert_ne!(first.events[0].key, second.events[0].key);
    assert_eq!(backend.claim(&up_to(2)).await.events, []);
}

/// Many workers that claim at once: each event is leased exactly once.
pub async fn concurrent_claimers_share_the_events(backend: Backend) {
    const EVENTS: usize = 400;
    backend.accept_new(&events(EVENTS)).await;
    let mut claimers = JoinSet::new();
    for claimer in 0..16 {
        let backend = backend.clone();
        claimers.spawn(async move {
            let mut held = Vec::new();
            // Until nothing is due: an empty claim may only mean that others are about to
            // commit theirs.
            loop {
                let claimed = backend.claim(&up_to(3 + claimer % 5)).await;
                let idle = claimed.events.is_empty();
                held.extend(claimed.events);
                if claimed.next_due != Some(Duration::ZERO) {
                    return held;
                }
                if idle {
                    backend.pass_until(claimed.next_due).await;
                }
            }
        });
    }
    let held: Vec<_> = claimers.join_all().await.concat();
    let distinct: HashSet<_> = keys(&held).into_iter().collect();
    assert_eq!(held.len(), EVENTS, "none is missed, none is leased twice");
    assert_eq!(distinct.len(), EVENTS);
}

/// Concurrent claims and accepts miss no event.
pub async fn claims_and_accepts_may_run_at_once(backend: Backend) {
    const BATCHES: usize = 40;
    const BATCH: usize = 10;
    let sender = tokio::spawn({
        let backend = backend.clone();
        async move {
            for batch in events(BATCHES * BATCH).chunks(BATCH) {
                backend.accept_new(batch).await;
            }
        }
    });
    let mut claimers = JoinSet::new();
    for _ in 0..2 {
        let backend = backend.clone();
        let half = BATCHES * BATCH / 2;
        claimers.spawn(async move {
            let mut held = Vec::new();
            while held.len() < half {
                let limit = (half - held.len()).min(7);
                held.extend(backend.claim_within(&up_to(limit), 1).await);
            }
            held
        });
    }
    sender.await.expect("the sender ends well");
    let held: Vec<_> = claimers.join_all().await.concat();
    let distinct: HashSet<_> = keys(&held).into_iter().collect();
    assert_eq!(distinct.len(), BATCHES * BATCH);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// The next due time is that of the earliest waiting event.
pub async fn next_due_is_that_of_the_earliest_event(backend: Backend) {
    let before = Instant::now();
    let batch = [event_in(2 * LONG, "b", "1"), event_in(LONG, "a", "1")];
    backend.accept_new(&batch).await;
    let next_due = backend.claim(&up_to(1)).await.next_due;
    let next_due = next_due.expect("there are events");
    assert!(next_due <= LONG + TOLERANCE, "{next_due:?}");
    assert!(next_due + before.elapsed() + TOLERANCE >= LONG);
}

/// The next due time includes the expiry of leases, also of those from this claim.
pub async fn next_due_counts_leases(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let before = Instant::now();
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(claimed.events.len(), 1);
    for claimed in [claimed, backend.claim(&up_to(1)).await] {
        if backend.may_not_know(&up_to(1), &claimed) {
            continue;
        }
        let next_due = claimed.next_due.expect("the lease may run out");
        assert!(next_due <= LONG + TOLERANCE, "{next_due:?}");
        assert!(next_due + before.elapsed() + TOLERANCE >= LONG);
    }
    let far = event_in(3 * LONG, "far", "1");
    backend.accept_new(&[far]).await;
    let next_due = backend.claim(&up_to(1)).await.next_due;
    assert!(next_due.expect("as before") <= LONG + TOLERANCE);
}

/// Once all events are settled, there is no next due time.
pub async fn next_due_ignores_settled_events(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    backend.settled("b", "1", failed("broken")).await;
    assert_eq!(backend.claim(&up_to(1)).await, Claimed::default());
}

/// After sleeping for `next_due`, the event is due.
pub async fn after_next_due_the_event_is_due(backend: Backend) {
    backend.accept_new(&[event_in(PAST_SHORT, "a", "1")]).await;
    let mut claimed = backend.claim(&up_to(1)).await;
    // On a slow machine it may be due already.
    if claimed.events.is_empty() {
        let next_due = claimed.next_due.expect("the event waits");
        assert!(next_due <= PAST_SHORT + TOLERANCE, "{next_due:?}");
        backend.pass(next_due + TOLERANCE).await;
        claimed = backend.claim(&up_to(1)).await;
    }
    assert_eq!(keys(&claimed.events), ["a"]);
}
