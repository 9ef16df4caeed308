//! The backend that the configuration names: an SQLite file, PostgreSQL, or memory.

mod beside;
mod health;
mod migration;
mod partition;
mod partitions;
mod postgres;
mod sqlite;
mod transfer;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use webhook_core::{Admin, Kind, PartitionError, Scheduler, Store};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};
use webhook_postgres::{InvalidSchema, PgError, PgStore};
use webhook_sqlite::{ServerLock, SqliteError, SqliteStore};

use crate::config::{BackendUrl, Config, InvalidDatabaseUrl, SecretsError};
use crate::metrics::MeasuredStore;
pub(crate) use health::{Health, Partitions};
pub(crate) use migration::{Migration, NOT_MIGRATED};
use partitions::OpenedInbox;
pub(crate) use sqlite::from_root;
pub(crate) use transfer::{NOT_MOVED, TransferBackend, TransferPlan};

/// An open backend, by the traits that the inbox, workers and operators use.
pub struct Backend {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    /// Without it there are no operator routes, and nothing is deleted.
    pub(crate) admin: Option<Arc<dyn Admin>>,
    /// The partitions, if the inbox is divided among several.
    pub(crate) partitions: Option<Partitions>,
    opened: Opened,
}

impl Backend {
    /// The name of the kind of store.
    pub(crate) fn name(&self) -> &'static str {
        self.opened.name()
    }

    /// Whether events are lost when the process ends.
    pub(crate) const fn is_in_memory(&self) -> bool {
        matches!(self.opened, Opened::Nothing)
    }
}

/// What to close in the end.
#[derive(Debug)]
enum Opened {
    /// A backend of the caller, or in memory.
    Nothing,
    /// With the task that prepares it, if it could not be reached at the start.
    Postgres(PgStore, Option<AbortOnDropHandle<()>>),
    /// With the lock of a server, if it is one.
    Sqlite(SqliteStore, Option<ServerLock>),
    /// All partitions of the inbox.
    Partitions(Vec<Self>),
}

impl Opened {
    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "memory",
            Self::Postgres(..) => "PostgreSQL",
            Self::Sqlite(..) => "SQLite",
            Self::Partitions(partitions) => partitions.first().map_or("memory", Self::name),
        }
    }

    /// All partitions, or the only backend.
    fn each(&self) -> impl Iterator<Item = &Self> {
        match self {
            Self::Partitions(partitions) => partitions.iter(),
            opened => std::slice::from_ref(opened).iter(),
        }
    }

    fn postgres(&self) -> Vec<&PgStore> {
        let databases = self.each().filter_map(|opened| match opened {
            Self::Postgres(database, _) => Some(database),
            _ => None,
        });
        databases.collect()
    }

    async fn close(self) {
        match self {
            Self::Nothing => {}
            Self::Postgres(database, preparing) => {
                drop(preparing);
                database.close().await;
            }
            Self::Sqlite(file, _lock) => file.close().await,
            Self::Partitions(partitions) => {
                let closing = partitions.into_iter().map(|it| Box::pin(it.close()));
                join_all(closing).await;
            }
        }
    }
}

impl Backend {
    /// A backend of the caller, without operator routes and retention.
    pub fn new(store: Arc<dyn Store>, scheduler: Arc<dyn Scheduler>) -> Self {
        Self {
            store,
            scheduler,
            admin: None,
            partitions: None,
            opened: Opened::Nothing,
        }
    }

    /// Opens the backend of `config`. Waits for PostgreSQL up to `database_wait_seconds`. If the inbox has
    /// partitions, all events of each of the `whole_kinds` are in one of them. What is refused has changed nothing: each
    /// backend is looked at before it is created or migrated.
    pub(crate) async fn open(
        config: &Config,
        whole_kinds: BTreeSet<Kind>,
    ) -> Result<Self, OpenError> {
        let url = backend_url(config).await?;
        config.check_role(&url).map_err(OpenError::Unsuitable)?;
        match url {
            BackendUrl::Memory => Ok(Self::in_memory(config)),
            BackendUrl::Sqlite(path) => {
                let held = sqlite::existing_lock(&sqlite::from_root(&path))?;
                let found = sqlite::look(&path).await?;
                transfer::check_found(&found)?;
                partition::check_found(&found)?;
                beside::check_file_alone(&found, &path).await?;
                let (file, lock) = sqlite::serving(&path, held, config).await?;
                transfer::check_mark(&file).await?;
                partition::check_alone(&file).await?;
                Ok(Self::of(file.clone(), Opened::Sqlite(file, Some(lock))))
            }
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let found = postgres::look(&database).await?;
                transfer::check_found(&found)?;
                partition::check_found(&found)?;
                beside::check_database_alone(&found, &database, &url, config).await?;
                let database = postgres::prepare(database, config).await?;
                transfer::check_mark(&database).await?;
                partition::check_alone(&database).await?;
                Ok(Self::of(database.clone(), Opened::Postgres(database, None)))
            }
            BackendUrl::Partitions(urls) => {
                let OpenedInbox {
                    inbox,
                    partitions,
                    opened,
                } = partitions::serving(urls, whole_kinds, config).await?;
                transfer::check_mark(&inbox).await?;
                Ok(Self {
                    partitions: Some(partitions),
                    ..Self::of(inbox, opened)
                })
            }
        }
    }

    fn in_memory(config: &Config) -> Self {
        warn!(
            capacity = config.memory_capacity,
            max_bytes = config.memory_max_bytes,
            "events are kept IN MEMORY and do not survive a restart (DATABASE_URL=memory:)"
        );
        let store = MemoryStore::new(
            MemoryOptions::default()
                .with_capacity(config.memory_capacity)
                .with_max_bytes(config.memory_max_bytes)
                .with_when_full(WhenFull::EvictProcessed),
        );
        Self::of(store, Opened::Nothing)
    }

    fn of(store: impl Store + Scheduler + Admin + 'static, opened: Opened) -> Self {
        let store = Arc::new(store);
        Self {
            store: Arc::clone(&store) as Arc<dyn Store>,
            scheduler: Arc::clone(&store) as Arc<dyn Scheduler>,
            admin: Some(store),
            partitions: None,
            opened,
        }
    }

    /// The databases whose connections and sizes are among the metrics.
    pub(crate) fn measured(&self) -> Vec<MeasuredStore> {
        let measured = self.opened.each().filter_map(|opened| match opened {
            Opened::Postgres(database, _) => Some(MeasuredStore::Postgres(database.clone())),
            Opened::Sqlite(file, _) => Some(MeasuredStore::Sqlite(file.clone())),
            Opened::Nothing | Opened::Partitions(_) => None,
        });
        measured.collect()
    }

    pub(crate) async fn close(self) {
        self.opened.close().await;
    }
}

/// Why commands refuse `memory:`.
pub(crate) const NOT_SHARED: &str = "this command needs a database, and DATABASE_URL (--database-url) is \
    `memory:`; events in the memory of a server are visible to that server only";

/// How long a command waits for PostgreSQL at most. A server waits for `DATABASE_WAIT_SECONDS` because it may start before its
/// database; whoever runs a command sits before it.
const COMMAND_WAIT: Duration = Duration::from_secs(5);

/// The backend that a command uses, beside servers that may run.
pub(crate) struct CommandBackend {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) admin: Arc<dyn Admin>,
    /// The partitions, if the inbox is divided among several.
    pub(crate) partitions: Option<Partitions>,
    opened: Opened,
}

impl CommandBackend {
    /// Opens the backend of `config`, which must exist. Nothing is changed but the tables of an SQLite file of an older
    /// version, which are updated. Waits for PostgreSQL up to [`COMMAND_WAIT`].
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenError> {
        let config = &Config {
            database_wait_seconds: config.database_wait_seconds.min(COMMAND_WAIT),
            ..config.clone()
        };
        match backend_url(config).await? {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_SHARED)),
            BackendUrl::Sqlite(path) => {
                let found = sqlite::look(&path).await?;
                transfer::warn_of(&found);
                partition::check_found(&found)?;
                beside::check_file_alone(&found, &path).await?;
                let file = sqlite::existing(&path).await?;
                Ok(Self::of(file.clone(), Opened::Sqlite(file, None)))
            }
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let found = postgres::look(&database).await?;
                transfer::warn_of(&found);
                partition::check_found(&found)?;
                beside::check_database_alone(&found, &database, &url, config).await?;
                let database = postgres::check(database).await?;
                Ok(Self::of(database.clone(), Opened::Postgres(database, None)))
            }
            BackendUrl::Partitions(urls) => {
                let OpenedInbox {
                    inbox,
                    partitions,
                    opened,
                } = partitions::existing(urls, config).await?;
                Ok(Self {
                    partitions: Some(partitions),
                    ..Self::of(inbox, opened)
                })
            }
        }
    }

    fn of(store: impl Store + Admin + 'static, opened: Opened) -> Self {
        let store = Arc::new(store);
        Self {
            store: Arc::clone(&store) as Arc<dyn Store>,
            admin: store,
            partitions: None,
            opened,
        }
    }

    /// The SQLite file, if it is one, or those of the partitions.
    pub(crate) fn sqlite(&self) -> Vec<&SqliteStore> {
        let files = self.opened.each().filter_map(|opened| match opened {
            Opened::Sqlite(file, _) => Some(file),
            _ => None,
        });
        files.collect()
    }

    /// The database, if it is PostgreSQL, or those of the partitions, with their numbers.
    pub(crate) fn postgres(&self) -> Vec<(usize, &PgStore)> {
        let databases = self.opened.each().enumerate();
        let databases = databases.filter_map(|(index, opened)| match opened {
            Opened::Postgres(database, _) => Some((index, database)),
            _ => None,
        });
        databases.collect()
    }

    pub(crate) async fn close(self) {
        self.opened.close().await;
    }
}

/// The SQLite files of `url` whose tables [`CommandBackend::open`] would update.
pub(crate) async fn outdated_files(url: &BackendUrl) -> Result<Vec<PathBuf>, OpenError> {
    let urls = match url {
        BackendUrl::Partitions(urls) => urls.as_slice(),
        url => std::slice::from_ref(url),
    };
    let mut outdated = Vec::new();
    for url in urls {
        if let BackendUrl::Sqlite(path) = url
            && sqlite::is_outdated(path).await?
        {
            outdated.push(path.clone());
        }
    }
    Ok(outdated)
}

/// Reads the database URL on a blocking thread: it may be in a file.
pub(crate) async fn backend_url(config: &Config) -> Result<BackendUrl, OpenError> {
    let reading = config.clone();
    let reading = tokio::task::spawn_blocking(move || reading.read_database_url());
    let read = reading.await.map_err(OpenError::UrlTask)?;
    let url = read.map_err(OpenError::UrlFile)?;
    config.backend(url.as_ref()).map_err(OpenError::url_form)
}

/// Checks the URLs of PostgreSQL with their parameters, and the names of the schemas of partitions. Connects to nothing.
pub(crate) fn check_parameters(url: &BackendUrl, config: &Config) -> Result<(), OpenError> {
    match url {
        BackendUrl::Memory | BackendUrl::Sqlite(_) => Ok(()),
        BackendUrl::Postgres(url) => postgres::options(url, None, config).map(drop),
        BackendUrl::Partitions(urls) => partitions::check_parameters(urls, config),
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The backend does not do what is asked for.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The file that holds the URL cannot be used.
    #[error("failed to read the database URL")]
    UrlFile(#[source] SecretsError),
    /// The task that reads the file panicked.
    #[error("failed to read the database URL")]
    UrlTask(#[source] tokio::task::JoinError),
    /// The URL names no backend.
    #[error("invalid {setting}")]
    UrlForm {
        /// The setting that holds the URL.
        setting: &'static str,
        /// The fault in it.
        #[source]
        source: InvalidDatabaseUrl,
    },
    /// The SQLite file cannot be used.
    #[error(
        "cannot use the SQLite file {} (set {setting}=sqlite:PATH to use another one)",
        path.display()
    )]
    Sqlite {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SqliteError,
    },
    /// A command must not create the file.
    #[error(
        "there is no SQLite file {}: set {setting} as for the server, or run the command where the \
         server runs",
        path.display()
    )]
    NoSqliteFile {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The URL of PostgreSQL is invalid, or names files that cannot be used.
    #[error("invalid {setting}")]
    Url {
        /// The setting that holds the URL.
        setting: &'static str,
        /// The fault in it.
        #[source]
        source: PgError,
    },
    /// The database refused the connection, and will refuse it again: wrong password, unknown
    /// database, untrusted certificate.
    #[error(
        "the database refuses the connection; retrying does not help: correct {setting}, the role or the server"
    )]
    Refused {
        /// The setting that names the database.
        setting: &'static str,
        /// The error of the database.
        #[source]
        source: PgError,
    },
    /// The database did not answer in time.
    #[error(
        "database not reachable within {waited:?} (DATABASE_WAIT_SECONDS; most commands wait for {COMMAND_WAIT:?} at most)"
    )]
    Unreachable {
        /// How long the server waited.
        waited: Duration,
        /// The error of the last attempt that was not cut off.
        #[source]
        source: PgError,
    },
    /// The database answers, but does not have the schema of this version.
    #[error("database is not ready")]
    NotReady(#[source] webhook_core::StoreError),
    /// The events are in another database.
    #[error(
        "the events in this database were moved to {to}: set DATABASE_URL to that database, and PARTITIONS to the number \
         of its partitions, if it has any (docs/backup.md says how to go back to this one)"
    )]
    Moved {
        /// The other database, without user and password.
        to: String,
    },
    /// A move into this database has not ended.
    #[error(
        "this database does not have all events of {from} yet: run `webhook-server move` again until it \
         succeeds, or use another database"
    )]
    Filling {
        /// The other database, without user and password.
        from: String,
    },
    /// The database has only a part of the events.
    #[error(
        "this database is partition {index} of {count} of an inbox: set PARTITIONS={count}, and DATABASE_URL as for \
         the servers of the inbox"
    )]
    IsPartition {
        /// The number of the partition, from 0.
        index: usize,
        /// The number of partitions.
        count: usize,
    },
    /// The configuration would begin an inbox beside the one of a partition.
    #[error(
        "this would begin another inbox: {place} is partition {index} of {count} of an inbox that PARTITIONS and \
         DATABASE_URL do not lead to. Set them as for the servers of that inbox: the number, and the URLs in the same \
         order. For another inbox, name other schemas (`?schema=NAME`) or another file"
    )]
    PartitionBeside {
        /// The schema or file.
        place: String,
        /// The number of the partition, from 0.
        index: usize,
        /// The number of partitions.
        count: usize,
    },
    /// The configuration would begin an inbox with partitions beside one without.
    #[error(
        "this would begin another inbox: {place} is an inbox with events. Move them into the partitions first \
         (`webhook-server move`, docs/scaling.md), or unset PARTITIONS. For another inbox, name other schemas \
         (`?schema=NAME`) or another file"
    )]
    InboxBeside {
        /// The schema or file.
        place: String,
    },
    /// What is in the database cannot be told.
    #[error("failed to find out what is in the database")]
    Look(#[source] PgError),
    /// Which inboxes are in a database cannot be told.
    #[error("failed to look for other inboxes in the database")]
    Beside(#[source] PgError),
    /// The databases of a new inbox cannot be locked.
    #[error(
        "failed to lock the databases, in which one process at a time makes an inbox: start again when the others are ready"
    )]
    CreationLock(#[source] PgError),
    /// Whether the database is a partition cannot be told.
    #[error("failed to find out whether this database is a partition of an inbox")]
    Partition(#[source] PartitionError),
    /// The migration failed.
    #[error("failed to bring the database schema up to date")]
    Migrate(#[source] PgError),
    /// The schema of a partition would have an invalid name.
    #[error("invalid schema of a partition: the number of the partition is appended to its name")]
    Schema(#[source] InvalidSchema),
    /// The backends are not the partitions of one inbox.
    #[error("failed to open the partitions as one inbox (PARTITIONS, DATABASE_URL)")]
    Partitions(#[source] PartitionError),
    /// A partition cannot be opened.
    #[error("partition {index} of {count}")]
    OfPartition {
        /// The partition, from 0.
        index: usize,
        /// How many there are.
        count: usize,
        /// Why not.
        #[source]
        source: Box<Self>,
    },
}

/// The setting that names the database of a server, and of most commands.
const DATABASE_URL: &str = "DATABASE_URL";

impl OpenError {
    pub(crate) fn url_form(source: InvalidDatabaseUrl) -> Self {
        Self::UrlForm {
            setting: DATABASE_URL,
            source,
        }
    }

    fn url(source: PgError) -> Self {
        Self::Url {
            setting: DATABASE_URL,
            source,
        }
    }

    fn refused(source: PgError) -> Self {
        Self::Refused {
            setting: DATABASE_URL,
            source,
        }
    }

    fn sqlite(path: &Path, source: SqliteError) -> Self {
        Self::Sqlite {
            setting: DATABASE_URL,
            path: path.to_owned(),
            source,
        }
    }

    /// The same error of a database that another setting than `DATABASE_URL` names.
    pub(crate) fn of_setting(mut self, named_by: &'static str) -> Self {
        match &mut self {
            Self::UrlForm { setting, .. }
            | Self::Sqlite { setting, .. }
            | Self::NoSqliteFile { setting, .. }
            | Self::Url { setting, .. }
            | Self::Refused { setting, .. } => *setting = named_by,
            _ => {}
        }
        self
    }

    fn of_partition(self, index: usize, count: usize) -> Self {
        Self::OfPartition {
            index,
            count,
            source: Box::new(self),
        }
    }

    /// The error itself, of whichever partition it is.
    pub(crate) fn of_backend(&self) -> &Self {
        match self {
            Self::OfPartition { source, .. } => source.of_backend(),
            error => error,
        }
    }
}
