//! [`SqliteTransaction`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use webhook_core::Kind;

use crate::error::SqliteError;
use crate::lent::Lent;
use crate::store::SqliteStore;

/// A transaction that may write: see [`SqliteStore::begin`]. It derefs to the connection.
/// Dropping it rolls it back.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct SqliteTransaction {
    lent: Lent,
    store: SqliteStore,
    /// The workers to wake after the commit: kinds, and when their events fall due.
    due: Vec<(Kind, Duration)>,
}

impl SqliteTransaction {
    pub(crate) fn new(lent: Lent, store: SqliteStore) -> Self {
        Self {
            lent,
            store,
            due: Vec::new(),
        }
    }

    pub(crate) fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }

    pub(crate) fn wake(&mut self, kind: Kind, after: Duration) {
        self.due.push((kind, after));
    }

    /// Commits: all changes are durable when this returns.
    ///
    /// # Errors
    ///
    /// If the commit fails. Nothing is changed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction either committed or rolled back.
    pub async fn commit(self) -> Result<(), SqliteError> {
        let Self { lent, store, due } = self;
        lent.commit().await?;
        store.due(due.iter().map(|(kind, after)| (kind, *after)));
        Ok(())
    }
}

impl Deref for SqliteTransaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.lent.connection_ref()
    }
}

impl DerefMut for SqliteTransaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.lent.connection()
    }
}

impl fmt::Debug for SqliteTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTransaction").finish_non_exhaustive()
    }
}
