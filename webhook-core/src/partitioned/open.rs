//! Opens partitions: reads their marks, and marks those that are new.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::error::StoreError;
use crate::event::Kind;
use crate::partitioned::OpenMode;
use crate::partitioned::error::PartitionError;
use crate::partitioned::found::FoundInbox;
use crate::partitioned::mark::Mark;
use crate::partitioned::partition::Partition;
use crate::partitioned::place::Place;
use crate::partitioned::plan::PartitionPlan;
use crate::placement::Placement;

/// How often marks are read anew because another process has changed them meanwhile, beside once for each mark that it
/// sets and completes.
const MAX_TRIES: u32 = 16;

/// What is known about the partitions once they are open.
pub(super) struct Opened {
    /// The mark of the first partition; those of the others differ only in their places.
    pub(super) first: Mark,
    pub(super) placement: Placement,
    /// Whether each partition has its mark. One that has not could not be reached.
    pub(super) is_marked: Vec<bool>,
}

/// No answer within the time limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

/// Opens all partitions that can be reached, as `plan` says. Plans anew where another process has changed a mark
/// meanwhile.
pub(super) async fn open(
    mut plan: PartitionPlan,
    partitions: &[Arc<dyn Partition>],
) -> Result<Opened, PartitionError> {
    let options = plan.options().clone();
    let marks = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
    let tries = MAX_TRIES.saturating_add(marks.saturating_mul(2));
    for _ in 0..tries {
        if plan.count() == partitions.len()
            && let Some(opened) = plan.carry_out(partitions).await?
        {
            return Ok(opened);
        }
        let found = look(partitions, options.open_timeout).await;
        plan = PartitionPlan::new(found, options.clone())?;
    }
    Err(PartitionError::Contended { tries })
}

/// Looks at the partitions, and changes nothing. Their kinds are read where they decide whether a mark can be set.
pub(super) async fn look(
    partitions: &[Arc<dyn Partition>],
    limit: Duration,
) -> Vec<Result<FoundInbox, StoreError>> {
    let looking = partitions.iter().map(async |partition| {
        let partition_mark = within(limit, partition.partition_mark()).await?;
        let kinds = match partition_mark {
            Some(_) => Vec::new(),
            None => within(limit, partition.kinds()).await?,
        };
        Ok(FoundInbox {
            partition_mark,
            kinds,
            ..FoundInbox::default()
        })
    });
    join_all(looking).await
}

/// Sets the mark of a partition, and returns whether it was `before`. Refuses one without a mark if it has events, or if
/// all partitions have had their marks.
pub(super) async fn mark_as(
    partition: &dyn Partition,
    before: Option<&str>,
    mark: &Mark,
    limit: Duration,
) -> Result<bool, PartitionError> {
    let place = mark.place;
    if before.is_none() {
        check_new(mark)?;
        check_empty(place, &kinds_of(partition, place, limit).await?)?;
    }
    let text = mark.to_text();
    let replaced = within(limit, partition.replace_partition_mark(before, &text)).await;
    replaced.map_err(|source| of_mark(place, source))
}

/// The kinds of a partition, which decide whether its mark can be set.
pub(super) async fn kinds_of(
    partition: &dyn Partition,
    place: Place,
    limit: Duration,
) -> Result<Vec<Kind>, PartitionError> {
    let kinds = within(limit, partition.kinds()).await;
    kinds.map_err(|source| of_mark(place, source))
}

/// Refuses a partition without a mark if all have had theirs: the keys that are stored elsewhere would be new there.
pub(super) fn check_new(mark: &Mark) -> Result<(), PartitionError> {
    if !mark.is_complete {
        return Ok(());
    }
    Err(PartitionError::Empty {
        index: mark.place.index,
        count: mark.place.count,
        mark: mark.to_text(),
    })
}

/// Refuses a partition that has events. The events of the only partition are those of the inbox.
pub(super) fn check_empty(place: Place, kinds: &[Kind]) -> Result<(), PartitionError> {
    match kinds.first() {
        Some(kind) if place.count > 1 => Err(PartitionError::HasEvents {
            index: place.index,
            count: place.count,
            kind: kind.clone(),
        }),
        _ => Ok(()),
    }
}

/// Checks a partition that could not be reached when the others were opened, and marks it if it is new and `mode` allows
/// it.
pub(super) async fn check_late(
    partition: &dyn Partition,
    expected: &Mark,
    mode: OpenMode,
    limit: Duration,
) -> Result<(), PartitionError> {
    let place = expected.place;
    for _ in 0..MAX_TRIES {
        let text = within(limit, partition.partition_mark()).await;
        match text.map_err(|source| of_mark(place, source))? {
            Some(text) => return check_mark(&text, expected),
            None if mode == OpenMode::Existing => return Err(unmarked(expected)),
            None if mark_as(partition, None, expected, limit).await? => return Ok(()),
            None => {}
        }
    }
    Err(PartitionError::Contended { tries: MAX_TRIES })
}

/// Decides whether [`check_late`] would refuse a backend with these contents, and changes nothing.
pub(super) fn check_found(
    found: &FoundInbox,
    expected: &Mark,
    mode: OpenMode,
) -> Result<(), PartitionError> {
    match &found.partition_mark {
        Some(text) => check_mark(text, expected),
        None if mode == OpenMode::Existing => Err(unmarked(expected)),
        None => {
            check_new(expected)?;
            check_empty(expected.place, &found.kinds)
        }
    }
}

fn check_mark(text: &str, expected: &Mark) -> Result<(), PartitionError> {
    let Place { index, count } = expected.place;
    let mark = Mark::of_text(text, expected.place)?;
    mark.check(expected)?;
    if mark.whole_kinds != expected.whole_kinds {
        return Err(PartitionError::OtherWholeKinds { index, count });
    }
    Ok(())
}

/// Why a partition without a mark is refused by those who change nothing.
pub(super) fn unmarked(expected: &Mark) -> PartitionError {
    let Place { index, count } = expected.place;
    match check_new(expected) {
        Err(empty) => empty,
        Ok(()) => PartitionError::Unmarked { index, count },
    }
}

fn of_mark(place: Place, source: StoreError) -> PartitionError {
    PartitionError::Mark {
        index: place.index,
        count: place.count,
        source,
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answer = timeout(limit, call).await;
    answer.unwrap_or_else(|_| Err(StoreError::unavailable(NoAnswer(limit))))
}

/// Refuses a backend that has the mark of a partition, for programs that use it as an inbox of its own.
///
/// The only partition of an inbox is not refused: its events and their ids are the same without partitions.
///
/// # Errors
///
/// [`PartitionError::IsPartition`], [`PartitionError::UnknownMark`], or [`PartitionError::Store`] if the mark cannot
/// be read.
pub async fn refuse_partition(backend: &dyn Partition) -> Result<(), PartitionError> {
    check_alone(backend.partition_mark().await?.as_deref())
}

/// Refuses the mark of a partition, unless it is the only one.
pub(super) fn check_alone(mark: Option<&str>) -> Result<(), PartitionError> {
    let alone = Place { index: 0, count: 1 };
    let Some(text) = mark else {
        return Ok(());
    };
    let mark = Mark::of_text(text, alone)?;
    if mark.place.count == 1 {
        return Ok(());
    }
    Err(PartitionError::IsPartition {
        found: mark.to_string(),
        index: mark.place.index,
        count: mark.place.count,
    })
}
