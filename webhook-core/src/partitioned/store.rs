//! [`Store`] over partitions.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::select_ok;

use crate::error::StoreError;
use crate::event::{EventRecord, EventRef, Kind};
use crate::partitioned::Partitioned;
use crate::partitioned::error::GuardOfSpreadKind;
use crate::placement::Placement;
use crate::store::{Accepted, NewEvent, Store};

impl Partitioned {
    /// Refuses a kind whose events have guards and are in several partitions.
    pub(super) fn check_guard(&self, kind: &Kind) -> Result<(), StoreError> {
        if self.inner.placement.is_whole(kind) {
            return Ok(());
        }
        let kind = kind.clone();
        Err(StoreError::refused(GuardOfSpreadKind { kind }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Partitioned {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        // Before anything is stored.
        for NewEvent { envelope, .. } in events {
            if envelope.guard.is_some() {
                self.check_guard(&envelope.kind)?;
            }
        }
        let index_of = |NewEvent { envelope, .. }: &NewEvent| {
            let placement = &self.inner.placement;
            Some(placement.partition_of(&envelope.kind, &envelope.key))
        };
        self.split(events, index_of, None, |member, events| {
            member.accept(events)
        })
        .await
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.split_refs(events, |member, events| member.find(events))
            .await
    }

    /// Succeeds as soon as one partition answers.
    async fn ping(&self) -> Result<(), StoreError> {
        let pings = self.members().iter().map(|member| member.ping());
        select_ok(pings).await.map(|((), _)| ())
    }

    fn placement(&self) -> Option<Arc<Placement>> {
        Some(Arc::clone(&self.inner.placement))
    }
}
