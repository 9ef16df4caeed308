//! [`PartitionPlan`]: decides, before anything is created, whether backends are the partitions of one inbox.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::error::StoreError;
use crate::event::Kind;
use crate::partitioned::error::PartitionError;
use crate::partitioned::found::FoundInbox;
use crate::partitioned::mark::Mark;
use crate::partitioned::open::{self, Opened, check_empty, check_new, kinds_of, mark_as, unmarked};
use crate::partitioned::partition::Partition;
use crate::partitioned::place::Place;
use crate::partitioned::{OpenMode, PartitionOptions, Partitioned, check_count};
use crate::placement::Placement;

/// The way to open an inbox over partitions of which some may not exist yet.
///
/// [`Partitioned::open`] takes backends that are open, so that their schemas or files exist. A program that must leave
/// nothing behind when it is refused looks first, and creates them then:
///
/// 1. It looks at each place, where it creates nothing, and makes the [plan](Self::new). What cannot be opened is
///    refused here.
/// 2. If the inbox [is new](Self::is_new), it opens the first partition and [begins](Self::begin) the inbox there. Of
///    several processes that do so at once, one succeeds, and the others look again. A process that would begin
///    another inbox is refused then, before it has created the other partitions.
/// 3. It opens the other partitions, and then the [inbox](Self::open).
///
/// ```
/// use std::sync::Arc;
///
/// use webhook_core::{FoundInbox, Partition, PartitionOptions, PartitionPlan};
/// use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Nothing is there yet.
/// let found = vec![Ok(FoundInbox::default()), Ok(FoundInbox::default())];
/// let plan = PartitionPlan::new(found, PartitionOptions::default())?;
/// assert!(plan.is_new());
///
/// let first: Arc<dyn Partition> = Arc::new(MemoryStore::default());
/// let plan = plan.begin(&*first).await?.expect("no other process begins it");
/// let second: Arc<dyn Partition> = Arc::new(MemoryStore::default());
/// let store = plan.open(vec![first, second]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PartitionPlan {
    options: PartitionOptions,
    found: Vec<Found>,
    /// The mark that the first partition will have; those of the others differ only in their places. `None` if no
    /// partition has one.
    first: Option<Mark>,
}

/// A partition as it was found.
#[derive(Debug)]
struct Found {
    place: Place,
    /// The text of the mark, and the mark.
    mark: Result<Option<(String, Mark)>, StoreError>,
    kinds: Vec<Kind>,
}

impl Found {
    fn new(place: Place, found: Result<FoundInbox, StoreError>) -> Result<Self, PartitionError> {
        let (mark, kinds) = match found {
            Ok(found) => (Ok(found.partition_mark), found.kinds),
            Err(error) => (Err(error), Vec::new()),
        };
        let mark = match mark {
            Ok(Some(text)) => {
                let mark = Mark::of_text(&text, place)?;
                Ok(Some((text, mark)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self { place, mark, kinds })
    }

    fn mark(&self) -> Option<&Mark> {
        let (_, mark) = self.mark.as_ref().ok()?.as_ref()?;
        Some(mark)
    }

    const fn is_unmarked(&self) -> bool {
        matches!(self.mark, Ok(None))
    }
}

impl PartitionPlan {
    /// Compares what was found at the place of each partition. An error is a partition that cannot be reached. Nothing is
    /// changed.
    ///
    /// # Errors
    ///
    /// See [`PartitionError`]: whatever [`Partitioned::open`] would refuse.
    pub fn new(
        found: Vec<Result<FoundInbox, StoreError>>,
        options: PartitionOptions,
    ) -> Result<Self, PartitionError> {
        let count = found.len();
        check_count(count)?;
        let places = (0..count).map(|index| Place { index, count });
        let found = places.zip(found).map(|(place, it)| Found::new(place, it));
        let mut plan = Self {
            options,
            found: found.collect::<Result<_, _>>()?,
            first: None,
        };
        plan.check_reached()?;
        plan.first = match plan.found.iter().find_map(Found::mark) {
            Some(mark) => Some(plan.first_like(mark)?),
            None => {
                plan.check_creation()?;
                None
            }
        };
        Ok(plan)
    }

    /// Whether no partition has a mark, so that the inbox is yet to be made.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.first.is_none()
    }

    /// Makes the inbox in its first partition, if it [is new](Self::is_new); otherwise nothing is changed. Returns `None`
    /// if another process has made one there meanwhile: look at all partitions again.
    ///
    /// # Errors
    ///
    /// [`PartitionError::HasEvents`] if the partition has events by now, and [`PartitionError::Mark`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the partition may have its mark.
    pub async fn begin(mut self, first: &dyn Partition) -> Result<Option<Self>, PartitionError> {
        if !self.is_new() {
            return Ok(Some(self));
        }
        let mark = Mark {
            inbox: format!("{:032x}", rand::random::<u128>()),
            place: self.found[0].place,
            whole_kinds: self.options.whole_kinds.clone(),
            is_complete: false,
        };
        if !mark_as(first, None, &mark, self.options.open_timeout).await? {
            return Ok(None);
        }
        self.found[0].mark = Ok(Some((mark.to_text(), mark.clone())));
        self.first = Some(mark);
        Ok(Some(self))
    }

    /// Opens the inbox over the partitions of the plan, which are open now, in their order. If another process has
    /// changed their marks since the plan was made, they are compared again.
    ///
    /// # Errors
    ///
    /// See [`PartitionError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, any number of partitions may have their marks.
    pub async fn open(
        self,
        partitions: Vec<Arc<dyn Partition>>,
    ) -> Result<Partitioned, PartitionError> {
        let options = self.options.clone();
        let opened = open::open(self, &partitions).await?;
        Ok(Partitioned::of(partitions, opened, &options))
    }

    pub(super) const fn options(&self) -> &PartitionOptions {
        &self.options
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Sets the marks that are missing or that change. Returns `None` if another process has changed one meanwhile.
    pub(super) async fn carry_out(
        mut self,
        partitions: &[Arc<dyn Partition>],
    ) -> Result<Option<Opened>, PartitionError> {
        let limit = self.options.open_timeout;
        if self.is_new() {
            // A mark beside it that cannot be set would leave an inbox that cannot be opened.
            for (partition, Found { place, .. }) in partitions.iter().zip(&self.found) {
                check_empty(*place, &kinds_of(&**partition, *place, limit).await?)?;
            }
            match self.begin(&*partitions[0]).await? {
                Some(begun) => self = begun,
                None => return Ok(None),
            }
        }
        let Some(first) = self.first.take() else {
            return Ok(None);
        };
        let first = match self.options.mode {
            OpenMode::Existing => first,
            OpenMode::Create => match self.set_marks(partitions, first).await? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let count = NonZeroUsize::new(self.count()).unwrap_or(NonZeroUsize::MIN);
        let is_marked = self.found.iter().map(|it| it.mark.is_ok());
        Ok(Some(Opened {
            placement: Placement::new(count).with_whole_kinds(first.whole_kinds.iter().cloned()),
            is_marked: is_marked.collect(),
            first,
        }))
    }

    /// Returns the mark of the first partition, or `None` if another process has changed a mark meanwhile.
    async fn set_marks(
        &mut self,
        partitions: &[Arc<dyn Partition>],
        mut first: Mark,
    ) -> Result<Option<Mark>, PartitionError> {
        let limit = self.options.open_timeout;
        if self.makes_kinds_whole(&first) {
            for (partition, found) in partitions.iter().zip(&mut self.found) {
                found.kinds = kinds_of(&**partition, found.place, limit).await?;
            }
            self.check_spread(&first)?;
        }
        loop {
            for (partition, found) in partitions.iter().zip(&mut self.found) {
                let mark = first.at(found.place);
                let before = match &found.mark {
                    Err(_) => continue,
                    Ok(Some((_, before))) if *before == mark => continue,
                    Ok(Some((text, _))) => Some(text.as_str()),
                    Ok(None) => None,
                };
                if !mark_as(&**partition, before, &mark, limit).await? {
                    return Ok(None);
                }
                found.mark = Ok(Some((mark.to_text(), mark)));
            }
            if first.is_complete || self.found.iter().any(|it| it.mark.is_err()) {
                return Ok(Some(first));
            }
            // All have their marks now, and say so in another round.
            first.is_complete = true;
        }
    }

    /// The mark that the first partition will have, by the `mark` of one. Checks all others.
    fn first_like(&self, mark: &Mark) -> Result<Mark, PartitionError> {
        let mut first = mark.at(self.found[0].place);
        let marked = || self.found.iter().filter_map(|it| Some((it, it.mark()?)));
        for (found, mark) in marked() {
            mark.check(&first.at(found.place))?;
            first.whole_kinds.extend(mark.whole_kinds.iter().cloned());
        }
        let all_marked = self.found.iter().all(|it| it.mark().is_some());
        first.is_complete = all_marked || marked().any(|(_, mark)| mark.is_complete);
        for found in self.found.iter().filter(|it| it.is_unmarked()) {
            let mark = first.at(found.place);
            match self.options.mode {
                OpenMode::Existing => return Err(unmarked(&mark)),
                OpenMode::Create => {
                    check_new(&mark)?;
                    check_empty(found.place, &found.kinds)?;
                }
            }
        }
        let mut new_whole = self.options.whole_kinds.difference(&first.whole_kinds);
        match (self.options.mode, new_whole.next()) {
            (OpenMode::Existing, Some(kind)) => {
                return Err(PartitionError::NotWhole { kind: kind.clone() });
            }
            (OpenMode::Existing, None) => return Ok(first),
            (OpenMode::Create, _) => {}
        }
        first
            .whole_kinds
            .extend(self.options.whole_kinds.iter().cloned());
        if self.makes_kinds_whole(&first) {
            self.all_needed("make a kind whole")?;
            self.check_spread(&first)?;
        }
        Ok(first)
    }

    fn makes_kinds_whole(&self, first: &Mark) -> bool {
        let mut marks = self.found.iter().filter_map(Found::mark);
        marks.any(|mark| mark.whole_kinds != first.whole_kinds)
    }

    /// Refuses to make a kind whole while a partition other than its home has events of it.
    fn check_spread(&self, first: &Mark) -> Result<(), PartitionError> {
        let count = NonZeroUsize::new(self.count()).unwrap_or(NonZeroUsize::MIN);
        let placement = Placement::new(count);
        for found in &self.found {
            let Some(mark) = found.mark() else { continue };
            let becomes_whole = |kind: &&Kind| {
                first.whole_kinds.contains(*kind) && !mark.whole_kinds.contains(*kind)
            };
            for kind in found.kinds.iter().filter(becomes_whole) {
                let home = placement.home_of(kind);
                if home != found.place.index {
                    return Err(PartitionError::SpreadKind {
                        kind: kind.clone(),
                        index: found.place.index,
                        count: found.place.count,
                        home,
                    });
                }
            }
        }
        Ok(())
    }

    /// Checks that the inbox can be made.
    fn check_creation(&self) -> Result<(), PartitionError> {
        if self.options.mode == OpenMode::Existing {
            return Err(PartitionError::NoInbox {
                count: self.count(),
            });
        }
        // Another inbox might be in those that cannot be reached.
        self.all_needed("create the inbox")?;
        for found in &self.found {
            check_empty(found.place, &found.kinds)?;
        }
        Ok(())
    }

    fn check_reached(&self) -> Result<(), PartitionError> {
        let mut errors = Vec::with_capacity(self.count());
        for found in &self.found {
            match &found.mark {
                Ok(_) => return Ok(()),
                Err(error) => errors.push(error),
            }
        }
        Err(PartitionError::Unreachable {
            count: self.count(),
            source: errors[0].clone(),
        })
    }

    fn all_needed(&self, purpose: &'static str) -> Result<(), PartitionError> {
        for Found { place, mark, .. } in &self.found {
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
}
