//! Tests that need a backend on Tokio's clock: exact times, and wake-ups without polling.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use tokio::time::{Instant, advance, timeout};
use webhook_core::{
    Accepted, Admin, Claim, Claimed, Envelope, EventRef, Extended, Fingerprint, Key, Kind, Lease,
    NewEvent, OnFailed, Outcome, Prune, Reason, Requeued, Scheduler, Settled, Settlement, Store,
    TerminalState,
};
use webhook_memory::MemoryStore;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const LEASE: Duration = Duration::from_secs(120);

#[tokio::test(start_paused = true)]
async fn delays_are_exact() {
    let store = MemoryStore::default();
    store.accept(&[event("a", 30 * SECOND)]).await.unwrap();
    assert_eq!(claim(&store).await.next_due, Some(30 * SECOND));
    advance(30 * SECOND - NANOSECOND).await;
    let claimed = claim(&store).await;
    assert_eq!(claimed.events, []);
    assert_eq!(claimed.next_due, Some(NANOSECOND));
    assert_eq!(store.lag(&kind()).await.unwrap(), None);
    advance(NANOSECOND).await;
    assert_eq!(store.lag(&kind()).await.unwrap(), Some(Duration::ZERO));
    let claimed = claim(&store).await;
    assert_eq!(claimed.events[0].lag, Duration::ZERO);
    assert_eq!(claimed.next_due, Some(LEASE));
    settle(&store, claimed.events[0].lease, Outcome::Processed).await;
    let record = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(record.settled_at, Some(record.accepted_at + 30 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn leases_expire_exactly() {
    let store = MemoryStore::default();
    store.accept(&[event("a", SECOND)]).await.unwrap();
    advance(3 * SECOND).await;
    let first = claim(&store).await.events.remove(0);
    assert_eq!((first.lag, first.age), (2 * SECOND, 3 * SECOND));
    advance(LEASE - NANOSECOND).await;
    assert_eq!(claim(&store).await.events, []);
    assert_eq!(store.lag(&kind()).await.unwrap(), None);
    advance(NANOSECOND).await;
    let second = claim(&store).await.events.remove(0);
    assert_eq!(second.lag, 2 * SECOND + LEASE);
    assert_eq!(second.age, 3 * SECOND + LEASE);
    let extended = store.extend(&[second.lease], SECOND).await.unwrap();
    assert_eq!(extended, [Extended::Renewed]);
    assert_eq!(claim(&store).await.next_due, Some(SECOND));
    let after = 5 * SECOND;
    let reason = Reason::new("later");
    settle(&store, second.lease, Outcome::Retry { after, reason }).await;
    assert_eq!(claim(&store).await.next_due, Some(after));
}

#[tokio::test(start_paused = true)]
async fn prune_counts_from_the_settlement() {
    let store = MemoryStore::default();
    store.accept(&[event("a", Duration::ZERO)]).await.unwrap();
    advance(10 * SECOND).await;
    let lease = claim(&store).await.events[0].lease;
    settle(&store, lease, Outcome::Processed).await;
    let prune = Prune::new(
        kind(),
        TerminalState::Processed,
        5 * SECOND,
        NonZeroUsize::MIN,
    );
    advance(5 * SECOND - NANOSECOND).await;
    assert_eq!(store.prune(&prune).await.unwrap(), 0);
    let mut ancient = prune.clone();
    ancient.older_than = Duration::MAX;
    assert_eq!(store.prune(&ancient).await.unwrap(), 0);
    advance(NANOSECOND).await;
    assert_eq!(store.prune(&prune).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn durations_beyond_the_clock_never_pass() {
    let store = MemoryStore::default();
    advance(SECOND).await;
    let batch = [event("never", Duration::MAX), event("now", Duration::ZERO)];
    store.accept(&batch).await.unwrap();
    let wish = wish().with_lease(Duration::MAX);
    let claimed = store
        .claim(std::slice::from_ref(&wish))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(claimed.events.len(), 1);
    assert!(claimed.next_due > Some(1_000_000_000 * SECOND));
    let lease = claimed.events[0].lease;
    let extended = store.extend(&[lease], Duration::MAX).await.unwrap();
    assert_eq!(extended, [Extended::Renewed]);
    let after = Duration::MAX;
    let reason = Reason::new("never again");
    settle(&store, lease, Outcome::Retry { after, reason }).await;
    advance(1_000_000 * SECOND).await;
    assert_eq!(claim(&store).await.events, []);
    assert_eq!(store.counts(&kind()).await.unwrap().waiting, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_without_a_poll() {
    let store = MemoryStore::default();
    let slept = waits(&store, async |store| {
        store.accept(&[event("a", Duration::ZERO)]).await.unwrap();
    });
    assert!(slept.await, "an event due at once");
    let lease = claim(&store).await.events[0].lease;
    let slept = waits(&store, async |store| {
        settle(store, lease, Outcome::Release).await;
    });
    assert!(slept.await, "a release");
    let lease = claim(&store).await.events[0].lease;
    let slept = waits(&store, async |store| {
        let after = SECOND;
        let reason = Reason::new("again");
        settle(store, lease, Outcome::Retry { after, reason }).await;
    });
    assert!(slept.await, "a retry before the lease would have run out");
    advance(SECOND).await;
    let lease = claim(&store).await.events[0].lease;
    let reason = Reason::new("broken");
    settle(&store, lease, Outcome::Failed { reason }).await;
    assert_eq!(claim(&store).await.next_due, None);
    let slept = waits(&store, async |store| {
        let requeued = store.requeue(&[name("a")]).await.unwrap();
        assert_eq!(requeued, [Requeued::Applied]);
    });
    assert!(slept.await, "a requeue");
    let lease = claim(&store).await.events[0].lease;
    let slept = waits(&store, async |store| {
        store.extend(&[lease], SECOND).await.unwrap();
    });
    assert!(slept.await, "a lease that was shortened");
    let reason = Reason::new("broken");
    settle(&store, lease, Outcome::Failed { reason }).await;
    assert_eq!(claim(&store).await.next_due, None);
    let slept = waits(&store, async |store| {
        let redelivery = OnFailed::Requeue;
        let again = event("a", SECOND).with_on_failed(redelivery);
        let accepted = store.accept(&[again]).await.unwrap();
        assert_eq!(accepted, [Accepted::Requeued]);
    });
    assert!(slept.await, "a redelivery of what had failed");
}

#[tokio::test(start_paused = true)]
async fn a_wait_continues_until_an_event_falls_due_earlier() {
    let store = MemoryStore::default();
    store.accept(&[event("a", 10 * SECOND)]).await.unwrap();
    assert_eq!(claim(&store).await.next_due, Some(10 * SECOND));
    let slept = waits(&store, async |store| {
        store.accept(&[event("later", 11 * SECOND)]).await.unwrap();
    });
    assert!(!slept.await, "an event due after the one that was told");
    let slept = waits(&store, async |store| {
        let mut other = event("a", Duration::ZERO);
        other.envelope.kind = Kind::new("other").unwrap();
        store.accept(&[other]).await.unwrap();
    });
    assert!(!slept.await, "an event of another kind");
    let slept = waits(&store, async |store| {
        let again = [event("a", Duration::ZERO)];
        let accepted = store.accept(&again).await.unwrap();
        assert_eq!(accepted, [Accepted::Duplicate]);
    });
    assert!(!slept.await, "a duplicate");
    let slept = waits(&store, async |store| {
        store.accept(&[event("near", 9 * SECOND)]).await.unwrap();
    });
    assert!(slept.await, "an event due before the one that was told");
}

/// The worker learns of the pause from a claim, or begins to wait before it.
#[tokio::test(start_paused = true)]
async fn only_a_resume_wakes_workers_of_a_paused_kind() {
    for has_claimed in [true, false] {
        let store = MemoryStore::default();
        assert!(store.pause(&kind()).await.unwrap());
        if has_claimed {
            assert_eq!(claim(&store).await, Claimed::default());
        }
        let goes_on = !waits(&store, async |store| {
            store.accept(&[event("a", Duration::ZERO)]).await.unwrap();
        })
        .await;
        assert!(goes_on, "{has_claimed}");
        assert!(!is_ready(&store).await, "{has_claimed}");
        let is_woken = waits(&store, async |store| {
            assert!(store.resume(&kind()).await.unwrap());
        })
        .await;
        assert!(is_woken, "{has_claimed}");
        assert!(is_ready(&store).await, "{has_claimed}");
        assert_eq!(claim(&store).await.events.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn wakeups_are_kept_for_later_waits() {
    let store = MemoryStore::default();
    assert_eq!(claim(&store).await, Claimed::default());
    store.accept(&[event("a", SECOND)]).await.unwrap();
    assert!(is_ready(&store).await);
    assert!(is_ready(&store).await, "until the next claim");
    assert_eq!(claim(&store).await.next_due, Some(SECOND));
    assert!(!is_ready(&store).await);
    advance(SECOND).await;
    assert!(is_ready(&store).await, "it is due now");
}

#[tokio::test(start_paused = true)]
async fn all_waiting_workers_are_woken() {
    let store = MemoryStore::default();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.wait_for_work(&[kind()]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.accept(&[event("a", LEASE)]).await.unwrap();
    let before = Instant::now();
    for waiting in waiting {
        timeout(SECOND, waiting).await.unwrap().unwrap();
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn idle_claimer_is_woken_for_the_lease_of_another() {
    let store = MemoryStore::default();
    assert_eq!(claim(&store).await, Claimed::default());
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            // This worker relies only on wake-ups and on the due times that claims return.
            let kind = kind();
            let mut told = None;
            loop {
                match told {
                    None => drop(store.wait_for_work(std::slice::from_ref(&kind)).await),
                    Some(next_due) => tokio::select! {
                        _ = store.wait_for_work(std::slice::from_ref(&kind)) => {}
                        () = tokio::time::sleep(next_due) => {}
                    },
                }
                let claimed = claim(&store).await;
                if let Some(event) = claimed.events.first() {
                    return event.lease.attempt.number();
                }
                told = claimed.next_due;
            }
        }
    });
    tokio::task::yield_now().await;
    store.accept(&[event("a", Duration::ZERO)]).await.unwrap();
    // Another worker claims before the waiting one, and then crashes.
    assert_eq!(claim(&store).await.events.len(), 1);
    let attempt = timeout(2 * LEASE, waiting).await.unwrap().unwrap();
    assert_eq!(attempt, 2);
}

fn kind() -> Kind {
    Kind::new("test").unwrap()
}

fn name(key: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: Key::new(key).unwrap(),
    }
}

fn event(key: &str, delay: Duration) -> NewEvent {
    NewEvent::new(
        Envelope::new(
            kind(),
            Key::new(key).unwrap(),
            Fingerprint::of([key]),
            key.to_owned().into(),
        ),
        delay,
    )
}

fn wish() -> Claim {
    Claim::new(
        kind(),
        NonZeroUsize::new(10).unwrap(),
        LEASE,
        NonZeroU32::new(10).unwrap(),
    )
}

async fn claim(store: &MemoryStore) -> Claimed {
    store.claim(&[wish()]).await.unwrap().remove(0)
}

async fn settle(store: &MemoryStore, lease: Lease, outcome: Outcome) {
    let settled = store.settle(&[Settlement::new(lease, outcome)]).await;
    assert_eq!(settled.unwrap(), [Settled::Applied]);
}

/// Returns whether a wait ends at once.
async fn is_ready(store: &MemoryStore) -> bool {
    timeout(Duration::ZERO, store.wait_for_work(&[kind()]))
        .await
        .is_ok()
}

/// Returns whether a pending wait ends at once because of `act`.
async fn waits(store: &MemoryStore, act: impl AsyncFnOnce(&MemoryStore)) -> bool {
    assert!(!is_ready(store).await, "there is no news before");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_work(&[kind()]).await }
    });
    tokio::task::yield_now().await;
    act(store).await;
    let ended = timeout(Duration::from_millis(1), waiting).await;
    ended.is_ok()
}
