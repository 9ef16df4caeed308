//! The backend that the configuration names: PostgreSQL, or memory if no database is configured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};
use webhook_core::{Admin, Backoff, Scheduler, Store};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};
use webhook_postgres::{PgError, PgOptions, PgStore};

use crate::config::{Config, DatabaseUrl, Migrate, SecretsError};
use crate::transaction;

/// How long to wait between two attempts to connect to the database at the start.
const CONNECT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// An open backend, by the traits that the inbox, workers and operators use.
pub struct Backend {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    /// Without it there are no operator routes, and nothing is deleted.
    pub(crate) admin: Option<Arc<dyn Admin>>,
    /// The database to close at shutdown.
    database: Option<PgStore>,
}

impl Backend {
    /// A backend of the caller, without operator routes and retention.
    pub fn new(store: Arc<dyn Store>, scheduler: Arc<dyn Scheduler>) -> Self {
        Self {
            store,
            scheduler,
            admin: None,
            database: None,
        }
    }

    /// Opens the backend of `config`. Waits for the database up to `database_wait_seconds`.
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenError> {
        let Some(url) = database_url(config).await? else {
            return Ok(Self::in_memory(config));
        };
        let database = connect(&url, config).await?;
        if config.migrate == Migrate::Auto {
            migrate(&database).await?;
        }
        // The ping also logs settings of the database that may lose commits.
        if let Err(error) = database.ping().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "database is not ready; /readyz reports when it is"
            );
        }
        Ok(Self {
            store: Arc::new(database.clone()),
            scheduler: Arc::new(database.clone()),
            admin: Some(Arc::new(database.clone())),
            database: Some(database),
        })
    }

    fn in_memory(config: &Config) -> Self {
        warn!(
            capacity = config.memory_capacity,
            max_bytes = config.memory_max_bytes,
            "DATABASE_URL is not set: events are kept IN MEMORY and do not survive a restart"
        );
        let store = Arc::new(MemoryStore::new(
            MemoryOptions::default()
                .with_capacity(config.memory_capacity)
                .with_max_bytes(config.memory_max_bytes)
                .with_when_full(WhenFull::EvictProcessed),
        ));
        Self {
            store: Arc::clone(&store) as Arc<dyn Store>,
            scheduler: Arc::clone(&store) as Arc<dyn Scheduler>,
            admin: Some(store),
            database: None,
        }
    }

    /// Connects to the database of `config`, without migrating it.
    pub(crate) async fn database(config: &Config) -> Result<PgStore, OpenError> {
        let url = database_url(config).await?.ok_or(OpenError::NoDatabase)?;
        let database = connect(&url, config).await?;
        match database.ping().await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(OpenError::NotReady(error))
            }
        }
    }

    /// Brings the schema of the database of `config` up to date.
    pub(crate) async fn migrate(config: &Config) -> Result<(), OpenError> {
        let url = database_url(config).await?.ok_or(OpenError::NoDatabase)?;
        let database = connect(&url, config).await?;
        let migrated = migrate(&database).await;
        database.close().await;
        migrated
    }

    pub(crate) async fn close(self) {
        if let Some(database) = self.database {
            database.close().await;
        }
    }
}

/// Reads the database URL on a blocking thread: it may be in a file.
async fn database_url(config: &Config) -> Result<Option<DatabaseUrl>, OpenError> {
    let config = config.clone();
    let reading = tokio::task::spawn_blocking(move || config.read_database_url());
    let read = reading.await.map_err(OpenError::UrlTask)?;
    read.map_err(OpenError::UrlFile)
}

/// Tries to connect to the database until `database_wait_seconds` are over.
async fn connect(url: &DatabaseUrl, config: &Config) -> Result<PgStore, OpenError> {
    let mut options: PgOptions = url.expose().parse().map_err(OpenError::Url)?;
    options.max_connections = config.database_pool_size.get();
    let wait = config.database_wait_seconds;
    let started = Instant::now();
    let deadline = started + wait;
    // The first attempt is made however short the wait is.
    let first_deadline = deadline.max(started + options.acquire_timeout);
    info!(database = ?options, "connecting");
    let mut failures = 0;
    let mut attempt_deadline = first_deadline;
    let mut reason = PgError::TimedOut { after: wait };
    loop {
        let connecting = PgStore::connect_with(options.clone());
        match timeout_at(attempt_deadline, connecting).await {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(error @ PgError::TlsFile { .. })) => return Err(OpenError::Url(error)),
            Ok(Err(error)) if error.is_permanent() => return Err(OpenError::Refused(error)),
            Ok(Err(error)) => reason = error,
            // Cut off by the end of the wait: the error of the attempt before says more.
            Err(_) => {}
        }
        failures += 1;
        let pause = CONNECT_BACKOFF.ceiling(failures);
        let now = Instant::now();
        if now + pause >= deadline {
            return Err(OpenError::Unreachable {
                waited: wait,
                source: reason,
            });
        }
        warn!(
            error = &reason as &dyn std::error::Error,
            next_try_in_seconds = pause.as_secs_f64(),
            giving_up_in_seconds = (deadline - now).as_secs_f64().round(),
            "database not reachable yet"
        );
        sleep(pause).await;
        attempt_deadline = deadline;
    }
}

async fn migrate(database: &PgStore) -> Result<(), OpenError> {
    let migrated = database.migrate_with(&[transaction::VIEW]).await;
    migrated.map_err(OpenError::Migrate)?;
    info!("database schema is up to date");
    Ok(())
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No database is configured.
    #[error("DATABASE_URL is not set")]
    NoDatabase,
    /// The file that holds the URL cannot be used.
    #[error("failed to read the database URL")]
    UrlFile(#[source] SecretsError),
    /// The task that reads the file panicked.
    #[error("failed to read the database URL")]
    UrlTask(#[source] tokio::task::JoinError),
    /// The URL is invalid, or names files that cannot be used.
    #[error("invalid DATABASE_URL")]
    Url(#[source] PgError),
    /// The database refused the connection, and will refuse it again: wrong password, unknown
    /// database, untrusted certificate.
    #[error(
        "the database refuses the connection; retrying does not help: correct DATABASE_URL, the role or the server"
    )]
    Refused(#[source] PgError),
    /// The database did not answer in time.
    #[error("database not reachable within {waited:?} (DATABASE_WAIT_SECONDS)")]
    Unreachable {
        /// How long the server waited.
        waited: Duration,
        /// The error of the last attempt that was not cut off.
        #[source]
        source: PgError,
    },
    /// The database answers, but does not have the schema of this version.
    #[error("database is not ready")]
    NotReady(#[source] webhook_core::StoreError),
    /// The migration failed.
    #[error("failed to bring the database schema up to date")]
    Migrate(#[source] PgError),
}
