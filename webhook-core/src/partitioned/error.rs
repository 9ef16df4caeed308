//! [`PartitionError`]: why partitions cannot be opened.

use crate::error::{Source, StoreError};
use crate::event::Kind;
use crate::partitioned::place::Place;

/// The reason why backends cannot be used as the partitions of an inbox. Partitions are counted from 0.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// There are no partitions, or too many.
    #[error("an inbox has 1 to {limit} partitions, not {count}")]
    Count {
        /// The number of partitions.
        count: usize,
        /// The limit: [`MAX_PARTITIONS`](crate::MAX_PARTITIONS).
        limit: usize,
    },
    /// No partition can be reached.
    #[error("failed to reach any of the {count} partitions")]
    Unreachable {
        /// The number of partitions.
        count: usize,
        /// The error of the first partition.
        #[source]
        source: StoreError,
    },
    /// A partition cannot be reached, and all of them are needed: to create the inbox, or to make a kind whole.
    #[error(
        "partition {index} of {count}: failed to reach it, and all partitions are needed to {purpose}"
    )]
    AllNeeded {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// What they are needed for.
        purpose: &'static str,
        /// The error of the partition.
        #[source]
        source: StoreError,
    },
    /// The mark of a partition cannot be read or written.
    #[error("partition {index} of {count}: failed to read or set its mark")]
    Mark {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// The error of the partition.
        #[source]
        source: StoreError,
    },
    /// A partition has the mark of another one.
    #[error("partition {index} of {count}: found {found}: {problem}")]
    WrongMark {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// What its mark says.
        found: String,
        /// The difference, and the setting to check.
        problem: String,
    },
    /// A partition has a mark that this version cannot read.
    #[error("partition {index} of {count}: its mark is not one that this version knows: {mark}")]
    UnknownMark {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// The beginning of the mark.
        mark: String,
    },
    /// A partition has no mark, but events.
    #[error(
        "partition {index} of {count}: it has events (of the kind `{kind}`) and no mark: it is an inbox of its own"
    )]
    HasEvents {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// A kind that it has events of.
        kind: Kind,
    },
    /// A partition has neither a mark nor events, although all partitions have had their marks.
    #[error(
        "partition {index} of {count}: it is empty, and is not the one that the inbox had there: use that one, or \
         restore it; if its events are lost, store this mark in it: {mark}"
    )]
    Empty {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// The mark with which it takes the place of the lost one.
        mark: String,
    },
    /// No partition has a mark, and the inbox must exist.
    #[error(
        "none of the {count} partitions has a mark, as far as they can be reached: no server has opened this inbox yet. \
         Start a server first, or check which partitions are named"
    )]
    NoInbox {
        /// The number of partitions.
        count: usize,
    },
    /// A partition has no mark, and marks must not be set: the inbox was not made to the end.
    #[error(
        "partition {index} of {count}: it has no mark, although others have theirs: start a server, which completes the \
         inbox"
    )]
    Unmarked {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
    },
    /// A kind is not whole, and marks must not be changed.
    #[error("the kind `{kind}` is not whole yet: start a server, which makes it whole")]
    NotWhole {
        /// The kind.
        kind: Kind,
    },
    /// A kind cannot become whole, since several partitions may have events of it.
    #[error(
        "the kind `{kind}` cannot become whole: partition {index} of {count} has events of it, and only partition \
         {home} may have any"
    )]
    SpreadKind {
        /// The kind.
        kind: Kind,
        /// A partition that has events of it.
        index: usize,
        /// The number of partitions.
        count: usize,
        /// The partition that the events of the whole kind would be in.
        home: usize,
    },
    /// Kinds became whole while this process was running.
    #[error(
        "partition {index} of {count}: other kinds are whole there than in this process, which must be started again"
    )]
    OtherWholeKinds {
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
    },
    /// Other processes kept changing the marks.
    #[error(
        "gave up after {tries} attempts: other processes are changing the marks of the partitions"
    )]
    Contended {
        /// The number of attempts.
        tries: u32,
    },
    /// The mark of a backend that should be an inbox of its own cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backend that should be an inbox of its own is a partition.
    #[error("this is {found}: it can only be used together with the other partitions")]
    IsPartition {
        /// Which partition of how many of which inbox it is.
        found: String,
        /// The partition.
        index: usize,
        /// The number of partitions.
        count: usize,
    },
}

/// An error of one partition.
#[derive(Debug, thiserror::Error)]
#[error("{place}")]
struct InPartition {
    place: Place,
    #[source]
    source: Source,
}

impl StoreError {
    /// The partition whose error it is, counted from 0, and the number of partitions. `None` for an error of a store
    /// without [partitions](crate::Partitioned).
    pub fn partition(&self) -> Option<(usize, usize)> {
        let (Self::Unavailable { source } | Self::Refused { source }) = self else {
            return None;
        };
        let InPartition { place, .. } = source.downcast_ref()?;
        Some((place.index, place.count))
    }
}

impl Place {
    /// Says which partition has an error.
    pub(super) fn error(self, error: StoreError) -> StoreError {
        let in_partition = |source| InPartition {
            place: self,
            source,
        };
        match error {
            StoreError::Unavailable { source } => StoreError::unavailable(in_partition(source)),
            StoreError::Refused { source } => StoreError::refused(in_partition(source)),
            full @ StoreError::Full { .. } => full,
        }
    }
}

/// An event has a guard, and its kind is not whole.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the kind `{kind}` has events with guards, and must be among the whole kinds of the partitions: a guard must \
     be known to all events of its kind"
)]
pub(super) struct GuardOfSpreadKind {
    pub(super) kind: Kind,
}

/// A backend returned another number of answers than it was asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{answers} answers for {items} items")]
pub(super) struct WrongAnswers {
    pub(super) answers: usize,
    pub(super) items: usize,
}

/// A partition cannot be moved.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the backend does not export and import events")]
pub(super) struct NoTransfer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_partition() {
        let no_answer = || std::io::Error::other("no answer");
        let place = Place { index: 3, count: 8 };
        let error = place.error(StoreError::unavailable(no_answer()));
        assert_eq!(error.partition(), Some((3, 8)));
        assert_eq!(
            crate::with_causes(&error),
            "store unavailable: partition 3 of 8: no answer"
        );
        assert_eq!(StoreError::unavailable(no_answer()).partition(), None);
    }
}
