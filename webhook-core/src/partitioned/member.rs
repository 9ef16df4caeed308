//! [`Member`]: one partition, with the ids of the whole inbox.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::admin::{
    ActionId, ActionPage, ActionRecord, Admin, ConflictRecord, Counts, DeleteBodies, Deleted,
    Erased, FailedAttempt, KindSample, MadeDue, NodeId, NodeRecord, NodeReport, Page, Prune,
    Requeued, RunningLeases, Search, SearchPage, SettledCounts, StoredAction,
};
use crate::error::StoreError;
use crate::event::{EventId, EventRecord, EventRef, EventSummary, Kind};
use crate::partitioned::error::{NoTransfer, PartitionError};
use crate::partitioned::found::FoundInbox;
use crate::partitioned::mark::Mark;
use crate::partitioned::open::{check_found, check_late};
use crate::partitioned::partition::Partition;
use crate::partitioned::place::Place;
use crate::partitioned::{OpenMode, PartitionOptions};
use crate::scheduler::{Claim, Claimed, Extended, Lease, Scheduler, Settled, Settlement};
use crate::store::{Accepted, NewEvent, Store};
use crate::transfer::{MoveMark, StoredEvent, Transfer};

/// One partition. It has the ids of the whole inbox, and its errors say which partition has them.
pub(super) struct Member {
    place: Place,
    backend: Arc<dyn Partition>,
    check: Arc<Check>,
    /// Locked while it is checked.
    checking: Arc<tokio::sync::Mutex<()>>,
}

/// The check that a partition has its mark.
struct Check {
    mark: Mark,
    mode: OpenMode,
    limit: Duration,
    /// Whether the partition is known to have its mark.
    is_marked: AtomicBool,
    /// Notified when it is known.
    known: Notify,
    /// When the last check failed, and why.
    failed: Mutex<Option<(Instant, StoreError)>>,
}

/// After a check of the mark has failed, calls fail for this long without another one: each check may take as long as
/// the partition is waited for, and calls wait for the one before.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

impl Check {
    fn is_known(&self) -> bool {
        self.is_marked.load(Ordering::Acquire)
    }

    /// Looks at the mark, unless another call has just done that.
    async fn run(&self, backend: &dyn Partition) -> Result<(), StoreError> {
        if self.is_known() {
            return Ok(());
        }
        let failed = self.failed().clone();
        if let Some((at, error)) = failed
            && at.elapsed() < RECHECK_AFTER
        {
            return Err(error);
        }
        match check_late(backend, &self.mark, self.mode, self.limit).await {
            Ok(()) => {
                self.is_marked.store(true, Ordering::Release);
                self.known.notify_waiters();
                Ok(())
            }
            Err(error) => {
                let error = match error {
                    // It would not answer other calls either.
                    PartitionError::Mark {
                        source: source @ StoreError::Unavailable { .. },
                        ..
                    } => self.mark.place.error(source),
                    error => StoreError::unavailable(error),
                };
                *self.failed() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Instant, StoreError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The backend that must have this mark, and is known to have it if `is_marked`.
    pub(super) fn new(
        backend: Arc<dyn Partition>,
        mark: Mark,
        is_marked: bool,
        options: &PartitionOptions,
    ) -> Self {
        Self {
            place: mark.place,
            backend,
            check: Arc::new(Check {
                mark,
                mode: options.mode,
                limit: options.open_timeout,
                is_marked: AtomicBool::new(is_marked),
                known: Notify::new(),
                failed: Mutex::new(None),
            }),
            checking: Arc::default(),
        }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The backend, once it is known to have its mark.
    ///
    /// A check goes on after its caller has given up. Otherwise those that have waited would have little time left for
    /// theirs, one after another, and none would succeed while calls keep coming.
    async fn backend(&self) -> Result<&dyn Partition, StoreError> {
        if !self.check.is_known() {
            let turn = Arc::clone(&self.checking).lock_owned().await;
            let (check, backend) = (Arc::clone(&self.check), Arc::clone(&self.backend));
            let checking = tokio::spawn(async move {
                let _turn = turn;
                check.run(&*backend).await
            });
            checking.await.map_err(StoreError::unavailable)??;
        }
        Ok(&*self.backend)
    }

    /// Refuses a backend with these contents in the place of this partition.
    pub(super) fn check_found(&self, found: &FoundInbox) -> Result<(), PartitionError> {
        check_found(found, &self.check.mark, self.check.mode)
    }

    fn named<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.map_err(|error| self.place.error(error))
    }

    async fn transfer(&self) -> Result<&dyn Transfer, StoreError> {
        let transfer = self.backend().await?.transfer();
        self.named(transfer.ok_or_else(|| StoreError::refused(NoTransfer)))
    }
}

/// Calls the same method of the backend.
macro_rules! ask {
    ($member:ident.$method:ident($($argument:expr),*)) => {
        $member.named($member.backend().await?.$method($($argument),*).await)
    };
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Member {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        ask!(self.accept(events))
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let found = ask!(self.find(events))?.into_iter();
        let found = found.map(|record| record.map(|it| self.place.global_record(it)).transpose());
        self.named(found.collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        ask!(self.ping())
    }

    fn placement(&self) -> Option<Arc<crate::Placement>> {
        None
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scheduler for Member {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let mut claimed = ask!(self.claim(claims))?;
        for event in claimed.iter_mut().flat_map(|claimed| &mut claimed.events) {
            event.lease.event = self.named(self.place.global_id(event.lease.event))?;
        }
        Ok(claimed)
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let leases = leases.iter().map(|it| self.place.local_lease(*it));
        let leases: Vec<_> = leases.collect();
        ask!(self.extend(&leases, lease))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let settlements = settlements.iter().map(|settlement| Settlement {
            lease: self.place.local_lease(settlement.lease),
            outcome: settlement.outcome.clone(),
        });
        let settlements: Vec<_> = settlements.collect();
        ask!(self.settle(&settlements))
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        let known = self.check.known.notified();
        // A claim checks the partition.
        if !self.check.is_known() {
            known.await;
        }
        self.backend.wait_for_work(kinds).await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        self.backend.pause_before_claim(kind, accepted_per_claimed)
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        Vec::new()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admin for Member {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        ask!(self.kinds())
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        ask!(self.counts(kind))
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        ask!(self.lag(kind))
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        ask!(self.settled(kind, within))
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let page = Page {
            after: page.after.map(|after| self.place.local_after(after)),
            ..page.clone()
        };
        let listed = ask!(self.list(&page))?.into_iter();
        self.named(listed.map(|it| self.place.global_summary(it)).collect())
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        let search = Search {
            before: search.before.map(|it| self.place.local_before_event(it)),
            ..search.clone()
        };
        let page = ask!(self.search(&search))?;
        let events = page.events.into_iter();
        let events = events.map(|it| self.place.global_summary(it)).collect();
        let next = page.next.map(|next| self.place.global_id(next)).transpose();
        Ok(SearchPage {
            events: self.named(events)?,
            next: self.named(next)?,
            stopped_early: page.stopped_early,
        })
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        ask!(self.sample(kinds, cap))
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        ask!(self.conflicts(event))
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        ask!(self.failed_attempts(event))
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        ask!(self.requeue(events))
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        ask!(self.make_due(events, leases))
    }

    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        ask!(self.delete(events))
    }

    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        ask!(self.erase(events))
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        ask!(self.prune(prune))
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        ask!(self.delete_bodies(delete))
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        ask!(self.pause(kind))
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        ask!(self.resume(kind))
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        ask!(self.paused())
    }

    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        ask!(self.heartbeat(report))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        ask!(self.nodes())
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        ask!(self.retire(node))
    }

    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        let id = ask!(self.record_action(action))?;
        self.named(self.place.global_action(id))
    }

    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        let before = page.before.map(|it| self.place.local_before_action(it));
        let page = ActionPage { before, ..*page };
        let actions = ask!(self.actions(&page))?.into_iter();
        self.named(actions.map(|it| self.place.global_stored(it)).collect())
    }

    fn partitions(&self) -> Vec<Arc<dyn Admin>> {
        Vec::new()
    }
}

#[async_trait]
impl Transfer for Member {
    async fn export(
        &self,
        after: Option<EventId>,
        limit: NonZeroUsize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let after = after.map(|after| self.place.local_after(after));
        let transfer = self.transfer().await?;
        let exported = transfer.export(after, limit, max_bytes).await;
        let exported = self.named(exported)?.into_iter().map(|event| {
            let record = self.place.global_record(event.record)?;
            Ok(StoredEvent { record, ..event })
        });
        self.named(exported.collect())
    }

    async fn import(&self, events: &[StoredEvent]) -> Result<usize, StoreError> {
        self.named(self.transfer().await?.import(events).await)
    }

    async fn newest(&self) -> Result<Option<EventRef>, StoreError> {
        self.named(self.transfer().await?.newest().await)
    }

    async fn mark(&self) -> Result<Option<MoveMark>, StoreError> {
        self.named(self.transfer().await?.mark().await)
    }

    async fn set_mark(&self, mark: Option<&MoveMark>) -> Result<(), StoreError> {
        self.named(self.transfer().await?.set_mark(mark).await)
    }
}
