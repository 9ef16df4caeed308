//! Opens the two backends of a move.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;
use webhook_core::transfer::{MoveMark, Transfer};
use webhook_core::{Admin, FoundInbox, Kind, Store};
use webhook_postgres::{PgOptions, PgStore, Schema};
use webhook_sqlite::ServerLock;

use super::partitions::{self, OpenedInbox, Planned};
use super::{OpenError, Opened, partition, postgres, sqlite};
use crate::config::{BackendUrl, Config, DatabaseUrl, file_of_partitions};

/// The inbox that a move reads, or the one that it writes, before it is opened. Nothing has been created, changed or
/// locked by a new file yet.
pub(crate) struct TransferPlan<'c> {
    /// Its URL without user and password.
    pub(crate) name: String,
    place: Place<'c>,
}

enum Place<'c> {
    /// A file that may not exist yet, with its lock if there was one.
    File {
        path: PathBuf,
        lock: Option<ServerLock>,
        found: FoundInbox,
    },
    Database {
        database: PgStore,
        found: FoundInbox,
        is_target: bool,
    },
    Partitions(Planned<'c>),
}

impl<'c> TransferPlan<'c> {
    /// Looks at the inbox that is read. It must exist.
    pub(crate) async fn source(url: BackendUrl, config: &'c Config) -> Result<Self, OpenError> {
        match url {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_MOVED)),
            BackendUrl::Partitions(urls) => {
                let name = name_of_partitions(&urls)?;
                let planned = partitions::source(urls, config).await?;
                Ok(Self::partitions(name, planned))
            }
            BackendUrl::Sqlite(path) => Self::file(sqlite::there(&path)?).await,
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let database = postgres::check(database).await?;
                Self::database(database, &url, false).await
            }
        }
    }

    /// Looks at the inbox that is written, which may not exist yet. If it has partitions, all events of each of the
    /// `whole_kinds` are in one of them.
    pub(crate) async fn target(
        url: BackendUrl,
        whole_kinds: BTreeSet<Kind>,
        config: &'c Config,
    ) -> Result<Self, OpenError> {
        match url {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_MOVED)),
            BackendUrl::Partitions(urls) => {
                let name = name_of_partitions(&urls)?;
                let planned = partitions::target(urls, whole_kinds, config).await?;
                Ok(Self::partitions(name, planned))
            }
            BackendUrl::Sqlite(path) => Self::file(sqlite::from_root(&path)).await,
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let plan = Self::database(database.clone(), &url, true).await?;
                postgres::check_migration(&database).await?;
                Ok(plan)
            }
        }
    }

    async fn file(path: PathBuf) -> Result<Self, OpenError> {
        let lock = sqlite::existing_lock(&path)?;
        let found = sqlite::look(&path).await?;
        partition::check_found(&found)?;
        Ok(Self {
            name: format!("sqlite:{}", path.display()),
            place: Place::File { path, lock, found },
        })
    }

    async fn database(
        database: PgStore,
        url: &DatabaseUrl,
        is_target: bool,
    ) -> Result<Self, OpenError> {
        let name = name(url)?;
        let found = postgres::look(&database).await?;
        partition::check_found(&found)?;
        let place = Place::Database {
            database,
            found,
            is_target,
        };
        Ok(Self { name, place })
    }

    const fn partitions(name: String, planned: Planned<'c>) -> Self {
        Self {
            name,
            place: Place::Partitions(planned),
        }
    }

    fn found(&self) -> &[FoundInbox] {
        match &self.place {
            Place::File { found, .. } | Place::Database { found, .. } => {
                std::slice::from_ref(found)
            }
            Place::Partitions(planned) => planned.found(),
        }
    }

    /// The part that it has in a move.
    pub(crate) fn mark(&self) -> Option<MoveMark> {
        let mut found = self.found().iter();
        found.find_map(|found| found.move_mark.clone())
    }

    /// Whether it has no events.
    pub(crate) fn is_empty(&self) -> bool {
        self.found().iter().all(|found| found.kinds.is_empty())
    }

    /// The kinds whose events have guards, unless it has partitions, which know them.
    pub(crate) async fn guarded_kinds(&self) -> Result<Vec<Kind>, OpenError> {
        match &self.place {
            Place::File { path, .. } => sqlite::guarded_kinds(path).await,
            Place::Database { database, .. } => {
                database.guarded_kinds().await.map_err(OpenError::Look)
            }
            Place::Partitions(_) => Ok(Vec::new()),
        }
    }

    /// The databases of PostgreSQL.
    pub(crate) fn postgres(&self) -> Vec<&PgStore> {
        match &self.place {
            Place::File { .. } => Vec::new(),
            Place::Database { database, .. } => vec![database],
            Place::Partitions(planned) => planned.postgres(),
        }
    }

    /// Opens it. The inbox that is written is created or migrated. The one that is read is not, unless it is an SQLite
    /// file.
    pub(crate) async fn open(self) -> Result<TransferBackend, OpenError> {
        let Self { name, place } = self;
        match place {
            Place::File { path, lock, .. } => {
                let (file, lock) = sqlite::open_alone(&path, lock).await?;
                let opened = Opened::Sqlite(file.clone(), Some(lock));
                Ok(TransferBackend::of(name, file, opened))
            }
            Place::Database {
                database,
                is_target,
                ..
            } => {
                if is_target {
                    postgres::migrate(&database).await?;
                }
                let opened = Opened::Postgres(database.clone(), None);
                Ok(TransferBackend::of(name, database, opened))
            }
            Place::Partitions(planned) => {
                let OpenedInbox { inbox, opened, .. } = planned.open().await?;
                Ok(TransferBackend::of(name, inbox, opened))
            }
        }
    }
}

/// The inbox that a move reads, or the one that it writes. No server uses it, as far as can be told when it is
/// opened.
pub(crate) struct TransferBackend {
    /// Its URL without user and password.
    pub(crate) name: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) admin: Arc<dyn Admin>,
    pub(crate) transfer: Arc<dyn Transfer>,
    opened: Opened,
}

impl TransferBackend {
    fn of(name: String, store: impl Store + Admin + Transfer, opened: Opened) -> Self {
        let store = Arc::new(store);
        Self {
            name,
            store: Arc::clone(&store) as Arc<dyn Store>,
            admin: Arc::clone(&store) as Arc<dyn Admin>,
            transfer: store,
            opened,
        }
    }

    /// The databases of PostgreSQL. An SQLite file is locked already.
    pub(crate) fn postgres(&self) -> Vec<&PgStore> {
        self.opened.postgres()
    }

    pub(crate) async fn close(self) {
        self.opened.close().await;
    }
}

/// Why `move` refuses `memory:`.
pub(crate) const NOT_MOVED: &str = "move copies events between SQLite and PostgreSQL; events in the \
    memory of a server (memory:) cannot be moved";

/// The name of an inbox with partitions: each database once, or the file of the URL, and how many partitions there are.
fn name_of_partitions(urls: &[BackendUrl]) -> Result<String, OpenError> {
    let mut names = Vec::new();
    for url in urls {
        let name = match url {
            BackendUrl::Postgres(url) => name(url)?,
            BackendUrl::Sqlite(path) if names.is_empty() => {
                let path = file_of_partitions(&sqlite::from_root(path));
                format!("sqlite:{}", path.display())
            }
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(format!("{}, {} partitions", names.join(" "), urls.len()))
}

/// Host, port, database and schema, without user and password.
pub(super) fn name(url: &DatabaseUrl) -> Result<String, OpenError> {
    let options: PgOptions = url.expose().parse().map_err(OpenError::url)?;
    let connection = &options.connection;
    let database = connection.get_database();
    let database = database.unwrap_or_else(|| connection.get_username());
    let host = match connection.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => connection.get_host().to_owned(),
    };
    let port = connection.get_port();
    let schema = if options.schema.name() == Schema::default().name() {
        String::new()
    } else {
        format!("?schema={}", options.schema.name())
    };
    Ok(format!("postgres://{host}:{port}/{database}{schema}"))
}

/// Refuses to serve an inbox that was moved away, or that a move has not filled yet.
pub(super) fn check_found(found: &FoundInbox) -> Result<(), OpenError> {
    refused(found.move_mark.clone())
}

/// Warns whoever runs a command on such an inbox. They may look at it, and even change it, but no server uses it.
pub(super) fn warn_of(found: &FoundInbox) {
    if let Err(reason) = check_found(found) {
        warn!(
            reason = &reason as &dyn std::error::Error,
            "no server uses this inbox, and this command changes nothing elsewhere"
        );
    }
}

fn refused(mark: Option<MoveMark>) -> Result<(), OpenError> {
    match mark {
        None => Ok(()),
        Some(MoveMark::Moved { to }) => Err(OpenError::Moved { to }),
        Some(MoveMark::Filling { from }) => Err(OpenError::Filling { from }),
    }
}

/// The same once the store is open, since a move may have ended meanwhile.
pub(super) async fn check_mark(store: &impl Transfer) -> Result<(), OpenError> {
    match store.mark().await {
        Ok(mark) => refused(mark),
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot tell whether the inbox was moved to another database"
            );
            Ok(())
        }
    }
}
