//! [`SqliteStore`]: the backend, and the three traits that it implements.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::time::Instant;
use webhook_core::wakeup::{self, Wakeups};
use webhook_core::{
    Accepted, Admin, Claim, Claimed, ConflictRecord, Counts, DeleteBodies, EventRecord, EventRef,
    EventSummary, Extended, FailedAttempt, Kind, Lease, MadeDue, NewEvent, Page, Prune, Requeued,
    RunningLeases, Scheduler, Settled, SettledCounts, Settlement, Store, StoreError,
};

use crate::clock::Clock;
use crate::error::SqliteError;
use crate::options::SqliteOptions;
use crate::writer::{Request, Response, Writer};
use crate::{admin, find, open};

/// Events in an SQLite file. Clones share the same connections.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    options: SqliteOptions,
    writer: Writer,
    readers: SqlitePool,
    clock: Clock,
    wakeups: Wakeups,
}

impl SqliteStore {
    /// Opens the file with this path, or creates it. Otherwise as [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// As of [`open_with`](Self::open_with).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        Self::open_with(SqliteOptions::new(path)).await
    }

    /// Opens the file, or creates it, and updates its tables if they are those of an older version.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Foreign`] if the file belongs to another program, [`SqliteError::Newer`] if a newer version of
    /// this one updated it, [`SqliteError::Corrupt`] if it is damaged, [`SqliteError::NoWal`] on a file system
    /// without shared memory. Nothing in the file has changed then.
    pub async fn open_with(options: SqliteOptions) -> Result<Self, SqliteError> {
        open::prepare(&options).await?;
        let (writer, clock) = Writer::start(options.clone()).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .connect_lazy_with(open::reader(&options));
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                writer,
                readers,
                clock,
                wakeups: Wakeups::default(),
            }),
        })
    }

    async fn ask(&self, request: Request) -> Result<Response, SqliteError> {
        self.inner.writer.ask(request).await
    }

    /// Wakes workers for events of these kinds, which fall due after these times.
    fn due<'e>(&self, events: impl Iterator<Item = (&'e Kind, Duration)>) {
        let now = Instant::now();
        for (kind, delay) in events {
            if let Some(due) = now.checked_add(delay) {
                self.inner.wakeups.due(kind, due);
            }
        }
    }

    fn reading(&self) -> (&SqlitePool, i64) {
        (&self.inner.readers, self.inner.clock.now_us())
    }
}

/// A response of another name than its request would be a mistake in the writer.
macro_rules! expect {
    ($response:expr, $variant:ident) => {
        match $response {
            Response::$variant(answers) => answers,
            _ => unreachable!("the writer answers each request with the response of its name"),
        }
    };
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let answers = expect!(self.ask(Request::Accept(events.to_vec())).await?, Accept);
        let scheduled = events
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| matches!(answer, Accepted::New | Accepted::Requeued));
        self.due(scheduled.map(|(event, _)| (&event.envelope.kind, event.delay)));
        Ok(answers)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(find::find(readers, now_us, events).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let ping = sqlx::query("SELECT 1 FROM clock")
            .fetch_one(&self.inner.readers)
            .await;
        ping.map_err(SqliteError::from)?;
        Ok(())
    }
}

#[async_trait]
impl Scheduler for SqliteStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let wakeups = &self.inner.wakeups;
        let claiming: Vec<_> = claims.iter().map(|it| wakeups.claiming(&it.kind)).collect();
        let claimed = expect!(self.ask(Request::Claim(claims.to_vec())).await?, Claim);
        for (claiming, claimed) in claiming.into_iter().zip(&claimed) {
            match claimed {
                Some(claimed) => claiming.ended(claimed.next_due),
                None => claiming.found_paused(),
            }
        }
        Ok(claimed.into_iter().map(Option::unwrap_or_default).collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        Ok(expect!(
            self.ask(Request::Extend(leases.to_vec(), lease)).await?,
            Extend
        ))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let ended = expect!(
            self.ask(Request::Settle(settlements.to_vec())).await?,
            Settle
        );
        self.due(ended.due_again.iter().map(|(kind, after)| (kind, *after)));
        Ok(ended.answers)
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        wakeup::any(kinds.iter().map(|kind| self.inner.wakeups.woken(kind))).await
    }
}

#[async_trait]
impl Admin for SqliteStore {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(admin::kinds(&self.inner.readers).await?)
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::counts(readers, now_us, kind).await?)
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::lag(readers, now_us, kind).await?)
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::settled(readers, now_us, kind, within).await?)
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::list(readers, now_us, page).await?)
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        Ok(admin::conflicts(&self.inner.readers, event).await?)
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        Ok(admin::failed_attempts(&self.inner.readers, event).await?)
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        let answers = expect!(self.ask(Request::Requeue(events.to_vec())).await?, Requeue);
        let requeued = events.iter().zip(&answers);
        let requeued = requeued.filter(|(_, answer)| **answer == Requeued::Applied);
        self.due(requeued.map(|(event, _)| (&event.kind, Duration::ZERO)));
        Ok(answers)
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        let request = Request::MakeDue(events.to_vec(), leases);
        let answers = expect!(self.ask(request).await?, MakeDue);
        let made_due = events.iter().zip(&answers);
        let made_due = made_due.filter(|(_, answer)| **answer == MadeDue::Applied);
        self.due(made_due.map(|(event, _)| (&event.kind, Duration::ZERO)));
        Ok(answers)
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        Ok(expect!(
            self.ask(Request::Prune(prune.clone())).await?,
            Deleted
        ))
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        Ok(expect!(
            self.ask(Request::DeleteBodies(delete.clone())).await?,
            Deleted
        ))
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        Ok(expect!(
            self.ask(Request::Pause(kind.clone())).await?,
            Changed
        ))
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        let was_paused = expect!(self.ask(Request::Resume(kind.clone())).await?, Changed);
        if was_paused {
            self.inner.wakeups.resumed(kind);
        }
        Ok(was_paused)
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(admin::paused(&self.inner.readers).await?)
    }
}
