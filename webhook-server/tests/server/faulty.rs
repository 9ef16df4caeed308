//! A store that fails on demand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use webhook_core::{
    Accepted, Claim, Claimed, EventRecord, EventRef, Extended, Kind, Lease, NewEvent, Scheduler,
    Settled, Settlement, Store, StoreError,
};
use webhook_memory::MemoryStore;

/// How a [`FaultyStore`] answers calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers them.
    Up,
    /// Fails them at once.
    Down,
    /// Keeps them until the mode changes.
    Hanging,
    /// Refuses the data.
    Refusing,
    /// Has no room.
    Full,
}

/// Events in memory, behind a fault.
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    mode: watch::Sender<Mode>,
    /// How many calls are kept.
    kept: watch::Sender<usize>,
}

impl FaultyStore {
    pub(crate) fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::default(),
            mode: watch::Sender::new(mode),
            kept: watch::Sender::new(0),
        })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until a call is kept.
    pub(crate) async fn keeps_a_call(&self) {
        let mut kept = self.kept.subscribe();
        crate::support::in_time("a call", kept.wait_for(|&kept| kept > 0))
            .await
            .unwrap();
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let mut mode = self.mode.subscribe();
        if *mode.borrow() == Mode::Hanging {
            self.kept.send_modify(|kept| *kept += 1);
        }
        let mode = *mode.wait_for(|&mode| mode != Mode::Hanging).await.unwrap();
        match mode {
            Mode::Up | Mode::Hanging => Ok(()),
            Mode::Down => Err(StoreError::unavailable(std::io::Error::other("down"))),
            Mode::Refusing => Err(StoreError::refused(std::io::Error::other("refused"))),
            Mode::Full => Err(StoreError::Full { capacity: 7 }),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        self.pass().await?;
        self.inner.accept(events).await
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.pass().await?;
        self.inner.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pass().await
    }
}

#[async_trait]
impl Scheduler for FaultyStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.pass().await?;
        self.inner.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.pass().await?;
        self.inner.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.pass().await?;
        self.inner.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.inner.wait_for_work(kinds).await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.inner.pause_before_claim(kind, accepted_per_claimed)
    }
}
