//! [`Partition`]: a backend that can be a partition.

use async_trait::async_trait;

use crate::admin::Admin;
use crate::error::StoreError;
use crate::scheduler::Scheduler;
use crate::store::Store;
use crate::transfer::Transfer;

/// A backend that can be a partition of an inbox: it keeps a mark that says which partition of which inbox it is.
///
/// The mark is a short text, which `webhook-core` writes and reads. To a backend it means nothing.
#[async_trait]
pub trait Partition: Store + Scheduler + Admin {
    /// Returns the mark that [`replace_partition_mark`](Self::replace_partition_mark) has left; `None` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// The call only reads, and may be dropped at any time.
    async fn partition_mark(&self) -> Result<Option<String>, StoreError>;

    /// Replaces the mark by `mark` if it is `expected`, where `None` is no mark, and returns whether it was.
    ///
    /// # Guarantees
    ///
    /// - When the call returns `Ok(true)`, the mark is committed as durably as events.
    /// - The comparison and the change are one step: of concurrent calls with the same `expected`, at most one
    ///   returns `true`, unless `mark` equals `expected`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Whether the mark was replaced is unknown.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is unknown whether the mark was replaced.
    async fn replace_partition_mark(
        &self,
        expected: Option<&str>,
        mark: &str,
    ) -> Result<bool, StoreError>;

    /// The backend as one that exports and imports events, if it does. Default: `None`.
    fn transfer(&self) -> Option<&dyn Transfer> {
        None
    }
}
