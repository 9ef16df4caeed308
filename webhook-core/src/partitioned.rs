//! Partitions: one inbox over several backends.

mod partition;

pub use partition::Partition;
