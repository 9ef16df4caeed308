//! Opens partitions: reads their marks, and marks those that are new.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::error::StoreError;
use crate::event::Kind;
use crate::partitioned::error::PartitionError;
use crate::partitioned::mark::Mark;
use crate::partitioned::partition::Partition;
use crate::partitioned::place::Place;
use crate::placement::Placement;

/// How often marks are read anew because another process has changed them meanwhile.
const MAX_TRIES: u32 = 16;

/// What is known about the partitions once they are open.
pub(super) struct Opened {
    /// The mark of the first partition; those of the others differ only in their places.
    pub(super) first: Mark,
    pub(super) placement: Placement,
    /// Whether each partition has its mark. One that has not could not be reached.
    pub(super) is_marked: Vec<bool>,
}

/// A partition as it was found.
struct Found {
    place: Place,
    /// The text of the mark, and the mark.
    mark: Result<Option<(String, Mark)>, StoreError>,
}

/// No answer within the time limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

/// Opens all partitions that can be reached.
pub(super) async fn open(
    partitions: &[Arc<dyn Partition>],
    whole_kinds: &BTreeSet<Kind>,
    limit: Duration,
) -> Result<Opened, PartitionError> {
    for _ in 0..MAX_TRIES {
        if let Some(opened) = try_open(partitions, whole_kinds, limit).await? {
            return Ok(opened);
        }
    }
    Err(PartitionError::Contended { tries: MAX_TRIES })
}

/// Returns `None` if another process has changed a mark meanwhile.
async fn try_open(
    partitions: &[Arc<dyn Partition>],
    whole_kinds: &BTreeSet<Kind>,
    limit: Duration,
) -> Result<Option<Opened>, PartitionError> {
    let found = find(partitions, limit).await?;
    let Some(first) = found.iter().find_map(|it| it.mark.as_ref().ok()?.as_ref()) else {
        return create(partitions, &found, whole_kinds, limit).await;
    };
    let count = partitions.len();
    let mut first = first.1.at(Place { index: 0, count });
    first.whole_kinds.extend(whole_kinds.iter().cloned());
    for Found { place, mark } in &found {
        if let Ok(Some((_, mark))) = mark {
            mark.check(&first.at(*place))?;
            first.whole_kinds.extend(mark.whole_kinds.iter().cloned());
        }
    }
    let is_marked = |it: &Found| matches!(it.mark, Ok(Some(_)));
    let marked = || {
        found
            .iter()
            .filter_map(|it| it.mark.as_ref().ok()?.as_ref())
    };
    let was_complete = marked().any(|(_, mark)| mark.is_complete);
    first.is_complete = was_complete || found.iter().all(is_marked);
    if marked().any(|(_, mark)| mark.whole_kinds != first.whole_kinds) {
        all_needed(&found, "make a kind whole")?;
        check_spread(partitions, &found, &first, limit).await?;
    }
    for Found { place, mark } in &found {
        let before = match mark {
            Err(_) => continue,
            Ok(Some((_, mark))) if *mark == first.at(*place) => continue,
            Ok(Some((text, _))) => Some(text.as_str()),
            Ok(None) => None,
        };
        let partition = &*partitions[place.index];
        if !mark_as(partition, before, &first.at(*place), limit).await? {
            return Ok(None);
        }
    }
    if !first.is_complete && found.iter().all(|it| it.mark.is_ok()) {
        // All have their marks now. They are read anew, and say so then.
        return Ok(None);
    }
    Ok(Some(Opened {
        placement: Placement::new(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN))
            .with_whole_kinds(first.whole_kinds.iter().cloned()),
        first,
        is_marked: found.iter().map(|it| it.mark.is_ok()).collect(),
    }))
}

async fn find(
    partitions: &[Arc<dyn Partition>],
    limit: Duration,
) -> Result<Vec<Found>, PartitionError> {
    let count = partitions.len();
    let marks = partitions
        .iter()
        .map(|it| within(limit, it.partition_mark()));
    let mut found = Vec::with_capacity(count);
    for (index, mark) in join_all(marks).await.into_iter().enumerate() {
        let place = Place { index, count };
        let mark = match mark {
            Ok(Some(text)) => {
                let mark = Mark::of_text(&text, place)?;
                Ok(Some((text, mark)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        found.push(Found { place, mark });
    }
    match &found[..] {
        [
            Found {
                mark: Err(error), ..
            },
            rest @ ..,
        ] if rest.iter().all(|it| it.mark.is_err()) => Err(PartitionError::Unreachable {
            count,
            source: error.clone(),
        }),
        _ => Ok(found),
    }
}

/// Creates the inbox, by the mark of the first partition: of several processes, one gives the inbox its id. The other
/// marks follow when the marks are read anew.
async fn create(
    partitions: &[Arc<dyn Partition>],
    found: &[Found],
    whole_kinds: &BTreeSet<Kind>,
    limit: Duration,
) -> Result<Option<Opened>, PartitionError> {
    // Another inbox might be in those that cannot be reached.
    all_needed(found, "create the inbox")?;
    let mark = Mark {
        inbox: format!("{:032x}", rand::random::<u128>()),
        place: found[0].place,
        whole_kinds: whole_kinds.clone(),
        is_complete: false,
    };
    // A mark beside it that cannot be set would leave an inbox that cannot be opened.
    for (partition, Found { place, .. }) in partitions.iter().zip(found) {
        check_empty(&**partition, *place, limit).await?;
    }
    mark_as(&*partitions[0], None, &mark, limit).await?;
    Ok(None)
}

/// Sets the mark of a partition, and returns whether it was `before`. Refuses one without a mark if all partitions
/// have had theirs.
async fn mark_as(
    partition: &dyn Partition,
    before: Option<&str>,
    mark: &Mark,
    limit: Duration,
) -> Result<bool, PartitionError> {
    let place = mark.place;
    if before.is_none() {
        check_new(mark)?;
        check_empty(partition, place, limit).await?;
    }
    let text = mark.to_text();
    let replaced = within(limit, partition.replace_partition_mark(before, &text)).await;
    replaced.map_err(|source| of_mark(place, source))
}

/// Refuses a partition without a mark if all have had theirs: the keys that are stored elsewhere would be new there.
fn check_new(mark: &Mark) -> Result<(), PartitionError> {
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
async fn check_empty(
    partition: &dyn Partition,
    place: Place,
    limit: Duration,
) -> Result<(), PartitionError> {
    if place.count == 1 {
        return Ok(());
    }
    let kinds = within(limit, partition.kinds()).await;
    let kinds = kinds.map_err(|source| of_mark(place, source))?;
    match kinds.into_iter().next() {
        None => Ok(()),
        Some(kind) => Err(PartitionError::HasEvents {
            index: place.index,
            count: place.count,
            kind,
        }),
    }
}

/// Refuses to make a kind whole while a partition other than its home has events of it.
async fn check_spread(
    partitions: &[Arc<dyn Partition>],
    found: &[Found],
    first: &Mark,
    limit: Duration,
) -> Result<(), PartitionError> {
    let count = NonZeroUsize::new(partitions.len()).unwrap_or(NonZeroUsize::MIN);
    let placement = Placement::new(count);
    for (partition, Found { place, mark }) in partitions.iter().zip(found) {
        let Ok(Some((_, mark))) = mark else { continue };
        let kinds = within(limit, partition.kinds()).await;
        let kinds = kinds.map_err(|source| of_mark(*place, source))?;
        let becomes_whole =
            |kind: &Kind| first.whole_kinds.contains(kind) && !mark.whole_kinds.contains(kind);
        for kind in kinds.into_iter().filter(becomes_whole) {
            let home = placement.home_of(&kind);
            if home != place.index {
                return Err(PartitionError::SpreadKind {
                    kind,
                    index: place.index,
                    count: place.count,
                    home,
                });
            }
        }
    }
    Ok(())
}

fn all_needed(found: &[Found], purpose: &'static str) -> Result<(), PartitionError> {
    for Found { place, mark } in found {
        if let Err(error) = mark {
            return Err(PartitionError::AllNeeded {
                index: place.index,
                count: place.count,
                purpose,
                source: error.clone(),
            });
        }
    }
    Ok(())
}

/// Checks a partition that could not be reached when the others were opened, and marks it if it is new.
pub(super) async fn check_late(
    partition: &dyn Partition,
    expected: &Mark,
    limit: Duration,
) -> Result<(), PartitionError> {
    let place = expected.place;
    for _ in 0..MAX_TRIES {
        let text = within(limit, partition.partition_mark()).await;
        match text.map_err(|source| of_mark(place, source))? {
            Some(text) => {
                let mark = Mark::of_text(&text, place)?;
                mark.check(expected)?;
                if mark.whole_kinds != expected.whole_kinds {
                    return Err(PartitionError::OtherWholeKinds {
                        index: place.index,
                        count: place.count,
                    });
                }
                return Ok(());
            }
            None if mark_as(partition, None, expected, limit).await? => return Ok(()),
            None => {}
        }
    }
    Err(PartitionError::Contended { tries: MAX_TRIES })
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
    let alone = Place { index: 0, count: 1 };
    let Some(text) = backend.partition_mark().await? else {
        return Ok(());
    };
    let mark = Mark::of_text(&text, alone)?;
    if mark.place.count == 1 {
        return Ok(());
    }
    Err(PartitionError::IsPartition {
        found: mark.to_string(),
        index: mark.place.index,
        count: mark.place.count,
    })
}
