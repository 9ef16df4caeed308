//! [`Partitioned`]: one inbox over several backends.

mod admin;
mod error;
mod found;
mod mark;
mod member;
mod open;
mod partition;
mod place;
mod plan;
mod scheduler;
mod split;
mod store;
mod transfer;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::event::Kind;
use crate::placement::{MAX_PARTITIONS, Placement};
use crate::scheduler::Lease;
use crate::setters::setters;
use crate::store::Store;
use member::Member;
use open::Opened;
use place::Place;

pub use error::PartitionError;
pub use found::FoundInbox;
pub use open::refuse_partition;
pub use partition::Partition;
pub use plan::PartitionPlan;

/// One inbox over several backends, its partitions. Clones share them.
///
/// Each event is in one partition, which a fixed hash of its kind and its key chooses: see [`Placement`]. All
/// processes open the same partitions in the same order. How many there are is fixed when the inbox is made: each
/// partition keeps a mark that says which partition of which inbox it is, and a backend with another mark is refused.
///
/// ```
/// use std::sync::Arc;
///
/// use webhook_core::{Envelope, Fingerprint, Inbox, InboxOptions, Key, Kind, Partition, PartitionOptions, Partitioned};
/// use webhook_memory::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // In a program of your own: SQLite files on several disks, or schemas of several PostgreSQL servers.
/// let partitions = (0..3).map(|_| -> Arc<dyn Partition> { Arc::new(MemoryStore::default()) });
/// let options = PartitionOptions::default();
/// let store = Partitioned::open(partitions.collect(), options).await?;
///
/// let inbox = Inbox::new(Arc::new(store.clone()), InboxOptions::default());
/// let (kind, key) = (Kind::from_static("greeting"), Key::new("g-1")?);
/// inbox.accept(Envelope::new(kind, key, Fingerprint::of(["hello"]), "hello".into())).await?;
/// inbox.close().await;
/// # Ok(())
/// # }
/// ```
///
/// # What the partitions do together, and what each does by itself
///
/// - Keys are unique in the whole inbox. Guards need [whole kinds](PartitionOptions::with_whole_kinds).
/// - Events of one call of [`accept`](crate::Store::accept) are committed all or none *in each partition*.
/// - Events are claimed in the order of their due times in each partition. No partition starves another one.
/// - A kind is paused and resumed in all partitions. If some of them cannot be reached, the others are changed, and the
///   call fails: repeat it until it succeeds.
/// - Nodes report themselves to all partitions that can be reached. Audit records are in the first partition that can
///   be reached.
/// - Each partition has its clock. [`Counts`](crate::Counts) and lists are not one snapshot of all partitions.
///
/// The id of an event is the id that its partition gave it, times the number of partitions, plus the number of the
/// partition. So ids of different partitions are not in the order of acceptance, and neither are
/// [lists](crate::Admin::list) and [searches](crate::Admin::search): they are in the order of ids, and have each event
/// once. [`Export`](crate::transfer::Export) reads all events in the order of acceptance.
///
/// # Partitions that cannot be reached
///
/// A partition that cannot be reached at the [start](Self::open), or later, fails the calls that need it, with an error
/// that names it. Partitions are counted from 0. An [`Inbox`](crate::Inbox) and a [`Worker`](crate::Worker) work on each
/// partition by itself, so that the other partitions go on.
#[derive(Clone)]
pub struct Partitioned {
    inner: Arc<Inner>,
}

struct Inner {
    placement: Arc<Placement>,
    members: Vec<Arc<Member>>,
    /// Which partition is asked first by the next claim, or the next sweep.
    turn: AtomicUsize,
}

/// Options of [`Partitioned::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionOptions {
    /// Kinds whose events are all in one partition, beside those that were whole before: a kind that is whole stays
    /// whole. Default: none.
    ///
    /// A kind whose events have [guards](field@crate::Envelope::guard) must be whole. It may become whole as long as
    /// only the partition that its events will be in has events of it. Name it before any process accepts events of
    /// it: processes that are running learn of it when they are started again.
    pub whole_kinds: BTreeSet<Kind>,
    /// How long to wait for each partition when it is opened, before it counts as one that cannot be reached.
    /// Default: 10 s.
    pub open_timeout: Duration,
    /// How partitions without a mark are treated. Default: [`OpenMode::Create`].
    pub mode: OpenMode,
}

/// How an inbox is treated that does not exist, or is not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// The inbox is created, missing marks are set, and kinds are made whole.
    #[default]
    Create,
    /// No mark is set or changed, for programs that look at the inbox of a server. Partitions that cannot be told to be
    /// the inbox are refused: [`PartitionError::NoInbox`], [`PartitionError::Unmarked`]. The
    /// [`whole_kinds`](field@PartitionOptions::whole_kinds) must be whole already: [`PartitionError::NotWhole`].
    Existing,
}

impl PartitionOptions {
    /// Sets [`whole_kinds`](field@Self::whole_kinds).
    #[must_use]
    pub fn with_whole_kinds(self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            whole_kinds: kinds.into_iter().collect(),
            ..self
        }
    }

    setters! {
        with_open_timeout open_timeout: Duration;
        with_mode mode: OpenMode;
    }
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            whole_kinds: BTreeSet::new(),
            open_timeout: Duration::from_secs(10),
            mode: OpenMode::Create,
        }
    }
}

impl Partitioned {
    /// Opens an inbox over `partitions`, and creates it if they are new, unless its [mode](OpenMode) says otherwise.
    ///
    /// It refuses partitions before it sets any mark. [`PartitionPlan`] is for programs that also create no schema
    /// or file then.
    ///
    /// Partitions without a mark are marked if they have no events. Several processes may do so at the same time. If
    /// one ends meanwhile, the next call continues. Once all have their marks, an empty backend in the place of one is
    /// refused.
    ///
    /// A partition that cannot be reached does not fail the call, if another one can. It is checked before it is used
    /// first; until then its calls fail. All partitions are needed to create the inbox, and to make a kind whole.
    ///
    /// # Errors
    ///
    /// See [`PartitionError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, any number of partitions may have their marks.
    pub async fn open(
        partitions: Vec<Arc<dyn Partition>>,
        options: PartitionOptions,
    ) -> Result<Self, PartitionError> {
        check_count(partitions.len())?;
        let found = open::look(&partitions, options.open_timeout).await;
        PartitionPlan::new(found, options)?.open(partitions).await
    }

    fn of(partitions: Vec<Arc<dyn Partition>>, opened: Opened, options: &PartitionOptions) -> Self {
        let count = partitions.len();
        let members = partitions.into_iter().zip(opened.is_marked).enumerate();
        let members = members.map(|(index, (backend, is_marked))| {
            let mark = opened.first.at(Place { index, count });
            Arc::new(Member::new(backend, mark, is_marked, options))
        });
        Self {
            inner: Arc::new(Inner {
                placement: Arc::new(opened.placement),
                members: members.collect(),
                turn: AtomicUsize::new(0),
            }),
        }
    }

    /// Returns the partition that has the event of `lease`, and the lease as that partition knows it: for apps that
    /// settle events in their own transactions with a backend. `None` if no partition can have given the lease.
    pub fn locate(&self, lease: Lease) -> Option<(usize, Lease)> {
        let index = self.index_of(lease)?;
        Some((index, self.inner.members[index].place().local_lease(lease)))
    }

    /// Returns the partitions in their order, for programs that ping each of them. A partition that could not be reached
    /// when the inbox was opened does not answer before it was checked.
    pub fn stores(&self) -> Vec<Arc<dyn Store>> {
        let members = self.members().iter().cloned();
        members.map(|member| member as Arc<dyn Store>).collect()
    }

    /// Decides whether a backend with the contents `found` is partition `index`, and changes nothing: for programs that
    /// migrate a partition which could not be reached when the inbox was opened. They look at it first, as they do for a
    /// [`PartitionPlan`].
    ///
    /// # Errors
    ///
    /// See [`PartitionError`]: that with which the calls that need the partition would fail.
    ///
    /// # Panics
    ///
    /// Panics if there is no such partition.
    pub fn check_found(&self, index: usize, found: &FoundInbox) -> Result<(), PartitionError> {
        self.members()[index].check_found(found)
    }

    fn index_of(&self, lease: Lease) -> Option<usize> {
        Place::index_of(self.members().len(), lease.event.get())
    }

    fn members(&self) -> &[Arc<Member>] {
        &self.inner.members
    }

    /// The partitions in their order, beginning with another one each time.
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Member>> {
        let members = self.members();
        let first = self.inner.turn.fetch_add(1, Ordering::Relaxed) % members.len();
        members[first..].iter().chain(&members[..first])
    }
}

fn check_count(count: usize) -> Result<(), PartitionError> {
    if (1..=MAX_PARTITIONS).contains(&count) {
        return Ok(());
    }
    Err(PartitionError::Count {
        count,
        limit: MAX_PARTITIONS,
    })
}

impl fmt::Debug for Partitioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partitioned")
            .field("placement", &self.inner.placement)
            .finish_non_exhaustive()
    }
}
