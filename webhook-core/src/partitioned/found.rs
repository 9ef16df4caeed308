//! [`FoundInbox`]: what a backend finds before an inbox is opened.

use crate::event::Kind;
use crate::partitioned::error::PartitionError;
use crate::partitioned::open::check_alone;
use crate::transfer::MoveMark;

/// The contents of a schema or a file, as a backend finds them before it opens it. It creates, migrates and changes
/// nothing.
///
/// The default is what is found where there is nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundInbox {
    /// The [mark](crate::Partition::partition_mark) that says which partition of which inbox it is.
    pub partition_mark: Option<String>,
    /// The part that it has in a move between backends.
    pub move_mark: Option<MoveMark>,
    /// The kinds of its events: none if it is empty. [`PartitionPlan`](crate::PartitionPlan) needs them only where there
    /// is no mark.
    pub kinds: Vec<Kind>,
}

impl FoundInbox {
    /// Refuses one of several partitions, for programs that use it as an inbox of its own: see
    /// [`refuse_partition`](crate::refuse_partition).
    ///
    /// # Errors
    ///
    /// [`PartitionError::IsPartition`] or [`PartitionError::UnknownMark`].
    pub fn refuse_partition(&self) -> Result<(), PartitionError> {
        check_alone(self.partition_mark.as_deref())
    }
}
