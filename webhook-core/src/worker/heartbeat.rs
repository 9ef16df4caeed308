//! The heartbeat: renews what is held, stops what was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Context;
use crate::panics::{caught, logging};
use crate::scheduler::Extended;

/// Beats in one lease.
const BEATS: u32 = 4;

/// Renews leases until all attempts are settled.
pub(super) async fn run(context: Arc<Context>) {
    let beat = (context.options.lease / BEATS).max(Duration::from_millis(1));
    let mut pause = beat;
    loop {
        tokio::select! {
            biased;
            () = context.settled.cancelled() => return,
            () = sleep(pause) => {}
        }
        // After a failure there is still time for some tries before the leases run out.
        pause = if renew(&context, beat / 2).await {
            beat
        } else {
            beat / BEATS
        };
    }
}

/// Renews every lease not renewed for `age`: whether the store answered.
async fn renew(context: &Context, age: Duration) -> bool {
    let leases = context.leases.older_than(age);
    if leases.is_empty() {
        return true;
    }
    let kind = &context.kind;
    let asked_at = Instant::now();
    match caught(context.scheduler.extend(&leases, context.options.lease)).await {
        Ok(answers) => {
            debug_assert_eq!(answers.len(), leases.len());
            for (lease, answer) in leases.into_iter().zip(answers) {
                match answer {
                    Extended::Renewed => context.leases.renewed(lease, asked_at),
                    Extended::LeaseLost => {
                        if context.leases.lose(lease) {
                            let event = lease.event.0;
                            logging(
                                || warn!(%kind, event, "lease was lost, its handler is stopped"),
                            );
                        }
                    }
                }
            }
            true
        }
        Err(error) => {
            logging(
                || warn!(%kind, leases = leases.len(), error = &error as &dyn std::error::Error, "failed to renew leases"),
            );
            false
        }
    }
}
