//! Implements the traits of a backend for [`Arc`] and [`Box`] of a backend.
//!
//! The methods are written as `async_trait` expands them, and return the future of the backend. An `async fn`
//! would put the future of each call into a second box.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::admin::{
    ActionId, ActionPage, ActionRecord, Admin, ConflictRecord, Counts, DeleteBodies, Deleted,
    Erased, FailedAttempt, KindSample, MadeDue, NodeId, NodeRecord, NodeReport, Page, Prune,
    Requeued, RunningLeases, Search, SearchPage, SettledCounts, StoredAction,
};
use crate::error::StoreError;
use crate::event::{EventRecord, EventRef, EventSummary, Kind};
use crate::partitioned::Partition;
use crate::placement::Placement;
use crate::scheduler::{Claim, Claimed, Extended, Lease, Scheduler, Settled, Settlement};
use crate::store::{Accepted, NewEvent, Store};
use crate::transfer::Transfer;

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        impl<T: Store + ?Sized> Store for $pointer<T> {
            fn accept<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [NewEvent],
            ) -> BoxFuture<'async_trait, Result<Vec<Accepted>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).accept(events)
            }

            fn find<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [EventRef],
            ) -> BoxFuture<'async_trait, Result<Vec<Option<EventRecord>>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).find(events)
            }

            fn ping<'life0, 'async_trait>(
                &'life0 self,
            ) -> BoxFuture<'async_trait, Result<(), StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
            {
                (**self).ping()
            }

            fn placement(&self) -> Option<Arc<Placement>> {
                (**self).placement()
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<T: Scheduler + ?Sized> Scheduler for $pointer<T> {
            fn claim<'life0, 'life1, 'async_trait>(
                &'life0 self,
                claims: &'life1 [Claim],
            ) -> BoxFuture<'async_trait, Result<Vec<Claimed>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).claim(claims)
            }

            fn extend<'life0, 'life1, 'async_trait>(
                &'life0 self,
                leases: &'life1 [Lease],
                lease: Duration,
            ) -> BoxFuture<'async_trait, Result<Vec<Extended>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).extend(leases, lease)
            }

            fn settle<'life0, 'life1, 'async_trait>(
                &'life0 self,
                settlements: &'life1 [Settlement],
            ) -> BoxFuture<'async_trait, Result<Vec<Settled>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).settle(settlements)
            }

            fn wait_for_work<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kinds: &'life1 [Kind],
            ) -> BoxFuture<'async_trait, Vec<usize>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).wait_for_work(kinds)
            }

            fn pause_before_claim(
                &self,
                kind: &Kind,
                accepted_per_claimed: Option<f64>,
            ) -> Duration {
                (**self).pause_before_claim(kind, accepted_per_claimed)
            }

            fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
                (**self).partitions()
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<T: Admin + ?Sized> Admin for $pointer<T> {
            fn kinds<'life0, 'async_trait>(
                &'life0 self,
            ) -> BoxFuture<'async_trait, Result<Vec<Kind>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
            {
                (**self).kinds()
            }

            fn counts<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kind: &'life1 Kind,
            ) -> BoxFuture<'async_trait, Result<Counts, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).counts(kind)
            }

            fn lag<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kind: &'life1 Kind,
            ) -> BoxFuture<'async_trait, Result<Option<Duration>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).lag(kind)
            }

            fn settled<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kind: &'life1 Kind,
                within: Duration,
            ) -> BoxFuture<'async_trait, Result<SettledCounts, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).settled(kind, within)
            }

            fn list<'life0, 'life1, 'async_trait>(
                &'life0 self,
                page: &'life1 Page,
            ) -> BoxFuture<'async_trait, Result<Vec<EventSummary>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).list(page)
            }

            fn search<'life0, 'life1, 'async_trait>(
                &'life0 self,
                search: &'life1 Search,
            ) -> BoxFuture<'async_trait, Result<SearchPage, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).search(search)
            }

            fn sample<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kinds: &'life1 [Kind],
                cap: NonZeroUsize,
            ) -> BoxFuture<'async_trait, Result<Vec<KindSample>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).sample(kinds, cap)
            }

            fn conflicts<'life0, 'life1, 'async_trait>(
                &'life0 self,
                event: &'life1 EventRef,
            ) -> BoxFuture<'async_trait, Result<Vec<ConflictRecord>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).conflicts(event)
            }

            fn failed_attempts<'life0, 'life1, 'async_trait>(
                &'life0 self,
                event: &'life1 EventRef,
            ) -> BoxFuture<'async_trait, Result<Vec<FailedAttempt>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).failed_attempts(event)
            }

            fn requeue<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [EventRef],
            ) -> BoxFuture<'async_trait, Result<Vec<Requeued>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).requeue(events)
            }

            fn make_due<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [EventRef],
                leases: RunningLeases,
            ) -> BoxFuture<'async_trait, Result<Vec<MadeDue>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).make_due(events, leases)
            }

            fn delete<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [EventRef],
            ) -> BoxFuture<'async_trait, Result<Vec<Deleted>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).delete(events)
            }

            fn erase<'life0, 'life1, 'async_trait>(
                &'life0 self,
                events: &'life1 [EventRef],
            ) -> BoxFuture<'async_trait, Result<Vec<Erased>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).erase(events)
            }

            fn prune<'life0, 'life1, 'async_trait>(
                &'life0 self,
                prune: &'life1 Prune,
            ) -> BoxFuture<'async_trait, Result<usize, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).prune(prune)
            }

            fn delete_bodies<'life0, 'life1, 'async_trait>(
                &'life0 self,
                delete: &'life1 DeleteBodies,
            ) -> BoxFuture<'async_trait, Result<usize, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).delete_bodies(delete)
            }

            fn pause<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kind: &'life1 Kind,
            ) -> BoxFuture<'async_trait, Result<bool, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).pause(kind)
            }

            fn resume<'life0, 'life1, 'async_trait>(
                &'life0 self,
                kind: &'life1 Kind,
            ) -> BoxFuture<'async_trait, Result<bool, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).resume(kind)
            }

            fn paused<'life0, 'async_trait>(
                &'life0 self,
            ) -> BoxFuture<'async_trait, Result<Vec<Kind>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
            {
                (**self).paused()
            }

            fn heartbeat<'life0, 'life1, 'async_trait>(
                &'life0 self,
                report: &'life1 NodeReport,
            ) -> BoxFuture<'async_trait, Result<Vec<NodeRecord>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).heartbeat(report)
            }

            fn nodes<'life0, 'async_trait>(
                &'life0 self,
            ) -> BoxFuture<'async_trait, Result<Vec<NodeRecord>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
            {
                (**self).nodes()
            }

            fn retire<'life0, 'life1, 'async_trait>(
                &'life0 self,
                node: &'life1 NodeId,
            ) -> BoxFuture<'async_trait, Result<bool, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).retire(node)
            }

            fn record_action<'life0, 'life1, 'async_trait>(
                &'life0 self,
                action: &'life1 ActionRecord,
            ) -> BoxFuture<'async_trait, Result<ActionId, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).record_action(action)
            }

            fn actions<'life0, 'life1, 'async_trait>(
                &'life0 self,
                page: &'life1 ActionPage,
            ) -> BoxFuture<'async_trait, Result<Vec<StoredAction>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
            {
                (**self).actions(page)
            }

            fn partitions(&self) -> Vec<Arc<dyn Admin>> {
                (**self).partitions()
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<T: Partition + ?Sized> Partition for $pointer<T> {
            fn partition_mark<'life0, 'async_trait>(
                &'life0 self,
            ) -> BoxFuture<'async_trait, Result<Option<String>, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
            {
                (**self).partition_mark()
            }

            fn replace_partition_mark<'life0, 'life1, 'life2, 'async_trait>(
                &'life0 self,
                expected: Option<&'life1 str>,
                mark: &'life2 str,
            ) -> BoxFuture<'async_trait, Result<bool, StoreError>>
            where
                Self: 'async_trait,
                'life0: 'async_trait,
                'life1: 'async_trait,
                'life2: 'async_trait,
            {
                (**self).replace_partition_mark(expected, mark)
            }

            fn transfer(&self) -> Option<&dyn Transfer> {
                (**self).transfer()
            }
        }
    };
}

forward!(Arc);
forward!(Box);
