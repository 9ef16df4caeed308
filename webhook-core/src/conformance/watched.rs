//! Fails a case whose backend keeps returning errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{Claim, Claimed, Extended, Kind, Lease, Scheduler, Settled, Settlement, StoreError};

/// How many calls in a row may fail. A worker would go on trying, and the case would seem to hang.
const MAX_FAILURES: u32 = 3;

/// Passes every call on to a scheduler, and tells when too many of them failed in a row.
pub(super) struct Watched {
    scheduler: Arc<dyn Scheduler>,
    failures: AtomicU32,
    told: mpsc::Sender<Failure>,
}

/// A call that failed once too often.
pub(super) struct Failure {
    pub(super) method: &'static str,
    pub(super) error: StoreError,
}

impl Watched {
    pub(super) fn new(scheduler: Arc<dyn Scheduler>) -> (Arc<Self>, mpsc::Receiver<Failure>) {
        // The first failure ends the case.
        let (told, failures) = mpsc::channel(1);
        let watched = Arc::new(Self {
            scheduler,
            failures: AtomicU32::new(0),
            told,
        });
        (watched, failures)
    }

    fn watch<T>(
        &self,
        method: &'static str,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &answer {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(error) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == MAX_FAILURES {
                    // One may have been told already, or the case may have ended.
                    let _ = self.told.try_send(Failure {
                        method,
                        error: error.clone(),
                    });
                }
            }
        }
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scheduler for Watched {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.watch("claim", self.scheduler.claim(claims).await)
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.watch("extend", self.scheduler.extend(leases, lease).await)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.watch("settle", self.scheduler.settle(settlements).await)
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.scheduler.wait_for_work(kinds).await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.scheduler
            .pause_before_claim(kind, accepted_per_claimed)
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        let watched = |scheduler| -> Arc<dyn Scheduler> {
            Arc::new(Self {
                scheduler,
                failures: AtomicU32::new(0),
                told: self.told.clone(),
            })
        };
        self.scheduler
            .partitions()
            .into_iter()
            .map(watched)
            .collect()
    }
}
