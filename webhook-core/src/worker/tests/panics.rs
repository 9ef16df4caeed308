//! Panics outside of handlers: no lease may be renewed for ever.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tracing::subscriber::set_default;
use tracing::{Metadata, Subscriber, span};

use super::super::*;
use super::scripted::{LAST_ATTEMPT, SECOND, Scripted, brings, event, start};
use crate::error::StoreError;
use crate::handler::{Event, HandlerError};
use crate::scheduler::{Claim, Claimed, Extended, Lease, Outcome, Settled, Settlement};
use crate::test_log::OnEvent;
use crate::test_payload::Word;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

async fn hangs_with_a_bomb(_: Event<Word>) -> Result<(), HandlerError> {
    let _bomb = Bomb;
    pending::<()>().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_the_handler_spends_the_attempt_at_once() {
    // The handler's time is over; dropping it panics.
    let scheduler = Scripted::new([brings([event(1, 1), event(2, LAST_ATTEMPT)])]);
    let worker = start(&scheduler, hangs_with_a_bomb);
    let settled = scheduler.settled(2).await;
    let expected = "attempt panicked outside its handler";
    match &settled[0] {
        (1, Outcome::Retry { reason, .. }) => assert_eq!(reason.as_str(), expected),
        other => panic!("{other:?}"),
    }
    match &settled[1] {
        (2, Outcome::Failed { reason }) => assert_eq!(reason.as_str(), expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(worker.engines[0].context.leases.held(), 0);
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
}

#[tokio::test(start_paused = true)]
async fn slots_of_attempts_that_panicked_are_free_again() {
    let scheduler = Scripted::new((1..=600).map(|id| brings([event(id, 1)])));
    let worker = start(&scheduler, hangs_with_a_bomb);
    assert_eq!(scheduler.settled(600).await.len(), 600);
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_log_subscriber_changes_no_outcome() {
    let _log = set_default(OnEvent(|_: &tracing::Event<'_>| {
        panic!("the log is broken")
    }));
    let scheduler = Scripted::new([brings([event(1, 1), event(2, LAST_ATTEMPT)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        match event.lease.event.get() {
            1 => Ok(()),
            _ => Err(HandlerError::retry("no luck")),
        }
    });
    let settled = scheduler.settled(2).await;
    assert_eq!(settled[0], (1, Outcome::Processed));
    assert!(matches!(settled[1], (2, Outcome::Failed { .. })));
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
}

/// Panics at the first call of each method.
struct PanicsAtFirst {
    scripted: Arc<Scripted>,
    claims: AtomicU32,
    extends: AtomicU32,
    settles: AtomicU32,
}

fn panic_at_first(calls: &AtomicU32) {
    assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
}

#[async_trait]
impl Scheduler for PanicsAtFirst {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        panic_at_first(&self.claims);
        self.scripted.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        panic_at_first(&self.extends);
        self.scripted.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        panic_at_first(&self.settles);
        self.scripted.settle(settlements).await
    }

    async fn wait_for_work(&self, _: &[Kind]) -> Vec<usize> {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_panicking_backend_are_repeated() {
    let scripted = Scripted::new([brings([event(1, 1)])]);
    let scheduler = Arc::new(PanicsAtFirst {
        scripted: Arc::clone(&scripted),
        claims: AtomicU32::new(0),
        extends: AtomicU32::new(0),
        settles: AtomicU32::new(0),
    });
    let handler = async |_: Event<Word>| {
        tokio::time::sleep(299 * SECOND).await;
        Ok(())
    };
    let worker = Worker::start(
        Arc::clone(&scheduler) as _,
        WorkerOptions::default(),
        handler,
    );
    assert_eq!(scripted.settled(1).await, [(1, Outcome::Processed)]);
    assert!(scheduler.extends.load(Ordering::SeqCst) > 1);
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
}

/// Panics whenever a span is entered, left or closed.
struct SpanBomb;

impl Subscriber for SpanBomb {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {
        panic!("the log is broken");
    }

    fn exit(&self, _: &span::Id) {
        panic!("the log is broken");
    }

    fn try_close(&self, _: span::Id) -> bool {
        panic!("the log is broken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_span_changes_no_outcome() {
    let _log = set_default(SpanBomb);
    let script = [event(1, 1), event(2, 1), event(3, LAST_ATTEMPT)];
    let scheduler = Scripted::new([brings(script)]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        tokio::task::yield_now().await;
        match event.id().get() {
            1 => Ok(()),
            2 => panic!("of its own"),
            _ => Err(HandlerError::retry("no luck")),
        }
    });
    let settled = scheduler.settled(3).await;
    assert_eq!(settled[0], (1, Outcome::Processed));
    let reasons = settled[1..].iter().map(|(_, outcome)| match outcome {
        Outcome::Retry { reason, .. } | Outcome::Failed { reason } => reason.as_str(),
        other => panic!("{other:?}"),
    });
    let expected = ["handler panicked: of its own", "no luck"];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
}
