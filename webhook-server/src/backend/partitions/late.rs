//! Prepares a partition whose database could not be reached at the start.

use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::Store;
use webhook_postgres::PgStore;

use super::super::OpenError;
use super::super::postgres::{self, CONNECT_BACKOFF};
use crate::config::{Config, Migrate};

/// Prepares a partition for a server as soon as its database can be reached.
pub(super) fn prepare_later(
    database: PgStore,
    index: usize,
    config: &Config,
) -> AbortOnDropHandle<()> {
    let config = config.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut failures = 0;
        while let Err(error) = prepare(&database, &config).await {
            warn!(
                partition = index,
                error = &error as &dyn std::error::Error,
                "a partition cannot be reached yet"
            );
            failures += 1;
            tokio::time::sleep(CONNECT_BACKOFF.ceiling(failures)).await;
        }
        info!(partition = index, "a partition is reached");
    }))
}

async fn prepare(database: &PgStore, config: &Config) -> Result<(), OpenError> {
    if config.migrate == Migrate::Auto {
        postgres::migrate(database).await?;
    }
    database.ping().await.map_err(OpenError::NotReady)
}
