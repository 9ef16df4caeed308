//! Where events are found by their keys.
//!
//! Keys come in no order, so each new one changes another page of an index, and each such page is written to the
//! write-ahead log and copied into the file. So the table `key_index` gets them later: thousands of keys in the order
//! of their hashes, several of which fall on a page. Until then they are in memory. They are read from `events` again
//! after a restart, and if another process has accepted events, since ids ascend: nothing is lost with the memory.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sqlx::{Row as _, SqlitePool};
use webhook_core::EventRef;

use crate::error::SqliteError;
use crate::options::SqliteOptions;
use crate::query::{Connection, execute_each, query};
use crate::record;

/// The most keys that memory has before they are written to the index. They take about 25 bytes each.
const MOST_RECENT: usize = 512 << 10;

/// Memory has this part of the keys of all events before they are written, so that about eleven fall on a page of the
/// index, which has about 180.
const PART: i64 = 16;

/// How many keys of earlier events may be written to the index when so many events are accepted: all are written before
/// as many events are accepted again, and not much earlier, so that the disk has the same to do all the time.
const fn written_for(accepted: usize) -> usize {
    accepted + accepted.div_ceil(4)
}

/// The fewest keys that a transaction writes to the index, so that they share pages; fewer if that is enough to begin.
const FEWEST: usize = 64;

/// The most keys that a transaction writes to the index if it accepts few events.
const MOST: usize = 512;

/// The most keys that a transaction writes to the index.
const MOST_AT_ONCE: usize = 8 * MOST;

/// How many events are read at once to learn their keys.
const READ: u16 = 8_192;

/// A reader that finds more events than this that are not in memory reads their keys into it.
const FEW_UNKNOWN: i64 = 4_096;

/// The hash of a key, and the event that has it.
type Entry = (i64, i64);

/// The keys that are not in the index yet, of committed events. Shared by the thread that writes and those that read.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentKeys(Arc<RwLock<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    /// All events up to this id are in the index.
    indexed: i64,
    /// All events up to this id are in the index or in memory.
    known: i64,
    /// Whether the keys of the events that were in the file when it was opened have been read.
    is_read: bool,
    newest: BTreeSet<Entry>,
    /// Those that are being written to the index.
    writing: Option<Writing>,
    /// How many keys `newest` has when they begin to be written.
    enough: usize,
    /// How many keys may be written to the index now.
    owed: usize,
    /// Whether some were read from the file: a process before this one did not write them to the index in time, and
    /// this one may not live longer.
    are_late: bool,
}

/// Keys that are being written to the index in the order of their hashes, a part in each transaction.
#[derive(Debug)]
struct Writing {
    entries: BTreeSet<Entry>,
    /// The last one that is written.
    written: Option<Entry>,
    /// All events up to this id are in the index already.
    after: i64,
    /// When all are written, all events up to this id are in the index.
    through: i64,
}

impl Writing {
    /// The next entries to write, and whether they are the last ones.
    fn next(&self, count: usize) -> (Vec<Entry>, bool) {
        let after = self.written.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.entries.range((after, Bound::Unbounded)).copied();
        let next = rest.by_ref().take(count).collect();
        (next, rest.next().is_none())
    }
}

/// The ids of `entries` that have this hash.
fn ids_of(entries: &BTreeSet<Entry>, hash: i64) -> impl Iterator<Item = i64> {
    let entries = entries.range((hash, i64::MIN)..);
    let same = entries.take_while(move |(other, _)| *other == hash);
    same.map(|(_, id)| *id)
}

impl Recent {
    /// The entries with one of these hashes.
    fn of(&self, hashes: &[i64]) -> Vec<Entry> {
        let writing = self.writing.as_ref().map(|writing| &writing.entries);
        let sets = std::iter::once(&self.newest).chain(writing);
        let found = sets.flat_map(|set| {
            let hashes = hashes.iter();
            hashes.flat_map(move |hash| ids_of(set, *hash).map(|id| (*hash, id)))
        });
        found.collect()
    }

    /// Adds the keys of all events from the one behind `known` to this id.
    fn add(&mut self, entries: impl IntoIterator<Item = Entry>, known: i64, are_late: bool) {
        self.newest.extend(entries);
        self.are_late |= are_late;
        self.known = known.max(self.known);
    }

    /// Forgets keys that another process has written to the index.
    fn forget(&mut self, indexed: i64) {
        if indexed > self.indexed {
            self.newest.retain(|(_, id)| *id > indexed);
            self.indexed = indexed;
            self.known = indexed.max(self.known);
        }
    }
}

impl RecentKeys {
    fn read(&self) -> RwLockReadGuard<'_, Recent> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each of `events`, the ids of those that may be it: their keys have the same hash.
    pub(crate) async fn candidates(
        &self,
        readers: &SqlitePool,
        events: &[EventRef],
    ) -> Result<Vec<Vec<i64>>, SqliteError> {
        let hashes: Vec<i64> = events
            .iter()
            .map(|EventRef { kind, key }| record::key_hash(kind, key))
            .collect();
        if !self.read().is_read {
            self.learn(readers).await?;
        }
        // In this order: keys are in the index before memory forgets them.
        let (mut found, known) = {
            let recent = self.read();
            (recent.of(&hashes), recent.known)
        };
        let rows = sqlx::query(include_str!("key_index/candidates.sql"))
            .bind(record::json(&hashes))
            .bind(known)
            .fetch_all(readers)
            .await?;
        let mut newest = known;
        for row in &rows {
            let id: Option<i64> = row.try_get(1)?;
            match (row.try_get(0)?, id) {
                (Some(hash), Some(id)) => found.push((hash, id)),
                (_, id) => newest = id.unwrap_or(known),
            }
        }
        if newest.saturating_sub(known) > FEW_UNKNOWN {
            self.learn(readers).await?;
        }
        found.sort_unstable();
        found.dedup();
        let candidates = hashes.iter().map(|hash| {
            let from = found.partition_point(|(other, _)| other < hash);
            let same = found[from..].iter().take_while(|(other, _)| other == hash);
            same.map(|(_, id)| *id).collect()
        });
        Ok(candidates.collect())
    }

    /// Reads the keys of events that were in the file when it was opened, and of those that other processes accepted.
    async fn learn(&self, readers: &SqlitePool) -> Result<(), SqliteError> {
        let indexed = sqlx::query("SELECT through_id FROM key_index_state")
            .fetch_one(readers)
            .await?;
        self.write().forget(indexed.try_get(0)?);
        loop {
            let known = self.read().known;
            let row = sqlx::query(include_str!("key_index/next.sql"))
                .bind(known)
                .bind(u32::from(READ))
                .fetch_one(readers)
                .await?;
            let entries = entries(row.try_get(0)?)?;
            let last = entries.last().map_or(known, |(_, id)| *id);
            let are_all = entries.len() < READ.into();
            let mut recent = self.write();
            recent.add(entries, last, last > known);
            recent.is_read |= are_all;
            if are_all {
                return Ok(());
            }
        }
    }
}

/// Reads the answer of `next.sql`.
fn entries(json: &str) -> Result<Vec<Entry>, SqliteError> {
    serde_json::from_str(json).map_err(|error| SqliteError::Damaged {
        detail: format!("the keys of its events cannot be read: {error}"),
    })
}

/// Keys for the thread that writes, and for transactions of apps: with those that the transaction adds.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    recent: RecentKeys,
    /// The option `recent_keys`, at least 1.
    fewest_recent: usize,
    added: Added,
}

/// The additions of the transaction that runs, to memory and to the index.
#[derive(Debug, Default)]
struct Added {
    entries: BTreeSet<Entry>,
    /// All events up to this id are in `entries`, in memory or in the index; 0 if nothing was added.
    known: i64,
    /// Whether some of them were read from the file.
    are_late: bool,
    /// The last key that is written to the index now, if any is.
    written: Option<Entry>,
    /// How many are.
    count: usize,
    /// If all are written: how many keys are enough for the next time.
    finished: Option<usize>,
}

impl KeyIndex {
    /// Begins anew with `recent`: its keys are read from the file when they are needed.
    pub(crate) async fn open(
        recent: &RecentKeys,
        connection: &mut Connection<'_>,
        options: &SqliteOptions,
    ) -> Result<Self, SqliteError> {
        let row = query("SELECT through_id FROM key_index_state")
            .fetch_one(connection)
            .await?;
        let indexed = row.try_get(0)?;
        let fewest_recent = options.recent_keys.max(1);
        *recent.write() = Recent {
            indexed,
            known: indexed,
            enough: enough(connection, fewest_recent).await?,
            ..Recent::default()
        };
        Ok(Self {
            recent: recent.clone(),
            fewest_recent,
            added: Added::default(),
        })
    }

    /// Finds the events that are not in the index, and may have keys with one of these hashes. Returns the last id that
    /// was ever given out as well.
    pub(crate) async fn not_indexed(
        &mut self,
        connection: &mut Connection<'_>,
        hashes: &[i64],
    ) -> Result<(i64, Vec<i64>), SqliteError> {
        let last_id = self.learn(connection).await?;
        let recent = self.recent.read();
        let mut ids: Vec<i64> = recent.of(hashes).into_iter().map(|(_, id)| id).collect();
        let hashes = hashes.iter();
        ids.extend(hashes.flat_map(|hash| ids_of(&self.added.entries, *hash)));
        Ok((last_id, ids))
    }

    /// Reads the keys of events that were accepted by other processes, or before this one was started.
    async fn learn(&mut self, connection: &mut Connection<'_>) -> Result<i64, SqliteError> {
        let row = query("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
            .fetch_optional(connection)
            .await?;
        let last_id = match row {
            Some(row) => row.try_get(0)?,
            None => 0,
        };
        let mut known = self.added.known.max(self.recent.read().known);
        while known < last_id {
            let row = query(include_str!("key_index/next.sql"))
                .bind(known)
                .bind(u32::from(READ))
                .fetch_one(connection)
                .await?;
            let entries = entries(row.try_get(0)?)?;
            // Behind the last one, all are deleted.
            known = entries.last().map_or(last_id, |(_, id)| *id);
            self.added.entries.extend(entries);
            self.added.known = known;
            self.added.are_late = true;
        }
        Ok(last_id)
    }

    /// Adds the key of a new event.
    pub(crate) fn add(&mut self, hash: i64, id: i64) {
        self.added.entries.insert((hash, id));
        self.added.known = id.max(self.added.known);
    }

    /// Whether keys wait for a transaction that writes them to the index.
    pub(crate) fn is_overdue(&self) -> bool {
        let recent = self.recent.read();
        recent.writing.is_some() && recent.owed >= MOST
    }

    /// Has the next transactions write all keys that have begun to be written to the index. Returns whether there are
    /// any.
    pub(crate) fn hurry(&self) -> bool {
        let mut recent = self.recent.write();
        let rest = recent.writing.as_ref().map(|it| it.entries.len());
        recent.owed = rest.unwrap_or(0).max(recent.owed);
        rest.is_some()
    }

    /// Writes some keys to the index, in proportion to the events that are new, and more if the transaction `is_for_this`
    /// only. Events that were deleted are left out.
    pub(crate) async fn write_some(
        &mut self,
        connection: &mut Connection<'_>,
        is_for_this: bool,
    ) -> Result<(), SqliteError> {
        let (mut entries, are_last, after, through) = {
            let recent = self.recent.read();
            let for_these = written_for(self.added.entries.len());
            let owed = recent.owed + for_these;
            let most = if is_for_this {
                MOST_AT_ONCE
            } else {
                for_these.clamp(MOST, MOST_AT_ONCE)
            };
            match &recent.writing {
                Some(writing) if owed >= FEWEST.min(self.fewest_recent) => {
                    let (entries, are_last) = writing.next(owed.min(most));
                    (entries, are_last, writing.after, writing.through)
                }
                _ => return Ok(()),
            }
        };
        self.added.written = entries.last().copied();
        self.added.count = entries.len();
        // A reader may have added some that were in the index by then.
        entries.retain(|(_, id)| *id > after);
        let row = query("SELECT deleted_id FROM key_index_state")
            .fetch_one(connection)
            .await?;
        let deleted: i64 = row.try_get(0)?;
        if deleted <= after {
            let entries = entries
                .iter()
                .map(|(hash, id)| [(*hash).into(), (*id).into()]);
            execute_each(connection, include_str!("key_index/write.sql"), entries).await?;
        } else {
            let ids = entries.iter().map(|(_, id)| [(*id).into()]);
            let write = include_str!("key_index/write_existing.sql");
            execute_each(connection, write, ids).await?;
        }
        if are_last {
            query("UPDATE key_index_state SET through_id = max(through_id, ?1)")
                .bind(through)
                .execute(connection)
                .await?;
            self.added.finished = Some(enough(connection, self.fewest_recent).await?);
        }
        Ok(())
    }

    /// Remembers what the transaction added, which is committed.
    pub(crate) fn committed(&mut self) {
        let added = std::mem::take(&mut self.added);
        if added.known == 0 && added.count == 0 {
            return;
        }
        let mut recent = self.recent.write();
        recent.owed += written_for(added.entries.len());
        recent.owed -= added.count.min(recent.owed);
        recent.add(added.entries, added.known, added.are_late);
        recent.is_read = true;
        if let (Some(writing), Some(_)) = (&mut recent.writing, added.written) {
            writing.written = added.written;
        }
        if let Some(enough) = added.finished {
            recent.enough = enough;
            if let Some(writing) = recent.writing.take() {
                recent.indexed = writing.through.max(recent.indexed);
            }
        }
        if recent.writing.is_none() && recent.newest.len() >= recent.enough {
            let entries = std::mem::take(&mut recent.newest);
            let are_late = std::mem::take(&mut recent.are_late);
            recent.owed = if are_late { entries.len() } else { 0 };
            recent.writing = Some(Writing {
                entries,
                written: None,
                after: recent.indexed,
                through: recent.known,
            });
        }
    }

    /// Forgets what the transaction added, which was rolled back.
    pub(crate) fn rolled_back(&mut self) {
        self.added = Added::default();
    }
}

/// How many keys in memory are enough to write them to the index.
async fn enough(connection: &mut Connection<'_>, fewest: usize) -> Result<usize, SqliteError> {
    let row =
        query("SELECT coalesce((SELECT max(id) FROM events) - (SELECT min(id) FROM events), 0)")
            .fetch_one(connection)
            .await?;
    let events: i64 = row.try_get(0)?;
    let part = usize::try_from(events / PART).unwrap_or(0);
    Ok(part.min(MOST_RECENT).max(fewest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use webhook_core::{Envelope, Fingerprint, Key, Kind, NewEvent, Store};

    use super::*;
    use crate::open;
    use crate::store::SqliteStore;

    const KIND: Kind = Kind::from_static("order");

    fn event(number: i64) -> NewEvent {
        let key = Key::new(format!("key-{number}")).unwrap();
        let content = Fingerprint::of(["content"]);
        NewEvent::new(
            Envelope::new(KIND, key, content, Bytes::new()),
            Duration::ZERO,
        )
    }

    #[tokio::test]
    async fn a_reader_has_the_keys_of_another_process_in_memory_until_they_are_in_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(folder.path().join("webhook.db")).with_recent_keys(1_000);
        let store = SqliteStore::open_with(options.clone()).await.unwrap();
        let readers = SqlitePool::connect_lazy_with(open::reader(&options));
        let keys = RecentKeys::default();
        let Envelope { kind, key, .. } = event(1).envelope;
        let look_for = EventRef { kind, key };
        let mut last = 0;
        for _ in 0..3 {
            let first = last + 1;
            last += FEW_UNKNOWN + 1;
            let events: Vec<NewEvent> = (first..=last).map(event).collect();
            store.accept(&events).await.unwrap();
            let candidates = keys.candidates(&readers, std::slice::from_ref(&look_for));
            assert_eq!(candidates.await.unwrap(), [[1]]);
            let recent = keys.read();
            assert_eq!(recent.known, last);
            let in_memory = i64::try_from(recent.newest.len()).unwrap();
            assert_eq!(recent.indexed + in_memory, last);
        }
        // The first keys have been written while the others were accepted.
        for number in 0..10 {
            let first = last + number * 1_000;
            let events: Vec<NewEvent> = (first + 1..=first + 1_000).map(event).collect();
            store.accept(&events).await.unwrap();
        }
        keys.candidates(&readers, &[look_for]).await.unwrap();
        let recent = keys.read();
        assert!(recent.indexed > 0);
        let in_memory = i64::try_from(recent.newest.len()).unwrap();
        assert_eq!(recent.indexed + in_memory, recent.known);
    }
}
