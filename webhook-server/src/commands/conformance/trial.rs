//! Inboxes for the cases: made, and removed again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;
use webhook_core::conformance::{Backend, Case};
use webhook_core::transfer::Transfer;
use webhook_core::{Partition, with_causes};
use webhook_memory::MemoryStore;
use webhook_postgres::{DatabaseVersion, InvalidSchema, PgError, PgOptions, PgStore, TrialSchemas};
use webhook_sqlite::{SqliteError, SqliteStore};

use super::panics;
use super::report::Failure;
use crate::backend::{OpenError, backend_url, from_root};
use crate::config::{BackendUrl, Config};

/// What the names of all schemas begin with, in every run.
const PREFIX: &str = "webhook_conformance_";

/// The database that is tried.
pub(super) struct Trial {
    place: Place,
    /// The numbers of the inboxes.
    next: AtomicU32,
}

enum Place {
    Memory,
    /// A folder of files.
    Sqlite(PathBuf),
    Postgres {
        schemas: Box<TrialSchemas>,
        database: DatabaseVersion,
        /// What the names of the schemas of this run begin with.
        prefix: String,
    },
}

/// An inbox of one case.
enum Inbox {
    Memory,
    Sqlite(SqliteStore),
    Postgres(PgStore, u32),
}

/// Why no case can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The database cannot be opened.
    #[error("failed to open the database")]
    Open(#[source] OpenError),
    /// Several databases are configured.
    #[error(
        "conformance tries one database, and PARTITIONS divides the inbox: name one with --database-url URL \
         --partitions 1"
    )]
    Partitions,
    /// The URL of PostgreSQL is invalid, or the database does not answer.
    #[error("failed to ask the database for its version; DATABASE_URL (--database-url) names it")]
    Version(#[source] PgError),
    /// The names of the schemas are invalid.
    #[error("failed to name the schemas")]
    Names(#[source] InvalidSchema),
    /// A schema with an inbox in it cannot be made or dropped.
    #[error(
        "failed to make and drop an inbox in a schema of its own, for which the role needs CREATE on the database"
    )]
    Schema(#[source] PgError),
    /// A file with an inbox in it cannot be made.
    #[error("failed to make an inbox in the folder {}", folder.display())]
    File {
        /// The folder of the files.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: SqliteError,
    },
    /// The folder of the files cannot be made.
    #[error("failed to make the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread that runs cases, or its runtime, cannot be started.
    #[error("failed to start a thread for the cases")]
    Thread(#[source] io::Error),
}

impl Trial {
    pub(super) async fn open(config: &Config) -> Result<Arc<Self>, TrialError> {
        let run: u32 = rand::random();
        let place = match backend_url(config).await.map_err(TrialError::Open)? {
            BackendUrl::Memory => Place::Memory,
            BackendUrl::Partitions(_) => return Err(TrialError::Partitions),
            BackendUrl::Sqlite(path) => {
                let mut folder = from_root(&path).into_os_string();
                folder.push(format!(".conformance-{run:08x}"));
                let folder = PathBuf::from(folder);
                match std::fs::create_dir(&folder) {
                    Ok(()) => Place::Sqlite(folder),
                    Err(source) => return Err(TrialError::Folder { folder, source }),
                }
            }
            BackendUrl::Postgres(url) => {
                let mut options: PgOptions = url.expose().parse().map_err(TrialError::Version)?;
                options.max_connections = config.database_pool_size.get();
                let prefix = format!("{PREFIX}{run:08x}_");
                let schemas = TrialSchemas::new(options, &prefix).map_err(TrialError::Names)?;
                Place::Postgres {
                    database: schemas
                        .database_version()
                        .await
                        .map_err(TrialError::Version)?,
                    schemas: Box::new(schemas),
                    prefix,
                }
            }
        };
        Ok(Arc::new(Self {
            place,
            next: AtomicU32::new(1),
        }))
    }

    /// Which database it is.
    pub(super) fn name(&self) -> &str {
        match &self.place {
            Place::Memory => "memory",
            Place::Sqlite(_) => "SQLite",
            Place::Postgres { database, .. } => &database.version,
        }
    }

    pub(super) fn extensions(&self) -> &[(String, String)] {
        match &self.place {
            Place::Memory | Place::Sqlite(_) => &[],
            Place::Postgres { database, .. } => &database.extensions,
        }
    }

    /// Whether events can be moved to another database and back.
    pub(super) const fn has_transfer(&self) -> bool {
        !matches!(self.place, Place::Memory)
    }

    /// What the cases do to the database.
    pub(super) fn what_is_made(&self) -> String {
        match &self.place {
            Place::Memory => "nothing is kept".to_owned(),
            Place::Sqlite(folder) => format!(
                "each makes files in the folder {}, which is removed afterwards",
                folder.display()
            ),
            Place::Postgres { prefix, .. } => format!(
                "each makes a schema of its own, {prefix}NUMBER, and drops it afterwards; nothing else in the \
                 database is changed"
            ),
        }
    }

    /// What the user should know before the cases run.
    pub(super) async fn notes(&self) -> Vec<String> {
        let Place::Postgres { schemas, .. } = &self.place else {
            return Vec::new();
        };
        match schemas.existing(PREFIX).await {
            Ok(names) if names.is_empty() => Vec::new(),
            Ok(names) => vec![format!(
                "the database has schemas of other runs: {}. If no other run is under way, drop them: DROP SCHEMA \
                 … CASCADE",
                names.join(", ")
            )],
            Err(error) => vec![format!(
                "failed to look for schemas of other runs: {}",
                with_causes(&error)
            )],
        }
    }

    /// Makes an inbox and removes it.
    pub(super) async fn probe(&self) -> Result<(), TrialError> {
        let (inbox, _) = self.make().await?;
        self.unmake(inbox).await
    }

    /// Runs a case, and removes what was made for it. Ends early if it is told to stop.
    pub(super) fn run(&self, case: Case, stop: &CancellationToken) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.run_in(case, stop)),
            Err(error) => Err(failure(&TrialError::Thread(error))),
        }
    }

    async fn run_in(&self, case: Case, stop: &CancellationToken) -> Result<(), Failure> {
        let (inbox, backend) = self.make().await.map_err(|error| failure(&error))?;
        let ended = tokio::select! {
            ended = case.run(backend) => ended.map_err(|failed| Failure {
                message: failed.message,
                location: panics::take_location(),
            }),
            () = stop.cancelled() => Ok(()),
        };
        let removed = self.unmake(inbox).await;
        ended.and(removed.map_err(|error| failure(&error)))
    }

    /// Makes an empty inbox. What is left of it after an error is removed.
    async fn make(&self) -> Result<(Inbox, Backend), TrialError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match &self.place {
            Place::Memory => {
                let store = Arc::<MemoryStore>::default();
                let backend = Backend::new(Arc::clone(&store)).with_partition(Some(store));
                Ok((Inbox::Memory, backend))
            }
            Place::Sqlite(folder) => {
                let opened = SqliteStore::open(folder.join(format!("{number}.db"))).await;
                let store = opened.map_err(|source| TrialError::File {
                    folder: folder.clone(),
                    source,
                })?;
                let shared = Arc::new(store.clone());
                Ok((Inbox::Sqlite(store), backend(shared)))
            }
            Place::Postgres { schemas, .. } => match schemas.create(number).await {
                Ok(store) => {
                    let shared = Arc::new(store.clone());
                    Ok((Inbox::Postgres(store, number), backend(shared)))
                }
                Err(error) => {
                    // The first error says more.
                    let _ = schemas.drop_schema(number).await;
                    Err(TrialError::Schema(error))
                }
            },
        }
    }

    async fn unmake(&self, inbox: Inbox) -> Result<(), TrialError> {
        match (inbox, &self.place) {
            (Inbox::Sqlite(store), _) => store.close().await,
            (Inbox::Postgres(store, number), Place::Postgres { schemas, .. }) => {
                store.close().await;
                let dropped = schemas.drop_schema(number).await;
                return dropped.map_err(TrialError::Schema);
            }
            (Inbox::Postgres(..) | Inbox::Memory, _) => {}
        }
        Ok(())
    }

    /// Removes what is left of all cases. Returns what could not be removed.
    pub(super) async fn remove(&self) -> Vec<String> {
        match &self.place {
            Place::Memory => Vec::new(),
            Place::Sqlite(folder) => match std::fs::remove_dir_all(folder) {
                Ok(()) => Vec::new(),
                Err(error) => vec![format!(
                    "failed to remove the folder {}: {error}",
                    folder.display()
                )],
            },
            Place::Postgres {
                schemas, prefix, ..
            } => match schemas.existing(prefix).await {
                Ok(names) if names.is_empty() => Vec::new(),
                Ok(names) => vec![format!(
                    "these schemas were not dropped: {}",
                    names.join(", ")
                )],
                Err(error) => vec![format!(
                    "schemas that begin with {prefix} may be left: {}",
                    with_causes(&error)
                )],
            },
        }
    }
}

/// After an error, nothing else removes the folder.
impl Drop for Trial {
    fn drop(&mut self) {
        if let Place::Sqlite(folder) = &self.place {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A backend for all cases.
fn backend<B: Partition + Transfer>(store: Arc<B>) -> Backend {
    Backend::new(Arc::clone(&store))
        .with_partition(Some(Arc::<B>::clone(&store)))
        .with_transfer(Some(store))
}

fn failure(error: &TrialError) -> Failure {
    Failure {
        message: with_causes(error),
        location: None,
    }
}
