//! Refuses to use one partition of an inbox as an inbox of its own.

use webhook_core::{FoundInbox, Partition, PartitionError, refuse_partition};

use super::OpenError;

/// Refuses a backend that is one of several partitions: it has a part of the events, and would accept events that
/// belong to others.
pub(super) async fn check_alone(store: &dyn Partition) -> Result<(), OpenError> {
    refused(refuse_partition(store).await)
}

/// The same before the backend is opened.
pub(super) fn check_found(found: &FoundInbox) -> Result<(), OpenError> {
    refused(found.refuse_partition())
}

fn refused(checked: Result<(), PartitionError>) -> Result<(), OpenError> {
    match checked {
        Ok(()) => Ok(()),
        Err(PartitionError::IsPartition { index, count, .. }) => {
            Err(OpenError::IsPartition { index, count })
        }
        Err(error) => Err(OpenError::Partition(error)),
    }
}
