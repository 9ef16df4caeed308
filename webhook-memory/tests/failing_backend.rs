//! Runs the conformance suite on a backend that cannot claim.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use webhook_core::conformance::{self, Backend, Subject};
use webhook_core::{
    Claim, Claimed, Extended, Kind, Lease, Scheduler, Settled, Settlement, StoreError,
};
use webhook_memory::MemoryStore;

/// A scheduler that always fails to claim.
struct Unclaimable(Arc<MemoryStore>);

#[async_trait]
impl Scheduler for Unclaimable {
    async fn claim(&self, _: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        Err(StoreError::unavailable(std::io::Error::other(
            "out of order",
        )))
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.0.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.0.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.0.wait_for_work(kinds).await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.0.pause_before_claim(kind, accepted_per_claimed)
    }
}

struct Failing(Arc<MemoryStore>);

impl Subject for Failing {
    async fn set_up() -> Self {
        Self(Arc::default())
    }

    fn backend(&self) -> Backend {
        let scheduler = Arc::new(Unclaimable(Arc::clone(&self.0)));
        Backend::new(Arc::clone(&self.0)).with_scheduler(scheduler)
    }

    async fn clean_up(self) {}
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "`Scheduler::claim` keeps failing: Unavailable { source: Custom { kind: \
                           Other, error: \"out of order\" } }"
)]
async fn a_case_reports_failing_claims() {
    conformance::run::<Failing, _>(
        conformance::pipeline::a_poison_event_fails_and_others_are_processed,
    )
    .await;
}
