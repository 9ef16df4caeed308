//! [`Transfer`] over partitions.

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};

use crate::error::StoreError;
use crate::event::{EventId, EventRef};
use crate::partitioned::Partitioned;
use crate::partitioned::split::worse;
use crate::transfer::{MoveMark, StoredEvent, Transfer};

/// The partitions must implement [`Transfer`]: see [`Partition::transfer`](crate::Partition::transfer).
#[async_trait]
impl Transfer for Partitioned {
    async fn export(
        &self,
        after: Option<EventId>,
        limit: NonZeroUsize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let share = max_bytes / self.members().len();
        let exports = self.members().iter();
        let exports = exports.map(|member| member.export(after, limit, share));
        let pages = try_join_all(exports).await?;
        // Behind the last event of a page, its partition may have further events.
        let lasts = pages.iter().filter_map(|page| Some(page.last()?.record.id));
        let Some(end) = lasts.min() else {
            return Ok(Vec::new());
        };
        let mut events: Vec<StoredEvent> = pages.into_iter().flatten().collect();
        events.retain(|event| event.record.id <= end);
        events.sort_by_key(|event| event.record.id);
        events.truncate(limit.get());
        events.truncate(StoredEvent::count_within(&events, max_bytes));
        Ok(events)
    }

    /// Commits the events of each partition together, one partition after another in their order. If the call fails,
    /// those of earlier partitions may be stored; it may be repeated.
    async fn import(&self, events: &[StoredEvent]) -> Result<usize, StoreError> {
        let placement = &self.inner.placement;
        let mut parts: Vec<Vec<StoredEvent>> = vec![Vec::new(); self.members().len()];
        for event in events {
            let envelope = &event.record.envelope;
            if event.guard.is_some() {
                self.check_guard(&envelope.kind)?;
            }
            parts[placement.partition_of(&envelope.kind, &envelope.key)].push(event.clone());
        }
        let mut new = 0;
        for (member, part) in self.members().iter().zip(parts) {
            if !part.is_empty() {
                new += member.import(&part).await?;
            }
        }
        Ok(new)
    }

    /// Returns the newest event of the last partition, which [`import`](Self::import) writes to last: all events that
    /// were imported before it are stored, in all partitions. If the last partition has no events, the answer is
    /// `None`, and a move begins anew; it skips the events that are there.
    async fn newest(&self) -> Result<Option<EventRef>, StoreError> {
        match self.members().last() {
            Some(last) => last.newest().await,
            None => Ok(None),
        }
    }

    /// Returns the mark of the first partition that has one, also if others cannot be reached: an inbox that was moved
    /// away must not be used because a partition of it is down.
    async fn mark(&self) -> Result<Option<MoveMark>, StoreError> {
        let marks = self.members().iter().map(|member| member.mark());
        let (mut mark, mut failed) = (None, None);
        for answer in join_all(marks).await {
            match answer {
                Ok(found) => mark = mark.or(found),
                Err(error) => failed = Some(worse(failed, error)),
            }
        }
        match failed {
            Some(error) if mark.is_none() => Err(error),
            _ => Ok(mark),
        }
    }

    /// Sets the marks of all partitions.
    async fn set_mark(&self, mark: Option<&MoveMark>) -> Result<(), StoreError> {
        let marks = self.members().iter().map(|member| member.set_mark(mark));
        // All of them, also if one fails.
        join_all(marks).await.into_iter().collect()
    }

    fn partitions(&self) -> Vec<Arc<dyn Transfer>> {
        let members = self.members().iter().cloned();
        members.map(|member| member as Arc<dyn Transfer>).collect()
    }
}
