//! Opens a store: detects a pooler, and sets up the connection pool.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::timeout;

use crate::error::PgError;
use crate::options::{Durability, PgOptions, Pooler, server};
use crate::schema::Schema;
use crate::session::{Database, Engine, Link, Sessions};
use crate::store::PgStore;
use crate::tls_files::TlsFile;

/// How long a connection may be unused before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a connection lives, so that the load is distributed again after a failover.
const MAX_LIFETIME: Duration = Duration::from_secs(1800);

/// How long closing waits for statements under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl PgStore {
    /// Connects to the database of `url`, see [`PgOptions`].
    ///
    /// This does not create the schema: call [`migrate`](PgStore::migrate).
    ///
    /// # Errors
    ///
    /// [`PgError::Url`], or an error of [`connect_with`](PgStore::connect_with).
    pub async fn connect(url: &str) -> Result<Self, PgError> {
        Self::connect_with(url.parse()?).await
    }

    /// Connects with `options`. Opens one connection to check that it works, and whether there is a pooler.
    /// Further connections are opened when they are needed.
    ///
    /// # Errors
    ///
    /// [`PgError::TlsFile`] if a certificate or key that the URL names cannot be used. [`PgError::Connect`] if the database
    /// cannot be reached, refuses the connection, or does not answer within [`PgOptions::acquire_timeout`].
    /// There is no second try.
    pub async fn connect_with(options: PgOptions) -> Result<Self, PgError> {
        // PgBouncer refuses this start parameter, and the statements here return no floats.
        let connection = options.connection.clone().extra_float_digits(None);
        check_tls_files(&options).await?;
        warn_of_plain_text(&connection);
        let found = probe(&connection, options.pooler, options.acquire_timeout).await?;
        let Found { link, engine } = found;
        tracing::info!(
            server = server(&connection),
            mode = match link {
                Link::Direct => "direct: prepared statements, notifications",
                Link::Pooled => "transaction-mode pooler: polling",
            },
            found = if options.pooler == Pooler::Detect {
                "by probing"
            } else {
                "by option"
            },
            ?engine,
            "connected to PostgreSQL"
        );
        let limits = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(IDLE_TIMEOUT)
            .max_lifetime(MAX_LIFETIME)
            // A dead connection is noticed when it is used, which saves a round trip for all others.
            .test_before_acquire(false);
        let durability = options.durability;
        if durability == Durability::Asynchronous {
            tracing::warn!(
                "durability=asynchronous: a crash of PostgreSQL loses acknowledged events"
            );
        }
        let (pool, sessions) = match link {
            Link::Direct => (
                limits
                    .after_connect(move |connection, _| {
                        Box::pin(Database::set_up_durability(connection, durability))
                    })
                    .connect_lazy_with(Database::set_up(
                        connection,
                        options.statement_timeout,
                        engine,
                    )),
                Sessions::Own,
            ),
            Link::Pooled => (
                limits.connect_lazy_with(connection.statement_cache_capacity(0)),
                Sessions::Borrowed,
            ),
        };
        let database = Database::own(
            pool,
            sessions,
            options.acquire_timeout,
            options.statement_timeout,
            durability,
            options.schema,
            engine,
        );
        Ok(Self::over(database, link))
    }

    /// Uses a connection pool of the app, which the app may continue to use.
    ///
    /// The settings of its sessions are unknown, so every statement is wrapped in a transaction that sets what
    /// it needs: a few more round trips than with a pool of its own. `pooler` says what is between the pool and
    /// the database.
    ///
    /// # Errors
    ///
    /// The same as for [`connect_with`](PgStore::connect_with).
    pub async fn from_pool(pool: PgPool, pooler: Pooler) -> Result<Self, PgError> {
        Self::from_pool_in(pool, pooler, Schema::default()).await
    }

    /// Like [`from_pool`](Self::from_pool), for an inbox in another schema.
    ///
    /// # Errors
    ///
    /// The same as for [`connect_with`](PgStore::connect_with).
    pub async fn from_pool_in(
        pool: PgPool,
        pooler: Pooler,
        schema: Schema,
    ) -> Result<Self, PgError> {
        let connection = pool.connect_options();
        let acquire_timeout = pool.options().get_acquire_timeout();
        let Found { link, engine } = probe(&connection, pooler, acquire_timeout).await?;
        let statement_timeout = PgOptions::new((*connection).clone()).statement_timeout;
        let database = Database::shared(pool, acquire_timeout, statement_timeout, schema, engine);
        Ok(Self::over(database, link))
    }

    /// Closes all connections, and waits a few seconds at most until they are free. Later calls of the store
    /// return [`StoreError::Unavailable`](webhook_core::StoreError::Unavailable).
    pub async fn close(&self) {
        self.inner.wakeups.flush().await;
        let closing = async {
            self.inner.database.close().await;
            self.inner.probe.close().await;
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("store closed while connections to PostgreSQL were still busy");
        }
        // Last: a notification under way holds a connection until it is sent.
        self.inner.wakeups.stop();
    }
}

/// Checks the files with certificates and keys that the connection will read.
async fn check_tls_files(options: &PgOptions) -> Result<(), PgError> {
    let mode = options.connection.get_ssl_mode();
    let files = options.tls_files.iter().filter(|file| file.is_used(mode));
    let files: Vec<_> = files.cloned().collect();
    if files.is_empty() {
        return Ok(());
    }
    // A network file system may never answer.
    let checking = tokio::task::spawn_blocking(move || files.iter().try_for_each(TlsFile::check));
    let after = options.acquire_timeout;
    match timeout(after, checking).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        Err(_) => Err(PgError::TimedOut { after }),
    }
}

/// What the first connection has found.
struct Found {
    link: Link,
    engine: Engine,
}

/// Connects once, to check that the database can be reached, whether there is a pooler, and which program answers.
async fn probe(
    connection: &PgConnectOptions,
    pooler: Pooler,
    limit: Duration,
) -> Result<Found, PgError> {
    let found = async {
        match pooler {
            Pooler::None => once(connection, Link::Direct).await,
            Pooler::Transaction => once(connection, Link::Pooled).await,
            // A direct session starts with the settings of the start-up packet. A pooler refuses or ignores
            // them, since its sessions have started before.
            Pooler::Detect => ask(connection).await,
        }
    };
    timeout(limit, found)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|error| cannot_connect(connection, error))
}

/// The error for a connection that cannot be made.
pub(crate) fn cannot_connect(connection: &PgConnectOptions, error: sqlx::Error) -> PgError {
    PgError::Connect {
        server: server(connection),
        source: without_password(error).into(),
    }
}

/// Connects with a setting in the start-up packet. If the server accepts connections only without it, it is a
/// pooler, whatever its error says. Tries twice, since a broken connection looks the same.
async fn ask(connection: &PgConnectOptions) -> Result<Found, sqlx::Error> {
    let asking = connection.clone().options([("webhook.probe", "1")]);
    let pooled = match asking.connect().await {
        Ok(session) => return detect(session).await,
        Err(error) if may_refuse_options(&error) => once(connection, Link::Pooled).await?,
        Err(error) => return Err(error),
    };
    match asking.connect().await {
        Ok(session) => detect(session).await,
        Err(_) => Ok(pooled),
    }
}

async fn once(connection: &PgConnectOptions, link: Link) -> Result<Found, sqlx::Error> {
    let mut session = connection.connect().await?;
    let engine = engine(&mut session).await?;
    session.close().await?;
    Ok(Found { link, engine })
}

/// Finds out which program answers. Names the operator, since the search path of the database may have others.
async fn engine(session: &mut PgConnection) -> Result<Engine, sqlx::Error> {
    let citus =
        "SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'citus'";
    let row = sqlx::raw_sql(citus).fetch_optional(session).await?;
    Ok(match row {
        Some(_) => Engine::Citus,
        None => Engine::Postgres,
    })
}

async fn detect(mut session: PgConnection) -> Result<Found, sqlx::Error> {
    // The simple protocol, since nothing may be prepared through a pooler.
    let row = sqlx::raw_sql("SELECT pg_catalog.current_setting('webhook.probe', true)")
        .fetch_one(&mut session)
        .await?;
    let engine = engine(&mut session).await?;
    session.close().await?;
    // Compared here, since an operator in SQL would be resolved by the search path of the database.
    let probe: Option<String> = row.try_get(0)?;
    let link = if probe.as_deref() == Some("1") {
        Link::Direct
    } else {
        Link::Pooled
    };
    Ok(Found { link, engine })
}

/// Whether an error may mean that the server refuses the settings in the start-up packet: every error that has
/// no other known meaning.
fn may_refuse_options(error: &sqlx::Error) -> bool {
    let other = ["28P01", "3D000", "57P03", "53300"];
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|it| other.contains(&&*it)),
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Replaces sqlx's error about a password that SASLprep does not allow, since it shows a character of the
/// password.
fn without_password(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Configuration(source) if source.to_string().contains("saslprep") => {
            sqlx::Error::Configuration(
                "the user or the password has characters that SASLprep (RFC 4013) does not allow, such \
                 as emoji: give the role another password"
                    .into(),
            )
        }
        other => other,
    }
}

/// Warns about a connection over a network that others could read or take over.
fn warn_of_plain_text(connection: &PgConnectOptions) {
    if may_be_read_by_others(connection) {
        tracing::warn!(
            host = connection.get_host(),
            sslmode = ?connection.get_ssl_mode(),
            "the connection to PostgreSQL may be unencrypted, and its password read by others: add \
             sslmode=verify-full to DATABASE_URL"
        );
    }
}

/// Whether the connection may cross a network without TLS.
fn may_be_read_by_others(connection: &PgConnectOptions) -> bool {
    let host = connection.get_host();
    let is_here = connection.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    !is_here
        && matches!(
            connection.get_ssl_mode(),
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_about_plain_text_unless_the_server_is_local() {
        let warned = |url: &str| {
            let options: PgOptions = url.parse().unwrap();
            may_be_read_by_others(&options.connection)
        };
        for mode in ["disable", "allow", "prefer"] {
            for (host, is_warned) in [
                ("db", true),
                ("db.internal:5433", true),
                ("192.0.2.1", true),
                ("10.0.0.1", true),
                ("[2001:db8::1]", true),
                ("[fe80::1%25eth0]", true),
                ("0.0.0.0", true),
                ("localhost.example", true),
                ("%2Frun%2Fpostgresql", false),
                ("localhost", false),
                ("localhost:5433", false),
                ("127.0.0.1", false),
                ("127.8.9.1", false),
                ("[::1]:5433", false),
            ] {
                let url = format!("postgresql://app@{host}/inbox?sslmode={mode}");
                assert_eq!(warned(&url), is_warned, "{url}");
            }
            let url = format!("postgresql://app@/inbox?host=/run/x&sslmode={mode}");
            assert!(!warned(&url), "{url}");
            let url = format!("postgresql://app@/inbox?hostaddr=192.0.2.1&sslmode={mode}");
            assert!(warned(&url), "{url}");
        }
        // As an app may build them without a URL.
        let built = PgConnectOptions::new().ssl_mode(PgSslMode::Prefer);
        for socket in [
            built.clone().host("/run/x"),
            built.clone().host("db").socket("/run/x"),
        ] {
            assert!(!may_be_read_by_others(&socket), "{socket:?}");
        }
        for tls in [
            "sslmode=require",
            "sslmode=verify-full",
            "sslmode=verify-ca&sslrootcert=/ca",
            "sslmode=require&channel_binding=require",
        ] {
            assert!(
                !warned(&format!("postgresql://app@db/inbox?{tls}")),
                "{tls}"
            );
        }
    }
}
