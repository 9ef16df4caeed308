//! [`PgStore`]: the backend, and the three traits that it implements.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgPool};
use webhook_core::throttle::Throttle;
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Claimed, ConflictRecord, Counts,
    DeleteBodies, Deleted, Erased, Error, EventRecord, EventRef, EventSummary, Extended,
    FailedAttempt, Handled, HandlerError, IntoEnvelope, Kind, KindSample, Lease, MadeDue, NewEvent,
    NodeId, NodeRecord, NodeReport, Outcome, Page, Payload, Prune, Requeued, RunningLeases,
    Scheduler, Search, SearchPage, Settled, SettledCounts, Settlement, Store, StoreError,
    StoredAction, payload,
};

use crate::admin::TableSize;
use crate::claim_cursor::ClaimCursors;
use crate::error::PgError;
use crate::numbered::numbered;
use crate::options::Pooler;
use crate::probe::{Facts, Probe};
use crate::schema::Schema;
use crate::session::{self, Connections, Database, Session};
use crate::wakeup::Wakeups;
use crate::{accept, admin, claim, extend, find, settle};

/// A backend in PostgreSQL. Clones share one connection pool.
#[derive(Clone)]
pub struct PgStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) wakeups: Wakeups,
    claim_cursors: ClaimCursors,
    throttle: Throttle,
    pub(crate) probe: Probe,
}

impl PgStore {
    pub(crate) fn over(database: Database) -> Self {
        let wakeups = Wakeups::new(database.clone());
        Self {
            inner: Arc::new(Inner {
                database,
                wakeups,
                claim_cursors: ClaimCursors::default(),
                throttle: Throttle::default(),
                probe: Probe::default(),
            }),
        }
    }

    /// Accepts an event in the transaction that is open on `connection`: a reference to a payload that serde
    /// can serialize as JSON, or an [`Envelope`](webhook_core::Envelope). The event is due at once.
    ///
    /// ```no_run
    /// # use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, Payload};
    /// # use webhook_postgres::{PgStore, sqlx};
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
    /// # async fn place(app: &sqlx::PgPool, store: &PgStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = app.begin().await?;
    /// sqlx::query("INSERT INTO orders (id) VALUES ('o-1')").execute(&mut *transaction).await?;
    /// store.accept_in(&mut transaction, &OrderPlaced { id: "o-1".into() }).await?;
    /// transaction.commit().await?;
    /// store.notify_kind::<OrderPlaced>();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Otherwise like [`accept_all_in`](PgStore::accept_all_in), which also takes delays.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the payload cannot be serialized or identified; the transaction does not change then. Otherwise the
    /// same as for [`accept_all_in`](PgStore::accept_all_in).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the state of the transaction is unknown: roll it back.
    pub async fn accept_in(
        &self,
        connection: &mut PgConnection,
        event: impl IntoEnvelope,
    ) -> Result<Accepted, Error> {
        let event = NewEvent::new(event.into_envelope()?, Duration::ZERO);
        let answers = self.accept_all_in(connection, &[event]).await?;
        let [accepted] = answers[..] else {
            unreachable!("one event has one answer")
        };
        Ok(accepted)
    }

    /// Accepts `events` in the transaction that is open on `connection`: they are stored if the transaction
    /// commits, and only then.
    ///
    /// Otherwise like [`Store::accept`]. The delays begin with this call, not with the commit. Workers of this
    /// and other processes find the events within [`POLL_INTERVAL`](crate::POLL_INTERVAL) of the commit; call
    /// [`notify`](PgStore::notify) after the commit to wake them at once.
    ///
    /// If no transaction is open, this call commits the events. The transaction commits durably, even if the
    /// app has set `synchronous_commit` to `off`; its other settings do not change.
    ///
    /// # Errors
    ///
    /// The same as for [`Store::accept`], except that nothing is tried again. After an error, the transaction
    /// can only be rolled back.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the state of the transaction is unknown: roll it back.
    pub async fn accept_all_in(
        &self,
        connection: &mut PgConnection,
        events: &[NewEvent],
    ) -> Result<Vec<Accepted>, StoreError> {
        let answers = session::app::within(&self.inner.database, connection, async |session| {
            accept::accept(session, events).await
        });
        Ok(answers.await?)
    }

    /// Settles attempts in the transaction that is open on `connection`, so that the effects of an event in the
    /// same transaction happen exactly once.
    ///
    /// Otherwise like [`Scheduler::settle`]. A handler that gets [`Settled::LeaseLost`] must roll its
    /// transaction back: another attempt is running, or has done the work. A handler that has committed returns
    /// [`Handled::Settled`].
    ///
    /// Keep the transaction short after this call, since it locks the event's row. Set PostgreSQL's
    /// `idle_in_transaction_session_timeout` for it: if the network loses the commit, the server keeps the lock
    /// until the time-out, and the event cannot be claimed.
    ///
    /// # Errors
    ///
    /// The same as for [`Scheduler::settle`], except that nothing is tried again. After an error, the
    /// transaction can only be rolled back.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the state of the transaction is unknown: roll it back.
    pub async fn settle_in(
        &self,
        connection: &mut PgConnection,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        let settled = session::app::within(&self.inner.database, connection, async |session| {
            settle::settle(session, settlements).await
        });
        Ok(settled.await?.answers)
    }

    /// Settles one attempt as processed, like [`settle_in`](PgStore::settle_in).
    ///
    /// # Errors
    ///
    /// The same as for [`settle_in`](PgStore::settle_in).
    pub async fn settle_processed_in(
        &self,
        connection: &mut PgConnection,
        lease: Lease,
    ) -> Result<Settled, StoreError> {
        let settlement = Settlement::new(lease, Outcome::Processed);
        let answers = self.settle_in(connection, &[settlement]).await?;
        Ok(answers.first().copied().unwrap_or(Settled::LeaseLost))
    }

    /// Runs `effect` and settles the event of `lease` as processed in one transaction, on a connection of the
    /// pool `app`: the effect happens exactly once. A handler can return the result:
    ///
    /// ```no_run
    /// # use webhook_core::{Event, Handled, HandlerError, Payload};
    /// # use webhook_postgres::{PgStore, sqlx};
    /// async fn ship<P: Payload>(
    ///     (app, store): (sqlx::PgPool, PgStore),
    ///     event: Event<P>,
    /// ) -> Result<Handled, HandlerError> {
    ///     let ship = async |transaction: &mut sqlx::PgConnection| {
    ///         sqlx::query("INSERT INTO shipments (order_id) VALUES ($1)")
    ///             .bind(event.key.as_str())
    ///             .execute(transaction)
    ///             .await?;
    ///         Ok(())
    ///     };
    ///     store.settle_with(&app, event.lease, ship).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `effect`, or a retry if the database fails or the lease is lost. The transaction is then
    /// rolled back. After an error of the commit, it is unknown whether the transaction was committed; if it
    /// was, the event is settled, and the retry does not happen.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the transaction is rolled back, unless it is being committed.
    pub async fn settle_with(
        &self,
        app: &PgPool,
        lease: Lease,
        effect: impl AsyncFnOnce(&mut PgConnection) -> Result<(), HandlerError>,
    ) -> Result<Handled, HandlerError> {
        let mut transaction = app.begin().await?;
        effect(&mut *transaction).await?;
        match self.settle_processed_in(&mut transaction, lease).await? {
            Settled::Applied => {
                transaction.commit().await?;
                Ok(Handled::Settled)
            }
            Settled::LeaseLost => {
                transaction.rollback().await?;
                Err(HandlerError::retry("lease was lost"))
            }
        }
    }

    /// Wakes workers for events of kind `P::KIND` from [`accept_in`](PgStore::accept_in). Call it after the
    /// commit.
    pub fn notify_kind<P: Payload>(&self) {
        let kind = payload::kind_of::<P>();
        let due = std::iter::once((&kind, Duration::ZERO));
        self.inner.wakeups.due(due);
    }

    /// Wakes workers for `events` from [`accept_all_in`](PgStore::accept_all_in). Call it after the commit.
    pub fn notify(&self, events: &[NewEvent]) {
        let due = events
            .iter()
            .map(|event| (&event.envelope.kind, event.delay));
        self.inner.wakeups.due(due);
    }

    /// Returns whether there is a transaction-mode pooler between this process and the database, as detected or
    /// as set by an option: [`Pooler::None`] or [`Pooler::Transaction`]. [`Pooler::Detect`] if the database has not been
    /// reached yet.
    pub fn pooler(&self) -> Pooler {
        self.inner.wakeups.pooler()
    }

    /// Asks the database for its clock and for settings that matter to operators.
    ///
    /// # Errors
    ///
    /// When the database does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn facts(&self) -> Result<Facts, PgError> {
        self.inner.probe.facts(&self.inner.database).await
    }

    /// Returns the connections of the pool, from memory. The store has up to two more: one for [`Store::ping`], and one
    /// that listens for notifications.
    pub fn connections(&self) -> Connections {
        self.inner.database.connections()
    }

    /// Lists the schemas of this database that have the tables of an inbox and are named like `schema`: it itself, and
    /// those with `_` and a number behind the name, as in `webhook_0`. An app that divides its inbox among numbered
    /// schemas finds by it whether another inbox is there already.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn numbered_schemas(&self, schema: &Schema) -> Result<Vec<Schema>, PgError> {
        numbered(&mut self.session(), schema).await
    }

    /// Asks the database how much room the tables of the schema take, the largest first: those of the inbox, and those
    /// that the app has there.
    ///
    /// The call is bounded: it lists at most 64 tables, and gives up after a second.
    ///
    /// # Errors
    ///
    /// When the database does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn table_sizes(&self) -> Result<Vec<TableSize>, PgError> {
        admin::table_sizes(&mut self.session()).await
    }

    pub(crate) fn session(&self) -> Session<'_> {
        Session::Pool(&self.inner.database)
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore")
            .field("database", &self.inner.database)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PgStore {
    /// If a connection fails after the commit and before the answer, the statement runs again: events that were
    /// new or requeued then return [`Accepted::Duplicate`], and a conflict may be counted twice.
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let answers = accept::accept(&mut self.session(), events).await?;
        let scheduled = events.iter().zip(&answers).filter_map(|(event, answer)| {
            matches!(answer, Accepted::New | Accepted::Requeued)
                .then_some((&event.envelope.kind, event.delay))
        });
        self.inner.wakeups.due(scheduled);
        self.inner.throttle.accepted(events.len());
        Ok(answers)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        Ok(find::find(&mut self.session(), events).await?)
    }

    /// Uses a connection of its own, for one call at a time. Logs a warning if `fsync` or `full_page_writes` is
    /// off. A read-only database counts as unavailable.
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.inner.probe.ping(&self.inner.database).await?)
    }
}

#[async_trait]
impl Scheduler for PgStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let begun = self.inner.throttle.begin(Instant::now());
        let wakeups = &self.inner.wakeups;
        let claiming: Vec<_> = claims.iter().map(|it| wakeups.claiming(&it.kind)).collect();
        let claimed = claim::claim(&mut self.session(), &self.inner.claim_cursors, claims).await?;
        for ((claim, claiming), claimed) in claims.iter().zip(claiming).zip(&claimed) {
            let Some(claimed) = claimed else {
                claiming.found_paused();
                continue;
            };
            claiming.ended(claimed.next_due);
            let brought = claimed.events.len() + claimed.exhausted.len();
            let limit = claim.limit.get();
            self.inner
                .throttle
                .claimed(&claim.kind, begun, brought, limit);
        }
        Ok(claimed.into_iter().map(Option::unwrap_or_default).collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        Ok(extend::extend(&mut self.session(), leases, lease).await?)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let settled = settle::settle(&mut self.session(), settlements).await?;
        // A released event keeps its due time, which may be before the cursor. An event that is due
        // again later than now stands after every cursor.
        for (kind, due_in) in &settled.due_again {
            if due_in.is_zero() {
                self.inner.claim_cursors.reset(kind);
            }
        }
        let due_again = settled
            .due_again
            .iter()
            .map(|(kind, due_in)| (kind, *due_in));
        self.inner.wakeups.due(due_again);
        Ok(settled.answers)
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.inner.wakeups.wait(kinds).await
    }

    /// While this process accepts events, a worker with more due events than it can take pauses between claims,
    /// for at most 50 ms.
    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        let now = Instant::now();
        self.inner.throttle.pause(kind, now, accepted_per_claimed)
    }
}

#[async_trait]
impl Admin for PgStore {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(admin::kinds(&mut self.session()).await?)
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        Ok(admin::counts(&mut self.session(), kind).await?)
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        Ok(admin::lag(&mut self.session(), kind).await?)
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        Ok(admin::settled(&mut self.session(), kind, within).await?)
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        Ok(admin::list(&mut self.session(), page).await?)
    }

    /// Each step is a statement of its own, which may run for a second.
    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        Ok(admin::search::search(&mut self.session(), search).await?)
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        Ok(admin::search::sample(&mut self.session(), kinds, cap).await?)
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        Ok(admin::conflicts(&mut self.session(), event).await?)
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        Ok(admin::failed_attempts(&mut self.session(), event).await?)
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        let answers = admin::requeue(&mut self.session(), events).await?;
        let requeued = events.iter().zip(&answers).filter_map(|(event, answer)| {
            (*answer == Requeued::Applied).then_some((&event.kind, Duration::ZERO))
        });
        self.inner.wakeups.due(requeued);
        Ok(answers)
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        let answers = admin::make_due(&mut self.session(), events, leases).await?;
        let made_due = || {
            let answered = events.iter().zip(&answers);
            answered.filter_map(|(event, answer)| {
                (*answer == MadeDue::Applied).then_some((&event.kind, Duration::ZERO))
            })
        };
        // An event whose lease ends keeps its due time, and a cursor from when the clock was ahead may
        // be after all events that are due now.
        for (kind, _) in made_due() {
            self.inner.claim_cursors.reset(kind);
        }
        self.inner.wakeups.due(made_due());
        Ok(answers)
    }

    /// If a connection fails after the commit and before the answer, the statement runs again, and answers
    /// [`Deleted::NotFound`].
    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        Ok(admin::delete(&mut self.session(), events).await?)
    }

    /// If a connection fails after the commit and before the answer, the statement runs again, and answers
    /// [`Erased::AlreadyErased`].
    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        Ok(admin::erase(&mut self.session(), events).await?)
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        Ok(admin::prune(&mut self.session(), prune).await?)
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        Ok(admin::delete_bodies(&mut self.session(), delete).await?)
    }

    /// Workers of older versions, which do not know pauses, continue to claim events: during a rolling upgrade,
    /// a pause is complete once the last of them has ended.
    ///
    /// If a connection fails after the commit and before the answer, the statement runs again and returns that
    /// the kind was paused already.
    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        Ok(admin::pause(&mut self.session(), kind).await?)
    }

    /// Wakes the workers of all processes. If a connection fails after the commit and before the answer, the
    /// statement runs again and returns that the kind was not paused.
    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        let was_paused = admin::resume(&mut self.session(), kind).await?;
        // Also if it was not paused: an earlier call may have ended the pause and lost its answer.
        self.inner.wakeups.resumed(kind);
        Ok(was_paused)
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(admin::paused(&mut self.session()).await?)
    }

    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(admin::nodes::heartbeat(&mut self.session(), report).await?)
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(admin::nodes::nodes(&mut self.session()).await?)
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        Ok(admin::nodes::retire(&mut self.session(), node).await?)
    }

    /// If a connection fails after the commit and before the answer, the statement runs again, and the action is
    /// recorded twice.
    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        Ok(admin::actions::record(&mut self.session(), action).await?)
    }

    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        Ok(admin::actions::list(&mut self.session(), page).await?)
    }
}
