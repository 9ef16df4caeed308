//! Runs statements: on a pool's connection of its own, or inside an app's transaction.

pub(crate) mod app;
mod idle_connections;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::time::{sleep, timeout};

use crate::error::{PgError, Remedy};
use crate::options::Durability;
use crate::schema::Schema;
use idle_connections::IdleConnections;

/// A statement with its arguments.
pub(crate) type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// How often a statement that met a deadlock or a serialization conflict is run in all.
const MAX_RUNS: u32 = 5;

/// How long a connection has to prove that it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How much longer than the server a client waits for its answer.
const ANSWER_GRACE: Duration = Duration::from_secs(3);

/// Which plan a statement runs by.
#[derive(Clone, Copy)]
enum Plan {
    /// One that fits all arguments, made once for each connection.
    Kept,
    /// One for these arguments.
    Anew,
}

/// Where statements run.
pub(crate) enum Session<'c> {
    /// Each on a connection of the pool, as a transaction of its own.
    Pool(&'c Database),
    /// All inside the transaction that the app has open on this connection, if it has one.
    App(&'c mut PgConnection, &'c Schema),
}

impl Session<'_> {
    /// Runs `sql` with the arguments that `bind` gives it, to its end.
    ///
    /// On the pool it is run again on a fresh connection where the first one was dead, and after
    /// a deadlock: statements must be such that a second run does no harm.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        self.rows_by(sql, Plan::Kept, bind).await
    }

    /// As [`rows`](Self::rows), with a plan for these very arguments: for statements whose best plan
    /// depends on how frequent a kind is.
    pub(crate) async fn rows_planned_anew(
        &mut self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        self.rows_by(sql, Plan::Anew, bind).await
    }

    async fn rows_by(
        &mut self,
        sql: &'static str,
        plan: Plan,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        match self {
            Self::Pool(database) => database.rows(sql, plan, bind).await,
            // The app's connection may go through a pooler: nothing may stay prepared on it.
            Self::App(connection, schema) => bind(sqlx::query(schema.sql(sql)))
                .persistent(false)
                .fetch_all(&mut **connection)
                .await
                .map_err(PgError::from),
        }
    }
}

/// Whose sessions the pool's connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Ours alone, with the settings of [`settings`] from their start: statements stay prepared, and each is a
    /// transaction by itself.
    Own,
    /// Another one for each transaction (a pooler's), or with settings that are the app's: each
    /// statement is wrapped in a transaction, which also brings the two round trips of preparing
    /// and executing it to one server.
    Borrowed,
}

/// A pool, and how to run statements on it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    sessions: Sessions,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    durability: Durability,
    schema: Schema,
    /// Only for a pool that the app does not share.
    idle: Option<Arc<IdleConnections>>,
}

impl Database {
    /// Works on a pool that nobody else uses.
    pub(crate) fn own(
        pool: PgPool,
        sessions: Sessions,
        acquire_timeout: Duration,
        statement_timeout: Duration,
        durability: Durability,
        schema: Schema,
    ) -> Self {
        Self {
            pool,
            sessions,
            acquire_timeout,
            statement_timeout,
            durability,
            schema,
            idle: Some(Arc::default()),
        }
    }

    /// Works on a pool that is the app's, whose connections it may need itself.
    pub(crate) fn shared(
        pool: PgPool,
        acquire_timeout: Duration,
        statement_timeout: Duration,
        schema: Schema,
    ) -> Self {
        Self {
            pool,
            schema,
            sessions: Sessions::Borrowed,
            acquire_timeout,
            statement_timeout,
            durability: Durability::default(),
            idle: None,
        }
    }

    /// Where the inbox is.
    pub(crate) const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How the pool connects.
    pub(crate) fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
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
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        let mut suspect = false;
        let mut runs = 1;
        loop {
            let error = match self
                .run(bind(sqlx::query(self.schema.sql(sql))), plan, suspect)
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
                    sleep(Duration::from_millis(5) * runs).await;
                    runs += 1;
                }
                _ => return Err(error),
            }
            tracing::debug!(%error, "statement is run again");
        }
    }

    async fn run(&self, query: Query, plan: Plan, suspect: bool) -> Result<Vec<PgRow>, PgError> {
        let mut checkout = self.acquire(suspect).await?;
        let rows = checkout
            .during(self.answer_timeout(), async |connection| {
                let begin = match (self.sessions, plan) {
                    (Sessions::Own, Plan::Kept) => None,
                    (Sessions::Own, Plan::Anew) => Some(settings::begin_and_plan_anew()),
                    // There, every statement is planned when it runs.
                    (Sessions::Borrowed, _) => Some(self.begin()),
                };
                match begin {
                    None => Ok(query.fetch_all(connection).await?),
                    Some(begin) => {
                        let mut transaction = connection.begin_with(begin).await?;
                        let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
                        transaction.commit().await?;
                        Ok(rows)
                    }
                }
            })
            .await?;
        if let Some(idle) = &self.idle {
            idle.keep(checkout, || self.pool.is_closed());
        }
        Ok(rows)
    }

    /// A connection; a `suspect` one only after it has proved to be alive.
    pub(crate) async fn acquire(&self, suspect: bool) -> Result<Checkout, PgError> {
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
                    .during(PING_TIMEOUT, async |connection| {
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

    /// How long to wait for the answer to a statement.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_GRACE
    }

    /// Begins a transaction with everything it needs, in one round trip.
    pub(crate) fn begin(&self) -> AssertSqlSafe<String> {
        match self.sessions {
            Sessions::Own => AssertSqlSafe(settings::BEGIN.to_owned()),
            Sessions::Borrowed => self.begin_on_any_session(),
        }
    }

    /// Begins a transaction on a session whose settings are unknown.
    pub(crate) fn begin_on_any_session(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(settings::begin_and_set(
            self.statement_timeout,
            self.durability,
        ))
    }

    /// The options of [`Sessions::Own`], for a connection's start.
    pub(crate) fn set_up(
        options: PgConnectOptions,
        statement_timeout: Duration,
    ) -> PgConnectOptions {
        options.options(settings::of_own_session(statement_timeout))
    }

    /// What a connection of [`Sessions::Own`] has to run once.
    pub(crate) async fn set_up_durability(
        connection: &mut PgConnection,
        durability: Durability,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(settings::once_per_session(durability))
            .execute(connection)
            .await
            .map(|_| ())
    }
}

/// A connection out of the pool that finds its way back whatever happens.
///
/// sqlx gives a connection back only after the server has answered a ping, without a limit: one
/// whose server vanished, or whose statement was abandoned while it waits for a lock, would hold
/// its place in the pool for as long. Here it has a limit.
pub(crate) struct Checkout {
    connection: Option<PoolConnection<Postgres>>,
    /// When the pool gave it.
    lent: Instant,
    /// How long it may take to become ready again.
    settles_in: Duration,
}

impl Checkout {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection: Some(connection),
            lent: Instant::now(),
            settles_in: PING_TIMEOUT,
        }
    }

    /// Runs `work`, for at most `limit`; a connection that failed is not used again.
    pub(crate) async fn during<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, PgError>,
    ) -> Result<T, PgError> {
        // Holds while `work` is under way: what is dropped then is still busy on the server.
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
        // sqlx returns and closes pooled connections in a task, and spawning one panics without a
        // runtime. A detached connection closes its socket instead.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        // Dropped when the time is over, it closes the connection and frees its place.
        let settled = timeout(self.settles_in, connection.return_to_pool());
        runtime.spawn(async move {
            let _ = settled.await;
        });
    }
}
