//! Write transactions: of the thread that writes, and lent to apps.

use sqlx::Executor;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use crate::error::SqliteError;
use crate::key_index::KeyIndex;
use crate::kinds::Kinds;
use crate::query::Connection;

const GIVEN_BACK_LATER: &str = "it is given back only when this is dropped";

/// A write transaction.
pub(crate) struct Transaction<'c> {
    pub(crate) connection: Connection<'c>,
    pub(crate) kinds: &'c mut Kinds,
    pub(crate) keys: &'c mut KeyIndex,
    /// The time of everything in this transaction, in microseconds since 1970.
    pub(crate) now_us: i64,
}

/// The part of the writer that it lends to apps.
pub(crate) struct Lendable {
    pub(crate) connection: SqliteConnection,
    pub(crate) kinds: Kinds,
    pub(crate) keys: KeyIndex,
}

impl Lendable {
    /// Forgets what a transaction looked up or added, which was rolled back.
    pub(crate) fn rolled_back(&mut self) {
        self.kinds = Kinds::default();
        self.keys.rolled_back();
    }
}

/// A write transaction, lent to an app. Nothing else is written meanwhile. The writer gets the connection back when this is
/// dropped, and rolls back what is not committed.
pub(crate) struct Lent {
    lendable: Option<Lendable>,
    now_us: i64,
    back: Option<oneshot::Sender<Lendable>>,
}

impl Lent {
    /// The transaction that has begun on this connection. It is given back by `back`.
    pub(crate) fn new(lendable: Lendable, now_us: i64, back: oneshot::Sender<Lendable>) -> Self {
        Self {
            lendable: Some(lendable),
            now_us,
            back: Some(back),
        }
    }

    fn lendable(&mut self) -> &mut Lendable {
        self.lendable.as_mut().expect(GIVEN_BACK_LATER)
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.lendable().connection
    }

    pub(crate) fn connection_ref(&self) -> &SqliteConnection {
        let lendable = self.lendable.as_ref().expect(GIVEN_BACK_LATER);
        &lendable.connection
    }

    /// The transaction, for operations of this crate.
    pub(crate) fn transaction(&mut self) -> Transaction<'_> {
        let now_us = self.now_us;
        let Lendable {
            connection,
            kinds,
            keys,
        } = self.lendable();
        Transaction {
            connection: Connection::Lent(connection),
            kinds,
            keys,
            now_us,
        }
    }

    pub(crate) async fn commit(mut self) -> Result<(), SqliteError> {
        self.connection().execute("COMMIT").await?;
        self.lendable().keys.committed();
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(lendable), Some(back)) = (self.lendable.take(), self.back.take()) {
            // The writer ends while it is lent only if its thread was killed by a panic.
            let _ = back.send(lendable);
        }
    }
}
