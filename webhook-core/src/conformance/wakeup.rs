//! Wake-ups: hints that may be spurious or lost, but never lose an event.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::Backend;
use super::steps::*;
use crate::{ClaimedEvent, MadeDue, Outcome, RunningLeases};

/// How long a worker sleeps where nothing wakes it.
const POLL: Duration = Duration::from_millis(200);

/// A worker that waits gets an event that is accepted meanwhile, due at once or soon.
pub async fn a_waiting_worker_gets_new_events(backend: Backend) {
    for (number, delay) in [Duration::ZERO, SHORT].into_iter().enumerate() {
        let name = format!("event-{number}");
        let worker = waiting(&backend, 1);
        backend.pass(TOLERANCE).await;
        backend.accept_new(&[event_in(delay, &name, "1")]).await;
        let claimed = worker.await.expect("the worker ends well");
        assert_eq!(keys(&claimed), [name]);
    }
}

/// A worker told to wait for a far event gets one that falls due before it.
pub async fn a_waiting_worker_gets_earlier_events(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "far", "1")]).await;
    let worker = waiting(&backend, 1);
    backend.pass(TOLERANCE).await;
    backend.accept_new(&[event_in(SHORT, "near", "1")]).await;
    assert_eq!(keys(&worker.await.expect("it ends well")), ["near"]);
}

/// Retries, releases and requeues reach a waiting worker like new events.
pub async fn a_waiting_worker_gets_events_that_come_back(backend: Backend) {
    let outcomes = [
        ("retried", retry(Duration::ZERO, "again")),
        ("retried later", retry(SHORT, "again")),
        ("released", Outcome::Release),
        ("requeued", failed("broken")),
    ];
    for (name, outcome) in outcomes {
        backend.accept_new(&[event(name, "1")]).await;
        let held = backend.claim_one(&up_to(1)).await;
        let worker = waiting(&backend, 1);
        backend.pass(TOLERANCE).await;
        backend.settle_one(held.lease, outcome).await;
        if name == "requeued" {
            let requeued = backend.admin.requeue(&[event_ref(name)]).await;
            assert_eq!(requeued.expect("requeue"), [crate::Requeued::Applied]);
        }
        assert_eq!(keys(&worker.await.expect("it ends well")), [name]);
    }
}

/// A resume brings the events of a paused kind to a worker that waits.
pub async fn a_waiting_worker_gets_the_events_of_a_resumed_kind(backend: Backend) {
    for name in ["a", "b"] {
        assert!(backend.pause(&kind()).await);
        let worker = waiting(&backend, 1);
        backend.pass(TOLERANCE).await;
        backend.accept_new(&[event(name, "1")]).await;
        backend.pass(POLL).await;
        assert!(!worker.is_finished(), "it is paused");
        assert!(backend.resume(&kind()).await);
        assert_eq!(keys(&worker.await.expect("it ends well")), [name]);
    }
}

/// An event that an operator makes due, or whose lease an operator ends, reaches a waiting worker.
pub async fn a_waiting_worker_gets_an_event_made_due(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "a", "1")]).await;
    for attempt in 1..=2 {
        assert_eq!(backend.claim(&up_to(1)).await.events, []);
        let worker = waiting(&backend, 1);
        backend.pass(TOLERANCE).await;
        let made_due = backend
            .admin
            .make_due(&[event_ref("a")], RunningLeases::End)
            .await;
        assert_eq!(made_due.expect("make_due"), [MadeDue::Applied]);
        let claimed = worker.await.expect("the worker ends well");
        assert_eq!(claimed[0].lease.attempt.number(), attempt);
    }
}

/// A worker that waits takes over what a crashed one held.
pub async fn a_waiting_worker_takes_over_expired_leases(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let crashing = crate::Claim {
        lease: SHORT,
        ..up_to(1)
    };
    backend.claim_one(&crashing).await;
    let claimed = waiting(&backend, 1).await.expect("it ends well");
    assert_eq!(claimed[0].lease.attempt.number(), 2);
}

/// Several workers wait for one kind: between them they get every event, once.
pub async fn several_workers_may_wait(backend: Backend) {
    const EVENTS: usize = 60;
    const WORKERS: usize = 4;
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let backend = backend.clone();
        workers.spawn(async move { work(&backend, EVENTS / WORKERS).await });
    }
    for batch in events(EVENTS).chunks(7) {
        backend.pass(Duration::from_millis(5)).await;
        backend.accept_new(batch).await;
    }
    let claimed: Vec<_> = workers.join_all().await.concat();
    let distinct: HashSet<_> = keys(&claimed).into_iter().collect();
    assert_eq!(distinct.len(), EVENTS);
}

/// An event that is accepted between a claim and the wait costs at most the worker's own poll.
pub async fn a_lost_wakeup_loses_no_event(backend: Backend) {
    assert_eq!(backend.claim(&up_to(1)).await.events, []);
    backend.accept_new(&[event("a", "1")]).await;
    wait(&backend, None).await;
    let claimed = backend.claim(&up_to(1)).await;
    assert_eq!(keys(&claimed.events), ["a"]);
}

/// Without any wake-up at all, polling finds every event.
pub async fn polling_alone_finds_every_event(backend: Backend) {
    let delays = [0, 40, 80].map(Duration::from_millis);
    let batch = delays.map(|delay| event_in(delay, &format!("{delay:?}"), "1"));
    backend.accept_new(&batch).await;
    let claimed = backend.claim_within(&up_to(3), 3).await;
    assert_eq!(claimed.len(), 3);
}

/// A wait may be given up at any time and begun again, by several at once.
pub async fn a_wait_may_be_dropped_and_repeated(backend: Backend) {
    let kinds = [kind()];
    for _ in 0..50 {
        let _ = backend.scheduler.wait_for_work(&kinds).now_or_never();
    }
    for turn in 0..10 {
        let mut dropped = backend.scheduler.wait_for_work(&kinds);
        let mut kept = backend.scheduler.wait_for_work(&kinds);
        let _ = (&mut dropped).now_or_never();
        let ended = (&mut kept).now_or_never().is_some();
        drop(dropped);
        let name = format!("event-{turn}");
        backend.accept_new(&[event(&name, "1")]).await;
        if !ended {
            tokio::select! {
                _ = kept => {}
                () = backend.pass(POLL) => {}
            }
        }
        let claimed = backend.claim(&up_to(1)).await;
        assert_eq!(keys(&claimed.events), [name]);
    }
}

/// Waits for one kind do not keep another from being claimed.
pub async fn workers_of_other_kinds_do_not_interfere(backend: Backend) {
    let other = kind_named("other");
    let worker = waiting(&backend, 3);
    let idler = tokio::spawn({
        let backend = backend.clone();
        let claim = crate::Claim {
            kind: other.clone(),
            ..up_to(5)
        };
        async move {
            let kinds = [claim.kind.clone()];
            loop {
                backend.pass(Duration::from_millis(1)).await;
                tokio::select! {
                    _ = backend.scheduler.wait_for_work(&kinds) => {}
                    () = backend.pass(POLL) => {}
                }
                let claimed = backend.claim(&claim).await.events;
                if !claimed.is_empty() {
                    return claimed;
                }
            }
        }
    });
    backend.accept_new(&events(3)).await;
    assert_eq!(worker.await.expect("it ends well").len(), 3);
    backend.accept_new(&[event_of(&other, "other", "1")]).await;
    let claimed = idler.await.expect("the other worker ends well");
    assert_eq!(keys(&claimed), ["other"]);
}

/// A worker in the background that wants `count` events.
fn waiting(backend: &Backend, count: usize) -> tokio::task::JoinHandle<Vec<ClaimedEvent>> {
    let backend = backend.clone();
    tokio::spawn(async move { work(&backend, count).await })
}

/// Claims one by one until there are `count`, and waits as a worker does.
async fn work(backend: &Backend, count: usize) -> Vec<ClaimedEvent> {
    let mut held = Vec::new();
    loop {
        let claimed = backend.claim(&up_to(1)).await;
        let idle = claimed.events.is_empty();
        held.extend(claimed.events);
        if held.len() == count {
            return held;
        }
        if idle {
            wait(backend, claimed.next_due).await;
        }
    }
}

/// Waits for a hint, at most until the next event falls due, and never longer than a poll.
async fn wait(backend: &Backend, next_due: Option<Duration>) {
    // Hints may come for nothing, and may never end.
    backend.pass(Duration::from_millis(1)).await;
    let kinds = [kind()];
    tokio::select! {
        _ = backend.scheduler.wait_for_work(&kinds) => {}
        () = backend.pass(next_due.map_or(POLL, |next_due| next_due.min(POLL))) => {}
    }
}
