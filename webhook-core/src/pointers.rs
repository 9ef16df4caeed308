//! An [`Arc`] and a [`Box`] of a backend are backends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;
use crate::event::{EventRecord, EventRef, EventSummary, Kind};
use crate::operator::{
    ConflictRecord, Counts, FailedAttempt, MadeDue, Operator, Page, Prune, Requeued, RunningLeases,
    SettledCounts, Strip,
};
use crate::scheduler::{Claim, Claimed, Extended, Lease, Scheduler, Settled, Settlement};
use crate::store::{Accepted, NewEvent, Store};

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Store + ?Sized> Store for $pointer<T> {
            async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, Error> {
                (**self).accept(events).await
            }

            async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, Error> {
                (**self).find(events).await
            }

            async fn ping(&self) -> Result<(), Error> {
                (**self).ping().await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Scheduler + ?Sized> Scheduler for $pointer<T> {
            async fn claim(&self, claim: &Claim) -> Result<Claimed, Error> {
                (**self).claim(claim).await
            }

            async fn extend(
                &self,
                leases: &[Lease],
                lease: Duration,
            ) -> Result<Vec<Extended>, Error> {
                (**self).extend(leases, lease).await
            }

            async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Error> {
                (**self).settle(settlements).await
            }

            async fn ready(&self, kind: &Kind) {
                (**self).ready(kind).await;
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Operator + ?Sized> Operator for $pointer<T> {
            async fn counts(&self, kind: &Kind) -> Result<Counts, Error> {
                (**self).counts(kind).await
            }

            async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, Error> {
                (**self).lag(kind).await
            }

            async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, Error> {
                (**self).settled(kind, within).await
            }

            async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, Error> {
                (**self).list(page).await
            }

            async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, Error> {
                (**self).conflicts(event).await
            }

            async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, Error> {
                (**self).failed_attempts(event).await
            }

            async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, Error> {
                (**self).requeue(events).await
            }

            async fn make_due(
                &self,
                events: &[EventRef],
                leases: RunningLeases,
            ) -> Result<Vec<MadeDue>, Error> {
                (**self).make_due(events, leases).await
            }

            async fn prune(&self, prune: &Prune) -> Result<usize, Error> {
                (**self).prune(prune).await
            }

            async fn strip(&self, strip: &Strip) -> Result<usize, Error> {
                (**self).strip(strip).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
