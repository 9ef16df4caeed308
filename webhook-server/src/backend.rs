//! Where events are kept: in PostgreSQL, or in memory where no database is named.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};
use webhook_core::{Admin, Scheduler, Store};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};
use webhook_postgres::{PgError, PgOptions, PgStore};

use crate::config::{Config, DatabaseUrl, Migrate, SecretsError};
use crate::transaction;

/// How long to wait before the second try to reach the database; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An open backend: one store, seen by senders, by workers and by operators.
pub struct Backend {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    /// Without one, nothing is ever deleted.
    pub(crate) operator: Option<Arc<dyn Admin>>,
    /// What is to be closed in the end.
    database: Option<PgStore>,
}

impl Backend {
    /// A backend of the caller's, by its two faces; without retention.
    pub fn new(store: Arc<dyn Store>, scheduler: Arc<dyn Scheduler>) -> Self {
        Self {
            store,
            scheduler,
            operator: None,
            database: None,
        }
    }

    /// Opens what `config` names, waiting for it within bounds.
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenError> {
        let Some(url) = database_url(config).await? else {
            return Ok(Self::in_memory(config));
        };
        let database = connect(&url, config).await?;
        if config.migrate == Migrate::Auto {
            migrate(&database).await?;
        }
        // Also logs settings of the database that may lose commits.
        if let Err(error) = database.ping().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "database is not ready; /readyz says when it is"
            );
        }
        Ok(Self {
            store: Arc::new(database.clone()),
            scheduler: Arc::new(database.clone()),
            operator: Some(Arc::new(database.clone())),
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
            operator: Some(store),
            database: None,
        }
    }

    /// The database that `config` names, as it is.
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

    /// Brings the schema of the database that `config` names up to date.
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

/// The database's URL, whose file is read where it holds up no task.
async fn database_url(config: &Config) -> Result<Option<DatabaseUrl>, OpenError> {
    let config = config.clone();
    let reading = tokio::task::spawn_blocking(move || config.read_database_url());
    let read = reading.await.map_err(OpenError::UrlTask)?;
    read.map_err(OpenError::UrlFile)
}

/// Tries to reach the database until the time that `config` allows is over.
async fn connect(url: &DatabaseUrl, config: &Config) -> Result<PgStore, OpenError> {
    let mut options: PgOptions = url.expose().parse().map_err(OpenError::Url)?;
    options.max_connections = config.database_pool_size.get();
    let wait = config.database_wait_seconds;
    let started = Instant::now();
    let deadline = started + wait;
    // One try is made in any case.
    let first_deadline = deadline.max(started + options.acquire_timeout);
    info!(database = ?options, "connecting");
    let mut pause = FIRST_PAUSE;
    let mut attempt_deadline = first_deadline;
    let mut reason = PgError::TimedOut { after: wait };
    loop {
        let connecting = PgStore::connect_with(options.clone());
        match timeout_at(attempt_deadline, connecting).await {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(error @ PgError::TlsFile { .. })) => return Err(OpenError::Url(error)),
            Ok(Err(error)) if error.is_permanent() => return Err(OpenError::Refused(error)),
            Ok(Err(error)) => reason = error,
            // Cut off by the end of the wait: what the try before ended with says more.
            Err(_) => {}
        }
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
        pause = (pause * 2).min(LONGEST_PAUSE);
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

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// None is named.
    #[error("DATABASE_URL is not set")]
    NoDatabase,
    /// The file that holds its URL cannot be used.
    #[error("cannot read the database's URL")]
    UrlFile(#[source] SecretsError),
    /// The task that reads the file did not end.
    #[error("failed to read the database's URL")]
    UrlTask(#[source] tokio::task::JoinError),
    /// Its URL is none, or names files that cannot be used.
    #[error("DATABASE_URL cannot be used")]
    Url(#[source] PgError),
    /// It refused us, and would again: a wrong password, an unknown database, an untrusted certificate.
    #[error(
        "the database refuses the connection, and will until DATABASE_URL, the role or the server changes"
    )]
    Refused(#[source] PgError),
    /// It did not answer in time.
    #[error("database not reachable within {waited:?} (DATABASE_WAIT_SECONDS)")]
    Unreachable {
        /// How long it had.
        waited: Duration,
        /// What the last try that was not cut short ended with.
        #[source]
        source: PgError,
    },
    /// It answers, and has not the schema of this version.
    #[error("database is not ready")]
    NotReady(#[source] webhook_core::StoreError),
    /// Its schema could not be brought up to date.
    #[error("database schema cannot be brought up to date")]
    Migrate(#[source] PgError),
}
