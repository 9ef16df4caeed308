//! Pruning: settled events are deleted, the oldest first, and their keys are free again.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Backend;
use super::steps::*;
use crate::{Accepted, Outcome, Prune, TerminalState};

/// A pruned event is deleted with its conflicts, and its key is free.
pub async fn a_pruned_key_is_free_again(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    backend.accept(&[event("a", "conflict")]).await;
    let old = backend.record("a").await.id;
    assert_eq!(prune(&backend, &all(TerminalState::Processed)).await, 1);
    assert_eq!(backend.find(&[event_ref("a")]).await, [None]);
    let conflicts = backend.admin.conflicts(&event_ref("a")).await;
    assert_eq!(conflicts.expect("conflicts"), []);
    assert_eq!(backend.accept(&[event("a", "2")]).await, [Accepted::New]);
    let record = backend.record("a").await;
    assert_eq!(record.envelope.body, "2");
    assert_eq!((record.attempts, record.conflict_count), (0, 0));
    assert!(record.id > old, "ids are never reused");
    let conflicts = backend.admin.conflicts(&event_ref("a")).await;
    assert_eq!(conflicts.expect("conflicts"), []);
    assert_eq!(backend.claim_one(&up_to(1)).await.body, "2");
}

/// Only events in the given state are pruned, and never events that are processing.
pub async fn pruning_is_by_state(backend: Backend) {
    backend.settled("good", "1", Outcome::Processed).await;
    backend.settled("bad", "1", failed("broken")).await;
    backend.accept_new(&[event("leased", "1")]).await;
    let leased = backend.claim_one(&up_to(1)).await;
    backend.settled("retried", "1", retry(LONG, "later")).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    backend.accept_new(&[event("due", "1")]).await;
    assert_eq!(prune(&backend, &all(TerminalState::Processed)).await, 1);
    assert_eq!(left(&backend, "good").await, 0);
    assert_eq!(left(&backend, "bad").await, 1);
    assert_eq!(prune(&backend, &all(TerminalState::Failed)).await, 1);
    assert_eq!(left(&backend, "bad").await, 0);
    assert_eq!(prune(&backend, &all(TerminalState::Failed)).await, 0);
    for name in ["leased", "retried", "waiting", "due"] {
        assert_eq!(left(&backend, name).await, 1, "{name}");
    }
    let settled = backend.settle_one(leased.lease, Outcome::Processed).await;
    assert_eq!(settled, crate::Settled::Applied);
}

/// Events that were settled more recently stay, however long ago they were accepted.
pub async fn pruning_is_by_age_of_the_settlement(backend: Backend) {
    let old = |older_than| Prune {
        older_than,
        ..all(TerminalState::Processed)
    };
    // Conclusive only where the settlement is younger than the event by more than the machine
    // takes; on a slow one, the next turn is.
    for age in [1, 5, 25].map(|turn| turn * PAST_SHORT) {
        let name = format!("{age:?}");
        backend.accept_new(&[event(&name, "1")]).await;
        backend.pass(age).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        let before = Instant::now();
        backend.settle_one(claimed.lease, Outcome::Processed).await;
        let pruned = prune(&backend, &old(age)).await;
        if before.elapsed() + TOLERANCE < age {
            assert_eq!(pruned, 0, "settled {:?} ago", before.elapsed());
            assert_eq!(prune(&backend, &old(LONG)).await, 0);
            backend.pass(PAST_SHORT).await;
            assert_eq!(prune(&backend, &old(SHORT)).await, 1);
            break;
        }
        prune(&backend, &all(TerminalState::Processed)).await;
    }
}

/// A call deletes no more than its limit, the oldest settled first.
pub async fn pruning_takes_the_oldest_first(backend: Backend) {
    let states = [
        (TerminalState::Processed, Outcome::Processed),
        (TerminalState::Failed, failed("broken")),
    ];
    let names = ["first", "second", "third", "fourth", "fifth"];
    for (state, outcome) in states {
        // Settled in another order than accepted.
        let batch: Vec<_> = names.iter().rev().map(|name| event(name, "1")).collect();
        backend.accept_new(&batch).await;
        let claimed = backend.claim_within(&up_to(5), 5).await;
        for name in names {
            let claimed = claimed.iter().find(|it| it.key.as_str() == name);
            let lease = claimed.expect("all are claimed").lease;
            backend.settle_one(lease, outcome.clone()).await;
            backend.pass(Duration::from_millis(5)).await;
        }
        let two = Prune {
            limit: limit(2),
            ..all(state)
        };
        for (pruned, gone) in [(2, 2), (2, 4), (1, 5), (0, 5)] {
            assert_eq!(prune(&backend, &two).await, pruned);
            let mut taken = Vec::new();
            for name in names {
                taken.push(left(&backend, name).await == 0);
            }
            backend.assert_taken(&names, &taken, gone);
        }
    }
}

/// Events of other kinds stay.
pub async fn pruning_is_by_kind(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    let elsewhere = Prune {
        kind: kind_named("other"),
        ..all(TerminalState::Processed)
    };
    assert_eq!(prune(&backend, &elsewhere).await, 0);
    assert_eq!(left(&backend, "a").await, 1);
}

/// A requeued event is no longer a failed one.
pub async fn a_requeued_event_is_not_pruned(backend: Backend) {
    backend.settled("a", "1", failed("broken")).await;
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    assert_eq!(requeued.expect("requeue"), [crate::Requeued::Applied]);
    assert_eq!(prune(&backend, &all(TerminalState::Failed)).await, 0);
    assert_eq!(backend.claim_one(&up_to(1)).await.key, key("a"));
}

/// A lease of a pruned event is lost, also for a new event with the same key.
pub async fn leases_of_pruned_events_are_stale(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let old = backend.claim_one(&up_to(1)).await.lease;
    backend.settle_one(old, Outcome::Processed).await;
    assert_eq!(prune(&backend, &all(TerminalState::Processed)).await, 1);
    backend.accept_new(&[event("a", "1")]).await;
    let new = backend.claim_one(&up_to(1)).await.lease;
    let extended = backend.extend(&[old, new], LONG).await;
    let expected = [crate::Extended::LeaseLost, crate::Extended::Renewed];
    assert_eq!(extended, expected);
    let settled = backend.settle_one(old, Outcome::Processed).await;
    assert_eq!(settled, crate::Settled::LeaseLost);
}

/// Concurrent calls together delete each event once.
pub async fn concurrent_prunes_share_the_events(backend: Backend) {
    const EVENTS: usize = 200;
    backend.accept_new(&events(EVENTS)).await;
    let claimed = backend.claim_within(&up_to(EVENTS), EVENTS).await;
    let settlements: Vec<_> = claimed
        .iter()
        .map(|claimed| crate::Settlement {
            lease: claimed.lease,
            outcome: Outcome::Processed,
        })
        .collect();
    backend.settle(&settlements).await;
    let mut pruners = JoinSet::new();
    for _ in 0..4 {
        let backend = backend.clone();
        pruners.spawn(async move {
            let some = Prune {
                limit: limit(30),
                ..all(TerminalState::Processed)
            };
            let mut pruned = 0;
            loop {
                match prune(&backend, &some).await {
                    0 => return pruned,
                    some => pruned += some,
                }
            }
        });
    }
    let pruned: usize = pruners.join_all().await.into_iter().sum();
    // A call skips what others are deleting, so all of them may end before the last is gone.
    let rest = prune(&backend, &all(TerminalState::Processed)).await;
    assert_eq!(pruned + rest, EVENTS);
    let counts = backend.admin.counts(&kind()).await.expect("counts");
    assert_eq!(counts, crate::Counts::default());
}

/// All events of the usual kind in a state, up to a thousand.
fn all(state: TerminalState) -> Prune {
    Prune {
        kind: kind(),
        state,
        older_than: Duration::ZERO,
        limit: limit(1_000),
    }
}

fn limit(limit: usize) -> NonZeroUsize {
    NonZeroUsize::new(limit).expect("cases prune something")
}

async fn prune(backend: &Backend, prune: &Prune) -> usize {
    let pruned = backend.admin.prune(prune).await.expect("prune");
    assert!(pruned <= prune.limit.get(), "{pruned} pruned of {prune:?}");
    pruned
}

/// The number of events with this key: one or none.
async fn left(backend: &Backend, name: &str) -> usize {
    let found = backend.find(&[event_ref(name)]).await;
    found.iter().flatten().count()
}
