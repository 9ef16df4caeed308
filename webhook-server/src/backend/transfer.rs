//! Opens the two backends of a move.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;
use webhook_core::transfer::{MoveMark, Transfer};
use webhook_core::{Admin, FoundInbox, Kind, Store};
use webhook_postgres::{PgOptions, PgStore, Schema};

use super::partitions::{self, OpenedInbox};
use super::{OpenError, Opened, partition, postgres, sqlite};
use crate::config::{BackendUrl, Config, DatabaseUrl, file_of_partitions};

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
    /// Opens the inbox that is read. It must exist, and is not migrated, unless it is an SQLite file.
    pub(crate) async fn source(url: BackendUrl, config: &Config) -> Result<Self, OpenError> {
        match url {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_MOVED)),
            BackendUrl::Partitions(urls) => {
                let name = name_of_partitions(&urls)?;
                Ok(Self::partitions(
                    name,
                    partitions::source(urls, config).await?,
                ))
            }
            BackendUrl::Sqlite(path) => Self::file(&sqlite::there(&path)?).await,
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                let database = postgres::check(database).await?;
                Self::database(database, &url).await
            }
        }
    }

    /// Opens the inbox that is written. It is created if it does not exist. If it has partitions, all events of each of the
    /// `whole_kinds` are in one of them.
    pub(crate) async fn target(
        url: BackendUrl,
        whole_kinds: BTreeSet<Kind>,
        config: &Config,
    ) -> Result<Self, OpenError> {
        match url {
            BackendUrl::Memory => Err(OpenError::Unsuitable(NOT_MOVED)),
            BackendUrl::Partitions(urls) => {
                let name = name_of_partitions(&urls)?;
                let opened = partitions::target(urls, whole_kinds, config).await?;
                Ok(Self::partitions(name, opened))
            }
            BackendUrl::Sqlite(path) => Self::file(&sqlite::from_root(&path)).await,
            BackendUrl::Postgres(url) => {
                let database = postgres::reach(&url, config).await?;
                partition::check_found(&postgres::look(&database).await?)?;
                postgres::migrate(&database).await?;
                Self::database(database, &url).await
            }
        }
    }

    /// Opens a file, or creates it.
    async fn file(path: &Path) -> Result<Self, OpenError> {
        let name = format!("sqlite:{}", path.display());
        let lock = sqlite::existing_lock(path)?;
        partition::check_found(&sqlite::look(path).await?)?;
        let (file, lock) = sqlite::open_alone(path, lock).await?;
        let opened = Opened::Sqlite(file.clone(), Some(lock));
        Ok(Self::of(name, file, opened))
    }

    async fn database(database: PgStore, url: &DatabaseUrl) -> Result<Self, OpenError> {
        let name = name(url)?;
        partition::check_alone(&database).await?;
        let opened = Opened::Postgres(database.clone(), None);
        Ok(Self::of(name, database, opened))
    }

    fn partitions(name: String, partitions: OpenedInbox) -> Self {
        Self::of(name, partitions.inbox, partitions.opened)
    }

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
    let options: PgOptions = url.expose().parse().map_err(OpenError::Url)?;
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
