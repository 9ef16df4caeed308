//! Many kinds in one call: the claims are independent.

use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{Claim, Claimed, Kind, NewEvent, State};

/// Kinds in an order that is neither that of their names nor of their first events.
fn kinds() -> [Kind; 4] {
    ["m", "b", "z", "a"].map(kind_named)
}

fn of(kind: &Kind, limit: usize) -> Claim {
    Claim {
        kind: kind.clone(),
        ..up_to(limit)
    }
}

fn events_of(kind: &Kind, count: usize) -> Vec<NewEvent> {
    let names = (0..count).map(|number| format!("{kind}-{number:04}"));
    names.map(|name| event_of(kind, &name, "1")).collect()
}

/// An empty list of claims has an empty answer.
pub async fn an_empty_claim_has_no_answers(backend: Backend) {
    assert_eq!(backend.claim_all(&[]).await, []);
}

/// Answers are in the order of the claims, each with events of its kind up to its limit.
pub async fn claims_are_answered_in_their_order(backend: Backend) {
    let [m, b, z, a] = kinds();
    for (kind, count) in [(&a, 3), (&b, 1), (&m, 5)] {
        backend.accept_new(&events_of(kind, count)).await;
    }
    let claims = [of(&m, 2), of(&b, 9), of(&z, 9), of(&a, 3)];
    let claimed = backend.claim_all(&claims).await;
    for ((claim, claimed), expected) in claims.iter().zip(&claimed).zip([2, 1, 0, 3]) {
        let keys = keys(&claimed.events);
        assert_eq!(keys.len(), expected, "{claim:?}");
        let prefix = format!("{}-", claim.kind);
        assert!(keys.iter().all(|key| key.starts_with(&prefix)), "{keys:?}");
    }
    assert_eq!(claimed[2], Claimed::default());
}

/// A kind with more due events than its limit does not take the share of others.
pub async fn no_kind_starves_another(backend: Backend) {
    let [m, b, ..] = kinds();
    backend.accept_new(&events_of(&m, 1_000)).await;
    backend.accept_new(&events_of(&b, 3)).await;
    let claimed = backend.claim_all(&[of(&m, 10), of(&b, 10)]).await;
    assert_eq!(claimed[0].events.len(), 10);
    assert_eq!(claimed[0].next_due, Some(Duration::ZERO));
    assert_eq!(claimed[1].events.len(), 3);
}

/// Each kind has its own lease and its own number of attempts.
pub async fn each_kind_has_its_own_lease_and_attempts(backend: Backend) {
    let [m, b, z, _] = kinds();
    for kind in [&m, &b, &z] {
        backend.accept_new(&events_of(kind, 1)).await;
    }
    let wishes = [(&m, SHORT, 1), (&b, LONG, 1), (&z, SHORT, 2)];
    let claims = wishes.map(|(kind, lease, max_attempts)| Claim {
        lease,
        max_attempts: attempts(max_attempts),
        ..of(kind, 5)
    });
    let first = backend.claim_all(&claims).await;
    assert!(first.iter().all(|it| it.events.len() == 1), "{first:?}");
    backend.pass(PAST_SHORT).await;
    let second = backend.claim_all(&claims).await;
    assert_eq!(second[0].exhausted.len(), 1, "its one attempt is spent");
    assert_eq!(
        (&*second[1].events, &*second[1].exhausted),
        (&[][..], &[][..])
    );
    assert_eq!(second[2].events.len(), 1, "it has another attempt");
    assert_eq!(second[2].events[0].lease.attempt.number(), 2);
    let names = [&m, &b, &z].map(|kind| reference(&events_of(kind, 1)[0]));
    let states: Vec<_> = backend.find(&names).await.into_iter().flatten().collect();
    let states: Vec<_> = states.iter().map(|record| record.state).collect();
    assert_eq!(
        states,
        [State::Failed, State::Processing, State::Processing]
    );
}

/// Each kind has its own next due time.
pub async fn each_kind_has_its_own_next_due(backend: Backend) {
    let [m, b, z, a] = kinds();
    for (kind, delay) in [(&m, LONG), (&b, 3 * LONG)] {
        let event = NewEvent {
            delay,
            ..event_of(kind, "far", "1")
        };
        backend.accept_new(&[event]).await;
    }
    backend.accept_new(&events_of(&a, 1)).await;
    let claims = [of(&m, 1), of(&b, 1), of(&z, 1), of(&a, 1)];
    for _ in 0..2 {
        let claimed = backend.claim_all(&claims).await;
        let next: Vec<_> = claimed.iter().map(|it| it.next_due).collect();
        let near = |next: Option<Duration>, expected: Duration| {
            next.is_some_and(|next| next <= expected + TOLERANCE && next + LONG / 2 > expected)
        };
        assert!(near(next[0], LONG), "{next:?}");
        assert!(near(next[1], 3 * LONG), "{next:?}");
        assert_eq!(next[2], None);
        assert!(
            near(next[3], LONG) || backend.may_not_know(&claims[3], &claimed[3]),
            "its lease may run out: {next:?}"
        );
    }
}

/// One call claims the events of two hundred kinds.
pub async fn two_hundred_kinds_are_claimed_in_one_call(backend: Backend) {
    let kinds: Vec<_> = (0..200)
        .map(|number| Kind::new(format!("kind-{number}")).expect("cases name valid kinds"))
        .collect();
    let batch: Vec<_> = kinds.iter().flat_map(|kind| events_of(kind, 3)).collect();
    backend.accept_new(&batch).await;
    let claims: Vec<_> = kinds.iter().map(|kind| of(kind, 2)).collect();
    for expected in [2, 1, 0] {
        let claimed = backend.claim_all(&claims).await;
        for (claim, claimed) in claims.iter().zip(claimed) {
            assert_eq!(claimed.events.len(), expected, "{claim:?}");
            let prefix = format!("{}-", claim.kind);
            let mut keys = keys(&claimed.events).into_iter();
            assert!(keys.all(|key| key.starts_with(&prefix)), "{claim:?}");
        }
    }
}

/// A wait for many kinds returns only kinds that it was called with.
pub async fn a_wait_for_many_kinds_returns_some_of_them(backend: Backend) {
    let kinds = kinds();
    let claims: Vec<_> = kinds.iter().map(|kind| of(kind, 1)).collect();
    for (place, kind) in kinds.iter().enumerate() {
        for claimed in backend.claim_all(&claims).await {
            assert_eq!(claimed.events, []);
        }
        let mut wait = backend.scheduler.wait_for_work(&kinds);
        // A wait may end for no reason, and a wake-up may be lost.
        let ended = tokio::select! {
            biased;
            places = &mut wait => Some(places),
            () = backend.pass(Duration::from_millis(1)) => None,
        };
        backend.accept_new(&events_of(kind, 1)).await;
        let ended = match ended {
            Some(places) => Some(places),
            None => tokio::select! {
                places = wait => Some(places),
                () = backend.pass(SHORT) => None,
            },
        };
        if let Some(places) = ended {
            assert!(
                places.iter().all(|place| *place < kinds.len()),
                "{places:?}"
            );
            assert!(!places.is_empty());
        }
        let claimed = backend.claim_one(&of(kind, 1)).await;
        assert_eq!(claimed.key.as_str(), format!("{kind}-0000"), "{place}");
        backend
            .settle_one(claimed.lease, crate::Outcome::Processed)
            .await;
    }
}
