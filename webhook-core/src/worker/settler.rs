//! The settler: stores the results of attempts, in batches.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{Context, Served, outage};
use crate::measures::{Age, Timer};
use crate::panics::{caught, logging};
use crate::scheduler::{Settled, Settlement};

/// An attempt that has ended.
pub(super) struct Finished {
    pub(super) settlement: Settlement,
    pub(super) served: Arc<Served>,
    pub(super) age: Age,
}

/// Settles the attempts from `finished`, until the claim loop and all attempts have ended.
pub(super) async fn run(context: Arc<Context>, mut finished: mpsc::Receiver<Finished>) {
    let batches = context.kinds.iter().map(|served| served.options.max_batch);
    let max_batch = batches.max().unwrap_or(1);
    let mut batch = Vec::new();
    while finished.recv_many(&mut batch, max_batch).await > 0 {
        let (mut settlements, mut attempts) = (Vec::new(), Vec::new());
        for it in batch.drain(..) {
            settlements.push(it.settlement);
            attempts.push((it.served, it.age));
        }
        settle(&context, &mut settlements, &mut attempts).await;
    }
    context.settled.cancel();
}

/// Settles a batch. While the store fails, it tries again until the leases expire.
async fn settle(
    context: &Context,
    batch: &mut Vec<Settlement>,
    attempts: &mut Vec<(Arc<Served>, Age)>,
) {
    let mut failures = 0;
    while !batch.is_empty() {
        let timer = Timer::start();
        let answer = caught(context.scheduler.settle(batch)).await;
        context.calls.settle.ended(&timer, &answer);
        match answer {
            Ok(answers) => {
                debug_assert_eq!(answers.len(), batch.len());
                let attempts = attempts.iter();
                for ((settlement, answer), (served, age)) in batch.iter().zip(answers).zip(attempts)
                {
                    if answer == Settled::LeaseLost {
                        let event = settlement.lease.event.get();
                        logging(|| warn!(event, "lease was lost before the attempt was settled"));
                        served.measures.lost();
                    } else {
                        served.measured(&settlement.outcome, settlement.lease, age);
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
                let leases = batch.iter().map(|it| it.lease);
                let has_expired: Vec<_> = leases.map(|it| context.leases.has_expired(it)).collect();
                let mut each = has_expired.iter().copied();
                let mut is_next_expired = || each.next().unwrap_or(false);
                for (served, _) in attempts.extract_if(.., |_| is_next_expired()) {
                    served.measures.lost();
                }
                let mut each = has_expired.into_iter();
                let mut is_next_expired = || each.next().unwrap_or(false);
                let expired = batch.extract_if(.., |_| is_next_expired());
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
