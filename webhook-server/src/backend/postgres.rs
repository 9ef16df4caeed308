//! Opens PostgreSQL.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

use tracing::{info, warn};
use webhook_core::{Backoff, FoundInbox, Store};
use webhook_postgres::{PgError, PgOptions, PgStore, Schema};

use super::OpenError;
use crate::config::{Config, DatabaseUrl, Migrate};
use crate::transaction;

/// How long to wait between two attempts to connect to the database at the start.
pub(super) const CONNECT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// How to connect to the database of `url`, where a partition has a schema of its own.
pub(super) fn options(
    url: &DatabaseUrl,
    partition: Option<usize>,
    config: &Config,
) -> Result<PgOptions, OpenError> {
    let mut options: PgOptions = url.expose().parse().map_err(OpenError::url)?;
    options.max_connections = config.database_pool_size.get();
    if let Some(index) = partition {
        let name = format!("{}_{index}", options.schema);
        options.schema = Schema::new(&name).map_err(OpenError::Schema)?;
    }
    Ok(options)
}

/// Connects to the database of an inbox without partitions. Waits for it up to `database_wait_seconds`.
pub(super) async fn reach(url: &DatabaseUrl, config: &Config) -> Result<PgStore, OpenError> {
    connect(options(url, None, config)?, config).await
}

/// Looks at a schema before it is prepared, and changes nothing.
pub(super) async fn look(database: &PgStore) -> Result<FoundInbox, OpenError> {
    database.look().await.map_err(OpenError::Look)
}

/// Prepares an open database for a server.
pub(super) async fn prepare(database: PgStore, config: &Config) -> Result<PgStore, OpenError> {
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
    Ok(database)
}

/// Refuses an open database that has not been migrated.
pub(super) async fn check(database: PgStore) -> Result<PgStore, OpenError> {
    match database.ping().await {
        Ok(()) => Ok(database),
        Err(error) => {
            database.close().await;
            Err(OpenError::NotReady(error))
        }
    }
}

/// Checks that the schema can be brought up to date, and changes nothing.
pub(super) async fn check_migration(database: &PgStore) -> Result<(), OpenError> {
    let checked = database.check_migration(&[transaction::VIEW]).await;
    checked.map_err(OpenError::Migrate)
}

/// Brings the schema up to date.
pub(super) async fn migrate(database: &PgStore) -> Result<(), OpenError> {
    let migrated = database.migrate_with(&[transaction::VIEW]).await;
    migrated.map_err(OpenError::Migrate)?;
    info!("database schema is up to date");
    Ok(())
}

/// Tries to connect to the database until `database_wait_seconds` are over.
pub(super) async fn connect(options: PgOptions, config: &Config) -> Result<PgStore, OpenError> {
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
            Ok(Err(error @ PgError::TlsFile { .. })) => return Err(OpenError::url(error)),
            Ok(Err(error)) if error.is_permanent() => return Err(OpenError::refused(error)),
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
