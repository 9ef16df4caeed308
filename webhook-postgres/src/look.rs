//! Looks at a schema before it is migrated, and changes nothing.

use webhook_core::{FoundInbox, Kind};

use crate::error::PgError;
use crate::store::PgStore;
use crate::{admin, migrate, partition, transfer};

impl PgStore {
    /// Tells what is in the schema, which may be missing, or of an older version. Nothing is created or migrated. Where
    /// there is no inbox, the answer is the default.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or the role may not read the tables; [`PgError::ForeignSchema`] as for
    /// [`migrate`](Self::migrate), before anything in the schema is read.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn look(&self) -> Result<FoundInbox, PgError> {
        migrate::refuse_foreign_objects(&self.inner.database).await?;
        let mut session = self.session();
        let mut found = FoundInbox::default();
        found.kinds = if_there(admin::kinds(&mut session).await)?;
        found.move_mark = if_there(transfer::move_mark(&mut session).await)?;
        found.partition_mark = if_there(partition::mark(&mut session).await)?;
        Ok(found)
    }

    /// Tells which kinds have events with [guards](field@webhook_core::Envelope::guard), otherwise like
    /// [`look`](Self::look). Reads all guards.
    ///
    /// # Errors
    ///
    /// As of [`look`](Self::look).
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn guarded_kinds(&self) -> Result<Vec<Kind>, PgError> {
        migrate::refuse_foreign_objects(&self.inner.database).await?;
        if_there(admin::guarded_kinds(&mut self.session()).await)
    }
}

/// Nothing, where the table is missing.
fn if_there<T: Default>(answer: Result<T, PgError>) -> Result<T, PgError> {
    match answer {
        Err(PgError::NotMigrated { .. }) => Ok(T::default()),
        answer => answer,
    }
}
