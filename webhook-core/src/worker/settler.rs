//! The settler: stores the results of attempts, in batches.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{Context, outage};
use crate::panics::{caught, logging};
use crate::scheduler::{Settled, Settlement};

/// Settles the attempts from `finished`, until the claim loop and all attempts have ended.
pub(super) async fn run(context: Arc<Context>, mut finished: mpsc::Receiver<Settlement>) {
    let batches = context.kinds.iter().map(|served| served.options.max_batch);
    let max_batch = batches.max().unwrap_or(1);
    let mut batch = Vec::new();
    while finished.recv_many(&mut batch, max_batch).await > 0 {
        settle(&context, &mut batch).await;
        batch.clear();
    }
    context.settled.cancel();
}

/// Settles a batch. While the store fails, it tries again until the leases expire.
async fn settle(context: &Context, batch: &mut Vec<Settlement>) {
    let mut failures = 0;
    while !batch.is_empty() {
        match caught(context.scheduler.settle(batch)).await {
            Ok(answers) => {
                debug_assert_eq!(answers.len(), batch.len());
                for (settlement, answer) in batch.iter().zip(answers) {
                    if answer == Settled::LeaseLost {
                        let event = settlement.lease.event.get();
                        logging(|| warn!(event, "lease was lost before the attempt was settled"));
                    }
                }
                context.leases.forget(batch.iter().map(|it| it.lease));
                logging(|| debug!(events = batch.len(), "settled attempts"));
                return;
            }
            Err(error) => {
                failures += 1;
                let pause = outage::pause(failures);
                logging(|| {
                    warn!(
                        events = batch.len(),
                        error = &error as &dyn std::error::Error,
                        ?pause,
                        "failed to settle attempts, trying again"
                    )
                });
                sleep(pause).await;
                let expired = batch.extract_if(.., |it| context.leases.has_expired(it.lease));
                let expired: Vec<_> = expired.map(|it| it.lease).collect();
                if !expired.is_empty() {
                    logging(|| {
                        warn!(
                            events = expired.len(),
                            "leases expired before the attempts were settled, so the events are due again"
                        )
                    });
                    context.leases.forget(expired);
                }
            }
        }
    }
}
