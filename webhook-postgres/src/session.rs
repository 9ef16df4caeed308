//! Runs statements on a connection of the pool, or inside a transaction of the app.

pub(crate) mod app;
mod first;
mod idle_connections;
mod settings;

use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use webhook_core::Backoff;

use crate::error::{PgError, Remedy};
use crate::options::{Durability, PgOptions};
use crate::schema::Schema;
use idle_connections::IdleConnections;

pub(crate) use first::{Found, cannot_connect, probe};

/// A statement with its arguments.
pub(crate) type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// How many times a statement runs at most when it meets deadlocks or serialization conflicts.
const MAX_RUNS: u32 = 5;

/// How long to wait before such a statement runs again.
const REPEAT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));

/// How long a connection may be unused before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a connection lives, so that the load is distributed again after a failover.
const MAX_LIFETIME: Duration = Duration::from_secs(1800);

/// How long a connection may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How much longer than the server's `statement_timeout` this process waits for an answer.
const ANSWER_GRACE: Duration = Duration::from_secs(3);

/// Says, by the rows of a statement, whether to commit it.
type Keep<'k> = &'k (dyn Fn(&[PgRow]) -> Result<bool, PgError> + Send + Sync);

/// Adds the arguments of a second statement, by the rows of the first one. `None` if the second one is not needed.
type BindThen<'b> = &'b (dyn Fn(Query, &[PgRow]) -> Result<Option<Query>, PgError> + Send + Sync);

/// A statement that runs after another one, in the same transaction.
pub(crate) struct Then<'t> {
    pub(crate) sql: &'static str,
    pub(crate) bind: BindThen<'t>,
}

/// What follows a statement.
#[derive(Clone, Copy)]
enum After<'a> {
    Nothing,
    /// It is committed or rolled back.
    CommitIf(Keep<'a>),
    /// Another statement in the same transaction.
    Run(&'a Then<'a>),
}

/// Which program answers. It decides how an operation is divided into statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    /// PostgreSQL with the extension Citus. Each part of a statement is a round trip to the node with the tables,
    /// with a clock and a snapshot of its own, unless the statement has no INSERT besides others.
    Citus,
}

/// Which query plan a statement uses.
#[derive(Clone, Copy)]
enum Plan {
    /// A generic plan for all arguments, made once per connection.
    Kept,
    /// A plan for these arguments, made each time.
    Anew,
    /// The same, with a time limit of its own in place of the session's.
    AnewWithin(Duration),
}

/// Where statements run.
pub(crate) enum Session<'c> {
    /// Each statement on a connection of the pool, as a transaction of its own.
    Pool(&'c Database),
    /// All statements inside the transaction that the app has open on this connection, if it has one.
    App(&'c mut PgConnection, &'c Schema),
}

impl Session<'_> {
    /// Runs `sql` with the arguments that `bind` gives it, and returns all rows.
    ///
    /// On the pool, the statement runs again on a fresh connection if the first connection was dead, and after
    /// a deadlock: statements must be such that a second run does no harm.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        self.rows_by(sql, Plan::Kept, bind).await
    }

    /// Like [`rows`](Self::rows), with a plan for these arguments: for statements whose best plan depends on
    /// how frequent a kind is.
    pub(crate) async fn rows_planned_anew(
        &mut self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        self.rows_by(sql, Plan::Anew, bind).await
    }

    /// Like [`rows_planned_anew`](Self::rows_planned_anew), and gives up after `limit`.
    pub(crate) async fn rows_within(
        &mut self,
        limit: Duration,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        self.rows_by(sql, Plan::AnewWithin(limit), bind).await
    }

    /// Like [`rows`](Self::rows), and runs another statement in the same transaction. Returns the rows of the first one.
    pub(crate) async fn rows_and_then(
        &mut self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
        then: Then<'_>,
    ) -> Result<Vec<PgRow>, PgError> {
        match self {
            Self::Pool(database) => {
                database
                    .rows(sql, Plan::Kept, After::Run(&then), bind)
                    .await
            }
            Self::App(connection, schema) => {
                let first = bind(sqlx::query(schema.sql(sql))).persistent(false);
                let rows = first.fetch_all(&mut **connection).await?;
                if let Some(second) = (then.bind)(sqlx::query(schema.sql(then.sql)), &rows)? {
                    let second = second.persistent(false);
                    second.execute(&mut **connection).await?;
                }
                Ok(rows)
            }
        }
    }

    /// Which program answers. In a transaction of the app, which may be on any connection, it counts as PostgreSQL,
    /// whose statements Citus takes as well.
    pub(crate) async fn engine(&self) -> Result<Engine, PgError> {
        match self {
            Self::Pool(database) => Ok(database.reach().await?.engine),
            Self::App(..) => Ok(Engine::Postgres),
        }
    }

    /// Like [`rows`](Self::rows), and keeps what the statement did only if `keep` says so about its rows. Returns what
    /// `keep` says.
    pub(crate) async fn commit_if(
        &mut self,
        sql: &'static str,
        keep: impl Fn(&[PgRow]) -> Result<bool, PgError> + Send + Sync,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<bool, PgError> {
        match self {
            Self::Pool(database) => {
                let rows = database
                    .rows(sql, Plan::Kept, After::CommitIf(&keep), bind)
                    .await?;
                keep(&rows)
            }
            Self::App(connection, schema) => {
                // sqlx does not know of a transaction that the app began with a plain statement, and would
                // commit it.
                sqlx::raw_sql("SAVEPOINT webhook_inbox")
                    .execute(&mut **connection)
                    .await?;
                let rows = bind(sqlx::query(schema.sql(sql)))
                    .persistent(false)
                    .fetch_all(&mut **connection)
                    .await?;
                let kept = keep(&rows)?;
                let end = match kept {
                    true => "RELEASE SAVEPOINT webhook_inbox",
                    false => "ROLLBACK TO SAVEPOINT webhook_inbox; RELEASE SAVEPOINT webhook_inbox",
                };
                sqlx::raw_sql(end).execute(&mut **connection).await?;
                Ok(kept)
            }
        }
    }

    async fn rows_by(
        &mut self,
        sql: &'static str,
        plan: Plan,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        match self {
            Self::Pool(database) => database.rows(sql, plan, After::Nothing, bind).await,
            // The app's connection may go through a pooler: nothing may stay prepared on it.
            Self::App(connection, schema) => bind(sqlx::query(schema.sql(sql)))
                .persistent(false)
                .fetch_all(&mut **connection)
                .await
                .map_err(PgError::from),
        }
    }
}

/// Whether a transaction-mode pooler stands between this process and the database. It decides whether
/// notifications arrive.
///
/// [`Sessions`] says something else: how statements run on the pool. The two differ for a pool that the app
/// shares, which may be [`Link::Direct`] and is always [`Sessions::Borrowed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// A connection keeps its session: LISTEN works.
    Direct,
    /// A transaction-mode pooler gives each transaction another session: workers poll.
    Pooled,
}

/// Whether the sessions of the pool keep their settings and prepared statements between statements of ours.
/// [`Link`] says how it differs from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Yes: nobody else uses them, and they have the settings of [`settings`] from their start. Statements
    /// stay prepared, and each is a transaction by itself.
    Own,
    /// No: a pooler gives each transaction another session, or the app has settings of its own in them. Each
    /// statement is wrapped in a transaction that sets what it needs, and that also makes sure that one server
    /// prepares and executes it.
    Borrowed,
}

/// The connections of the pool of a [`PgStore`](crate::PgStore).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connections {
    /// Connections that run a statement, or are being opened or returned.
    pub in_use: u32,
    /// Open connections that do nothing.
    pub idle: u32,
    /// How many connections the pool may have.
    pub limit: u32,
}

/// A pool, and how to run statements on it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    /// What answers, once the database was reached.
    found: Arc<OnceLock<Found>>,
    /// Locked by the attempt to reach it that is under way.
    reaching: Arc<Mutex<()>>,
    /// How to reach it; `None` for a pool of the app.
    options: Option<Arc<PgOptions>>,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    durability: Durability,
    schema: Schema,
    /// Only for a pool that the app does not share.
    idle: Option<Arc<IdleConnections>>,
}

impl Database {
    /// Uses a pool that belongs to this store alone, and whose first connection is made when it is needed.
    pub(crate) fn own(options: PgOptions) -> Self {
        let found = Arc::<OnceLock<Found>>::default();
        let (durability, known) = (options.durability, Arc::clone(&found));
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(IDLE_TIMEOUT)
            .max_lifetime(MAX_LIFETIME)
            // A dead connection is noticed when it is used, which saves a round trip for all others.
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let link = known.get().map(|it| it.link);
                Box::pin(async move {
                    match link {
                        Some(Link::Direct) => Self::set_up_durability(connection, durability).await,
                        Some(Link::Pooled) | None => Ok(()),
                    }
                })
            })
            .connect_lazy_with(options.first_connection());
        Self {
            pool,
            found,
            reaching: Arc::default(),
            acquire_timeout: options.acquire_timeout,
            statement_timeout: options.statement_timeout,
            durability,
            schema: options.schema.clone(),
            options: Some(Arc::new(options)),
            idle: Some(Arc::default()),
        }
    }

    /// Uses a pool of the app, which may need the connections itself.
    pub(crate) fn shared(
        pool: PgPool,
        acquire_timeout: Duration,
        statement_timeout: Duration,
        schema: Schema,
        found: Found,
    ) -> Self {
        Self {
            pool,
            schema,
            found: Arc::new(OnceLock::from(found)),
            reaching: Arc::default(),
            options: None,
            acquire_timeout,
            statement_timeout,
            durability: Durability::default(),
            idle: None,
        }
    }

    /// The schema of the inbox.
    pub(crate) const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Makes the first connection, unless that was done. Callers that come meanwhile wait for it.
    ///
    /// An attempt goes on after its caller has given up. Otherwise those that have waited would have little time left
    /// for theirs, one after another, and none would succeed while calls keep coming.
    pub(crate) async fn reach(&self) -> Result<Found, PgError> {
        if let Some(found) = self.found.get() {
            return Ok(*found);
        }
        let reaching = async {
            let turn = Arc::clone(&self.reaching).lock_owned().await;
            if let Some(found) = self.found.get() {
                return Ok(*found);
            }
            let database = self.clone();
            let attempt = tokio::spawn(async move {
                let _turn = turn;
                database.connect_first().await
            });
            match attempt.await {
                Ok(reached) => reached,
                Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
                // The runtime is shutting down.
                Err(_) => Err(sqlx::Error::PoolClosed.into()),
            }
        };
        timeout(self.acquire_timeout, reaching)
            .await
            .unwrap_or_else(|_| {
                let connection = self.connect_options();
                Err(cannot_connect(&connection, sqlx::Error::PoolTimedOut))
            })
    }

    async fn connect_first(&self) -> Result<Found, PgError> {
        let Some(options) = self.options.as_deref().filter(|_| !self.is_closed()) else {
            return Err(sqlx::Error::PoolClosed.into());
        };
        let found = first::connect(options).await?;
        let connection = options.first_connection();
        self.pool.set_connect_options(match found.link {
            Link::Direct => Self::set_up(connection, options.statement_timeout, found.engine),
            Link::Pooled => connection.statement_cache_capacity(0),
        });
        Ok(*self.found.get_or_init(|| found))
    }

    /// Whether a pooler is between this process and the database; `None` until the database is reached.
    pub(crate) fn link(&self) -> Option<Link> {
        self.found.get().map(|it| it.link)
    }

    /// How statements run. Before the database is reached, none does.
    fn sessions(&self) -> Sessions {
        match (self.link(), &self.options) {
            (Some(Link::Direct), Some(_)) => Sessions::Own,
            _ => Sessions::Borrowed,
        }
    }

    /// The options with which the pool connects.
    pub(crate) fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    /// The connections of the pool, from memory.
    pub(crate) fn connections(&self) -> Connections {
        let kept = self.idle.as_ref().map_or(0, |idle| idle.len());
        let open = self.pool.size();
        let idle = u32::try_from(self.pool.num_idle() + kept).unwrap_or(u32::MAX);
        // The two numbers are not read at the same time.
        let idle = idle.min(open);
        Connections {
            in_use: open - idle,
            idle,
            limit: self.pool.options().get_max_connections(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// Closes every connection once it is free.
    pub(crate) async fn close(&self) {
        let closed = self.pool.close();
        if let Some(idle) = &self.idle {
            idle.give_back();
        }
        closed.await;
    }

    async fn rows(
        &self,
        sql: &'static str,
        plan: Plan,
        after: After<'_>,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        let mut suspect = false;
        let mut runs = 1;
        loop {
            let error = match self
                .run(
                    bind(sqlx::query(self.schema.sql(sql))),
                    plan,
                    after,
                    suspect,
                )
                .await
            {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            match error.remedy() {
                // One dead connection means that the others are probably dead as well.
                Remedy::Reconnect if !suspect => {
                    suspect = true;
                    if let Some(idle) = &self.idle {
                        idle.give_back();
                    }
                }
                Remedy::Repeat if runs < MAX_RUNS => {
                    sleep(REPEAT_BACKOFF.delay(runs)).await;
                    runs += 1;
                }
                _ => return Err(error),
            }
            tracing::debug!(%error, "statement failed, running it again");
        }
    }

    /// Runs a statement, and what follows it, in a transaction of its own.
    async fn run(
        &self,
        query: Query,
        plan: Plan,
        after: After<'_>,
        suspect: bool,
    ) -> Result<Vec<PgRow>, PgError> {
        let mut checkout = self.acquire(suspect).await?;
        let answer_timeout = match plan {
            Plan::AnewWithin(limit) => limit + ANSWER_GRACE,
            Plan::Kept | Plan::Anew => self.answer_timeout(),
        };
        let begin = match (self.sessions(), plan) {
            (Sessions::Own, Plan::Kept) => match after {
                After::Nothing => None,
                After::CommitIf(_) | After::Run(_) => Some(self.begin()),
            },
            (Sessions::Own, Plan::Anew) => Some(settings::begin_and_plan_anew()),
            (Sessions::Own, Plan::AnewWithin(limit)) => {
                Some(settings::begin_and_plan_anew_within(limit))
            }
            // Without prepared statements, each one is planned when it runs.
            (Sessions::Borrowed, Plan::AnewWithin(limit)) => {
                let begin = settings::begin_and_set(limit, self.durability);
                Some(AssertSqlSafe(begin))
            }
            (Sessions::Borrowed, _) => Some(self.begin()),
        };
        let rows = match begin {
            None => {
                checkout
                    .during_statement(answer_timeout, async |connection| {
                        Ok(query.fetch_all(connection).await?)
                    })
                    .await?
            }
            Some(begin) => {
                checkout
                    .during(answer_timeout, async |connection| {
                        let mut transaction = connection.begin_with(begin).await?;
                        let stays = matches!((self.sessions(), plan), (Sessions::Own, Plan::Kept));
                        let rows = query.persistent(stays).fetch_all(&mut *transaction).await?;
                        let is_kept = match after {
                            After::Nothing => true,
                            After::CommitIf(keep) => keep(&rows).unwrap_or(false),
                            After::Run(then) => {
                                let second = sqlx::query(self.schema.sql(then.sql));
                                if let Some(second) = (then.bind)(second, &rows)? {
                                    let second = second.persistent(stays);
                                    second.execute(&mut *transaction).await?;
                                }
                                true
                            }
                        };
                        if is_kept {
                            transaction.commit().await?;
                        } else {
                            transaction.rollback().await?;
                        }
                        Ok(rows)
                    })
                    .await?
            }
        };
        if let Some(idle) = &self.idle {
            idle.keep(checkout, || self.pool.is_closed());
        }
        Ok(rows)
    }

    /// Takes a connection. With `suspect`, it is pinged first.
    pub(crate) async fn acquire(&self, suspect: bool) -> Result<Checkout, PgError> {
        self.reach().await?;
        let _waiting = match &self.idle {
            Some(idle) if !suspect => match idle.take() {
                Ok(checkout) => return Ok(checkout),
                Err(waiting) => Some(waiting),
            },
            _ => None,
        };
        let live = async {
            loop {
                let mut checkout = Checkout::new(self.pool.acquire().await?);
                if !suspect {
                    return Ok(checkout);
                }
                if checkout
                    .during_statement(PING_TIMEOUT, async |connection| {
                        Ok(connection.ping().await?)
                    })
                    .await
                    .is_ok()
                {
                    return Ok(checkout);
                }
            }
        };
        timeout(self.acquire_timeout, live)
            .await
            .map_err(|_| PgError::from(sqlx::Error::PoolTimedOut))?
    }

    /// Returns how long to wait for the result of a statement.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_GRACE
    }

    /// Returns the statement that begins a transaction with all settings, in one round trip.
    pub(crate) fn begin(&self) -> AssertSqlSafe<String> {
        match self.sessions() {
            Sessions::Own => AssertSqlSafe(settings::BEGIN.to_owned()),
            Sessions::Borrowed => self.begin_on_any_session(),
        }
    }

    /// Returns the statement that begins a transaction on a session with unknown settings.
    pub(crate) fn begin_on_any_session(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(settings::begin_and_set(
            self.statement_timeout,
            self.durability,
        ))
    }

    /// Adds the settings of [`Sessions::Own`] to the start-up packet.
    pub(crate) fn set_up(
        options: PgConnectOptions,
        statement_timeout: Duration,
        engine: Engine,
    ) -> PgConnectOptions {
        options.options(settings::of_own_session(statement_timeout, engine))
    }

    /// Sets the durability of a new connection of [`Sessions::Own`].
    async fn set_up_durability(
        connection: &mut PgConnection,
        durability: Durability,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(settings::once_per_session(durability))
            .execute(connection)
            .await
            .map(|_| ())
    }
}

/// A connection from the pool that is always returned.
///
/// sqlx returns a connection only after the server has answered a ping, without a time limit. If the server
/// vanished, or the statement was abandoned while it waits for a lock, the connection would occupy its place in
/// the pool for that long. Here it has a time limit.
pub(crate) struct Checkout {
    connection: Option<PoolConnection<Postgres>>,
    /// When it was taken from the pool.
    lent: Instant,
    /// How long it may take to be ready again.
    settles_in: Duration,
    /// Whether a transaction may be open on it.
    may_be_within: bool,
}

impl Checkout {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection: Some(connection),
            lent: Instant::now(),
            settles_in: PING_TIMEOUT,
            may_be_within: false,
        }
    }

    /// Runs `work`, with a time limit. A connection that failed is not used again.
    pub(crate) async fn during<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, PgError>,
    ) -> Result<T, PgError> {
        self.may_be_within = true;
        self.during_statement(limit, work).await
    }

    /// The same for one statement, which begins no transaction: the connection is used again also if this is dropped.
    async fn during_statement<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, PgError>,
    ) -> Result<T, PgError> {
        // Applies while `work` is running: if it is dropped then, the server is still busy with it.
        self.settles_in = limit + PING_TIMEOUT;
        let Some(connection) = self.connection.as_mut() else {
            return Err(PgError::from(sqlx::Error::PoolClosed));
        };
        let result = match timeout(limit, work(connection)).await {
            Ok(result) => result,
            Err(_) => {
                self.discard();
                return Err(PgError::TimedOut { after: limit });
            }
        };
        self.settles_in = PING_TIMEOUT;
        self.may_be_within = false;
        if let Err(error) = &result
            && error.remedy() == Remedy::Reconnect
        {
            self.discard();
        }
        result
    }

    fn discard(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        // sqlx returns and closes pooled connections in a task, and spawning a task panics without a
        // runtime. A detached connection closes its socket instead.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        // When the time is over, this is dropped, which closes the connection and frees its place.
        let (settles_in, may_be_within) = (self.settles_in, self.may_be_within);
        runtime.spawn(timeout(settles_in, async move {
            // sqlx does not roll back a transaction whose BEGIN was sent and not answered. The next statement on the
            // connection would be part of it, and would never be committed.
            if may_be_within && connection.ping().await.is_ok() {
                let _ = connection.close().await;
            } else {
                connection.return_to_pool().await;
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;
    use webhook_core::Admin;

    use super::*;
    use crate::PgStore;
    use crate::testing::TestDatabase;

    /// A store with one connection.
    async fn store() -> (TestDatabase, PgStore) {
        let database = TestDatabase::create().await;
        let mut options: PgOptions = database.url().parse().unwrap();
        options.max_connections = 1;
        let store = PgStore::connect_with(options).await.unwrap();
        store.migrate().await.unwrap();
        (database, store)
    }

    /// sqlx does not roll back a transaction if a setting fails that is sent together with BEGIN.
    #[tokio::test]
    async fn a_connection_whose_transaction_failed_while_it_began_is_not_used_again() {
        let (database, store) = store().await;
        let mut checkout = store.inner.database.acquire(false).await.unwrap();
        let failing = checkout.during(PING_TIMEOUT, async |connection| {
            let begin = AssertSqlSafe("BEGIN; SELECT 1 / 0".to_owned());
            connection.begin_with(begin).await?.commit().await?;
            Ok(())
        });
        failing.await.unwrap_err();
        drop(checkout);
        let kinds = store.kinds().await;
        assert_eq!(kinds.unwrap(), []);
        store.close().await;
        database.drop_database().await;
    }

    /// Each client that goes away would cost a connection.
    #[tokio::test]
    async fn a_connection_is_used_again_after_a_statement_that_was_dropped() {
        let (database, store) = store().await;
        let pid = async || {
            let mut session = store.session();
            let rows = session.rows("SELECT pg_backend_pid() AS pid", |query| query);
            rows.await.unwrap()[0].get::<i32, _>("pid")
        };
        let before = pid().await;
        let statement = async {
            let mut session = store.session();
            session.rows("SELECT pg_sleep(0.2)", |query| query).await
        };
        timeout(Duration::from_millis(20), statement)
            .await
            .unwrap_err();
        assert_eq!(pid().await, before);
        store.close().await;
        database.drop_database().await;
    }
}
