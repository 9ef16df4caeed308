//! Leases: expiry, takeover and renewal, and stale leases, which change nothing.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{
    Attempt, Claim, ClaimedEvent, EventId, Extended, Fence, Lease, Outcome, Settled, Settlement,
    State,
};

/// After a lease expires, the event is claimed again, as another attempt with a greater fence.
pub async fn an_expired_lease_is_taken_over(backend: Backend) {
    let (old, new) = taken_over(&backend, "a").await;
    assert_eq!(new.key, old.key);
    assert_eq!(new.body, old.body);
    assert_eq!(new.lease.event, old.lease.event);
    assert_eq!(old.lease.attempt.number(), 1);
    assert_eq!(new.lease.attempt.number(), 2);
    assert!(new.lease.fence > old.lease.fence);
    assert!(
        new.lag >= old.lag + SHORT - TOLERANCE,
        "the lag goes on from the due time: {:?}, then {:?}",
        old.lag,
        new.lag
    );
    assert_eq!(backend.record("a").await.attempts, 2);
}

/// A running lease is not taken over, however short the leases of other claims are.
pub async fn a_running_lease_is_not_taken_over(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&briefly(1)).await.events, []);
}

/// An event with an expired lease keeps its due time and its place.
pub async fn an_expired_lease_keeps_its_place(backend: Backend) {
    backend.accept_new(&[event("first", "1")]).await;
    backend.claim_one(&briefly(1)).await;
    backend.accept_new(&[event("second", "1")]).await;
    backend.pass(PAST_SHORT).await;
    let claimed = backend.claim_within(&up_to(1), 2).await;
    backend.assert_order(&keys(&claimed), &["first", "second"]);
}

/// After a takeover, the earlier holder can neither extend nor settle the event.
pub async fn a_stale_lease_changes_nothing(backend: Backend) {
    let (old, new) = taken_over(&backend, "a").await;
    let before = backend.record("a").await;
    assert_eq!(
        backend.extend(&[old.lease], SHORT).await,
        [Extended::LeaseLost]
    );
    for outcome in [
        Outcome::Processed,
        failed("by the old holder"),
        retry(Duration::ZERO, "by the old holder"),
        Outcome::Release,
    ] {
        let settled = backend.settle_one(old.lease, outcome).await;
        assert_eq!(settled, Settled::LeaseLost);
        assert_eq!(backend.record("a").await, before);
    }
    backend.pass(PAST_SHORT).await;
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
    assert_eq!(
        backend.extend(&[new.lease], LONG).await,
        [Extended::Renewed]
    );
    let settled = backend.settle_one(new.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.record("a").await.state, State::Processed);
}

/// The same after the new holder has settled the event.
pub async fn a_stale_lease_does_not_undo_a_settlement(backend: Backend) {
    let (old, new) = taken_over(&backend, "a").await;
    backend.settle_one(new.lease, failed("for good")).await;
    let before = backend.record("a").await;
    let settled = backend.settle_one(old.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::LeaseLost);
    let extended = backend.extend(&[old.lease, new.lease], LONG).await;
    assert_eq!(extended, [Extended::LeaseLost; 2]);
    assert_eq!(backend.record("a").await, before);
}

/// A lease that was never given is lost.
pub async fn an_unknown_lease_is_lost(backend: Backend) {
    let batch = [event("a", "1"), event("b", "1"), event_in(LONG, "c", "1")];
    backend.accept_new(&batch).await;
    let held = backend.claim_within(&up_to(2), 2).await;
    let waiting = backend.record("c").await;
    let lease = |event: EventId, fence: i64| Lease {
        event,
        attempt: Attempt::FIRST,
        fence: Fence::new(fence),
    };
    let (a, fence) = (held[0].lease.event, held[0].lease.fence.get());
    let invented = [
        lease(a, fence + 1),
        lease(a, fence - 1),
        lease(a, i64::MAX),
        lease(a, i64::MIN),
        lease(waiting.id, 0),
        lease(waiting.id, 1),
        lease(waiting.id, fence),
        lease(EventId::new(i64::MAX), fence),
        lease(EventId::new(-1), fence),
    ];
    let extended = backend.extend(&invented, SHORT).await;
    assert_eq!(extended, [Extended::LeaseLost; 9]);
    let settlements = invented.map(|lease| Settlement {
        lease,
        outcome: Outcome::Processed,
    });
    let settled = backend.settle(&settlements).await;
    assert_eq!(settled, [Settled::LeaseLost; 9]);
    assert_eq!(backend.record("c").await, waiting);
    for held in held {
        let settled = backend.settle_one(held.lease, Outcome::Processed).await;
        assert_eq!(settled, Settled::Applied);
    }
}

/// An extended lease protects the event after its first expiry.
pub async fn an_extended_lease_does_not_expire(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&briefly(1)).await;
    assert_eq!(
        backend.extend(&[held.lease], LONG).await,
        [Extended::Renewed]
    );
    backend.pass(PAST_SHORT).await;
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(claimed.events, []);
    assert!(claimed.next_due.expect("the lease may run out") > SHORT);
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.record("a").await.attempts, 1);
}

/// An extension counts from now, even if that shortens the lease.
pub async fn an_extension_counts_from_now(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&up_to(1)).await;
    assert_eq!(
        backend.extend(&[held.lease], SHORT).await,
        [Extended::Renewed]
    );
    let next = backend.claim_one(&up_to(1)).await;
    assert_eq!(next.lease.attempt.number(), 2);
}

/// An expired lease is renewed if the event was not claimed again.
pub async fn an_expired_lease_is_renewed_unless_claimed_again(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&briefly(1)).await;
    backend.pass(PAST_SHORT).await;
    assert_eq!(
        backend.extend(&[held.lease], LONG).await,
        [Extended::Renewed]
    );
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
}

/// An expired lease may settle if the event was not claimed again.
pub async fn an_expired_lease_settles_unless_claimed_again(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let held = backend.claim_one(&briefly(1)).await;
    backend.pass(PAST_SHORT).await;
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!((counts.due, counts.leased), (1, 0));
    let settled = backend.settle_one(held.lease, Outcome::Processed).await;
    assert_eq!(settled, Settled::Applied);
    assert_eq!(backend.record("a").await.state, State::Processed);
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
}

/// Each lease of a call has an answer, in order; a repeated lease has two.
pub async fn extend_answers_each_lease(backend: Backend) {
    assert_eq!(backend.extend(&[], LONG).await, []);
    let (old, new) = taken_over(&backend, "a").await;
    backend.accept_new(&[event("b", "1")]).await;
    let other = backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event("c", "1")]).await;
    let settled = backend.claim_one(&up_to(1)).await;
    backend.settle_one(settled.lease, Outcome::Processed).await;
    let leases = [
        other.lease,
        old.lease,
        settled.lease,
        new.lease,
        other.lease,
    ];
    let expected = [
        Extended::Renewed,
        Extended::LeaseLost,
        Extended::LeaseLost,
        Extended::Renewed,
        Extended::Renewed,
    ];
    assert_eq!(backend.extend(&leases, LONG).await, expected);
}

/// Two thousand leases in one extension.
pub async fn many_leases_are_extended_at_once(backend: Backend) {
    backend.accept_new(&events(2_000)).await;
    let claimed = backend.claim_within(&up_to(2_000), 2_000).await;
    let leases: Vec<_> = claimed.iter().map(|event| event.lease).collect();
    let extended = backend.extend(&leases, 3 * LONG).await;
    assert!(extended.iter().all(|it| *it == Extended::Renewed));
    let next_due = backend.claim(&up_to(1)).await.next_due;
    assert!(next_due.expect("leases may run out") > LONG);
}

/// Many workers take over at once: each expired lease goes to one of them.
pub async fn concurrent_takeovers_share_the_events(backend: Backend) {
    const EVENTS: usize = 100;
    backend.accept_new(&events(EVENTS)).await;
    let crashed = backend.claim(&briefly(EVENTS)).await.events;
    assert_eq!(crashed.len(), EVENTS);
    backend.pass(PAST_SHORT).await;
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let backend = backend.clone();
        claimers.spawn(async move {
            let mut held = Vec::new();
            loop {
                let claimed = backend.claim(&up_to(9)).await;
                let idle = claimed.events.is_empty();
                held.extend(claimed.events);
                if claimed.next_due.is_none_or(|next_due| next_due >= SHORT) {
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
    assert_eq!((held.len(), distinct.len()), (EVENTS, EVENTS));
    assert!(held.iter().all(|held| held.lease.attempt.number() == 2));
    let stale: Vec<_> = crashed.iter().map(|crashed| crashed.lease).collect();
    let extended = backend.extend(&stale, LONG).await;
    assert!(extended.iter().all(|it| *it == Extended::LeaseLost));
}

/// A heartbeat and a takeover at once: one of them wins, never both.
pub async fn either_the_holder_or_the_next_claimer_wins(backend: Backend) {
    for round in 0..10 {
        let name = format!("round-{round}");
        backend.accept_new(&[event(&name, "1")]).await;
        let brief = Claim {
            lease: Duration::from_millis(10),
            ..up_to(1)
        };
        let held = backend.claim_one(&brief).await;
        backend.pass(Duration::from_millis(10)).await;
        let leases = [held.lease];
        let wish = up_to(1);
        let (extended, claimed) = tokio::join!(backend.extend(&leases, LONG), backend.claim(&wish));
        match (extended[0], claimed.events.len()) {
            (Extended::Renewed, 0) | (Extended::LeaseLost, 1) => {}
            both => panic!("{both:?}"),
        }
    }
}

/// A claim with a short lease.
fn briefly(limit: usize) -> Claim {
    Claim {
        lease: SHORT,
        ..up_to(limit)
    }
}

/// Lets a lease expire and the event be claimed again with a long lease. Returns the old and the new holder.
async fn taken_over(backend: &Backend, name: &str) -> (ClaimedEvent, ClaimedEvent) {
    backend.accept_new(&[event(name, "1")]).await;
    let old = backend.claim_one(&briefly(1)).await;
    let new = backend.claim_one(&up_to(1)).await;
    (old, new)
}
