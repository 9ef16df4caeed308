//! [`Late`]: a partition whose database could not be reached at the start.

use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::{Partitioned, Store};
use webhook_postgres::PgStore;

use super::super::postgres::{self, CONNECT_BACKOFF};
use super::super::{OpenError, transfer};
use crate::config::{Config, Migrate};

/// A partition of an inbox that was opened without it.
pub(super) struct Late {
    database: PgStore,
    index: usize,
    inbox: Partitioned,
    migrate: Migrate,
}

impl Late {
    pub(super) fn new(
        database: PgStore,
        index: usize,
        inbox: Partitioned,
        config: &Config,
    ) -> Self {
        Self {
            database,
            index,
            inbox,
            migrate: config.migrate,
        }
    }

    /// Prepares it for a server as soon as its database can be reached.
    pub(super) fn prepare(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut failures = 0;
            while let Err(error) = self.try_prepare().await {
                warn!(
                    partition = self.index,
                    error = &error as &dyn std::error::Error,
                    "a partition cannot be used yet"
                );
                failures += 1;
                tokio::time::sleep(CONNECT_BACKOFF.ceiling(failures)).await;
            }
            info!(partition = self.index, "a partition is reached");
        }))
    }

    /// Looks at it and compares it, as a start does, before anything in it is changed.
    async fn try_prepare(&self) -> Result<(), OpenError> {
        let found = postgres::look(&self.database).await?;
        transfer::check_found(&found)?;
        let checked = self.inbox.check_found(self.index, &found);
        checked.map_err(OpenError::Partitions)?;
        if self.migrate == Migrate::Auto {
            postgres::migrate(&self.database).await?;
        }
        self.database.ping().await.map_err(OpenError::NotReady)
    }
}
