//! [`Export`]: reads all events of an inbox, also of one with partitions, in the order of their acceptance.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::try_join_all;

use super::{MAX_EXPORT_BYTES, StoredEvent, Transfer};
use crate::error::StoreError;
use crate::event::EventId;

/// How many events of each partition are read at a time at least: with fewer, batches would be short.
const LEAST_READ: usize = 64;

/// Reads all events of an inbox, batch by batch.
///
/// The events of each partition come in the order of their ids, and those of different partitions in the order of
/// their acceptance. The ids of partitions are in no order, so [`Transfer::export`] over all of them would not keep that
/// order; but backends expect that ids ascend with the times of acceptance, when they [search](crate::Search) by time.
///
/// If the clocks of partitions differ, the order is wrong by as much.
pub struct Export {
    /// One, or one for each partition.
    readers: Vec<Reader>,
}

/// Reads one backend.
struct Reader {
    backend: Arc<dyn Transfer>,
    after: Option<EventId>,
    /// What was read and not returned yet.
    ahead: VecDeque<StoredEvent>,
    is_done: bool,
}

impl Export {
    /// Reads `inbox` from its beginning.
    pub fn new(inbox: Arc<dyn Transfer>) -> Self {
        let partitions = inbox.partitions();
        let backends = match partitions.is_empty() {
            true => vec![inbox],
            false => partitions,
        };
        let readers = backends.into_iter().map(|backend| Reader {
            backend,
            after: None,
            ahead: VecDeque::new(),
            is_done: false,
        });
        Self {
            readers: readers.collect(),
        }
    }

    /// Goes on after the event with this id, if the inbox has no partitions. One with partitions is read from its
    /// beginning, since an id does not say how far each of them was read; an [import](Transfer::import) skips what is
    /// there.
    #[must_use]
    pub fn after(mut self, after: EventId) -> Self {
        if let [only] = &mut self.readers[..] {
            only.after = Some(after);
        }
        self
    }

    /// Returns the next events: at most `limit`, and fewer if their bodies and details exceed [`MAX_EXPORT_BYTES`], or if
    /// a partition has to be read before it is known which event is next. Nothing is returned only if there are no more
    /// events.
    ///
    /// The events that are read ahead from all partitions have [`MAX_EXPORT_BYTES`] together, beside the last event of each.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. The call may be repeated.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call returns the same events.
    pub async fn next_batch(
        &mut self,
        limit: NonZeroUsize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let reading = self.readers.iter().filter(|it| !it.is_done).count().max(1);
        let max_bytes = MAX_EXPORT_BYTES / reading;
        let share = limit.get() / reading;
        let share = NonZeroUsize::new(share.max(LEAST_READ)).unwrap_or(limit);
        let share = share.min(limit);
        try_join_all(self.readers.iter_mut().map(|it| it.read(share, max_bytes))).await?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limit.get() && bytes <= MAX_EXPORT_BYTES {
            let Some(event) = self.take() else { break };
            bytes += event.content_bytes();
            batch.push(event);
        }
        Ok(batch)
    }

    /// Takes the event that was accepted first; `None` if that is not known before a partition is read, or if there are no
    /// more events.
    fn take(&mut self) -> Option<StoredEvent> {
        let mut first: Option<&mut Reader> = None;
        for reader in &mut self.readers {
            let Some(next) = reader.ahead.front() else {
                if reader.is_done {
                    continue;
                }
                return None;
            };
            let is_first = first.as_ref().and_then(|it| it.ahead.front());
            if is_first.is_none_or(|it| accepted(next) < accepted(it)) {
                first = Some(reader);
            }
        }
        first?.ahead.pop_front()
    }
}

/// What events of different partitions are ordered by.
fn accepted(event: &StoredEvent) -> (SystemTime, EventId) {
    (event.record.accepted_at, event.record.id)
}

impl Reader {
    /// Reads on if nothing is left of what was read.
    async fn read(&mut self, limit: NonZeroUsize, max_bytes: usize) -> Result<(), StoreError> {
        if self.is_done || !self.ahead.is_empty() {
            return Ok(());
        }
        let events = self.backend.export(self.after, limit, max_bytes).await?;
        match events.last() {
            Some(last) => self.after = Some(last.record.id),
            None => self.is_done = true,
        }
        self.ahead = events.into();
        Ok(())
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::event::{Envelope, EventRecord, EventRef, Fingerprint, Key, Kind, State};
    use crate::transfer::MoveMark;

    /// Backends with events that were accepted at these seconds.
    enum Fake {
        Alone(Vec<StoredEvent>),
        Partitions(Vec<Arc<dyn Transfer>>),
    }

    #[async_trait]
    impl Transfer for Fake {
        async fn export(
            &self,
            after: Option<EventId>,
            limit: NonZeroUsize,
            max_bytes: usize,
        ) -> Result<Vec<StoredEvent>, StoreError> {
            let Self::Alone(events) = self else {
                unreachable!("each partition is read by itself")
            };
            let later = events
                .iter()
                .filter(|it| after.is_none_or(|after| it.record.id > after));
            let mut page: Vec<_> = later.take(limit.get()).cloned().collect();
            page.truncate(StoredEvent::count_within(&page, max_bytes));
            Ok(page)
        }

        async fn import(&self, _: &[StoredEvent]) -> Result<usize, StoreError> {
            unreachable!()
        }

        async fn newest(&self) -> Result<Option<EventRef>, StoreError> {
            unreachable!()
        }

        async fn mark(&self) -> Result<Option<MoveMark>, StoreError> {
            unreachable!()
        }

        async fn set_mark(&self, _: Option<&MoveMark>) -> Result<(), StoreError> {
            unreachable!()
        }

        fn partitions(&self) -> Vec<Arc<dyn Transfer>> {
            match self {
                Self::Alone(_) => Vec::new(),
                Self::Partitions(partitions) => partitions.clone(),
            }
        }
    }

    /// Events with ascending ids, accepted at these seconds. Each key is the second.
    fn alone(seconds: impl IntoIterator<Item = u64>) -> Arc<dyn Transfer> {
        with_body(seconds, &Bytes::new())
    }

    fn with_body(seconds: impl IntoIterator<Item = u64>, body: &Bytes) -> Arc<dyn Transfer> {
        let events = (1..).zip(seconds).map(|(id, second)| {
            let (kind, key) = (
                Kind::from_static("order"),
                Key::new(second.to_string()).unwrap(),
            );
            let envelope = Envelope::new(kind, key, Fingerprint::of([""]), body.clone());
            let accepted_at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let record =
                EventRecord::new(EventId::new(id), envelope, State::Processing, accepted_at);
            StoredEvent::new(record)
        });
        Arc::new(Fake::Alone(events.collect()))
    }

    /// However many partitions there are, they share the room for events that are read ahead.
    #[tokio::test]
    async fn events_read_ahead_are_bounded_over_all_partitions() {
        const BODY_BYTES: usize = MAX_EXPORT_BYTES / 64;
        let body = Bytes::from(vec![b'x'; BODY_BYTES]);
        for count in [1, 2, 16] {
            let partitions = (0..count).map(|_| with_body(0..200, &body));
            let inbox = Arc::new(Fake::Partitions(partitions.collect()));
            let mut export = Export::new(inbox);
            let limit = NonZeroUsize::new(1_000).unwrap();
            let mut events = 0;
            loop {
                let batch = export.next_batch(limit).await.unwrap();
                let ahead = export.readers.iter().flat_map(|it| &it.ahead);
                let bytes: usize = ahead.chain(&batch).map(StoredEvent::content_bytes).sum();
                assert!(
                    bytes <= MAX_EXPORT_BYTES + count * BODY_BYTES,
                    "{bytes} bytes of {count} partitions"
                );
                if batch.is_empty() {
                    break;
                }
                events += batch.len();
            }
            assert_eq!(events, count * 200);
        }
    }

    async fn seconds(mut export: Export, limit: usize) -> Vec<u64> {
        let limit = NonZeroUsize::new(limit).unwrap();
        let mut seconds = Vec::new();
        loop {
            let batch = export.next_batch(limit).await.unwrap();
            if batch.is_empty() {
                return seconds;
            }
            assert!(batch.len() <= limit.get());
            let keys = batch.iter().map(|it| it.record.envelope.key.as_str());
            seconds.extend(keys.map(|key| key.parse::<u64>().unwrap()));
        }
    }

    #[tokio::test]
    async fn partitions_are_merged_in_the_order_of_acceptance() {
        // The ids of the first partition are far ahead of those of the others.
        let partitions = vec![
            alone((0..3_000).map(|it| it * 3)),
            alone([]),
            alone([100, 4_000, 8_998, 9_001]),
            alone((0..300).map(|it| it * 30 + 2)),
        ];
        let mut all: Vec<u64> = (0..3_000).map(|it| it * 3).collect();
        all.extend([100, 4_000, 8_998, 9_001]);
        all.extend((0..300).map(|it| it * 30 + 2));
        all.sort_unstable();
        for limit in [1, 7, 100, 1_000, 10_000] {
            let inbox = Arc::new(Fake::Partitions(partitions.clone()));
            assert_eq!(seconds(Export::new(inbox), limit).await, all, "{limit}");
        }
    }

    #[tokio::test]
    async fn an_inbox_without_partitions_keeps_the_order_of_its_ids() {
        let inbox = alone([5, 3, 4, 9, 1]);
        for limit in [1, 2, 10] {
            let export = Export::new(Arc::clone(&inbox));
            assert_eq!(seconds(export, limit).await, [5, 3, 4, 9, 1]);
            let export = Export::new(Arc::clone(&inbox)).after(EventId::new(3));
            assert_eq!(seconds(export, limit).await, [9, 1]);
        }
        let partitions = vec![alone([1, 2]), alone([3])];
        let inbox = Arc::new(Fake::Partitions(partitions));
        let export = Export::new(inbox).after(EventId::new(2));
        assert_eq!(seconds(export, 10).await, [1, 2, 3]);
    }
}
