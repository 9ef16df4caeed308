//! Opens the partitions of an inbox.
//!
//! Nothing is created, migrated, locked by a new file or marked before it is known that the inbox can be opened: a start
//! that is refused leaves everything as it was.

mod late;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tracing::warn;
use webhook_core::{
    FoundInbox, Kind, OpenMode, Partition, PartitionError, PartitionOptions, PartitionPlan,
    Partitioned, StoreError,
};
use webhook_postgres::{CreationLock, PgError, PgOptions, PgStore};
use webhook_sqlite::ServerLock;

use super::{OpenError, Opened, Partitions, beside, postgres, sqlite, transfer};
use crate::config::{BackendUrl, Config, Migrate};
use late::Late;

/// The partitions of an inbox, opened as one.
pub(super) struct OpenedInbox {
    pub(super) inbox: Partitioned,
    pub(super) partitions: Partitions,
    pub(super) opened: Opened,
}

/// Who opens the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Server,
    /// A command, beside servers that may run.
    Command,
    /// A move, which reads all of them while no server runs.
    Source,
    /// A move, which fills them while no server runs.
    Target,
    /// A migration, which does not use them.
    Migration,
}

impl Opener {
    /// Whether it makes an inbox that does not exist, or only reads the marks of one.
    const fn mode(self) -> OpenMode {
        match self {
            Self::Server | Self::Target | Self::Migration => OpenMode::Create,
            Self::Command | Self::Source => OpenMode::Existing,
        }
    }

    /// Whether it migrates PostgreSQL.
    fn migrates(self, config: &Config) -> bool {
        match self {
            Self::Server => config.migrate == Migrate::Auto,
            Self::Target | Self::Migration => true,
            Self::Command | Self::Source => false,
        }
    }

    /// Whether it goes on without a database that stays away.
    const fn does_without(self) -> bool {
        matches!(self, Self::Server | Self::Command)
    }
}

/// Opens the partitions for a server. Waits for databases up to `database_wait_seconds`. A database that stays away
/// does not keep the server from starting if another one answers.
pub(super) async fn serving(
    urls: Vec<BackendUrl>,
    whole_kinds: BTreeSet<Kind>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    let planned = Planned::of(urls, whole_kinds, Opener::Server, config).await?;
    planned.open().await
}

/// Opens the partitions beside servers that may run. A server must have made the inbox.
pub(super) async fn existing(
    urls: Vec<BackendUrl>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    let planned = Planned::of(urls, BTreeSet::new(), Opener::Command, config).await?;
    planned.open().await
}

/// Looks at the partitions that a move reads. A server must have made the inbox.
pub(super) async fn source(
    urls: Vec<BackendUrl>,
    config: &Config,
) -> Result<Planned<'_>, OpenError> {
    Planned::of(urls, BTreeSet::new(), Opener::Source, config).await
}

/// Looks at the partitions that a move fills. Those that do not exist are created when they are opened.
pub(super) async fn target(
    urls: Vec<BackendUrl>,
    whole_kinds: BTreeSet<Kind>,
    config: &Config,
) -> Result<Planned<'_>, OpenError> {
    Planned::of(urls, whole_kinds, Opener::Target, config).await
}

/// Looks at partitions whose tables are to be brought up to date. They must be those of one inbox.
pub(super) async fn migration(
    urls: Vec<BackendUrl>,
    config: &Config,
) -> Result<Places<'_>, OpenError> {
    let mut places = Places::reach(urls, Opener::Migration, config).await?;
    match places.plan(PartitionOptions::default()).await {
        Ok(_) => Ok(places),
        // The tables of one whose events are lost are made anew. Its mark, which the error tells, is the operator's to set.
        Err(OpenError::Partitions(lost @ PartitionError::Empty { .. })) => {
            warn!(
                error = &lost as &dyn std::error::Error,
                "the tables of a lost partition are made; no server uses it without its mark"
            );
            Ok(places)
        }
        Err(error) => Err(error),
    }
}

/// Checks the URLs of the partitions, and the names of their schemas.
pub(super) fn check_parameters(urls: &[BackendUrl], config: &Config) -> Result<(), OpenError> {
    for (index, url) in urls.iter().enumerate() {
        if let BackendUrl::Postgres(url) = url {
            let options = postgres::options(url, Some(index), config);
            options.map_err(|error| error.of_partition(index, urls.len()))?;
        }
    }
    Ok(())
}

/// Partitions that can be opened as one inbox, as far as can be told. Nothing has been created or changed yet.
pub(super) struct Planned<'c> {
    places: Places<'c>,
    options: PartitionOptions,
    plan: PartitionPlan,
}

impl<'c> Planned<'c> {
    async fn of(
        urls: Vec<BackendUrl>,
        whole_kinds: BTreeSet<Kind>,
        opener: Opener,
        config: &'c Config,
    ) -> Result<Self, OpenError> {
        let mut places = Places::reach(urls, opener, config).await?;
        let options = PartitionOptions::default()
            .with_whole_kinds(whole_kinds)
            .with_mode(opener.mode());
        let plan = places.plan(options.clone()).await?;
        Ok(Self {
            places,
            options,
            plan,
        })
    }

    /// The contents of the partitions that can be reached.
    pub(super) fn found(&self) -> &[FoundInbox] {
        &self.places.found
    }

    /// The databases of PostgreSQL.
    pub(super) fn postgres(&self) -> Vec<&PgStore> {
        let places = self.places.each.iter();
        let databases = places.filter_map(|place| match place {
            Place::Postgres(database) => Some(database),
            _ => None,
        });
        databases.collect()
    }

    pub(super) async fn open(self) -> Result<OpenedInbox, OpenError> {
        let Self {
            mut places,
            options,
            mut plan,
        } = self;
        let mut opened = Vec::with_capacity(places.each.len());
        let mut lock = None;
        if plan.is_new() {
            lock = Some(places.lock().await?);
            plan = places.plan(options.clone()).await?;
        }
        if plan.is_new() {
            // The process that sets the first mark makes the inbox. Others may want another one, and have created nothing
            // beside it.
            let first = places.open_each(0..1).await?.remove(0);
            let begun = plan.begin(&*first.0).await;
            plan = match begun.map_err(OpenError::Partitions)? {
                Some(plan) => plan,
                None => places.plan(options).await?,
            };
            opened.push(first);
        }
        let others = opened.len()..places.each.len();
        opened.extend(places.open_each(others).await?);
        let (partitions, mut opened): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let inbox = plan.open(partitions).await.map_err(OpenError::Partitions)?;
        // The inbox is made.
        drop(lock);
        if places.opener == Opener::Server {
            places.prepare_later(&mut opened, &inbox);
        }
        Ok(OpenedInbox {
            partitions: Partitions::of(&inbox),
            inbox,
            opened: Opened::Partitions(opened),
        })
    }
}

/// The places of all partitions.
pub(crate) struct Places<'c> {
    urls: Vec<BackendUrl>,
    each: Vec<Place>,
    /// The contents of those that can be reached.
    found: Vec<FoundInbox>,
    opener: Opener,
    config: &'c Config,
}

/// Where a partition is, or will be.
enum Place {
    /// A connection to the database, which may not have the schema yet.
    Postgres(PgStore),
    /// A file that may not exist yet, with its lock if that is held already.
    File {
        path: PathBuf,
        lock: Option<ServerLock>,
    },
    /// A database that did not answer in time, or failed, and that others can do without.
    Away {
        database: PgStore,
        error: StoreError,
    },
}

impl<'c> Places<'c> {
    /// Connects to all databases, and holds the locks of the files that have been used before.
    async fn reach(
        urls: Vec<BackendUrl>,
        opener: Opener,
        config: &'c Config,
    ) -> Result<Self, OpenError> {
        let count = urls.len();
        let reaching = urls.iter().enumerate().map(async |(index, url)| {
            let reached = reach(url, index, opener, config).await;
            reached.map_err(|error| error.of_partition(index, count))
        });
        let mut reached = try_join_all(reaching).await?;
        if reached.iter().all(|it| matches!(it, Reached::NotYet(..)))
            && let Reached::NotYet(_, error) = reached.swap_remove(0)
        {
            return Err(error.of_partition(0, count));
        }
        let each = reached.into_iter().map(|it| match it {
            Reached::Now(place) => place,
            Reached::NotYet(options, error) => Place::Away {
                database: PgStore::connect_lazy(*options),
                error: StoreError::unavailable(error),
            },
        });
        Ok(Self {
            each: each.collect(),
            found: Vec::new(),
            urls,
            opener,
            config,
        })
    }

    /// Keeps out other processes that would make an inbox in the same databases, from their URLs in any order. Files have
    /// one URL, so that their first mark decides.
    async fn lock(&self) -> Result<CreationLock, OpenError> {
        let mut databases = BTreeMap::new();
        for (url, place) in self.urls.iter().zip(&self.each) {
            if let (BackendUrl::Postgres(url), Place::Postgres(database)) = (url, place) {
                databases.entry(transfer::name(url)?).or_insert(database);
            }
        }
        // In the order of their names, which is the same in all processes.
        let lock = CreationLock::acquire(databases.into_values()).await;
        lock.map_err(OpenError::CreationLock)
    }

    /// Decides whether the inbox can be opened, and changes nothing.
    async fn plan(&mut self, options: PartitionOptions) -> Result<PartitionPlan, OpenError> {
        let plan = match self.compare(options.clone()).await? {
            Ok(plan) if plan.is_new() => Ok(plan),
            Err(error @ PartitionError::NoInbox { .. }) => Err(error),
            decided => return self.checked(decided).await,
        };
        // A move makes partitions beside the inbox that it reads.
        if !matches!(self.opener, Opener::Source | Opener::Target)
            && let Err(error) = beside::check_partitions(&self.urls, self.config).await
        {
            // Another process may have just made this inbox, and that is what was found.
            return match self.compare(options).await? {
                Ok(plan) if !plan.is_new() => self.checked(Ok(plan)).await,
                _ => Err(error),
            };
        }
        if plan.is_err() {
            for (index, place) in self.each.iter().enumerate() {
                if let Place::File { path, .. } = place {
                    let there = sqlite::there(path);
                    there.map_err(|error| error.of_partition(index, self.each.len()))?;
                }
            }
        }
        self.checked(plan).await
    }

    async fn compare(
        &mut self,
        options: PartitionOptions,
    ) -> Result<Result<PartitionPlan, PartitionError>, OpenError> {
        let (count, opener) = (self.each.len(), self.opener);
        let looking = self.each.iter_mut().enumerate();
        let looking = looking.map(async |(index, place)| {
            let found = place.look(opener).await;
            found.map_err(|error| error.of_partition(index, count))
        });
        let found = try_join_all(looking).await?;
        self.found = found.iter().flatten().cloned().collect();
        match opener {
            Opener::Server => self.found.iter().try_for_each(transfer::check_found)?,
            Opener::Command => {
                let moved = self.found.iter().find(|found| found.move_mark.is_some());
                moved.into_iter().for_each(transfer::warn_of);
            }
            Opener::Source | Opener::Target | Opener::Migration => {}
        }
        Ok(PartitionPlan::new(found, options))
    }

    /// Checks that all can be migrated, before the first one is.
    async fn checked(
        &self,
        plan: Result<PartitionPlan, PartitionError>,
    ) -> Result<PartitionPlan, OpenError> {
        let plan = plan.map_err(OpenError::Partitions)?;
        if self.opener.migrates(self.config) {
            let count = self.each.len();
            let checking = self.each.iter().enumerate().map(async |(index, place)| {
                let Place::Postgres(database) = place else {
                    return Ok(());
                };
                let checked = postgres::check_migration(database).await;
                checked.map_err(|error| error.of_partition(index, count))
            });
            try_join_all(checking).await?;
        }
        Ok(plan)
    }

    /// Brings the tables of all partitions up to date. Creates those that do not exist, and sets no marks.
    pub(super) async fn migrate(mut self) -> Result<(), OpenError> {
        let count = self.each.len();
        for (index, place) in self.each.iter_mut().enumerate() {
            let migrated = match place {
                Place::Postgres(database) => postgres::migrate(database).await,
                Place::File { path, lock } => sqlite::migrate(path, lock.take()).await,
                Place::Away { .. } => {
                    unreachable!("a migration does not go on without a partition")
                }
            };
            migrated.map_err(|error| error.of_partition(index, count))?;
        }
        for place in self.each {
            if let Place::Postgres(database) = place {
                database.close().await;
            }
        }
        Ok(())
    }

    /// Prepares the databases that are away as soon as they can be reached.
    fn prepare_later(&self, opened: &mut [Opened], inbox: &Partitioned) {
        for (index, (place, opened)) in self.each.iter().zip(opened).enumerate() {
            if let (Place::Away { .. }, Opened::Postgres(database, preparing)) = (place, opened) {
                let late = Late::new(database.clone(), index, inbox.clone(), self.config);
                *preparing = Some(late.prepare());
            }
        }
    }

    async fn open_each(
        &mut self,
        indexes: std::ops::Range<usize>,
    ) -> Result<Vec<(Arc<dyn Partition>, Opened)>, OpenError> {
        let (count, first) = (self.each.len(), indexes.start);
        let (opener, config) = (self.opener, self.config);
        let opening = self.each[indexes].iter_mut().enumerate();
        let opening = opening.map(async |(index, place)| {
            let index = first + index;
            let opened = place.open(index, opener, config).await;
            opened.map_err(|error| error.of_partition(index, count))
        });
        try_join_all(opening).await
    }
}

/// What became of a partition when it was reached for.
enum Reached {
    Now(Place),
    /// Its database did not answer in time.
    NotYet(Box<PgOptions>, OpenError),
}

async fn reach(
    url: &BackendUrl,
    index: usize,
    opener: Opener,
    config: &Config,
) -> Result<Reached, OpenError> {
    match url {
        BackendUrl::Postgres(url) => {
            let options = postgres::options(url, Some(index), config)?;
            match postgres::connect(options.clone(), config).await {
                Err(error @ OpenError::Unreachable { .. }) if opener.does_without() => {
                    Ok(Reached::NotYet(Box::new(options), error))
                }
                database => Ok(Reached::Now(Place::Postgres(database?))),
            }
        }
        BackendUrl::Sqlite(path) => {
            let path = sqlite::from_root(path);
            let lock = match opener {
                Opener::Command => None,
                _ => sqlite::existing_lock(&path)?,
            };
            Ok(Reached::Now(Place::File { path, lock }))
        }
        BackendUrl::Memory | BackendUrl::Partitions(_) => {
            unreachable!("`Config::backend` makes partitions of databases and files only")
        }
    }
}

impl Place {
    /// Looks at what is there. A database that fails counts as one that cannot be reached, since nothing is changed before
    /// it was compared.
    async fn look(&mut self, opener: Opener) -> Result<Result<FoundInbox, StoreError>, OpenError> {
        match self {
            Self::Postgres(database) => match database.look().await {
                Ok(found) => Ok(Ok(found)),
                Err(error @ PgError::ForeignSchema { .. }) => Err(OpenError::Look(error)),
                Err(error) if opener.does_without() => {
                    let (database, error) = (database.clone(), StoreError::from(error));
                    let away = error.clone();
                    *self = Self::Away { database, error };
                    Ok(Err(away))
                }
                Err(error) => Err(OpenError::Look(error)),
            },
            Self::File { path, .. } => sqlite::look(path).await.map(Ok),
            Self::Away { error, .. } => Ok(Err(error.clone())),
        }
    }

    async fn open(
        &mut self,
        index: usize,
        opener: Opener,
        config: &Config,
    ) -> Result<(Arc<dyn Partition>, Opened), OpenError> {
        match self {
            Self::Postgres(database) => {
                let database = database.clone();
                let database = match opener {
                    Opener::Server => postgres::prepare(database, config).await?,
                    Opener::Command | Opener::Source => postgres::check(database).await?,
                    Opener::Target | Opener::Migration => {
                        postgres::migrate(&database).await?;
                        database
                    }
                };
                Ok((Arc::new(database.clone()), Opened::Postgres(database, None)))
            }
            Self::File { path, .. } if opener == Opener::Command => {
                let file = sqlite::existing(path).await?;
                Ok((Arc::new(file.clone()), Opened::Sqlite(file, None)))
            }
            Self::File { path, lock } => {
                let (file, lock) = match opener {
                    Opener::Server => sqlite::serving(path, lock.take(), config).await?,
                    _ => sqlite::open_alone(path, lock.take()).await?,
                };
                Ok((Arc::new(file.clone()), Opened::Sqlite(file, Some(lock))))
            }
            Self::Away { database, error } => {
                let error = error as &dyn std::error::Error;
                if opener == Opener::Server {
                    warn!(
                        partition = index,
                        error, "a partition cannot be reached; starting without it"
                    );
                } else {
                    warn!(
                        partition = index,
                        error, "a partition cannot be reached; going on without it"
                    );
                }
                let opened = Opened::Postgres(database.clone(), None);
                Ok((Arc::new(database.clone()), opened))
            }
        }
    }
}
