//! [`SqliteStore`]: the backend, and the three traits that it implements.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};
use sqlx::{Connection, SqlitePool};
use tokio::time::Instant;
use webhook_core::throttle::Throttle;
use webhook_core::transfer::{MoveMark, StoredEvent, Transfer};
use webhook_core::wakeup::{self, Wakeups};
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Claimed, ConflictRecord, Counts,
    DeleteBodies, Deleted, Erased, Error, EventId, EventRecord, EventRef, EventSummary, Extended,
    FailedAttempt, FoundInbox, Handled, HandlerError, IntoEnvelope, Kind, KindSample, Lease,
    MadeDue, NewEvent, NodeId, NodeRecord, NodeReport, NodeTable, Outcome, Page, Partition, Prune,
    Requeued, RunningLeases, Scheduler, Search, SearchPage, Settled, SettledCounts, Settlement,
    Store, StoreError, StoredAction,
};

use crate::clock::Clock;
use crate::error::SqliteError;
use crate::key_index::RecentKeys;
use crate::options::SqliteOptions;
use crate::transaction::SqliteTransaction;
use crate::writer::{Request, Response, Writer};
use crate::{accept, admin, find, look, microseconds, open, partition, settle, transfer};

/// How many events are accepted for each claimed event while senders wait for the one writer. A higher ratio than
/// that of PostgreSQL, where accepts and claims run at the same time.
const ACCEPTED_PER_CLAIMED: f64 = 0.9;

/// Events in an SQLite file. Clones share the same connections.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    options: SqliteOptions,
    writer: Writer,
    readers: SqlitePool,
    keys: RecentKeys,
    clock: Clock,
    wakeups: Wakeups,
    nodes: NodeTable,
    throttle: Throttle,
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
        let prepared = open::prepare(&options).await?;
        let (writer, keys, clock) = Writer::start(options.clone()).await?;
        prepared.close().await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .connect_lazy_with(open::reader(&options));
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                writer,
                readers,
                keys,
                clock,
                wakeups: Wakeups::default(),
                nodes: NodeTable::default(),
                throttle: Throttle::new(ACCEPTED_PER_CLAIMED),
            }),
        })
    }

    /// Tells what is in the file with this path, before it is opened. Nothing is created, repaired or updated, and no
    /// lock is held. Where there is no file, the answer is the default.
    ///
    /// If a crash has left a write-ahead log without its shared memory, that file is made again beside it.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Foreign`] if the file belongs to another program, [`SqliteError::Newer`] if a newer version of
    /// this one updated it, [`SqliteError::Corrupt`] if it is damaged, [`SqliteError::Changing`] if other processes
    /// keep opening and closing it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn look(path: impl AsRef<Path>) -> Result<FoundInbox, SqliteError> {
        look::look(path.as_ref()).await
    }

    /// Tells which kinds have events with [guards](field@webhook_core::Envelope::guard) in the file with this path, before
    /// it is opened, otherwise like [`look`](Self::look). Reads all guards.
    ///
    /// # Errors
    ///
    /// As of [`look`](Self::look).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn guarded_kinds(path: impl AsRef<Path>) -> Result<Vec<Kind>, SqliteError> {
        look::guarded_kinds(path.as_ref()).await
    }

    /// Tells whether the tables in the file with this path are those of an older version, which to
    /// [`open`](Self::open) it would update, otherwise like [`look`](Self::look).
    ///
    /// # Errors
    ///
    /// As of [`look`](Self::look).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn is_outdated(path: impl AsRef<Path>) -> Result<bool, SqliteError> {
        look::is_outdated(path.as_ref()).await
    }

    /// Begins a transaction that may write, for changes of the app's own tables in the same
    /// file together with [`accept_in`](Self::accept_in) or [`settle_in`](Self::settle_in). Nothing else is
    /// written until it is committed or dropped: keep it short.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Locked`] if another process writes for too long.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn begin(&self) -> Result<SqliteTransaction, SqliteError> {
        let lent = self.inner.writer.lend().await?;
        Ok(SqliteTransaction::new(lent, self.clone()))
    }

    /// Makes an event durable together with what else `transaction` does: a payload that serde can write as
    /// JSON, or an [`Envelope`](webhook_core::Envelope). It is due at once. Workers are woken by the commit.
    ///
    /// ```no_run
    /// # use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, Payload};
    /// # use webhook_sqlite::{SqliteStore, sqlx};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct OrderPlaced { id: String }
    /// # impl Payload for OrderPlaced {
    /// #     const KIND: &'static str = "order-placed";
    /// #     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
    /// #         Identity::of_json(body, "/id", &[])
    /// #     }
    /// #     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
    /// #         Ok(serde_json::from_slice(body)?)
    /// #     }
    /// # }
    /// # async fn place(store: &SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = store.begin().await?;
    /// sqlx::query("INSERT INTO orders (id) VALUES ('o-1')").execute(&mut *transaction).await?;
    /// store.accept_in(&mut transaction, &OrderPlaced { id: "o-1".into() }).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the payload cannot be written or identified; the transaction can go on then. After
    /// another error it can only be rolled back.
    pub async fn accept_in(
        &self,
        transaction: &mut SqliteTransaction,
        event: impl IntoEnvelope,
    ) -> Result<Accepted, Error> {
        let event = NewEvent::new(event.into_envelope()?, Duration::ZERO);
        let answers = self.accept_all_in(transaction, &[event]).await?;
        let [accepted] = answers[..] else {
            unreachable!("one event has one answer")
        };
        Ok(accepted)
    }

    /// Makes `events` durable together with what else `transaction` does. Otherwise as [`Store::accept`]. The
    /// delays count from the beginning of the transaction.
    ///
    /// # Errors
    ///
    /// As of [`Store::accept`]. After an error the transaction can only be rolled back.
    pub async fn accept_all_in(
        &self,
        transaction: &mut SqliteTransaction,
        events: &[NewEvent],
    ) -> Result<Vec<Accepted>, StoreError> {
        let all: Vec<&NewEvent> = events.iter().collect();
        let answers = accept::accept(&mut transaction.lent().transaction(), &all).await?;
        for (event, _) in scheduled(events, &answers) {
            transaction.wake(event.envelope.kind.clone(), event.delay);
        }
        Ok(answers)
    }

    /// Ends attempts together with what else `transaction` does, so that the effect of an event happens exactly
    /// once. Otherwise as [`Scheduler::settle`]. A handler that gets [`Settled::LeaseLost`] must roll the
    /// transaction back: another attempt is running, or has done the work.
    ///
    /// # Errors
    ///
    /// As of [`Scheduler::settle`]. After an error the transaction can only be rolled back.
    pub async fn settle_in(
        &self,
        transaction: &mut SqliteTransaction,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        let all: Vec<&Settlement> = settlements.iter().collect();
        let ended = settle::settle(&mut transaction.lent().transaction(), &all).await?;
        for (kind, after) in ended.due_again {
            transaction.wake(kind, after);
        }
        Ok(ended.answers)
    }

    /// Has `effect` do the work of the event that `lease` is of, in a transaction on the connection that
    /// writes, and settles the event as processed in the same transaction: the effect happens exactly once. What
    /// this returns is what a handler returns:
    ///
    /// ```no_run
    /// # use webhook_core::{Event, Handled, HandlerError, Payload};
    /// # use webhook_sqlite::{SqliteStore, sqlx};
    /// async fn ship<P: Payload>(store: SqliteStore, event: Event<P>) -> Result<Handled, HandlerError> {
    ///     let ship = async |transaction: &mut sqlx::SqliteConnection| {
    ///         sqlx::query("INSERT INTO shipments (order_id) VALUES (?1)")
    ///             .bind(event.key.as_str())
    ///             .execute(transaction)
    ///             .await?;
    ///         Ok(())
    ///     };
    ///     store.settle_with(event.lease, ship).await
    /// }
    /// ```
    ///
    /// Nothing else is written while `effect` runs: let it change the app's tables in the file, and do the
    /// rest before.
    ///
    /// # Errors
    ///
    /// What `effect` returns, a retry if the file fails or the lease is lost. The transaction is rolled back
    /// then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the transaction back, unless it is being committed.
    pub async fn settle_with(
        &self,
        lease: Lease,
        effect: impl AsyncFnOnce(&mut SqliteConnection) -> Result<(), HandlerError>,
    ) -> Result<Handled, HandlerError> {
        let mut transaction = self.begin().await?;
        effect(&mut transaction).await?;
        let settlement = Settlement::new(lease, Outcome::Processed);
        match self.settle_in(&mut transaction, &[settlement]).await?[..] {
            [Settled::Applied] => {
                transaction.commit().await?;
                Ok(Handled::Settled)
            }
            _ => Err(HandlerError::retry("lease was lost")),
        }
    }

    /// Closes the file, after what was asked for before. The last connection to close copies the write-ahead log
    /// into it. From then on, this store and its clones answer with errors.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// The file, as it was named when it was opened.
    pub fn path(&self) -> &Path {
        &self.inner.options.path
    }

    pub(crate) fn options(&self) -> &SqliteOptions {
        &self.inner.options
    }

    async fn ask(&self, request: Request) -> Result<Response, SqliteError> {
        self.inner.writer.ask(request).await
    }

    /// Wakes workers for events of these kinds, which fall due after these times.
    pub(crate) fn due<'e>(&self, events: impl Iterator<Item = (&'e Kind, Duration)>) {
        let now = Instant::now();
        for (kind, delay) in events {
            if let Some(due) = now.checked_add(delay) {
                self.inner.wakeups.due(kind, due);
            }
        }
    }

    fn now(&self) -> SystemTime {
        microseconds::time(self.inner.clock.now_us())
    }

    fn reading(&self) -> (&SqlitePool, i64) {
        (&self.inner.readers, self.inner.clock.now_us())
    }
}

/// The events that were scheduled: those that are new, or requeued.
fn scheduled<'e>(
    events: &'e [NewEvent],
    answers: &'e [Accepted],
) -> impl Iterator<Item = (&'e NewEvent, &'e Accepted)> {
    let answered = events.iter().zip(answers);
    answered.filter(|(_, answer)| matches!(answer, Accepted::New | Accepted::Requeued))
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
        let scheduled = scheduled(events, &answers);
        self.due(scheduled.map(|(event, _)| (&event.envelope.kind, event.delay)));
        self.inner.throttle.accepted(events.len());
        Ok(answers)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(find::find(readers, &self.inner.keys, now_us, events).await?)
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
        let throttle = &self.inner.throttle;
        let begun = throttle.begin(std::time::Instant::now());
        let wakeups = &self.inner.wakeups;
        let claiming: Vec<_> = claims.iter().map(|it| wakeups.claiming(&it.kind)).collect();
        let claimed = expect!(self.ask(Request::Claim(claims.to_vec())).await?, Claim);
        for ((claim, claiming), claimed) in claims.iter().zip(claiming).zip(&claimed) {
            let Some(claimed) = claimed else {
                claiming.found_paused();
                continue;
            };
            claiming.ended(claimed.next_due);
            let brought = claimed.events.len() + claimed.exhausted.len();
            throttle.claimed(&claim.kind, begun, brought, claim.limit.get());
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

    /// While this process accepts events, a worker with more due events than it can take pauses between claims,
    /// for at most 50 ms.
    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        let now = std::time::Instant::now();
        self.inner.throttle.pause(kind, now, accepted_per_claimed)
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

    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::search::search(readers, &self.inner.keys, now_us, search).await?)
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        let (readers, now_us) = self.reading();
        Ok(admin::search::sample(readers, now_us, kinds, cap).await?)
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        Ok(admin::conflicts(&self.inner.readers, &self.inner.keys, event).await?)
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        Ok(admin::failed_attempts(&self.inner.readers, &self.inner.keys, event).await?)
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

    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        let request = Request::Delete(events.to_vec());
        Ok(expect!(self.ask(request).await?, Delete))
    }

    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        let request = Request::Erase(events.to_vec());
        Ok(expect!(self.ask(request).await?, Erase))
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

    /// Nodes are kept in the memory of this process: one server uses a file.
    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self.inner.nodes.heartbeat(report, self.now()))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self.inner.nodes.nodes(self.now()))
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        Ok(self.inner.nodes.retire(node, self.now()))
    }

    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        let request = Request::RecordAction(action.clone());
        Ok(expect!(self.ask(request).await?, Recorded))
    }

    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        Ok(admin::actions::list(&self.inner.readers, page).await?)
    }
}

#[async_trait]
impl Transfer for SqliteStore {
    async fn export(
        &self,
        after: Option<EventId>,
        limit: NonZeroUsize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(transfer::export(&self.inner.readers, after, limit, max_bytes).await?)
    }

    async fn import(&self, events: &[StoredEvent]) -> Result<usize, StoreError> {
        let request = Request::Import(events.to_vec());
        Ok(expect!(self.ask(request).await?, Imported))
    }

    async fn newest(&self) -> Result<Option<EventRef>, StoreError> {
        Ok(transfer::newest(&self.inner.readers).await?)
    }

    async fn mark(&self) -> Result<Option<MoveMark>, StoreError> {
        Ok(transfer::mark(&self.inner.readers).await?)
    }

    async fn set_mark(&self, mark: Option<&MoveMark>) -> Result<(), StoreError> {
        self.ask(Request::SetMark(mark.cloned())).await?;
        Ok(())
    }
}

#[async_trait]
impl Partition for SqliteStore {
    async fn partition_mark(&self) -> Result<Option<String>, StoreError> {
        Ok(partition::mark(&self.inner.readers).await?)
    }

    async fn replace_partition_mark(
        &self,
        expected: Option<&str>,
        mark: &str,
    ) -> Result<bool, StoreError> {
        let request = Request::ReplacePartitionMark {
            expected: expected.map(str::to_owned),
            mark: mark.to_owned(),
        };
        Ok(expect!(self.ask(request).await?, Changed))
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }
}
