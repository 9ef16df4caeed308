//! Runs statements: on a pool's connection of its own, or inside an app's transaction.

mod spares;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::time::{sleep, timeout};

use crate::error::{PgError, Remedy};
use spares::Spares;

/// A statement with its arguments.
pub(crate) type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// How often a statement that met a deadlock or a serialization conflict is run in all.
const MAX_RUNS: u32 = 5;

/// How long a connection has to prove that it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How much longer than the server a client waits for its answer.
const ANSWER_GRACE: Duration = Duration::from_secs(3);

/// Where statements run.
pub(crate) enum Session<'c> {
    /// Each on a connection of the pool, as a transaction of its own.
    Pool(&'c Database),
    /// All inside the transaction that the app has open on this connection, if it has one.
    App(&'c mut PgConnection),
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
        match self {
            Self::Pool(database) => database.rows(sql, bind).await,
            // The app's connection may go through a pooler: nothing may stay prepared on it.
            Self::App(connection) => bind(sqlx::query(sql))
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
    /// Ours alone, with [`SETTINGS`] from their start: statements stay prepared, and each is a
    /// transaction by itself.
    Own,
    /// Another one for each transaction (a pooler's), or with settings that are the app's: each
    /// statement is wrapped in a transaction, which also brings the two round trips of preparing
    /// and executing it to one server.
    Borrowed,
}

/// What the statements here rely on.
///
/// Plans may be made while a table is empty and be kept until it is huge: only index scans, in
/// the index's order, are right for both. The JIT compiler must not be started by what the
/// planner imagines the other ones to cost.
const SETTINGS: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
];

/// Turns `synchronous_commit` on where the server or the role has it off: what is answered as
/// durable must be. Any other value is, and stays. This one is for a session, the other one for a
/// transaction.
const DURABLE_SESSION: &str = "SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";
const DURABLE_TRANSACTION: &str = "SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// A pool, and how to run statements on it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    sessions: Sessions,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    /// Where the pool is ours alone.
    spares: Option<Arc<Spares>>,
}

impl Database {
    /// Works on a pool that nobody else uses.
    pub(crate) fn own(
        pool: PgPool,
        sessions: Sessions,
        acquire_timeout: Duration,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            pool,
            sessions,
            acquire_timeout,
            statement_timeout,
            spares: Some(Arc::default()),
        }
    }

    /// Works on a pool that is the app's, whose connections it may need itself.
    pub(crate) fn shared(
        pool: PgPool,
        acquire_timeout: Duration,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            pool,
            sessions: Sessions::Borrowed,
            acquire_timeout,
            statement_timeout,
            spares: None,
        }
    }

    /// How the pool connects.
    pub(crate) fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    /// Closes every connection once it is free.
    pub(crate) async fn close(&self) {
        let closed = self.pool.close();
        if let Some(spares) = &self.spares {
            spares.give_back();
        }
        closed.await;
    }

    async fn rows(
        &self,
        sql: &'static str,
        bind: impl Fn(Query) -> Query + Send,
    ) -> Result<Vec<PgRow>, PgError> {
        let mut suspect = false;
        let mut runs = 1;
        loop {
            let error = match self.run(bind(sqlx::query(sql)), suspect).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            match error.remedy() {
                // One dead connection means that the others are probably dead as well.
                Remedy::Reconnect if !suspect => {
                    suspect = true;
                    if let Some(spares) = &self.spares {
                        spares.give_back();
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

    async fn run(&self, query: Query, suspect: bool) -> Result<Vec<PgRow>, PgError> {
        let mut checkout = self.acquire(suspect).await?;
        let rows = checkout
            .during(self.answer_timeout(), async |connection| {
                match self.sessions {
                    Sessions::Own => Ok(query.fetch_all(connection).await?),
                    Sessions::Borrowed => {
                        let mut transaction = connection.begin_with(self.begin()).await?;
                        let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
                        transaction.commit().await?;
                        Ok(rows)
                    }
                }
            })
            .await?;
        if let Some(spares) = &self.spares {
            spares.keep(checkout, || self.pool.is_closed());
        }
        Ok(rows)
    }

    /// A connection; a `suspect` one only after it has proved to be alive.
    pub(crate) async fn acquire(&self, suspect: bool) -> Result<Checkout, PgError> {
        let _waiting = match &self.spares {
            Some(spares) if !suspect => match spares.take() {
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
            .map_err(|_| PgError::Query(sqlx::Error::PoolTimedOut))?
    }

    /// How long to wait for the answer to a statement.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_GRACE
    }

    /// Begins a transaction with everything it needs, in one round trip.
    pub(crate) fn begin(&self) -> AssertSqlSafe<String> {
        let mut sql = String::from("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;");
        if self.sessions == Sessions::Borrowed {
            let timeout_ms = self.statement_timeout.as_millis();
            sql.push_str(&format!("SET LOCAL statement_timeout = {timeout_ms};"));
            for (name, value) in SETTINGS {
                sql.push_str(&format!("SET LOCAL {name} = {value};"));
            }
            sql.push_str(DURABLE_TRANSACTION);
        }
        AssertSqlSafe(sql)
    }

    /// The options of [`Sessions::Own`], for a connection's start.
    pub(crate) fn set_up(
        options: PgConnectOptions,
        statement_timeout: Duration,
    ) -> PgConnectOptions {
        let timeout_ms = statement_timeout.as_millis().to_string();
        options.options(SETTINGS).options([
            ("statement_timeout", timeout_ms.as_str()),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
        ])
    }

    /// What a connection of [`Sessions::Own`] has to run once.
    pub(crate) async fn set_up_durability(
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(DURABLE_SESSION)
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
            return Err(PgError::Query(sqlx::Error::PoolClosed));
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
        // Without a runtime the pool is gone as well.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Dropped when the time is over, it closes the connection and frees its place.
            let settled = timeout(self.settles_in, connection.return_to_pool());
            runtime.spawn(async move {
                let _ = settled.await;
            });
        }
    }
}
