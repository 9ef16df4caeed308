//! The heartbeat: renews leases, and stops the handlers of lost leases.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Context;
use crate::measures::Timer;
use crate::panics::{caught, logging};
use crate::scheduler::{Extended, Lease};

/// How many times a lease is renewed in its duration.
const BEATS: u32 = 4;

/// Renews leases until all attempts are settled.
pub(super) async fn run(context: Arc<Context>) {
    let lengths = context.kinds.iter().map(|served| served.options.lease);
    let shortest = lengths.min().unwrap_or(Duration::MAX);
    let beat = beat_of(shortest);
    let mut pause = beat;
    loop {
        tokio::select! {
            biased;
            () = context.settled.cancelled() => return,
            () = sleep(pause) => {}
        }
        // After a failure there is time for some more tries before the leases expire.
        pause = if renew(&context, beat).await {
            beat
        } else {
            beat / BEATS
        };
    }
}

/// How often leases of this duration are renewed.
fn beat_of(length: Duration) -> Duration {
    (length / BEATS).max(Duration::from_millis(1))
}

/// Renews the leases that are due for it within half a `beat`. Returns whether the store answered.
async fn renew(context: &Context, beat: Duration) -> bool {
    let old = context
        .leases
        .older_than(|length| beat_of(length).saturating_sub(beat / 2));
    let mut answered = true;
    for (length, leases) in old {
        answered &= renew_all(context, leases, length).await;
    }
    answered
}

/// Renews leases of one duration. Returns whether the store answered.
async fn renew_all(context: &Context, leases: Vec<Lease>, length: Duration) -> bool {
    let asked_at = Instant::now();
    let timer = Timer::start();
    let answer = caught(context.scheduler.extend(&leases, length)).await;
    context.calls.extend.ended(&timer, &answer);
    match answer {
        Ok(answers) => {
            debug_assert_eq!(answers.len(), leases.len());
            for (lease, answer) in leases.into_iter().zip(answers) {
                match answer {
                    Extended::Renewed => context.leases.renewed(lease, asked_at),
                    Extended::LeaseLost => {
                        if context.leases.lose(lease) {
                            let event = lease.event.get();
                            logging(|| warn!(event, "lease was lost, stopping its handler"));
                        }
                    }
                }
            }
            true
        }
        Err(error) => {
            logging(|| {
                warn!(
                    leases = leases.len(),
                    error = &error as &dyn std::error::Error,
                    "failed to renew leases"
                )
            });
            false
        }
    }
}
