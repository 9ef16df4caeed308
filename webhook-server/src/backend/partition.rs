//! Refuses to use one partition of an inbox as an inbox of its own.

use webhook_core::{Partition, PartitionError, refuse_partition};

use super::OpenError;

/// Refuses a backend that is one of several partitions: it has a part of the events, and would accept events that
/// belong to others.
pub(super) async fn check_alone(store: &dyn Partition) -> Result<(), OpenError> {
    match refuse_partition(store).await {
        Ok(()) => Ok(()),
        Err(PartitionError::IsPartition { index, count, .. }) => {
            Err(OpenError::IsPartition { index, count })
        }
        Err(error) => Err(OpenError::Partition(error)),
    }
}
