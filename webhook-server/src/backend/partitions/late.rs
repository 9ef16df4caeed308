//! [`LatePartition`]: a partition whose database could not be reached at the start.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Claimed, ConflictRecord, Counts,
    DeleteBodies, Deleted, Erased, EventRecord, EventRef, EventSummary, Extended, FailedAttempt,
    Kind, KindSample, Lease, MadeDue, NewEvent, NodeId, NodeRecord, NodeReport, Page, Partition,
    Prune, Requeued, RunningLeases, Scheduler, Search, SearchPage, Settled, SettledCounts,
    Settlement, Store, StoreError, StoredAction, async_trait,
};
use webhook_postgres::{PgOptions, PgStore};

use super::super::postgres::{self, CONNECT_BACKOFF};
use super::Opener;
use crate::config::Config;

/// A partition that connects in the background. Until it has, its calls fail.
#[derive(Debug)]
pub(crate) struct LatePartition {
    store: watch::Receiver<Option<PgStore>>,
    connecting: AbortOnDropHandle<()>,
}

/// The database has not been reached yet.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the database has not been reached since this process started")]
struct NotReached;

impl LatePartition {
    /// Begins to connect.
    pub(super) fn start(options: PgOptions, index: usize, opener: Opener, config: &Config) -> Self {
        let (reached, store) = watch::channel(None);
        let config = config.clone();
        let connecting = tokio::spawn(async move {
            let mut failures = 0;
            loop {
                match connect(&options, opener, &config).await {
                    Ok(database) => {
                        info!(partition = index, "a partition is reached");
                        reached.send_replace(Some(database));
                        return;
                    }
                    Err(error) => warn!(
                        partition = index,
                        error = &*error,
                        "a partition cannot be reached yet"
                    ),
                }
                failures += 1;
                tokio::time::sleep(CONNECT_BACKOFF.ceiling(failures)).await;
            }
        });
        Self {
            store,
            connecting: AbortOnDropHandle::new(connecting),
        }
    }

    /// Closes the database, or gives up.
    pub(crate) async fn close(&self) {
        self.connecting.abort();
        let store = self.store.borrow().clone();
        if let Some(store) = store {
            store.close().await;
        }
    }

    fn store(&self) -> Result<PgStore, StoreError> {
        let store = self.store.borrow().clone();
        store.ok_or_else(|| StoreError::unavailable(NotReached))
    }
}

async fn connect(
    options: &PgOptions,
    opener: Opener,
    config: &Config,
) -> Result<PgStore, Box<dyn std::error::Error + Send + Sync>> {
    let database = PgStore::connect_with(options.clone()).await?;
    Ok(match opener {
        Opener::Server => postgres::prepare(database, config).await?,
        _ => postgres::check(database).await?,
    })
}

/// Implements a trait by methods that all call the store.
macro_rules! forward {
    ($trait:ident { $(async fn $method:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $trait for LatePartition {
            $(
                async fn $method(&self $(, $argument: $type)*) -> Result<$answer, StoreError> {
                    self.store()?.$method($($argument),*).await
                }
            )*
        }
    };
}

forward! {
    Store {
        async fn accept(&self, events: &[NewEvent]) -> Vec<Accepted>;
        async fn find(&self, events: &[EventRef]) -> Vec<Option<EventRecord>>;
        async fn ping(&self) -> ();
    }
}

#[async_trait]
impl Scheduler for LatePartition {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.store()?.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.store()?.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.store()?.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        if let Ok(store) = self.store() {
            return store.wait_for_work(kinds).await;
        }
        let mut store = self.store.clone();
        if store.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
        (0..kinds.len()).collect()
    }

    fn pause_before_claim(&self, kind: &Kind) -> Duration {
        let store = self.store();
        store.map_or(Duration::ZERO, |store| store.pause_before_claim(kind))
    }
}

forward! {
    Admin {
        async fn kinds(&self) -> Vec<Kind>;
        async fn counts(&self, kind: &Kind) -> Counts;
        async fn lag(&self, kind: &Kind) -> Option<Duration>;
        async fn settled(&self, kind: &Kind, within: Duration) -> SettledCounts;
        async fn list(&self, page: &Page) -> Vec<EventSummary>;
        async fn search(&self, search: &Search) -> SearchPage;
        async fn sample(&self, kinds: &[Kind], cap: NonZeroUsize) -> Vec<KindSample>;
        async fn conflicts(&self, event: &EventRef) -> Vec<ConflictRecord>;
        async fn failed_attempts(&self, event: &EventRef) -> Vec<FailedAttempt>;
        async fn requeue(&self, events: &[EventRef]) -> Vec<Requeued>;
        async fn make_due(&self, events: &[EventRef], leases: RunningLeases) -> Vec<MadeDue>;
        async fn delete(&self, events: &[EventRef]) -> Vec<Deleted>;
        async fn erase(&self, events: &[EventRef]) -> Vec<Erased>;
        async fn prune(&self, prune: &Prune) -> usize;
        async fn delete_bodies(&self, delete: &DeleteBodies) -> usize;
        async fn pause(&self, kind: &Kind) -> bool;
        async fn resume(&self, kind: &Kind) -> bool;
        async fn paused(&self) -> Vec<Kind>;
        async fn heartbeat(&self, report: &NodeReport) -> Vec<NodeRecord>;
        async fn nodes(&self) -> Vec<NodeRecord>;
        async fn retire(&self, node: &NodeId) -> bool;
        async fn record_action(&self, action: &ActionRecord) -> ActionId;
        async fn actions(&self, page: &ActionPage) -> Vec<StoredAction>;
    }
}

forward! {
    Partition {
        async fn partition_mark(&self) -> Option<String>;
        async fn replace_partition_mark(&self, expected: Option<&str>, mark: &str) -> bool;
    }
}
