//! The claim loop: as many events as there are free slots, exactly when the next one falls due.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::{Context, Handling, attempt, outage};
use crate::handler::Handler;
use crate::panics::{caught, logging};
use crate::scheduler::{Claim, ClaimedEvent, Outcome, Settlement};

/// Before the next claim when others hold all that is due.
const CONTENDED: Duration = Duration::from_millis(10);

/// At least as long between two claims of which the second follows a hint: a backend may give
/// hints without end.
const HINT_FLOOR: Duration = Duration::from_millis(1);

/// With more due than slots: at most as long for a quarter of the slots to come free, so that
/// slow handlers do not make for claims of one event.
const GATHER: Duration = Duration::from_millis(10);

/// Claims and starts attempts until the worker is stopped.
pub(super) async fn run<P: Send + 'static, H: Handler<P>>(
    context: Arc<Context>,
    handling: Arc<Handling<P, H>>,
    finished: mpsc::Sender<Settlement>,
) {
    let mut failures = 0;
    let mut behind = false;
    loop {
        let slots = tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            slots = free_slots(&context, behind) => slots,
        };
        let claim = Claim {
            kind: context.kind.clone(),
            limit: context.claim_limit(slots.num_permits()),
            lease: context.options.lease,
            max_attempts: context.options.max_attempts,
        };
        let asked_at = Instant::now();
        // Not cut short by a stop: leases that nobody knows of would have to run out.
        let idle = match caught(context.scheduler.claim(&claim)).await {
            Ok(claimed) => {
                failures = 0;
                for key in &claimed.exhausted {
                    logging(
                        || warn!(kind = %context.kind, %key, "event failed: attempts exhausted by crashes or lost leases"),
                    );
                }
                let brought = claimed.events.len() + claimed.exhausted.len();
                behind = brought >= claim.limit.get();
                start(
                    &context,
                    &handling,
                    &finished,
                    claimed.events,
                    asked_at,
                    slots,
                )
                .await;
                match claimed.next_due {
                    _ if behind => Duration::ZERO,
                    Some(Duration::ZERO) if brought == 0 => CONTENDED,
                    Some(next_due) => next_due.min(context.options.poll_interval),
                    None => context.options.poll_interval,
                }
            }
            Err(error) => {
                failures += 1;
                let pause = outage::pause(failures);
                logging(
                    || warn!(kind = %context.kind, error = &error as &dyn std::error::Error, ?pause, "failed to claim"),
                );
                drop(slots);
                tokio::select! {
                    () = context.stop.cancelled() => return,
                    () = sleep(pause) => continue,
                }
            }
        };
        if !idle.is_zero() {
            tokio::select! {
                biased;
                () = context.stop.cancelled() => return,
                () = ready(&context) => sleep_until(asked_at + HINT_FLOOR).await,
                () = sleep(idle) => {}
            }
        }
    }
}

/// Waits for a hint of the backend, in vain where the backend panics: the worker polls.
async fn ready(context: &Context) {
    let hint = context.scheduler.ready(&context.kind);
    if AssertUnwindSafe(hint).catch_unwind().await.is_err() {
        pending::<()>().await;
    }
}

/// Waits for a free slot and takes all that are free, up to one claim's worth.
async fn free_slots(context: &Context, behind: bool) -> OwnedSemaphorePermit {
    const NEVER_CLOSED: &str = "the semaphore is never closed";
    let mut slots = Arc::clone(&context.slots)
        .acquire_owned()
        .await
        .expect(NEVER_CLOSED);
    let limit = context.options.concurrency.min(context.options.max_batch);
    if behind {
        let more = Arc::clone(&context.slots).acquire_many_owned(permits(limit / 4));
        if let Ok(more) = timeout(GATHER, more).await {
            slots.merge(more.expect(NEVER_CLOSED));
        }
    }
    let free = context.slots.available_permits();
    let more = permits(free.min(limit.saturating_sub(slots.num_permits())));
    if let Ok(more) = Arc::clone(&context.slots).try_acquire_many_owned(more) {
        slots.merge(more);
    }
    slots
}

fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Starts an attempt at each of `events`, or hands them back where the worker is stopping.
async fn start<P: Send + 'static, H: Handler<P>>(
    context: &Arc<Context>,
    handling: &Arc<Handling<P, H>>,
    finished: &mpsc::Sender<Settlement>,
    events: Vec<ClaimedEvent>,
    asked_at: Instant,
    mut slots: OwnedSemaphorePermit,
) {
    let leases = &context.leases;
    leases.hold(events.iter().map(|event| event.lease), asked_at);
    if context.stop.is_cancelled() {
        for ClaimedEvent { lease, .. } in events {
            leases.ended(lease);
            let outcome = Outcome::Release;
            if finished.send(Settlement { lease, outcome }).await.is_err() {
                // The settler has given up: the lease must run out.
                leases.forget([lease]);
            }
        }
        return;
    }
    let handlers: Vec<_> = events
        .into_iter()
        .map(|claimed| {
            let slot = slots.split(1);
            let lease = claimed.lease;
            let (context, handling, finished) =
                (Arc::clone(context), Arc::clone(handling), finished.clone());
            let attempts = context.attempts.clone();
            let attempt = attempts.spawn(async move {
                attempt::run(context, &*handling, claimed, finished).await;
                drop(slot);
            });
            (lease, attempt.abort_handle())
        })
        .collect();
    leases.started(handlers);
}
