//! Opens the partitions of an inbox.

mod health;
mod late;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use tracing::warn;
use webhook_core::{Kind, Partition, PartitionOptions, Partitioned};
use webhook_postgres::PgOptions;

use super::{OpenError, Opened, beside, postgres, sqlite};
use crate::config::{BackendUrl, Config};
pub(crate) use health::{Health, Partitions};
pub(super) use late::LatePartition;

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
}

/// Opens the partitions for a server. Waits for databases up to `database_wait_seconds`. A database that stays away
/// does not keep the server from starting if another one answers.
pub(super) async fn serving(
    urls: Vec<BackendUrl>,
    whole_kinds: BTreeSet<Kind>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    open(urls, whole_kinds, Opener::Server, config).await
}

/// Opens the partitions beside servers that may run. They must exist.
pub(super) async fn existing(
    urls: Vec<BackendUrl>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    open(urls, BTreeSet::new(), Opener::Command, config).await
}

/// Opens the partitions that a move reads. They must exist.
pub(super) async fn source(
    urls: Vec<BackendUrl>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    open(urls, BTreeSet::new(), Opener::Source, config).await
}

/// Opens the partitions that a move fills, and creates those that do not exist.
pub(super) async fn target(
    urls: Vec<BackendUrl>,
    whole_kinds: BTreeSet<Kind>,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    open(urls, whole_kinds, Opener::Target, config).await
}

/// Brings the tables of all partitions up to date.
pub(super) async fn migrate(urls: Vec<BackendUrl>, config: &Config) -> Result<(), OpenError> {
    let count = urls.len();
    for (index, url) in urls.into_iter().enumerate() {
        let migrated = match url {
            BackendUrl::Postgres(url) => match postgres::options(&url, Some(index), config) {
                Ok(options) => postgres::connect_and_migrate(options, config).await,
                Err(error) => Err(error),
            },
            BackendUrl::Sqlite(path) => sqlite::migrate(&path).await,
            BackendUrl::Memory | BackendUrl::Partitions(_) => Ok(()),
        };
        migrated.map_err(|error| error.of_partition(index, count))?;
    }
    Ok(())
}

async fn open(
    urls: Vec<BackendUrl>,
    whole_kinds: BTreeSet<Kind>,
    opener: Opener,
    config: &Config,
) -> Result<OpenedInbox, OpenError> {
    let count = urls.len();
    let named = urls.clone();
    let reaching = urls.into_iter().enumerate().map(async |(index, url)| {
        let reached = reach(url, index, opener, config).await;
        reached.map_err(|error| error.of_partition(index, count))
    });
    let mut reached = try_join_all(reaching).await?;
    if reached.iter().all(|it| matches!(it, Reached::NotYet(..)))
        && let Reached::NotYet(_, error) = reached.swap_remove(0)
    {
        return Err(error.of_partition(0, count));
    }
    let opened = reached.into_iter().enumerate().map(|(index, it)| match it {
        Reached::Now(partition, opened) => (partition, opened),
        Reached::NotYet(options, error) => {
            warn!(
                partition = index,
                error = &error as &dyn std::error::Error,
                "a partition cannot be reached; starting without it"
            );
            let late = Arc::new(LatePartition::start(*options, index, opener, config));
            (Arc::clone(&late) as Arc<dyn Partition>, Opened::Late(late))
        }
    });
    let (partitions, opened): (Vec<_>, Vec<_>) = opened.unzip();
    // A move makes partitions beside the inbox that it reads.
    if matches!(opener, Opener::Server | Opener::Command)
        && are_new(&partitions).await
        && let Err(error) = beside::check_partitions(&named, config).await
        // Otherwise another process has just made this inbox, and that is what was found.
        && are_new(&partitions).await
    {
        return Err(error);
    }
    let options = PartitionOptions::default().with_whole_kinds(whole_kinds);
    let inbox = Partitioned::open(partitions.clone(), options).await;
    Ok(OpenedInbox {
        inbox: inbox.map_err(OpenError::Partitions)?,
        partitions: Partitions::new(partitions),
        opened: Opened::Partitions(opened),
    })
}

/// Whether no partition has a mark: the inbox is yet to be made. False if it cannot be told, since an inbox is only made
/// if all answer.
async fn are_new(partitions: &[Arc<dyn Partition>]) -> bool {
    let marks = join_all(partitions.iter().map(|it| it.partition_mark())).await;
    marks.into_iter().all(|mark| matches!(mark, Ok(None)))
}

/// What became of a partition when it was opened.
enum Reached {
    /// It is open.
    Now(Arc<dyn Partition>, Opened),
    /// Its database did not answer in time.
    NotYet(Box<PgOptions>, OpenError),
}

async fn reach(
    url: BackendUrl,
    index: usize,
    opener: Opener,
    config: &Config,
) -> Result<Reached, OpenError> {
    match (url, opener) {
        (BackendUrl::Postgres(url), _) => {
            let options = postgres::options(&url, Some(index), config)?;
            let database = match postgres::connect(options.clone(), config).await {
                Err(error @ OpenError::Unreachable { .. })
                    if matches!(opener, Opener::Server | Opener::Command) =>
                {
                    return Ok(Reached::NotYet(Box::new(options), error));
                }
                database => database?,
            };
            let database = match opener {
                Opener::Server => postgres::prepare(database, config).await?,
                Opener::Command | Opener::Source => postgres::check(database).await?,
                Opener::Target => {
                    postgres::migrate(&database).await?;
                    database
                }
            };
            let opened = Opened::Postgres(database.clone());
            Ok(Reached::Now(Arc::new(database), opened))
        }
        (BackendUrl::Sqlite(path), Opener::Server | Opener::Source | Opener::Target) => {
            let (file, lock) = match opener {
                Opener::Source => sqlite::existing_alone(&path).await?,
                Opener::Target => sqlite::open_alone(&path).await?,
                _ => sqlite::serving(&path, config).await?,
            };
            let opened = Opened::Sqlite(file.clone(), Some(lock));
            Ok(Reached::Now(Arc::new(file), opened))
        }
        (BackendUrl::Sqlite(path), Opener::Command) => {
            let file = sqlite::existing(&path).await?;
            let opened = Opened::Sqlite(file.clone(), None);
            Ok(Reached::Now(Arc::new(file), opened))
        }
        (BackendUrl::Memory | BackendUrl::Partitions(_), _) => {
            unreachable!("`Config::backend` makes partitions of databases and files only")
        }
    }
}
